"""Which packages a command needs, and the message if they are not installed.

``pip install`` of this package alone brings what :mod:`builder.export` needs, so that nothing changes where a model is
trained; the other packages come with the extra ``[build]``.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

BASE = ("numpy", "pandas", "platformdirs", "pydantic", "rich", "safetensors", "typer")
BUILD = (
    *("docker", "dotenv", "filelock", "findpython", "graphql", "httpx", "jinja2", "matplotlib", "pandas", "pyarrow"),
    *("scipy", "stamina", "yaml"),
)
"""What the extra ``[build]`` of pyproject.toml installs, by the names that are imported."""
ALL = tuple(dict.fromkeys((*BASE, *BUILD)))


def missing(modules: Iterable[str] = ALL) -> list[str]:
    """Return those of the modules that are not installed; does not import them."""
    return [name for name in modules if not _is_installed(name)]


def check(modules: Iterable[str]) -> None:
    """Check that modules are installed before a command is imported.

    Raises:
        errors.UsageError: Some are not; the message says what to install.
    """
    if absent := missing(modules):
        raise create_error(absent)


def create_error(modules: Iterable[str]) -> errors.UsageError:
    """Return the error that modules are missing."""
    return errors.UsageError(
        f"this command needs packages that are not installed in this Python ({sys.executable}): {', '.join(modules)}; "
        'run `make setup` in a checkout, or: pip install "./path/to/checkout[build]"'
    )


def _is_installed(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    # In a checkout, the repository's folder docker/ is found as a namespace package, which has no file.
    return spec is not None and spec.origin is not None
