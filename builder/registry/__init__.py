"""Image references and the registries that hold images."""
