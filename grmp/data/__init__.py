"""The databases: registry, download, scores, pictures, splits, and the small simulated world."""
