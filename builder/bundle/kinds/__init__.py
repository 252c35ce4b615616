"""The kinds of models that a bundle holds."""
