"""Export PyTorch modules."""
