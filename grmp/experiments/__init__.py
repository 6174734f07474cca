"""What the commands do with methods: runs, sweeps, cross-validation, predictions."""
