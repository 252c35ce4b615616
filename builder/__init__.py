"""Build, validate and upload Numerai model pickles, inside the Docker image that runs them."""

__version__ = "0.1.0"
