"""Say what an image holds: run in it as ``python inventory.py``; prints one JSON object. Standard library only.

``{"format": 1, "python": "3.11.2", "implementation": "cpython", "packages": {"numpy": "2.1.3", ...}}``, names sorted
and normalised as package indexes do.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re


def packages() -> dict[str, str]:
    """Return every installed distribution and its version."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            # The first on the path is the one that an import would find.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return dict(sorted(found.items()))


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "format": 1,
                "python": platform.python_version(),
                "implementation": platform.python_implementation().lower(),
                "packages": packages(),
            }
        )
    )
