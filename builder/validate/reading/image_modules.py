"""Which package has a module in an image."""

from __future__ import annotations

from builder import published_pins
from builder.validate.reading import bytecode


def find_package(module: str, python: str) -> str | None:
    """Return the package that has a module in the image of a Python, ``Python`` for its own; None if none has it."""
    name = module.partition(".")[0]
    entry = bytecode.load_pythons().get(python)
    if name == "builtins" or (entry and name in entry["modules"]):
        return "Python"
    return published_pins.list_modules(python).get(name)
