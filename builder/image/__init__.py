"""Find, pin and build runner images."""
