"""The engine of this machine: found, installed from the distribution, started and stopped, by programs alone.

Only the engine at the default socket is ever touched. One that the person chose (``DOCKER_HOST``, a docker context) is
never installed or started for them. :func:`plan` decides from :class:`Machine`, :func:`ensure_running` acts. This module stays
light, without the docker SDK: it runs before anything else works.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import http.client
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, locks
from builder.engine import debian

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.progress import Progress

ENGINE_PACKAGES = ("docker.io", "iptables")
START_SECONDS, STOP_SECONDS = 60.0, 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """What decides how an engine can be had here; :meth:`detect` reads it from the machine."""

    system: str = "Linux"
    apt: bool = False
    """Whether packages come by apt: Debian, Ubuntu and what is made of them."""
    root: bool = False
    dockerd: str | None = None
    """Where the engine's program is, or None."""
    systemd: bool = False
    socket: Path = Path("/var/run/docker.sock")
    state: Path = Path("/run/numerai-builder")
    """Folder of the lock and of the started engine's process id."""
    logs: Path = Path("/var/log/numerai-builder")
    lists: Path = Path("/var/lib/apt/lists")
    grace: float = 5.0
    """Seconds for an engine that a package's own script has begun, when ours has given way to it."""

    @classmethod
    def detect(cls) -> Machine:
        """Read the facts of this machine."""
        return cls(
            system=platform.system(),
            apt=debian.read_release().has_apt,
            root=debian.is_root(),
            dockerd=shutil.which("dockerd", path=debian.search_path()),
            systemd=Path("/run/systemd/system").is_dir(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstallPlan:
    """What has to be done to have an engine."""

    install: bool
    systemd: bool

    @property
    def description(self) -> str:
        """Say it, as something that is about to be done."""
        install = f"install {' and '.join(ENGINE_PACKAGES)} from the distribution and " if self.install else ""
        return f"{install}start {'it by systemd' if self.systemd else 'dockerd in the background'}"


class SocketState(enum.Enum):
    """What is behind a socket."""

    ANSWERS = "answers"
    ABSENT = "there is no socket, or nothing listens on it"
    DENIED = "this user may not open the socket"
    SILENT = "it takes connections and does not answer"


def ensure_running(
    *,
    check: Callable[[], str | None],
    progress: Progress,
    confirm: Callable[[str], bool] | None = None,
    machine: Machine | None = None,
) -> None:
    """Return once an engine answers: at once when one does, else by installing and starting it where that is possible.

    Args:
        answers: asks the engine that is in use, and returns None if it answers, else the reason; :func:`why_silent`
            does for the default socket.
        progress: told of each step; what is installed or started is a note when nobody is asked.
        confirm: asks the person a question, when one is at the terminal.
        machine: the facts to go by; read from this machine when left out.

    Raises:
        errors.EngineError: none answers and none can be started here; the message says what to do.
        errors.RefusedError: the person said no.
    """
    reason = check()
    if reason is None:
        return
    machine = machine or Machine.detect()
    todo = plan(machine, reason=reason, found=probe(machine.socket))
    if confirm is None:
        progress.note(f"no container engine answers: going to {todo.description}")
    elif not confirm(f"No container engine answers. May this tool {todo.description}?"):
        raise errors.RefusedError(
            "an engine is needed and was not allowed to be started: start one, then run this again"
        )
    with locks.acquire(
        machine.state / "engine.lock",
        lambda holder: progress.note(f"waiting for another run that starts the engine ({holder})"),
    ):
        if probe(machine.socket) is not SocketState.ANSWERS:
            if todo.install:
                debian.install_packages(
                    ENGINE_PACKAGES, log=machine.logs / "apt.log", progress=progress, lists=machine.lists
                )
            _start(machine, progress)


def plan(machine: Machine, *, reason: str, found: SocketState) -> InstallPlan:
    """Decide what to do on a machine where no engine answers; pure.

    Raises:
        errors.EngineError: nothing can be done for the person here; the message says what they can do.
    """
    if found is SocketState.DENIED:
        raise errors.EngineError(
            f"an engine is behind {machine.socket}, but {found.value}: join its group "
            "(`sudo usermod -aG docker $USER`, then `newgrp docker`), or run this as root"
        )
    if found is SocketState.SILENT:
        raise errors.EngineError(
            f"an engine is behind {machine.socket}, but {found.value}: restart it (`systemctl restart docker`, or stop "
            "its process and run `make engine`)"
        )
    if machine.system != "Linux":
        raise errors.EngineError(
            f"no container engine answers ({reason}): on {machine.system} install and start Docker Desktop, Colima "
            "or another engine that speaks its API, then run this again"
        )
    if not machine.root:
        how = "`systemctl start docker`" if machine.dockerd else "`apt-get install docker.io`" if machine.apt else None
        raise errors.EngineError(
            f"no container engine answers ({reason}), and without root none can be started: run `make engine` as root "
            f"once, or {how or 'install Docker Engine and start it'}"
        )
    if machine.dockerd is None and not machine.apt:
        raise errors.EngineError(
            f"no container engine answers ({reason}), and this is neither Debian nor Ubuntu, where this tool can "
            "install one: install Docker Engine with your package manager and start it, then run this again"
        )
    return InstallPlan(install=machine.dockerd is None, systemd=machine.systemd)


def stop(*, machine: Machine | None = None) -> bool:
    """Stop the engine that :func:`ensure_running` started, and no other.

    Returns:
        Whether there was one. An engine that runs under systemd, or that somebody else started, is left alone.

    Raises:
        errors.EngineError: it did not end in time.
    """
    record = (machine or Machine.detect()).state / "dockerd.json"
    try:
        started = json.loads(record.read_text())
        pid, born = int(started["pid"]), int(started["born"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):  # it is not ours
        return False
    running = _born(pid) == born
    if running:
        try:
            os.kill(pid, signal.SIGTERM)
        except PermissionError as error:
            raise errors.EngineError(f"dockerd (process {pid}) is root's: run this as root to stop it") from error
        if not _until(lambda: _born(pid) != born, STOP_SECONDS):
            raise errors.EngineError(
                f"dockerd (process {pid}) did not stop within {STOP_SECONDS:.0f} s: stop it by hand"
            )
    record.unlink(missing_ok=True)
    return running


def find_connection_problem(path: Path = Machine.socket) -> str | None:
    """Return None if an engine answers at the default socket, else why not."""
    found = probe(path)
    return None if found is SocketState.ANSWERS else f"{path}: {found.value}"


def probe(path: Path, *, seconds: float = 5.0) -> SocketState:
    """Ask for ``/_ping`` at a unix socket, waiting at most ``seconds`` for each answer."""
    connection = http.client.HTTPConnection("localhost", timeout=seconds)
    with contextlib.closing(connection), socket.socket(socket.AF_UNIX) as link:
        link.settimeout(seconds)
        try:
            link.connect(str(path))
            connection.sock = link
            connection.request("GET", "/_ping")
            status = connection.getresponse().status
        except PermissionError:
            return SocketState.DENIED
        except (FileNotFoundError, ConnectionRefusedError):
            return SocketState.ABSENT
        except (OSError, http.client.HTTPException):
            return SocketState.SILENT
    return SocketState.ANSWERS if status == http.client.OK else SocketState.SILENT


def _start(machine: Machine, progress: Progress) -> None:
    """Start the engine and wait until it answers."""
    progress.step("starting the container engine")
    if machine.systemd:
        try:
            done = subprocess.run(["systemctl", "start", "docker"], capture_output=True, text=True, check=False)
        except OSError as error:
            raise errors.EngineError(f"systemctl cannot be run ({error.strerror}); start docker by hand") from error
        if done.returncode != 0:
            raise errors.EngineError(
                f"systemd could not start docker: {done.stderr.strip()}; see `journalctl -u docker`"
            )
        if not _until(lambda: probe(machine.socket) is SocketState.ANSWERS, START_SECONDS):
            raise errors.EngineError(
                f"systemd started docker and {machine.socket} is silent: see `journalctl -u docker`"
            )
        return
    log = machine.logs / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    pid, born = _detach(["dockerd"], log)
    (machine.state / "dockerd.json").write_text(json.dumps({"pid": pid, "born": born}))
    # A package's own script may have been faster: then ours ends, and that one answers.
    _until(lambda: probe(machine.socket) is SocketState.ANSWERS or _born(pid) != born, START_SECONDS)
    if not _until(lambda: probe(machine.socket) is SocketState.ANSWERS, machine.grace):
        stop(machine=machine)
        raise errors.EngineError(
            f"dockerd was started and does not answer at {machine.socket}: repair what its log says, then run this "
            f"again; {log} ends:\n{debian.read_last_lines(log)}"
        )


def _detach(command: Sequence[str], log: Path) -> tuple[int, int]:
    """Start a program that outlives us, and return its process id and time of birth.

    It gets a session of its own and none of our files, so that a pipe on our output closes when we end. ``posix_spawn``
    instead of ``subprocess``: nobody here waits for it, and nothing should warn that nobody does.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    try:
        pid = os.posix_spawnp(
            "env",
            ["env", "--chdir=/", *command],
            {**os.environ, "PATH": debian.search_path()},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
                *((os.POSIX_SPAWN_CLOSE, handle) for handle in _inheritable()),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT],  # Python ignores the first
        )
    finally:
        os.close(null)
        os.close(output)
    return pid, _born(pid) or 0


def _inheritable() -> list[int]:
    """Return the open files, beside the three standard ones, that a program started by us would get."""
    found = []
    for handle in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - numbers, not paths
        with contextlib.suppress(OSError):  # the listing's own is closed by now
            if handle > 2 and os.get_inheritable(handle):
                found.append(handle)
    return found


def _born(pid: int) -> int | None:
    """Return when a living process began, in ticks since boot, or None: with the id it names one process for good."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # if it is our own child and dead, it goes away here
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
