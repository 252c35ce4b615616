"""Test the detection of Debian hosts, the installation of packages, and file locks."""

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
def test_os_release_files(tmp_path: Path, text: str | None, identity: str, codename: str, *, has_apt: bool) -> None:
    if text is not None:
        (tmp_path / "os-release").write_text(text)
    release = debian.read_release(tmp_path / "os-release")
    assert (release.identity, release.codename, release.has_apt) == (identity, codename, has_apt)


def test_the_mirror_is_debians_main_archive_of_the_release() -> None:
    targets = [
        "",
        "Another\tbookworm\tmain\thttp://others.example/debian/",
        "Debian\tbookworm-updates\tmain\thttp://updates.example/debian/",
        "Debian\tbookworm\tcontrib\thttp://contrib.example/debian/",
        "Debian\tbookworm\tmain\thttp://mirror.example/debian/",
    ]
    assert debian.choose_mirror(targets, "bookworm") == "http://mirror.example/debian/"
    assert debian.choose_mirror(targets, "trixie") is None
    assert debian.choose_mirror([], "bookworm") is None


def test_the_mirror_is_read_from_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "apt-get"
    program.write_text(f"#!{sys.executable}\nprint('Debian\\tbookworm\\tmain\\thttp://mirror.example/debian/')\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.find_mirror("bookworm") == "http://mirror.example/debian/"
    program.unlink()
    assert debian.find_mirror("bookworm") is None


# A fake apt-get whose `update` finds the package lists locked, as many times as the file `busy` says.
BUSY_APT = """\
import os, pathlib, sys
busy = pathlib.Path(os.path.dirname(sys.argv[0]), "busy")
remaining = int(busy.read_text())
if "update" in sys.argv and remaining:
    busy.write_text(str(remaining - 1))
    print("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4242 (apt-get)")
    print("E: Unable to lock directory /var/lib/apt/lists/")
    sys.exit(100)
sys.exit(pathlib.Path(sys.argv[0]).with_name("fails").exists() and "E: Unable to locate package")
"""


class Recorder(progress.Silent):
    """Records steps and notes."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str, /) -> None:
        self.steps.append(text)

    def note(self, text: str, /) -> None:
        self.steps.append(text)


@pytest.mark.parametrize("fails", [False, True])
def test_a_lock_of_another_apt_get_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    (tmp_path / "apt-get").write_text(f"#!{sys.executable}\n{BUSY_APT}")
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "busy").write_text("2")
    if fails:
        (tmp_path / "fails").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "_LOCK_POLL_SECONDS", 0)
    recorder, log = Recorder(), tmp_path / "apt.log"
    with pytest.raises(errors.EngineError, match="Unable to locate") if fails else contextlib.nullcontext():
        debian.install_packages(["nothing"], log=log, progress=recorder, lists=tmp_path / "lists")
    calls = [line.split()[2] for line in log.read_text().splitlines() if line.startswith("$ apt-get")]
    assert calls == ["update", "update", "update", "install"]
    waiting = "waiting for another apt-get on this machine, at most 300 s (`ps -C apt-get`)"
    assert recorder.steps.count(waiting) == 1


def test_a_missing_program_is_installed_by_root_and_an_error_for_others(
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
    with pytest.raises(errors.EngineError, match=r"^program is missing: install it \(package the-package on Debian"):
        debian.find_program("program", "the-package", progress.Silent())
    monkeypatch.setattr(debian, "is_root", lambda: True)
    for _ in range(2):
        assert debian.find_program("program", "the-package", progress.Silent()) == str(tmp_path / "program")


def test_concurrent_installations_do_not_overwrite_their_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation recognizes a locked apt by its log, which a second installation would truncate."""
    # While the first installation waits for apt's lock, the second one starts.
    (tmp_path / "apt-get").write_text(f"#!{sys.executable}\nimport time\ntime.sleep(0.3)\n{BUSY_APT}")
    (tmp_path / "apt-get").chmod(0o755)
    (tmp_path / "busy").write_text("2")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "_LOCK_POLL_SECONDS", 0)
    recorders = [Recorder(), Recorder()]

    def install(recorder: Recorder) -> None:
        debian.install_packages(["nothing"], log=tmp_path / "apt.log", progress=recorder, lists=tmp_path / "lists")

    with futures.ThreadPoolExecutor() as pool:
        list(pool.map(install, recorders))
    steps = [text for recorder in recorders for text in recorder.steps]
    assert sum(text.startswith("waiting for another installation") for text in steps) == 1


# ---- file locks


def test_a_lock_is_released_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    source = (
        "import pathlib, sys, time\nfrom builder import locks\n"
        f"with locks.acquire(pathlib.Path({str(path)!r}), print):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with fork_server.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        holders: list[str] = []

        def kill(holder: str) -> None:
            holders.append(holder)
            other.kill()

        assert locks.is_held(path)
        with locks.acquire(path, kill):
            assert len(holders) == 1
            assert holders[0].startswith(f"process {other.pid}, since 20")
            assert path.read_text().startswith(f"process {os.getpid()}, since 20")
    assert not locks.is_held(path)


def test_a_link_or_fifo_as_lock_file_is_refused(tmp_path: Path) -> None:
    """A lock in another user's folder must neither overwrite the target of a link nor wait forever at a fifo."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / "fifo")
    for name, reason in (("link", "it is a link"), ("fifo", "not a plain file")):
        with pytest.raises(errors.LockError, match=reason), locks.acquire(tmp_path / name, print):
            pass
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(("code", "fix"), [(errno.ENOLCK, "a local disk"), (errno.EIO, "fix the permissions")])
def test_a_failing_lock_is_an_error_with_a_fix(
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
