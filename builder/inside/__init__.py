"""Code that runs in the image: scripts and the predict source. It imports nothing from the rest of the package."""
