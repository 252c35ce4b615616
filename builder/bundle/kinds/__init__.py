"""The kinds of model that a bundle can have: one module for each, with its keys, arrays, files and checks."""
