"""HTTP and downloads."""
