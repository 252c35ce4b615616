"""Export scikit-learn models and pipelines."""
