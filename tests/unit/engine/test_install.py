"""Test installing, starting and stopping an engine, with small real processes and sockets; no root, no network."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import socketserver
import stat
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, ClassVar

import pytest

from builder import errors, progress
from builder.engine import install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.enable_socket

# A fake dockerd, because the real one requires root: it answers /_ping on the socket of FAKE_SOCKET.
DOCKERD = """\
import os, sys, socketserver
from http.server import BaseHTTPRequestHandler
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"OK")
    def address_string(self):
        return "unix"
print("the fake dockerd starts", flush=True)
if os.environ.get("FAKE_FAULT"):
    sys.exit("failed to start: " + os.environ["FAKE_FAULT"])
open(os.environ["FAKE_SOCKET"] + ".facts", "w").write(repr((os.getcwd(), os.getsid(0) == os.getpid())))
socketserver.UnixStreamServer(os.environ["FAKE_SOCKET"], Answer).serve_forever()
"""

# A fake apt-get: records its arguments and, for `install`, puts dockerd in place.
APT = """\
import os, sys, shutil
folder = os.path.dirname(sys.argv[0])
open(os.path.join(folder, "apt.calls"), "a").write(" ".join(sys.argv[1:]) + "\\n")
print("fake apt-get:", os.environ["DEBIAN_FRONTEND"])
if "install" in sys.argv:
    if os.environ.get("FAKE_APT_FAULT"):
        sys.exit("E: Unable to locate package " + sys.argv[-1])
    os.rename(os.path.join(folder, "dockerd.uninstalled"), os.path.join(folder, "dockerd"))
"""


class Recorder:
    """Records steps and notes."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.notes: list[str] = []

    def step(self, text: str, /) -> None:
        self.steps.append(text)

    def report_bytes(self, done: int, total: int | None, /) -> None:
        pass

    def note(self, text: str, /) -> None:
        self.notes.append(text)


class _Ping(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/_ping" else 404)
        self.end_headers()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


class _Sick(_Ping):
    status = 500


@contextlib.contextmanager
def serving(path: Path, handler: type[BaseHTTPRequestHandler] = _Ping) -> Iterator[None]:
    with socketserver.ThreadingUnixStreamServer(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


def write_program(path: Path, source: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the head of PATH with a fake apt-get, and a fake dockerd that it puts in place."""
    folder = tmp_path / "programs"
    folder.mkdir()
    write_program(folder / "apt-get", APT)
    write_program(folder / "dockerd.uninstalled", DOCKERD)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SOCKET", str(tmp_path / "s"))
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[install.Machine]:
    """A Debian machine with root and no dockerd, with its files in the test's folder; stops what was started."""
    machine = install.Machine(
        apt=True,
        root=True,
        socket=tmp_path / "s",
        state=tmp_path / "state",
        logs=tmp_path / "logs",
        lists=tmp_path / "lists",
        grace=0.2,
    )
    yield machine
    install.stop(machine=machine)


def ensure(machine: install.Machine, recorder: Recorder) -> None:
    install.ensure_running(
        check=lambda: install.find_connection_problem(machine.socket), progress=recorder, machine=machine
    )


def fill_lists(machine: install.Machine, *, age: float = 0.0) -> None:
    partial = machine.lists / "partial"
    partial.mkdir(parents=True)
    (machine.lists / "mirror_dists_x_main_binary-amd64_Packages.lz4").touch()
    os.utime(partial, (time.time() - age,) * 2)


# ---- the state of a socket


def test_an_engine_that_answers_is_recognized(tmp_path: Path) -> None:
    with serving(tmp_path / "s"):
        assert install.probe(tmp_path / "s") is install.SocketState.ANSWERS
        assert install.find_connection_problem(tmp_path / "s") is None


def test_missing_and_stale_sockets_are_reported_as_absent(tmp_path: Path) -> None:
    assert install.probe(tmp_path / "s") is install.SocketState.ABSENT
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))  # no process listens on it, as after a kill -9
    assert install.probe(tmp_path / "s") is install.SocketState.ABSENT
    assert str(tmp_path / "s") in str(install.find_connection_problem(tmp_path / "s"))


def test_an_engine_that_hangs_or_fails_is_reported_as_silent(tmp_path: Path) -> None:
    with serving(tmp_path / "s", _Sick):
        assert install.probe(tmp_path / "s") is install.SocketState.SILENT
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen()
        assert install.probe(tmp_path / "deaf", seconds=0.2) is install.SocketState.SILENT


# ---- the plan


@pytest.mark.parametrize(
    ("facts", "state", "fix"),
    [
        ({"dockerd": "/usr/sbin/dockerd"}, "DENIED", "newgrp docker"),
        ({"root": True, "apt": True}, "SILENT", "restart it"),
        ({"system": "Darwin"}, "ABSENT", "on Darwin, install"),
        ({"apt": True}, "ABSENT", "apt-get install docker.io"),
        ({"dockerd": "/usr/sbin/dockerd", "apt": True}, "ABSENT", "systemctl start docker"),
        ({}, "ABSENT", "install Docker Engine"),
        ({"root": True}, "ABSENT", "only on Debian and Ubuntu"),
    ],
)
def test_an_engine_that_cannot_be_started_is_an_error_with_a_fix(
    facts: dict[str, object], state: str, fix: str
) -> None:
    machine = dataclasses.replace(install.Machine(), **facts)  # type: ignore[arg-type]
    with pytest.raises(errors.EngineError, match=r"answer|socket") as caught:
        install.plan(machine, reason="file not found", state=install.SocketState[state])
    assert fix in str(caught.value)


def test_an_installed_engine_is_not_installed_again() -> None:
    fresh = install.Machine(root=True, apt=True)
    assert install.plan(fresh, reason="", state=install.SocketState.ABSENT).install
    installed = dataclasses.replace(fresh, dockerd="/usr/sbin/dockerd", apt=False, systemd=True)
    todo = install.plan(installed, reason="", state=install.SocketState.ABSENT)
    assert (todo.install, todo.systemd) == (False, True)
    assert "install" not in todo.description
    assert "systemd" in todo.description


# ---- installing, starting and stopping


def test_a_running_engine_is_left_alone(machine: install.Machine, programs: Path) -> None:
    recorder = Recorder()
    with serving(machine.socket):
        ensure(machine, recorder)
    assert (recorder.steps, recorder.notes) == ([], [])
    assert not (programs / "apt.calls").exists()


def test_an_engine_is_installed_started_and_stopped(machine: install.Machine, programs: Path) -> None:
    recorder = Recorder()
    fill_lists(machine)
    ensure(machine, recorder)
    assert install.probe(machine.socket) is install.SocketState.ANSWERS
    calls = (programs / "apt.calls").read_text().splitlines()
    assert len(calls) == 1
    assert calls[0].endswith("docker.io iptables")
    assert "--no-install-recommends" in calls[0]
    assert "noninteractive" in (machine.logs / "apt.log").read_text()
    assert len(recorder.notes) == 1
    assert "install docker.io and iptables" in recorder.notes[0]
    assert machine.socket.with_suffix(".facts").read_text() == "('/', True)"  # starts in /, in its own session

    assert install.stop(machine=machine)
    assert install.probe(machine.socket) is install.SocketState.ABSENT
    assert not install.stop(machine=machine)


@pytest.mark.parametrize("age", [None, 3 * 24 * 3600.0])
def test_missing_or_old_package_lists_are_updated_first(
    machine: install.Machine, programs: Path, age: float | None
) -> None:
    if age is not None:
        fill_lists(machine, age=age)
    ensure(machine, Recorder())
    assert (programs / "apt.calls").read_text().splitlines()[0] == "update"


def test_an_installed_engine_is_only_started(machine: install.Machine, programs: Path) -> None:
    (programs / "dockerd.uninstalled").rename(programs / "dockerd")
    ensure(dataclasses.replace(machine, dockerd=str(programs / "dockerd")), Recorder())
    assert install.probe(machine.socket) is install.SocketState.ANSWERS
    assert not (programs / "apt.calls").exists()


def test_a_refused_confirmation_changes_nothing(machine: install.Machine, programs: Path) -> None:
    prompts: list[str] = []

    def refuse(question: str) -> bool:
        prompts.append(question)
        return False

    with pytest.raises(errors.RefusedError, match="start one"):
        install.ensure_running(check=lambda: "silent", confirm=refuse, progress=Recorder(), machine=machine)
    assert "docker.io" in prompts[0]
    assert not (programs / "apt.calls").exists()


def test_an_apt_error_contains_the_log_and_its_last_lines(
    machine: install.Machine, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_APT_FAULT", "1")
    fill_lists(machine)
    with pytest.raises(errors.EngineError, match="Unable to locate package") as caught:
        ensure(machine, Recorder())
    assert str(machine.logs / "apt.log") in str(caught.value)
    # Recent lists can still be outdated: they are updated before giving up.
    assert [call.split()[0] for call in (programs / "apt.calls").read_text().splitlines()] == [
        "install",
        "update",
        "install",
    ]


def test_a_dockerd_error_contains_the_log_and_its_last_lines(
    machine: install.Machine, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "no iptables")
    with pytest.raises(errors.EngineError, match="failed to start: no iptables") as caught:
        ensure(machine, Recorder())
    assert str(machine.logs / "dockerd.log") in str(caught.value)
    assert not install.stop(machine=machine)


def test_two_runs_at_once_start_one_engine(machine: install.Machine, programs: Path) -> None:
    fill_lists(machine)
    recorders = [Recorder(), Recorder()]
    threads = [threading.Thread(target=ensure, args=(machine, recorder)) for recorder in recorders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len((programs / "apt.calls").read_text().splitlines()) == 1
    assert sum("starting the container engine" in recorder.steps for recorder in recorders) == 1


def test_the_started_engine_inherits_no_open_files(machine: install.Machine, programs: Path) -> None:
    """A pipe on this process's output and an inherited pipe are both closed when this process ends."""
    source = (
        "import os, pathlib\n"
        "from builder import progress; from builder.engine import install as local_engine\n"
        f"base = pathlib.Path({str(machine.state.parent)!r})\n"
        "machine = local_engine.Machine(apt=True, root=True, socket=base / 's', state=base / 'state',"
        " logs=base / 'logs', lists=base / 'lists')\n"
        "local_engine.ensure_running(check=lambda: 'silent', progress=progress.Silent(), machine=machine)\n"
        "print('done')\n"
    )
    reader, writer = os.pipe()
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, pass_fds=(writer,), timeout=30, check=False
    )
    os.close(writer)
    assert (result.stdout, result.stderr) == ("done\n", "")
    assert os.read(reader, 1) == b""  # end of file: no process has the other end open
    os.close(reader)
    assert install.probe(machine.socket) is install.SocketState.ANSWERS


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": null, "born": 1}'])
def test_stop_ignores_a_damaged_record(machine: install.Machine, text: str) -> None:
    machine.state.mkdir(exist_ok=True)
    (machine.state / "dockerd.json").write_text(text)
    assert not install.stop(machine=machine)


def test_a_systemctl_that_cannot_be_run_is_an_engine_error(
    machine: install.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(errors.EngineError, match=r"^cannot run systemctl \(No such file or directory\); start docker"):
        install._start(dataclasses.replace(machine, systemd=True), progress.Silent())


def test_stop_leaves_another_process_with_the_same_id_running(machine: install.Machine) -> None:
    machine.state.mkdir()
    (machine.state / "dockerd.json").write_text(json.dumps({"pid": os.getpid(), "born": 1}))
    assert not install.stop(machine=machine)
