"""Install, start and stop the engine of this machine; runs programs, imports no libraries.

Only the engine at the default socket is managed here. One that was configured (``DOCKER_HOST``, a docker context) is
never installed or started. :func:`plan` decides from :class:`Machine`, :func:`ensure_running` acts. The docker SDK is
not imported: this must work before anything else does.
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
    """The facts that decide how an engine can be started here; :meth:`detect` reads them from the machine."""

    system: str = "Linux"
    apt: bool = False
    """Whether packages are installed with apt: on Debian, Ubuntu and their derivatives."""
    root: bool = False
    dockerd: str | None = None
    """Path of the engine's program, or None."""
    systemd: bool = False
    socket: Path = Path("/var/run/docker.sock")
    state: Path = Path("/run/numerai-builder")
    """Folder of the lock file and of the started engine's process id."""
    logs: Path = Path("/var/log/numerai-builder")
    lists: Path = Path("/var/lib/apt/lists")
    grace: float = 5.0
    """Seconds to wait for an engine that the package's own script started, after ours ended because of it."""

    @classmethod
    def detect(cls) -> Machine:
        """Read the facts of this machine."""
        return cls(
            system=platform.system(),
            apt=debian.read_release().has_apt,
            root=debian.is_root(),
            dockerd=shutil.which("dockerd", path=debian.get_search_path()),
            systemd=Path("/run/systemd/system").is_dir(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstallPlan:
    """What must be done to get a running engine."""

    install: bool
    systemd: bool

    @property
    def description(self) -> str:
        """The plan in words, as the end of ``May this tool ...?``."""
        install = f"install {' and '.join(ENGINE_PACKAGES)} from the distribution and " if self.install else ""
        return f"{install}start {'it by systemd' if self.systemd else 'dockerd in the background'}"


class SocketState(enum.Enum):
    """The result of a probe of a socket; the value completes ``SOCKET: ...``."""

    ANSWERS = "answers"
    ABSENT = "there is no socket, or no process listens on it"
    DENIED = "this user may not open the socket"
    SILENT = "it does not answer"


def ensure_running(
    *,
    check: Callable[[], str | None],
    progress: Progress,
    confirm: Callable[[str], bool] | None = None,
    machine: Machine | None = None,
) -> None:
    """Return once an engine answers; install and start one first if necessary and possible.

    Args:
        check: Returns None if the engine in use answers, else the reason; for the default socket,
            :func:`find_connection_problem`.
        progress: Shows each step; shows the plan as a note if there is no ``confirm``.
        confirm: Asks the user a question; None if there is no terminal.
        machine: The facts to decide by; detected by default.

    Raises:
        errors.EngineError: No engine answers and none can be started here; the message says what to do.
        errors.RefusedError: The user did not confirm.
    """
    reason = check()
    if reason is None:
        return
    machine = machine or Machine.detect()
    todo = plan(machine, reason=reason, state=probe(machine.socket))
    if confirm is None:
        progress.note(f"no container engine answers: going to {todo.description}")
    elif not confirm(f"No container engine answers. May this tool {todo.description}?"):
        raise errors.RefusedError("no container engine is running, and starting one was not confirmed: start one")
    with locks.acquire(
        machine.state / "engine.lock",
        lambda holder: progress.note(f"waiting for another run that starts the engine ({holder})"),
    ):
        # The run that held the lock may have started it.
        if probe(machine.socket) is not SocketState.ANSWERS:
            if todo.install:
                debian.install_packages(
                    ENGINE_PACKAGES, log=machine.logs / "apt.log", progress=progress, lists=machine.lists
                )
            _start(machine, progress)


def plan(machine: Machine, *, reason: str, state: SocketState) -> InstallPlan:
    """Decide what to do on a machine where no engine answers, for a ``reason``; changes nothing.

    Raises:
        errors.EngineError: This tool cannot start an engine here; the message says what the user can do.
    """
    if state is SocketState.DENIED:
        raise errors.EngineError(
            f"an engine listens on {machine.socket}, but {state.value}: join its group "
            "(`sudo usermod -aG docker $USER`, then `newgrp docker`), or run this as root"
        )
    if state is SocketState.SILENT:
        raise errors.EngineError(
            f"an engine listens on {machine.socket}, but {state.value}: restart it (`systemctl restart docker`, or "
            "stop its process and run `make engine`)"
        )
    if machine.system != "Linux":
        raise errors.EngineError(
            f"no container engine answers ({reason}): on {machine.system}, install and start Docker Desktop, Colima "
            "or another engine with the same API, then run this again"
        )
    if not machine.root:
        fix = "`systemctl start docker`" if machine.dockerd else "`apt-get install docker.io`" if machine.apt else None
        raise errors.EngineError(
            f"no container engine answers ({reason}), and only root can start one: run `make engine` as root "
            f"once, or {fix or 'install Docker Engine and start it'}"
        )
    if machine.dockerd is None and not machine.apt:
        raise errors.EngineError(
            f"no container engine answers ({reason}), and this tool can install one only on Debian and Ubuntu: "
            "install Docker Engine with your package manager and start it, then run this again"
        )
    return InstallPlan(install=machine.dockerd is None, systemd=machine.systemd)


def stop(*, machine: Machine | None = None) -> bool:
    """Stop the engine that :func:`ensure_running` started, and no other.

    Returns:
        Whether there was one; False for an engine under systemd or one that was started in another way.

    Raises:
        errors.EngineError: It did not stop in time, or belongs to root.
    """
    record = (machine or Machine.detect()).state / "dockerd.json"
    try:
        data = json.loads(record.read_text())
        pid, start_time = int(data["pid"]), int(data["born"])
    except (FileNotFoundError, ValueError, LookupError, TypeError):  # this tool did not start it
        return False
    running = _read_start_time(pid) == start_time
    if running:
        try:
            os.kill(pid, signal.SIGTERM)
        except PermissionError as error:
            raise errors.EngineError(f"dockerd (process {pid}) belongs to root: run this as root to stop it") from error
        if not _wait_until(lambda: _read_start_time(pid) != start_time, STOP_SECONDS):
            raise errors.EngineError(
                f"dockerd (process {pid}) did not stop within {STOP_SECONDS:.0f} s: stop it by hand"
            )
    record.unlink(missing_ok=True)
    return running


def find_connection_problem(path: Path = Machine.socket) -> str | None:
    """Return None if an engine answers at a socket, by default the default one, else the reason why not."""
    state = probe(path)
    return None if state is SocketState.ANSWERS else f"{path}: {state.value}"


def probe(path: Path, *, seconds: float = 5.0) -> SocketState:
    """Request ``/_ping`` at a unix socket, waiting at most ``seconds`` for each answer."""
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
            result = subprocess.run(["systemctl", "start", "docker"], capture_output=True, text=True, check=False)
        except OSError as error:
            raise errors.EngineError(f"cannot run systemctl ({error.strerror}); start docker by hand") from error
        if result.returncode != 0:
            raise errors.EngineError(
                f"systemd could not start docker: {result.stderr.strip()}; see `journalctl -u docker`"
            )
        if not _wait_until(lambda: probe(machine.socket) is SocketState.ANSWERS, START_SECONDS):
            raise errors.EngineError(
                f"systemd started docker, but {machine.socket} does not answer: see `journalctl -u docker`"
            )
        return
    log = machine.logs / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    pid, start_time = _spawn_detached(["dockerd"], log)
    (machine.state / "dockerd.json").write_text(json.dumps({"pid": pid, "born": start_time}))
    # The package's own script may have started a dockerd first: ours then ends, because the pid file or socket is in
    # use, and the other one answers a little later.
    _wait_until(
        lambda: probe(machine.socket) is SocketState.ANSWERS or _read_start_time(pid) != start_time, START_SECONDS
    )
    if not _wait_until(lambda: probe(machine.socket) is SocketState.ANSWERS, machine.grace):
        stop(machine=machine)
        raise errors.EngineError(
            f"dockerd was started but does not answer at {machine.socket}: fix the error that its log shows, then run "
            f"this again; {log} ends with:\n{debian.read_last_lines(log)}"
        )


def _spawn_detached(command: Sequence[str], log: Path) -> tuple[int, int]:
    """Start a program that keeps running when this process ends; return its process id and start time.

    It gets its own session and does not inherit our open files, so that a pipe on our output is closed when we end.
    ``posix_spawn`` instead of ``subprocess``: a ``Popen`` that is never waited for causes a ResourceWarning.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    try:
        pid = os.posix_spawnp(
            "env",
            ["env", "--chdir=/", *command],
            {**os.environ, "PATH": debian.get_search_path()},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
                *((os.POSIX_SPAWN_CLOSE, handle) for handle in _list_inheritable_files()),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGINT],  # Python ignores SIGPIPE, and a child would inherit that
        )
    finally:
        os.close(null)
        os.close(output)
    return pid, _read_start_time(pid) or 0


def _list_inheritable_files() -> list[int]:
    """Return the open files that a child process would inherit, except the three standard ones."""
    handles = []
    for handle in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - numbers, not paths
        with contextlib.suppress(OSError):  # the file of the listing itself is closed already
            if handle > 2 and os.get_inheritable(handle):
                handles.append(handle)
    return handles


def _read_start_time(pid: int) -> int | None:
    """Return when a process started, in ticks since boot, or None if it is not alive.

    A process id can be reused; together with the start time it identifies one process (proc(5), field 22 of ``stat``).
    """
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # remove our own child from the process table if it has ended
    try:
        # The program's name in parentheses may contain spaces, so split after it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition is true; return False if it is not after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
