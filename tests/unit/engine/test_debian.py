"""Debian hosts as they describe themselves, and work that one process does at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
from concurrent import futures
from typing import TYPE_CHECKING

import pytest

from builder import errors, locks, progress
from builder.engine import debian
from tests.support import fork_server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "identity", "codename", "has_apt"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nNAME="Debian GNU/Linux"\n', "debian", "bookworm", True),
        ('ID="ubuntu"\nID_LIKE=debian\nVERSION_CODENAME=noble\n', "ubuntu", "noble", True),
        ("ID=linuxmint\nID_LIKE='ubuntu debian'\n", "linuxmint", "", True),
        ('ID=fedora\nID_LIKE="rhel centos"\n# ID=debian\n', "fedora", "", False),
        ("", "", "", False),
        (None, "", "", False),
    ],
)
def test_os_release(tmp_path: Path, text: str | None, identity: str, codename: str, *, has_apt: bool) -> None:
    if text is not None:
        (tmp_path / "os-release").write_text(text)
    release = debian.read_release(tmp_path / "os-release")
    assert (release.identity, release.codename, release.has_apt) == (identity, codename, has_apt)


def test_the_mirror_is_debians_own_archive_of_the_running_release() -> None:
    targets = [
        "",
        "Somebody\tbookworm\tmain\thttp://others.example/debian/",
        "Debian\tbookworm-updates\tmain\thttp://updates.example/debian/",
        "Debian\tbookworm\tcontrib\thttp://contrib.example/debian/",
        "Debian\tbookworm\tmain\thttp://mirror.example/debian/",
    ]
    assert debian.choose_mirror(targets, "bookworm") == "http://mirror.example/debian/"
    assert debian.choose_mirror(targets, "trixie") is None
    assert debian.choose_mirror([], "bookworm") is None


def test_the_mirror_is_asked_of_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "apt-get"
    program.write_text(f"#!{sys.executable}\nprint('Debian\\tbookworm\\tmain\\thttp://mirror.example/debian/')\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.find_mirror("bookworm") == "http://mirror.example/debian/"
    program.unlink()
    assert debian.find_mirror("bookworm") is None


# Stands for apt-get while another one reads the lists: says so as often as it is told, then does its work.
BUSY_APT = """\
import os, pathlib, sys
busy = pathlib.Path(os.path.dirname(sys.argv[0]), "busy")
left = int(busy.read_text())
if "update" in sys.argv and left:
    busy.write_text(str(left - 1))
    print("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4242 (apt-get)")
    print("E: Unable to lock directory /var/lib/apt/lists/")
    sys.exit(100)
sys.exit(pathlib.Path(sys.argv[0]).with_name("fault").exists() and "E: Unable to locate package")
"""


class Told(progress.Silent):
    """Keeps the steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str, /) -> None:
        self.steps.append(text)

    def note(self, text: str, /) -> None:
        self.steps.append(text)


@pytest.mark.parametrize("fault", [False, True])
def test_another_apt_on_the_machine_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fault: bool
) -> None:
    (tmp_path / "apt-get").write_text(f"#!{sys.executable}\n{BUSY_APT}")
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "busy").write_text("2")
    if fault:
        (tmp_path / "fault").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "_LOCK_PAUSE", 0)
    told, log = Told(), tmp_path / "apt.log"
    with pytest.raises(errors.EngineError, match="Unable to locate") if fault else contextlib.nullcontext():
        debian.install_packages(["nothing"], log=log, progress=told, lists=tmp_path / "lists")
    asked = [line.split()[2] for line in log.read_text().splitlines() if line.startswith("$ apt-get")]
    assert asked == ["update", "update", "update", "install"]
    waiting = "waiting for another apt-get on this machine, 300 s at most (`ps -C apt-get`)"
    assert told.steps.count(waiting) == 1


def test_a_missing_program_is_installed_by_root_and_named_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apt-get").write_text(f"#!{sys.executable}\nimport pathlib, sys\n")
    with (tmp_path / "apt-get").open("a") as apt:
        apt.write(f"path = pathlib.Path({str(tmp_path / 'program')!r})\n")
        apt.write("if 'the-package' in sys.argv: path.touch(); path.chmod(0o755)\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "read_release", lambda: debian.Release(identity="debian"))
    monkeypatch.setattr(debian, "is_root", lambda: False)
    with pytest.raises(
        errors.EngineError, match=r"^program is missing: install it \(the package the-package of Debian"
    ):
        debian.find_program("program", "the-package", progress.Silent())
    monkeypatch.setattr(debian, "is_root", lambda: True)
    for _ in range(2):
        assert debian.find_program("program", "the-package", progress.Silent()) == str(tmp_path / "program")


def test_two_installations_at_once_do_not_cut_each_others_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its log an installation sees that apt's lock was taken: the other one would empty it."""
    # While the first is busy, apt says that it is locked, and the second comes to begin.
    (tmp_path / "apt-get").write_text(f"#!{sys.executable}\nimport time\ntime.sleep(0.3)\n{BUSY_APT}")
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "busy").write_text("2")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "_LOCK_PAUSE", 0)
    told = [Told(), Told()]

    def install(one: Told) -> None:
        debian.install_packages(["nothing"], log=tmp_path / "apt.log", progress=one, lists=tmp_path / "lists")

    with futures.ThreadPoolExecutor() as pool:
        list(pool.map(install, told))
    assert sum(text.startswith("waiting for another installation") for one in told for text in one.steps) == 1


# ---- one at a time


def test_a_lock_is_held_by_one_and_freed_by_its_death(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    source = (
        "import pathlib, sys, time\nfrom builder import locks\n"
        f"with locks.acquire(pathlib.Path({str(path)!r}), print):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with fork_server.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        waited: list[str] = []

        def kill(holder: str) -> None:
            waited.append(holder)
            other.kill()

        assert locks.is_held(path)
        with locks.acquire(path, kill):
            assert len(waited) == 1
            assert waited[0].startswith(f"process {other.pid}, since 20")
            assert path.read_text().startswith(f"process {os.getpid()}, since 20")
    assert not locks.is_held(path)


def test_a_lock_file_that_is_a_link_or_a_fifo_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    """A folder of a stranger may hold one: its lock must not empty another file, nor wait for ever."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / "fifo")
    for name, reason in (("link", "it is a link"), ("fifo", "not a plain file")):
        with pytest.raises(errors.LockError, match=reason), locks.acquire(tmp_path / name, print):
            pass
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(("code", "fix"), [(errno.ENOLCK, "a local disk"), (errno.EIO, "fix the permissions")])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fix: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    with (
        pytest.raises(errors.LockError, match=f"lock: cannot be locked .*{fix}"),
        locks.acquire(tmp_path / "lock", print),
    ):
        pass
