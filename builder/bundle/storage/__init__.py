"""A bundle's files: read, written, zipped."""
