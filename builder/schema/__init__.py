"""Typed values out of YAML and JSON."""
