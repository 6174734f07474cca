"""CLIP with soft prompts: the model, its weights, and where they come from."""
