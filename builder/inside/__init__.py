"""What runs in the image: scripts and the predict source. It imports nothing of the rest of the package."""
