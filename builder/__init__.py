"""Make, prove and deliver Numerai model pickles inside the image that runs them."""

__version__ = "0.1.0"
