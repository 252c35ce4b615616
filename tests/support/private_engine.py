"""Run a separate engine for one test, with its own socket, data and processes, so that the test can kill it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine import install

if TYPE_CHECKING:
    from collections.abc import Iterator


class PrivateEngine:
    """A running ``dockerd``; ``host`` is the value for DOCKER_HOST."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        # In its own network namespace: an engine without a bridge removes the bridge of another engine.
        command = ["unshare", "--net", "dockerd", "--host", self.host]
        command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "run")]
        command += ["--pidfile", str(folder / "pid")]
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PATH": f"/usr/sbin:/sbin:{os.environ['PATH']}"},
            )
        deadline = time.monotonic() + 60
        while (reason := install.find_connection_problem(self.socket)) is not None:
            assert time.monotonic() < deadline, f"{reason}: {self._log.read_text()[-2000:]}"
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill the engine and the processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)


@contextlib.contextmanager
def start() -> Iterator[PrivateEngine]:
    """Run an engine; stop it and delete its data afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="numerai-builder-engine-"))
    engine = PrivateEngine(folder)
    try:
        yield engine
    finally:
        engine.kill()
        _end_containers(folder)
        _unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end_containers(folder: Path) -> None:
    """Kill the engine's containers: its shims survive it in their own sessions; their arguments contain its folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def _unmount(folder: Path) -> None:
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        point = line.split()[1]
        if point.startswith(str(folder)):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)
