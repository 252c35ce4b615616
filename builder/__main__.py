"""Entry point of ``python -m builder``, the command that messages suggest, and of ``numerai-builder``.

A suggested command runs with the first Python on PATH. If that one does not have all packages, the ``.venv`` of the
checkout takes over, so that a command copied from a message works. Every Python 3 must be able to parse this file.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def run() -> None:
    """Run the command line and exit; on Windows, exit with 2 before a module that only POSIX has is imported."""
    if sys.platform == "win32":
        message = "no command runs on Windows itself, only `builder.export`"
        fix = "run it in WSL2"
        sys.stderr.write(f"error: {message}; {fix}\n")
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"format": 1, "error": {"code": 2, "message": message, "fix": fix}}) + "\n")
        sys.exit(2)
    from builder.cli import main  # noqa: PLC0415 - it imports what only POSIX has

    main.run()


def _choose_python() -> None:
    """Restart in the virtual environment of the checkout if this Python is too old or does not have all packages."""
    is_old = sys.version_info < (3, 11)
    if not is_old:
        from builder.cli import requirements  # noqa: PLC0415 - an older Python cannot parse it

        if not requirements.missing():
            return
    venv = Path(__file__).resolve().parents[1] / ".venv"
    if (venv / "bin" / "python").exists() and Path(sys.prefix).resolve() != venv.resolve():
        os.execv(venv / "bin" / "python", [str(venv / "bin" / "python"), "-m", "builder", *sys.argv[1:]])  # noqa: S606
    if is_old:
        sys.stderr.write(
            f"error: this Python ({sys.executable}, {sys.version.split()[0]}) is older than 3.11; run `make setup` in "
            "a checkout, which creates .venv with a newer one, or install the package in a newer Python\n"
        )
        sys.exit(2)


if __name__ == "__main__":
    if sys.platform != "win32":
        _choose_python()
    run()
