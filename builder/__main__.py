"""The entry of ``python -m builder``, which messages tell people to type, and of ``numerai-builder``.

In a checkout it is run with any Python that is first on PATH. If packages are missing there, the checkout's own
``.venv`` runs it, so that a line from a message works as it stands. Any Python 3 can read this file.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def run() -> None:
    """Run the command line and end the process; on Windows refuse, before anything that only POSIX has is imported."""
    if sys.platform == "win32":
        message = "no command runs on Windows itself, only `builder.export`"
        fix = "run it in WSL2"
        sys.stderr.write(f"error: {message}; {fix}\n")
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"format": 1, "error": {"code": 2, "message": message, "fix": fix}}) + "\n")
        sys.exit(2)
    from builder.cli import main  # noqa: PLC0415 - above

    main.run()


def _choose_python() -> None:
    """Continue in the checkout's own virtual environment if this Python is too old or has not all packages."""
    is_old = sys.version_info < (3, 11)
    if not is_old:
        from builder.cli import requirements  # noqa: PLC0415 - an older Python need not be able to read it

        if not requirements.missing():
            return
    own = Path(__file__).resolve().parents[1] / ".venv"
    if (own / "bin" / "python").exists() and Path(sys.prefix).resolve() != own.resolve():
        os.execv(own / "bin" / "python", [str(own / "bin" / "python"), "-m", "builder", *sys.argv[1:]])  # noqa: S606
    if is_old:
        sys.stderr.write(
            f"error: this Python ({sys.executable}, {sys.version.split()[0]}) is older than 3.11; run `make setup` in "
            "a checkout, which makes .venv with one that is not, or install the package in a newer Python\n"
        )
        sys.exit(2)


if __name__ == "__main__":
    if sys.platform != "win32":
        _choose_python()
    run()
