"""Image references, and the client for image registries."""
