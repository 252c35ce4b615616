"""Debian's packages for what the tests run for real, installed where they are missing and this process may."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_LOCK_SECONDS = 300.0


def find_program(name: str, package: str) -> str:
    """Return where a program is; its package is installed first where it is missing and this is root."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])
    program = shutil.which(name, path=path)
    if program is None:
        assert os.geteuid() == 0, f"install {package} (Debian), or run this as root"
        assert shutil.which("apt-get", path=path), f"install a program that is called {name}"
        _apt(path, "update")
        _apt(
            path, "install", "-y", "--no-install-recommends", "-o", f"DPkg::Lock::Timeout={_LOCK_SECONDS:.0f}", package
        )
        program = shutil.which(name, path=path)
    assert program is not None
    return program


def _apt(path: str, *arguments: str) -> None:
    """Run apt; another that reads the lists at this moment, for a test in another process, is waited for."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "PATH": path}
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        done = subprocess.run(
            ["apt-get", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return
        waits = time.monotonic() < deadline and ("Could not get lock" in done.stdout or "Unable to lock" in done.stdout)
        assert waits, f"apt-get {' '.join(arguments)} failed:\n{done.stdout[-2000:]}"
        time.sleep(1)
