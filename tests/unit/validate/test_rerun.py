"""One cause and one fix, from what the tournament says and what a run here showed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.config import model as config
from builder.image import resolve as image
from builder.tournament import status as slot_status
from builder.validate import diagnose, rerun
from tests.support import words

if TYPE_CHECKING:
    from builder.sandbox.status_words import StatusWords

SEGFAULT = "Segmentation fault! Ensure python and library versions match our environment."
AGAIN = "python -m builder trigger alpha"


def fault(status: str = "failed", *said: str) -> slot_status.PickleFailure:
    return slot_status.PickleFailure(where="run", status=status, descriptions=said, trigger=None)


def ran(cause: diagnose.Cause | None, kind: Any = "exact") -> rerun.RerunResult:
    where = image.ResolvedImage(
        kind=kind,
        ref="a/b:c",
        identity="sha256:1",
        base="a/b:c",
        handle="1",
        platform="linux/amd64",
        entrypoint=("python",),
        workdir="/",
    )
    task = rerun.RerunTask(
        pickle=Path("x"),
        image=where,
        python="3.11.2",
        built_on=None,
        live=Path("y"),
        benchmarks=None,
        limits=config.LimitsConfig(cpus=1, memory=1 << 32, seconds=600),
    )
    return rerun.RerunResult(task=task, checks=(), usage=None, log="", cause=cause)


def test_what_is_seen_here_is_the_cause() -> None:
    seen = diagnose.Cause(text="it ran out of memory at 4 GiB (exit 137)", fix="make the model smaller")
    found = rerun.conclude(fault("failed", "Killed"), [], ran(seen), again=AGAIN)
    assert (found.text, found.fix) == (f"{seen.text} (seen here again)", seen.fix)


def test_a_cause_without_a_fix_gets_one() -> None:
    found = rerun.conclude(fault(), [], ran(diagnose.Cause(text="exit 1: KeyError: 'x'")), again=AGAIN)
    assert "make pickle" in found.fix


def test_without_a_run_here_the_tournaments_words_are_the_cause() -> None:
    found = rerun.conclude(fault("failed", SEGFAULT), [], None, again=AGAIN)
    assert "another Python or numpy" in found.text
    assert "make pickle" in found.fix


@pytest.mark.parametrize(("kind", "where"), [("exact", "in its image"), ("stand_in", "a look-alike of its image")])
def test_what_runs_here_is_run_there_again(kind: str, where: str) -> None:
    found = rerun.conclude(fault("failed", "strange"), [], ran(None, kind), again=AGAIN)
    assert "strange" in found.text
    assert where in found.text
    assert AGAIN in found.fix


@pytest.mark.parametrize("said", [SEGFAULT, "No module named 'torch'", "bad marshal data"])
def test_what_runs_in_the_very_image_is_not_to_be_made_anew_in_it(said: str) -> None:
    found = rerun.conclude(fault("failed", said), [], ran(None), again=AGAIN)
    assert "so that it was not made wrong" in found.text
    assert AGAIN in found.fix
    assert "make pickle" not in found.fix
    assert "make pickle" in rerun.conclude(fault("failed", said), [], ran(None, "stand_in"), again=AGAIN).fix


def test_what_a_limit_ended_there_stays_the_cause() -> None:
    found = rerun.conclude(fault("failed", "Execution timed out"), [], ran(None), again=AGAIN)
    assert "smaller or faster" in found.fix


@pytest.mark.parametrize("status", ["error", "ERROR", "submission_error"])
def test_a_fault_on_their_side_is_told_so(status: str) -> None:
    found = rerun.conclude(fault(status), [], None, again=AGAIN)
    assert "on their side" in found.text
    assert "trigger" in found.fix


@words.each_vocabulary
def test_a_fault_of_the_model_is_not_told_to_be_on_their_side(words: StatusWords) -> None:
    found = rerun.conclude(fault(words.run_bad), [], None, again=AGAIN)
    assert "on their side" not in found.text


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (SEGFAULT, "another Python or numpy"),
        ("The model ran out of memory: it may use 4096 MB.", "out of memory"),
        ("Execution timed out", "over its time"),
        ("ModuleNotFoundError: No module named 'torch'", "the module 'torch'"),
        ("Invalid submission: ids", "its predictions were refused"),
        ("The model file could not be found.", "never stored"),
    ],
)
def test_the_words_of_the_tournament(said: str, cause: str) -> None:
    found = diagnose.explain_remote("failed", [said], [])
    assert cause in found.text
    assert found.fix
    assert diagnose.explain_remote("failed", [], [said]) == found


def test_without_any_words_that_is_said() -> None:
    assert diagnose.explain_remote("failed", [], []).text == "the tournament gives no reason"
    assert diagnose.explain_remote("failed", [""], ["a line", "ValueError: odd"]).text.endswith("ValueError: odd")
