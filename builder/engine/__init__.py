"""The container engine: its interface, the Docker implementation, and its installation."""
