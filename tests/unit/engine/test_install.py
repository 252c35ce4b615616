"""Finding, installing and starting an engine: real small processes and sockets, no root and no network."""

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

# Stands for dockerd, which takes root: it answers /_ping on the socket of FAKE_SOCKET.
DOCKERD = """\
import os, sys, socketserver
from http.server import BaseHTTPRequestHandler
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"OK")
    def address_string(self):
        return "unix"
print("dockerd of the test begins", flush=True)
if os.environ.get("FAKE_FAULT"):
    sys.exit("failed to start: " + os.environ["FAKE_FAULT"])
open(os.environ["FAKE_SOCKET"] + ".facts", "w").write(repr((os.getcwd(), os.getsid(0) == os.getpid())))
socketserver.UnixStreamServer(os.environ["FAKE_SOCKET"], Answer).serve_forever()
"""

# Stands for apt-get: writes what it was asked down and, asked to install, puts dockerd in place.
APT = """\
import os, sys, shutil
folder = os.path.dirname(sys.argv[0])
open(os.path.join(folder, "apt.calls"), "a").write(" ".join(sys.argv[1:]) + "\\n")
print("apt of the test:", os.environ["DEBIAN_FRONTEND"])
if "install" in sys.argv:
    if os.environ.get("FAKE_APT_FAULT"):
        sys.exit("E: Unable to locate package " + sys.argv[-1])
    os.rename(os.path.join(folder, "dockerd.uninstalled"), os.path.join(folder, "dockerd"))
"""


class Told:
    """Keeps what it is told."""

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
    """Return a folder at the head of PATH with an apt-get, and a dockerd that apt-get puts in place."""
    folder = tmp_path / "programs"
    folder.mkdir()
    write_program(folder / "apt-get", APT)
    write_program(folder / "dockerd.uninstalled", DOCKERD)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SOCKET", str(tmp_path / "s"))
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[install.Machine]:
    """Return a Debian machine with root and no dockerd, whose files are the test's; what was started is stopped."""
    made = install.Machine(
        apt=True,
        root=True,
        socket=tmp_path / "s",
        state=tmp_path / "state",
        logs=tmp_path / "logs",
        lists=tmp_path / "lists",
        grace=0.2,
    )
    yield made
    install.stop(machine=made)


def ensure(machine: install.Machine, told: Told) -> None:
    install.ensure_running(
        check=lambda: install.find_connection_problem(machine.socket), progress=told, machine=machine
    )


def fill_lists(machine: install.Machine, *, age: float = 0.0) -> None:
    partial = machine.lists / "partial"
    partial.mkdir(parents=True)
    (machine.lists / "mirror_dists_x_main_binary-amd64_Packages.lz4").touch()
    os.utime(partial, (time.time() - age,) * 2)


# ---- what is behind a socket


def test_an_engine_that_answers_is_found(tmp_path: Path) -> None:
    with serving(tmp_path / "s"):
        assert install.probe(tmp_path / "s") is install.SocketState.ANSWERS
        assert install.find_connection_problem(tmp_path / "s") is None


def test_no_socket_and_a_stale_socket_are_no_engine(tmp_path: Path) -> None:
    assert install.probe(tmp_path / "s") is install.SocketState.ABSENT
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))  # and nobody listens, as after a kill -9
    assert install.probe(tmp_path / "s") is install.SocketState.ABSENT
    assert str(tmp_path / "s") in str(install.find_connection_problem(tmp_path / "s"))


def test_an_engine_that_hangs_or_fails_is_told_from_none(tmp_path: Path) -> None:
    with serving(tmp_path / "s", _Sick):
        assert install.probe(tmp_path / "s") is install.SocketState.SILENT
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        deaf.listen()
        assert install.probe(tmp_path / "deaf", seconds=0.2) is install.SocketState.SILENT


# ---- what can be done


@pytest.mark.parametrize(
    ("facts", "found", "said"),
    [
        ({"dockerd": "/usr/sbin/dockerd"}, "DENIED", "newgrp docker"),
        ({"root": True, "apt": True}, "SILENT", "restart it"),
        ({"system": "Darwin"}, "ABSENT", "on Darwin install"),
        ({"apt": True}, "ABSENT", "apt-get install docker.io"),
        ({"dockerd": "/usr/sbin/dockerd", "apt": True}, "ABSENT", "systemctl start docker"),
        ({}, "ABSENT", "install Docker Engine"),
        ({"root": True}, "ABSENT", "neither Debian nor Ubuntu"),
    ],
)
def test_where_nothing_can_be_started_the_error_says_what_to_do(
    facts: dict[str, object], found: str, said: str
) -> None:
    machine = dataclasses.replace(install.Machine(), **facts)  # type: ignore[arg-type]
    with pytest.raises(errors.EngineError, match=r"answer|socket") as caught:
        install.plan(machine, reason="no such file", found=install.SocketState[found])
    assert said in str(caught.value)


def test_only_what_is_missing_is_installed() -> None:
    fresh = install.Machine(root=True, apt=True)
    assert install.plan(fresh, reason="", found=install.SocketState.ABSENT).install
    there = dataclasses.replace(fresh, dockerd="/usr/sbin/dockerd", apt=False, systemd=True)
    todo = install.plan(there, reason="", found=install.SocketState.ABSENT)
    assert (todo.install, todo.systemd) == (False, True)
    assert "install" not in todo.description
    assert "systemd" in todo.description


# ---- doing it


def test_nothing_is_done_when_an_engine_answers(machine: install.Machine, programs: Path) -> None:
    told = Told()
    with serving(machine.socket):
        ensure(machine, told)
    assert (told.steps, told.notes) == ([], [])
    assert not (programs / "apt.calls").exists()


def test_a_bare_machine_gets_an_engine_and_loses_it_again(machine: install.Machine, programs: Path) -> None:
    told = Told()
    fill_lists(machine)
    ensure(machine, told)
    assert install.probe(machine.socket) is install.SocketState.ANSWERS
    calls = (programs / "apt.calls").read_text().splitlines()
    assert len(calls) == 1
    assert calls[0].endswith("docker.io iptables")
    assert "--no-install-recommends" in calls[0]
    assert "noninteractive" in (machine.logs / "apt.log").read_text()
    assert len(told.notes) == 1
    assert "install docker.io and iptables" in told.notes[0]
    assert machine.socket.with_suffix(".facts").read_text() == "('/', True)"  # no folder of ours, a session of its own

    assert install.stop(machine=machine)
    assert install.probe(machine.socket) is install.SocketState.ABSENT
    assert not install.stop(machine=machine)


@pytest.mark.parametrize("age", [None, 3 * 24 * 3600.0])
def test_missing_or_old_package_lists_are_read_first(
    machine: install.Machine, programs: Path, age: float | None
) -> None:
    if age is not None:
        fill_lists(machine, age=age)
    ensure(machine, Told())
    assert (programs / "apt.calls").read_text().splitlines()[0] == "update"


def test_an_engine_that_is_there_is_only_started(machine: install.Machine, programs: Path) -> None:
    (programs / "dockerd.uninstalled").rename(programs / "dockerd")
    ensure(dataclasses.replace(machine, dockerd=str(programs / "dockerd")), Told())
    assert install.probe(machine.socket) is install.SocketState.ANSWERS
    assert not (programs / "apt.calls").exists()


def test_a_person_is_asked_and_may_say_no(machine: install.Machine, programs: Path) -> None:
    asked: list[str] = []

    def refuse(question: str) -> bool:
        asked.append(question)
        return False

    with pytest.raises(errors.RefusedError, match="start one"):
        install.ensure_running(check=lambda: "silent", confirm=refuse, progress=Told(), machine=machine)
    assert "docker.io" in asked[0]
    assert not (programs / "apt.calls").exists()


def test_apt_that_fails_names_its_log_and_its_last_words(
    machine: install.Machine, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_APT_FAULT", "1")
    fill_lists(machine)
    with pytest.raises(errors.EngineError, match="Unable to locate package") as caught:
        ensure(machine, Told())
    assert str(machine.logs / "apt.log") in str(caught.value)
    # Fresh lists can still be stale: they were read anew before giving up.
    assert [call.split()[0] for call in (programs / "apt.calls").read_text().splitlines()] == [
        "install",
        "update",
        "install",
    ]


def test_dockerd_that_ends_names_its_log_and_its_last_words(
    machine: install.Machine, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "no iptables")
    with pytest.raises(errors.EngineError, match="failed to start: no iptables") as caught:
        ensure(machine, Told())
    assert str(machine.logs / "dockerd.log") in str(caught.value)
    assert not install.stop(machine=machine)


def test_two_at_once_start_one(machine: install.Machine, programs: Path) -> None:
    fill_lists(machine)
    told = [Told(), Told()]
    threads = [threading.Thread(target=ensure, args=(machine, one)) for one in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len((programs / "apt.calls").read_text().splitlines()) == 1
    assert sum("starting the container engine" in one.steps for one in told) == 1


def test_what_it_starts_holds_no_file_of_ours(machine: install.Machine, programs: Path) -> None:
    """A pipe on our output, and one that was handed down to us, both close when we end."""
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
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, pass_fds=(writer,), timeout=30, check=False
    )
    os.close(writer)
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert os.read(reader, 1) == b""  # end of file: nobody holds the other end
    os.close(reader)
    assert install.probe(machine.socket) is install.SocketState.ANSWERS


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": null, "born": 1}'])
def test_stop_takes_a_damaged_record_for_none(machine: install.Machine, text: str) -> None:
    machine.state.mkdir(exist_ok=True)
    (machine.state / "dockerd.json").write_text(text)
    assert not install.stop(machine=machine)


def test_a_systemctl_that_cannot_be_run_is_an_engine_error(
    machine: install.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(
        errors.EngineError, match=r"^systemctl cannot be run \(No such file or directory\); start docker"
    ):
        install._start(dataclasses.replace(machine, systemd=True), progress.Silent())


def test_stop_leaves_a_process_that_only_has_the_same_number(machine: install.Machine) -> None:
    machine.state.mkdir()
    (machine.state / "dockerd.json").write_text(json.dumps({"pid": os.getpid(), "born": 1}))
    assert not install.stop(machine=machine)
