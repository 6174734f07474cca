"""Few-shot fine-tuning with the gradient rule: the second contribution of the paper."""
