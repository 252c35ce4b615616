"""Test that a run removes everything that it created, however it ends, and nothing of other runs."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder import errors, paths
from builder.engine import protocol, run
from tests.support import engine_cases, fork_server
from tests.support.command import call
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path)


def build(engine: FakeEngine, identity: str) -> None:
    engine_cases.build(engine_cases.Subject(engine=engine, image=""), engine_cases.SCRATCH, identity)


def runs() -> list[str]:
    return sorted(path.name for path in (paths.cache_folder() / "runs").iterdir())


def test_a_run_id_is_random(engine: FakeEngine) -> None:
    with run.start(engine) as first, run.start(engine) as second:
        assert first != second
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{12}", first)
        assert first.startswith(run.get_owner_id())
        assert runs() == sorted([first, second])
    assert runs() == []


@pytest.mark.parametrize("error", [ValueError("x"), errors.BuildError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_a_run_that_ends_by_any_error_leaves_nothing(engine: FakeEngine, error: BaseException) -> None:
    created: list[str] = []

    def fail() -> None:
        with run.start(engine) as identity:
            build(engine, identity)
            created.extend(leftover.kind for leftover in engine.list_leftovers())
            raise error

    with pytest.raises(type(error)):
        fail()
    assert created == ["image"]
    assert engine.list_leftovers() == []
    assert runs() == []


HOLDING = """
import sys
from pathlib import Path
from builder.engine import run
from tests.support.fake_engine import FakeEngine
with run.start(FakeEngine(Path("unused"))) as identity:
    print(identity, flush=True)
    sys.stdin.read()
"""


def test_leftovers_of_killed_processes_are_removed_but_not_of_live_ones(engine: FakeEngine) -> None:
    with fork_server.Popen(
        [sys.executable, "-c", HOLDING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        other = process.stdout.readline().strip()
        build(engine, other)
        with run.start(engine):
            assert len(engine.list_leftovers()) == 1, "its process is alive"
        process.kill()
    assert runs() == [other]
    with run.start(engine):
        assert engine.list_leftovers() == []
    assert runs() == []


def test_the_empty_lock_file_of_a_killed_run_is_removed(engine: FakeEngine) -> None:
    with run.start(engine) as identity:
        lock = paths.runs_folder() / f"{run.get_owner_id()}-000000000000"
        lock.touch()
        assert run.find_ended() == [lock]
        with run.start(engine) as other:
            assert runs() == sorted([identity, other])


@pytest.mark.parametrize("command", [("images", "--help"), ("bundle", "check", "none"), ("data-versions",)])
def test_a_command_of_any_kind_removes_what_a_killed_one_left(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr("builder.engine.docker_engine.connect", lambda: engine)
    monkeypatch.setenv("NUMERAI_API_URL", "https://127.0.0.1:9")
    with fork_server.Popen(
        [sys.executable, "-c", HOLDING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        build(engine, process.stdout.readline().strip())
        process.kill()
    call(*command)
    assert engine.list_leftovers() == []
    assert runs() == []


def test_runs_of_other_users_and_machines_are_not_touched(engine: FakeEngine) -> None:
    for stranger in ("0000000-000000000000", "by-hand", "", f"{run.get_owner_id()}", f"x{run.get_owner_id()}-0"):
        build(engine, stranger)
    with run.start(engine):
        assert len(engine.list_leftovers()) == 5
    assert len(engine.list_leftovers()) == 5


class _Busy(FakeEngine):
    """Fails to remove anything at first, like an engine that still runs an interrupted build."""

    def __init__(self, folder: Path, refusals: int) -> None:
        super().__init__(folder)
        self.refusals = refusals

    def remove(self, leftover: protocol.Leftover, /) -> None:
        if self.refusals:
            self.refusals -= 1
            raise errors.EngineError("could not remove it: the engine says: it is in use")
        super().remove(leftover)


def test_removal_is_retried_while_the_engine_is_busy(tmp_path: Path) -> None:
    engine = _Busy(tmp_path, 3)
    with run.start(engine) as identity:
        build(engine, identity)
        build(engine, identity)
    assert engine.list_leftovers() == []


class _StillBuilding(FakeEngine):
    """Continues an interrupted build for a moment: a container appears after the first listing."""

    listings = 0

    def list_leftovers(self) -> list[protocol.Leftover]:
        self.listings += 1
        if self.listings == 3:
            self._add_leftover("container", self.identity)
        return super().list_leftovers()

    identity = ""


def test_a_container_that_an_interrupted_build_still_starts_is_removed(tmp_path: Path) -> None:
    engine = _StillBuilding(tmp_path)

    def interrupt() -> None:
        with run.start(engine) as engine.identity:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert engine.listings > 3
    assert engine.list_leftovers() == []


def test_an_engine_that_stops_during_a_run_raises_the_error_of_the_failed_call(engine: FakeEngine) -> None:
    def fail() -> None:
        with run.start(engine) as identity:
            engine.down = True
            build(engine, identity)

    with pytest.raises(errors.EngineError, match="does not answer"):
        fail()
    assert runs() == []


def test_a_run_does_not_start_without_an_engine(engine: FakeEngine) -> None:
    engine.down = True
    with pytest.raises(errors.EngineError, match="does not answer"), run.start(engine):
        pass
    assert runs() == []


class _Interrupted(FakeEngine):
    """Gets a Ctrl-C at each removal."""

    number = signal.SIGINT

    def remove(self, leftover: protocol.Leftover, /) -> None:
        signal.raise_signal(self.number)
        super().remove(leftover)


@pytest.mark.parametrize("handled", [signal.default_int_handler, signal.SIG_IGN])
def test_a_second_interrupt_is_deferred_until_everything_is_removed(
    tmp_path: Path, handled: Callable[..., None]
) -> None:
    engine = _Interrupted(tmp_path)
    before = signal.signal(signal.SIGINT, handled)

    def interrupt() -> None:
        with run.start(engine) as identity:
            build(engine, identity)
            build(engine, identity)
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        assert signal.getsignal(signal.SIGINT) is handled
    finally:
        signal.signal(signal.SIGINT, before)
    assert engine.list_leftovers() == []
    assert runs() == []


def test_a_run_works_in_any_thread(engine: FakeEngine) -> None:
    leftovers: list[protocol.Leftover] = []

    def work() -> None:
        with run.start(engine) as identity:
            build(engine, identity)
        leftovers.extend(engine.list_leftovers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert leftovers == []
    assert runs() == []
