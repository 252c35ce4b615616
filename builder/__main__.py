"""``python -m builder``, which the messages of this tool tell people to type.

In a checkout it is typed with whatever Python is first on PATH. Where that one lacks what the tool needs, the
checkout's own ``.venv`` runs it, so that a line from a message works as it stands. Any Python 3 can read this file.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

_NEEDED = ("dotenv", "graphql", "httpx", "jinja2", "numpy", "pandas", "pyarrow", "scipy", "yaml")


def _check_python() -> None:
    """Go on in the checkout's own virtual environment, or say how to make it, where this Python cannot run the tool."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if sys.version_info >= (3, 11) and not missing:
        return
    own = Path(__file__).resolve().parents[1] / ".venv"
    if (own / "bin" / "python").exists() and Path(sys.prefix).resolve() != own.resolve():
        os.execv(own / "bin" / "python", [str(own / "bin" / "python"), "-m", "builder", *sys.argv[1:]])  # noqa: S606
    lacks = f"has no {', '.join(missing)}" if missing else "is older than 3.11"
    sys.stderr.write(
        f"error: this Python ({sys.executable}, {sys.version.split()[0]}) {lacks}; in a checkout, `make setup` makes "
        ".venv with all that is needed, which is then used; elsewhere, pip install the package anew\n"
    )
    sys.exit(2)


if __name__ == "__main__":
    _check_python()

    from builder.cli import main

    main.run()
