"""Export Python functions."""
