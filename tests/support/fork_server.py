"""Processes of Python that start at once: forked from one that has the libraries loaded.

Each is a process of its own, as one that is started afresh: its pid, signals, environment, folder, streams and end are
its own. What only a fresh interpreter has (flags, ``PYTHON...`` variables, another language) is given a fresh one. To
start the interpreter and to import pandas takes longer than most commands do; the suites start some thousand of them.
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
LOADED = (
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
# Left out: what runs in images, and what needs the frameworks.
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
_SAME = ("LANG", "LC_ALL", "LC_CTYPE", "LD_PRELOAD", "LD_LIBRARY_PATH", "TZ")


class Popen(subprocess.Popen[Any]):
    """``subprocess.Popen`` of this interpreter, from the process that has the libraries loaded."""

    _status: socket.socket | None = None

    def _execute_child(self, *inputs: Any) -> None:
        """Start the process, as ``subprocess`` calls it; what it is given is bound by name, for any Python."""
        base: Any = super()
        requests = inspect.signature(base._execute_child).bind(*inputs).arguments
        arguments, environment = list(requests["args"]), requests["env"] if requests["env"] is not None else os.environ
        if not _is_plain(arguments, environment) or requests["pass_fds"] or requests["preexec_fn"]:
            base._execute_child(*inputs)
            return
        ours, theirs = socket.socketpair()
        request = {
            "arguments": [os.fspath(item) for item in arguments[1:]],
            "environment": {os.fsdecode(key): os.fsdecode(value) for key, value in environment.items()},
            "folder": os.fspath(requests["cwd"] or Path.cwd()),
            "session": requests["start_new_session"],
        }
        streams = [
            requests[name] if requests[name] != -1 else number
            for number, name in enumerate(("p2cread", "c2pwrite", "errwrite"))
        ]
        with theirs:
            socket.send_fds(_server(), [json.dumps(request).encode()], [*streams, theirs.fileno()])
        self.pid = int.from_bytes(_exactly(ours, 4), sys.byteorder)
        self._status = ours
        self._child_created = True
        self._close_pipe_fds(*(requests[name] for name in _PIPES))  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._status is None:
            base: Any = super()
            actual: tuple[int, int] = base._try_wait(wait_flags)
            return actual
        if wait_flags and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        with self._status:
            return self.pid, int.from_bytes(_exactly(self._status, 4), sys.byteorder)

    def _internal_poll(self, *inputs: Any, **named: Any) -> int | None:
        base: Any = super()
        if self._status is None:
            end: int | None = base._internal_poll(*inputs, **named)
            return end
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                base._handle_exitstatus(status)
        return self.returncode


def run(arguments: list[str], **inputs: Any) -> subprocess.CompletedProcess[Any]:
    """Run a program of Python to its end, as ``subprocess.run`` does."""
    check, timeout = inputs.pop("check"), inputs.pop("timeout", 300)
    if inputs.pop("capture_output", False):
        inputs |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Popen(arguments, **inputs) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(arguments, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def _is_plain(arguments: list[Any], environment: Any) -> bool:
    """Tell whether a process can be had by forking: this interpreter, without flags, in this one's language."""
    if arguments[0] != sys.executable or sys.platform != "linux":
        return False
    first = str(arguments[1])
    names = {key for key in {*environment, *os.environ} if key.startswith("PYTHON") and key != "PYTHONPATH"}
    return (first in {"-m", "-c", "-B"} or not first.startswith("-")) and all(
        environment.get(key) == os.environ.get(key) for key in {*names, *_SAME}
    )


@functools.cache
def _server() -> socket.socket:
    """Start the process that the others are forked from; it ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    _exactly(ours, 1)
    atexit.register(process.wait)  # after the one below, which ends it
    atexit.register(ours.close)
    return ours


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = connection.recv(count)
    if len(received) != count:
        raise ChildProcessError("the process that the others are forked from has ended")
    return received


def _serve(control: socket.socket) -> None:
    """Fork a process for each request and tell how it ended; return in the forked one, ready to run its program."""
    watched = selectors.SelectSelector()  # which holds no descriptor of its own
    watched.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in watched.select():
            if key.fileobj is not control:
                pid, status = key.data
                _, ended = os.waitpid(pid, 0)
                watched.unregister(key.fileobj)
                os.close(key.fd)
                with status:
                    status.send(ended.to_bytes(4, sys.byteorder))
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
    """Take the streams, the environment and the folder that a request names."""
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
        at_once = number == 2 or os.isatty(number) or "PYTHONUNBUFFERED" in os.environ
        errors = "backslashreplace" if number == 2 else None
        stream = open(  # noqa: SIM115
            number, mode, encoding="utf-8", errors=errors, closefd=False, buffering=1 if at_once else -1
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = request["arguments"]


def _run() -> None:
    """Run the program that ``sys.argv`` names, as the interpreter would; ends as that does."""
    import runpy

    sys.path[:] = [item for item in sys.path if item not in {str(Path(__file__).parent), str(ROOT)}]
    sys.path[:0] = [item for item in os.environ.get("PYTHONPATH", "").split(os.pathsep) if item]
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


def _end() -> None:
    """Run the program and end as the interpreter ends, but for taking down what is loaded, which takes long."""
    code: object = 0
    try:
        _run()
    except SystemExit as ended:
        code = ended.code
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - any error is printed as the interpreter does
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

    for item in LOADED:
        importlib.import_module(item)
    for package in PACKAGES:
        for path in sorted((ROOT / "builder" / package).rglob("*.py")):
            if path.stem != "__init__":
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    gc.freeze()  # what is loaded is not looked through again, nor copied for that, in each process
    door = socket.socket(fileno=int(sys.argv[1]))
    door.send(b"1")
    _serve(door)
    _end()
