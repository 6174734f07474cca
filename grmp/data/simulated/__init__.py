"""Databases that this project renders and distorts itself."""
