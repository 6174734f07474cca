"""Meta-learning of soft prompts: the first contribution of the paper."""
