"""Folders of Pythons, as pyenv and uv install them, with scripts in the place of interpreters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_SCRIPT = """\
#!{executable} -I
import platform, sys, sysconfig
platform.python_version = lambda: {release!r}
platform.python_implementation = lambda: {implementation!r}
sys.prefix, sys.base_prefix = {prefix!r}, {base_prefix!r}
sysconfig.get_config_var = {{"prefix": {configured!r}, "Py_GIL_DISABLED": {free_threaded!r}}}.get
exec(sys.argv[-1])
"""


def hide(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let pyenv's Pythons be those of ``folder/pyenv``, uv's those of ``folder/uv``, and none be on the PATH."""
    monkeypatch.setenv("PYENV_ROOT", str(folder / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(folder / "uv"))
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")


def write(
    prefix: Path,
    release: str,
    *,
    implementation: str = "CPython",
    base_prefix: str = "",
    configured: str = "",
    free_threaded: int = 0,
) -> None:
    """Write a Python of a release: a script that runs code with this interpreter, but describes itself as stated."""
    script = _SCRIPT.format(
        executable=sys.executable,
        release=release,
        implementation=implementation,
        prefix=str(prefix),
        base_prefix=base_prefix or str(prefix),
        configured=configured or str(prefix),
        free_threaded=free_threaded,
    )
    (prefix / "bin").mkdir(parents=True)
    program = prefix / "bin" / f"python{'.'.join(release.split('.')[:2])}"
    program.write_text(script)
    program.chmod(0o755)
    (prefix / "bin" / "python3").symlink_to(program.name)
