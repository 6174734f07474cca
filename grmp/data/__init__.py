"""Published files -> arrays, labels and splits. Knows no model."""
