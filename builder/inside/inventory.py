"""List the Python and the packages of an image: ``python inventory.py`` in it prints JSON. Standard library only.

``{"format": 1, "python": "3.11.2", "implementation": "cpython", "packages": {"numpy": "2.1.3", ...}}``, names sorted
and normalised as package indexes do.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re


def normalize_name(name: str) -> str:
    """Return the name of a package as package indexes normalise it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def list_packages() -> dict[str, str]:
    """Return the version of every installed distribution by name."""
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # an interrupted installation leaves a folder without metadata
            # If a package is on the path twice, the first one is imported.
            versions.setdefault(normalize_name(name), distribution.version)
    return dict(sorted(versions.items()))


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "format": 1,
                "python": platform.python_version(),
                "implementation": platform.python_implementation().lower(),
                "packages": list_packages(),
            }
        )
    )
