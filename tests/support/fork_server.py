"""Start Python subprocesses quickly, by forking a server process that has the libraries imported.

Starting the interpreter and importing pandas takes longer than most commands, and the suites start about a thousand of
them. A forked process has its own pid, signals, environment, working directory, streams and exit status, as one
started by ``subprocess``. If a program needs a new interpreter (flags, ``PYTHON...`` variables, another locale), it
gets one.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    "cloudpickle",
    "docker",
    "graphql",
    "httpcore",
    "httpx",
    "jinja2",
    "pandas",
    "pyarrow.parquet",
    "pydantic.main",
    "rich.console",
    "scipy.special",
    "stamina",
    "typer._adapters",
    "yaml",
)
# Without the packages that run in images and those that need the training frameworks.
PACKAGES = (
    "build",
    "bundle",
    "cli",
    "config",
    "engine",
    "image",
    "net",
    "registry",
    "tournament",
    "upload",
    "validate",
)
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
# A forked process cannot change these: they are read when the interpreter or the C library starts.
_FIXED = ("LANG", "LC_ALL", "LC_CTYPE", "LD_PRELOAD", "LD_LIBRARY_PATH", "TZ")


class Popen(subprocess.Popen[Any]):
    """A ``subprocess.Popen`` that forks the server process if it can.

    Overrides private methods of the base class, whose signatures differ between Python versions.
    """

    _status: socket.socket | None = None

    def _execute_child(self, *args: Any) -> None:
        """Start the process; called by the base class."""
        base: Any = super()
        # By name, because the order of the arguments depends on the Python version.
        options = inspect.signature(base._execute_child).bind(*args).arguments
        arguments, environment = list(options["args"]), options["env"] if options["env"] is not None else os.environ
        if not _can_fork(arguments, environment) or options["pass_fds"] or options["preexec_fn"]:
            base._execute_child(*args)
            return
        ours, theirs = socket.socketpair()
        request = {
            "arguments": [os.fspath(argument) for argument in arguments[1:]],
            "environment": {os.fsdecode(key): os.fsdecode(value) for key, value in environment.items()},
            "folder": os.fspath(options["cwd"] or Path.cwd()),
            "session": options["start_new_session"],
        }
        streams = [
            options[name] if options[name] != -1 else number
            for number, name in enumerate(("p2cread", "c2pwrite", "errwrite"))
        ]
        with theirs:
            socket.send_fds(_server(), [json.dumps(request).encode()], [*streams, theirs.fileno()])
        self.pid = int.from_bytes(_receive(ours, 4), sys.byteorder)
        self._status = ours
        self._child_created = True
        self._close_pipe_fds(*(options[name] for name in _PIPES))  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._status is None:
            base: Any = super()
            pid_and_status: tuple[int, int] = base._try_wait(wait_flags)
            return pid_and_status
        if wait_flags and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        with self._status:
            return self.pid, int.from_bytes(_receive(self._status, 4), sys.byteorder)

    def _internal_poll(self, *args: Any, **kwargs: Any) -> int | None:
        base: Any = super()
        if self._status is None:
            code: int | None = base._internal_poll(*args, **kwargs)
            return code
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                base._handle_exitstatus(status)
        return self.returncode


def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a Python program to its end, like ``subprocess.run``."""
    check, timeout = options.pop("check"), options.pop("timeout", 300)
    if options.pop("capture_output", False):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(arguments, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    result = subprocess.CompletedProcess(arguments, process.returncode, out, err)
    if check:
        result.check_returncode()
    return result


def _can_fork(arguments: list[Any], environment: Any) -> bool:
    """Return whether forking is equivalent: the same interpreter, no flags, the same locale."""
    if arguments[0] != sys.executable or sys.platform != "linux":
        return False
    first = str(arguments[1])
    names = {key for key in {*environment, *os.environ} if key.startswith("PYTHON") and key != "PYTHONPATH"}
    return (first in {"-m", "-c", "-B"} or not first.startswith("-")) and all(
        environment.get(key) == os.environ.get(key) for key in {*names, *_FIXED}
    )


@functools.cache
def _server() -> socket.socket:
    """Start the server process; it ends with this process. Return the socket for requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    _receive(ours, 1)
    atexit.register(process.wait)  # exit functions run in reverse: closing the socket, below, ends the server first
    atexit.register(ours.close)
    return ours


def _receive(connection: socket.socket, count: int) -> bytes:
    received = connection.recv(count)
    if len(received) != count:
        raise ChildProcessError("the fork server has ended")
    return received


def _serve(control: socket.socket) -> None:
    """Fork a process for each request and send its exit status; return in the forked process only."""
    # SelectSelector needs no file descriptor, which the forked processes would inherit.
    watched = selectors.SelectSelector()
    watched.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in watched.select():
            if key.fileobj is not control:
                pid, status = key.data
                _, exit_status = os.waitpid(pid, 0)
                watched.unregister(key.fileobj)
                os.close(key.fd)
                with status:
                    status.send(exit_status.to_bytes(4, sys.byteorder))
                continue
            content, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 4)
            if not content:
                os._exit(0)
            pid = os.fork()
            if not pid:
                for other in watched.get_map().values():
                    if other.fileobj is not control:
                        os.close(other.fd)
                        other.data[1].close()
                control.close()
                _become(json.loads(content), descriptors)
                return
            status = socket.socket(fileno=descriptors.pop())
            for descriptor in descriptors:
                os.close(descriptor)
            status.send(pid.to_bytes(4, sys.byteorder))
            watched.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, status))


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Apply the streams, the environment and the working directory of a request to this process."""
    if request["session"]:
        os.setsid()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        is_unbuffered = number == 2 or os.isatty(number) or "PYTHONUNBUFFERED" in os.environ
        errors = "backslashreplace" if number == 2 else None
        stream = open(  # noqa: SIM115
            number, mode, encoding="utf-8", errors=errors, closefd=False, buffering=1 if is_unbuffered else -1
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = request["arguments"]


def _run() -> None:
    """Run the program of ``sys.argv`` as the interpreter would."""
    import runpy

    sys.path[:] = [entry for entry in sys.path if entry not in {str(Path(__file__).parent), str(ROOT)}]
    sys.path[:0] = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if sys.argv[0] == "-B":
        sys.dont_write_bytecode = True
        del sys.argv[0]
    if sys.argv[0] == "-m":
        name = sys.argv[1]
        del sys.argv[0]
        sys.path.insert(0, str(Path.cwd()))
        sys.modules.pop("__main__")
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    elif sys.argv[0] == "-c":
        text = sys.argv[1]
        del sys.argv[1]
        sys.path.insert(0, "")
        main = type(sys)("__main__")
        sys.modules["__main__"] = main
        exec(compile(text, "<string>", "exec"), main.__dict__)
    else:
        sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
        runpy.run_path(sys.argv[0], run_name="__main__")


def _run_and_exit() -> None:
    """Run the program and exit like the interpreter, but skip the slow finalization of the modules."""
    code: object = 0
    try:
        _run()
    except SystemExit as error:
        code = error.code
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - any exception is printed, as by the interpreter
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    os._exit(int(code or 0) & 0xFF)  # type: ignore[call-overload]


if __name__ == "__main__":
    import gc
    import importlib

    for library in LIBRARIES:
        importlib.import_module(library)
    for package in PACKAGES:
        for path in sorted((ROOT / "builder" / package).rglob("*.py")):
            if path.stem != "__init__":
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    gc.freeze()  # forked processes neither scan nor copy the imported objects
    control = socket.socket(fileno=int(sys.argv[1]))
    control.send(b"1")
    _serve(control)
    _run_and_exit()
