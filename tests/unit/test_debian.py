"""Debian hosts as they describe themselves, and work that one process does at a time."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from builder import debian, errors, exclusive, progress

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
    assert "waiting for another apt-get on this machine" in told.steps


# ---- one at a time


def test_a_lock_is_held_by_one_and_freed_by_its_death(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    source = (
        "import pathlib, sys, time\nfrom builder import exclusive\n"
        f"with exclusive.hold(pathlib.Path({str(path)!r}), lambda: None):\n"
        "    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        waited: list[bool] = []

        def kill() -> None:
            waited.append(True)
            other.kill()

        with exclusive.hold(path, kill):
            assert waited == [True]
