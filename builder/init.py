"""From a bundle to a config that is complete."""
