"""A run: nothing outlives it, whatever ends it, and it touches nothing of others."""

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
from builder.engine import protocol as engine
from builder.engine import run
from tests.support import engine_cases, fork_server
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def on(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path)


def build(on: FakeEngine, identity: str) -> None:
    engine_cases.build(engine_cases.Subject(on=on, image=""), engine_cases.SCRATCH, identity)


def runs() -> list[str]:
    return sorted(path.name for path in (paths.cache_folder() / "runs").iterdir())


def test_a_run_is_named_by_nothing_that_tells_who_runs_it(on: FakeEngine) -> None:
    with run.start(on) as first, run.start(on) as second:
        assert first != second
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{12}", first)
        assert first.startswith(run.get_owner_id())
        assert runs() == sorted([first, second])
    assert runs() == []


@pytest.mark.parametrize("error", [ValueError("x"), errors.BuildError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_whatever_ends_a_run_it_leaves_nothing(on: FakeEngine, error: BaseException) -> None:
    seen: list[str] = []

    def fail() -> None:
        with run.start(on) as identity:
            build(on, identity)
            seen.extend(one.kind for one in on.list_leftovers())
            raise error

    with pytest.raises(type(error)):
        fail()
    assert seen == ["image"]
    assert on.list_leftovers() == []
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


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_has_is_not(on: FakeEngine) -> None:
    with fork_server.Popen(
        [sys.executable, "-c", HOLDING], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        other = process.stdout.readline().strip()
        build(on, other)
        with run.start(on):
            assert len(on.list_leftovers()) == 1, "its process is alive"
        process.kill()
    assert runs() == [other]
    with run.start(on):
        assert on.list_leftovers() == []
    assert runs() == []


def test_a_run_of_another_user_or_machine_is_not_ours_to_judge(on: FakeEngine) -> None:
    for stranger in ("0000000-000000000000", "by-hand", "", f"{run.get_owner_id()}", f"x{run.get_owner_id()}-0"):
        build(on, stranger)
    with run.start(on):
        assert len(on.list_leftovers()) == 5
    assert len(on.list_leftovers()) == 5


class _Busy(FakeEngine):
    """Cannot remove anything at first, as an engine that still runs what was interrupted."""

    def __init__(self, folder: Path, refusals: int) -> None:
        super().__init__(folder)
        self.refusals = refusals

    def remove(self, leftover: engine.Leftover, /) -> None:
        if self.refusals:
            self.refusals -= 1
            raise errors.EngineError("could not remove it: the engine says: it is in use")
        super().remove(leftover)


def test_an_engine_that_is_still_busy_is_asked_again(tmp_path: Path) -> None:
    on = _Busy(tmp_path, 3)
    with run.start(on) as identity:
        build(on, identity)
        build(on, identity)
    assert on.list_leftovers() == []


class _GoesOn(FakeEngine):
    """Goes on with an interrupted build for a moment: a container turns up after the first look."""

    looks = 0

    def list_leftovers(self) -> list[engine.Leftover]:
        self.looks += 1
        if self.looks == 3:
            self._remember("container", self.identity)
        return super().list_leftovers()

    identity = ""


def test_what_an_interrupted_build_still_begins_is_removed_too(tmp_path: Path) -> None:
    on = _GoesOn(tmp_path)

    def interrupted() -> None:
        with run.start(on) as on.identity:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert on.looks > 3
    assert on.list_leftovers() == []


def test_an_engine_that_dies_during_a_run_is_reported_by_what_it_was_doing(on: FakeEngine) -> None:
    def fail() -> None:
        with run.start(on) as identity:
            on.down = True
            build(on, identity)

    with pytest.raises(errors.EngineError, match="does not answer"):
        fail()
    assert runs() == []


def test_without_an_engine_no_run_begins(on: FakeEngine) -> None:
    on.down = True
    with pytest.raises(errors.EngineError, match="does not answer"), run.start(on):
        pass
    assert runs() == []


class _Interrupted(FakeEngine):
    """Somebody presses Ctrl-C whenever something is removed."""

    number = signal.SIGINT

    def remove(self, leftover: engine.Leftover, /) -> None:
        signal.raise_signal(self.number)
        super().remove(leftover)


@pytest.mark.parametrize("handled", [signal.default_int_handler, signal.SIG_IGN])
def test_a_second_interrupt_waits_until_all_is_clean(tmp_path: Path, handled: Callable[..., None]) -> None:
    on = _Interrupted(tmp_path)
    before = signal.signal(signal.SIGINT, handled)

    def interrupted() -> None:
        with run.start(on) as identity:
            build(on, identity)
            build(on, identity)
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert signal.getsignal(signal.SIGINT) is handled
    finally:
        signal.signal(signal.SIGINT, before)
    assert on.list_leftovers() == []
    assert runs() == []


def test_a_run_may_be_in_any_thread(on: FakeEngine) -> None:
    left: list[engine.Leftover] = []

    def work() -> None:
        with run.start(on) as identity:
            build(on, identity)
        left.extend(on.list_leftovers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert left == []
    assert runs() == []
