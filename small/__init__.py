"""Trains the small CLIPs that the package ships (`make small-clip`): data, captions, training, evaluation."""
