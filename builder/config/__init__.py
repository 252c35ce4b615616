"""The YAML of a model, typed and checked."""
