"""One cause and one fix, from the report of the tournament and a run on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder.config import model as config
from builder.image import resolve as image
from builder.tournament import status
from builder.validate import container_run, diagnose, known_causes, rerun
from builder.validate.reading import read
from tests.support import clones, words

if TYPE_CHECKING:
    from builder.sandbox.status_words import StatusWords

SEGFAULT = "Segmentation fault! Ensure python and library versions match our environment."
AGAIN = "python -m builder trigger alpha"


def make_failure(state: str = "failed", *descriptions: str) -> status.PickleFailure:
    return status.PickleFailure(where="run", status=state, descriptions=descriptions, trigger=None)


def make_result(cause: known_causes.Cause | None, kind: Any = "exact") -> rerun.RerunResult:
    resolved = image.ResolvedImage(
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
        image=resolved,
        python="3.11.2",
        built_on=None,
        live=Path("y"),
        benchmarks=None,
        limits=config.LimitsConfig(cpus=1, memory=1 << 32, seconds=600),
    )
    return rerun.RerunResult(task=task, checks=(), usage=container_run.Usage(seconds=1.5), log="", cause=cause)


def test_a_failure_here_is_the_cause() -> None:
    local_cause = known_causes.Cause(text="it ran out of memory at 4 GiB (exit 137)", fix="make the model smaller")
    cause = rerun.conclude(make_failure("failed", "Killed"), [], make_result(local_cause), again=AGAIN)
    assert (cause.text, cause.fix) == (f"{local_cause.text} (reproduced here)", local_cause.fix)


@pytest.mark.parametrize(
    ("description", "cause"),
    [
        (SEGFAULT, "the pickle was made by Python 3.10, but the image has Python 3.12 (read here, not run)"),
        ("", "the pickle was made by Python 3.10, but the image has Python 3.12 (read here, not run)"),
        ("Pickle function returned at least 1 NaN prediction", "the function returned NaN in its predictions"),
    ],
)
def test_without_a_run_the_reading_is_the_cause_unless_another_is_reported(description: str, cause: str) -> None:
    reading = read.read(clones.ROOT / "tests" / "data" / "pickles" / "python3.10.pkl", image_python="3.12")
    assert rerun.conclude(make_failure("failed", description), [], None, reading, again=AGAIN).text == cause


def test_a_cause_without_a_fix_gets_one() -> None:
    cause = rerun.conclude(
        make_failure(), [], make_result(known_causes.Cause(text="exit 1: KeyError: 'x'")), again=AGAIN
    )
    assert "make pickle" in cause.fix


def test_without_a_run_here_the_tournaments_report_is_the_cause() -> None:
    cause = rerun.conclude(make_failure("failed", SEGFAULT), [], None, again=AGAIN)
    assert "another Python or numpy" in cause.text
    assert "make pickle" in cause.fix


@pytest.mark.parametrize(("kind", "image_text"), [("exact", "in its image"), ("stand_in", "a stand-in for its image")])
def test_a_pickle_that_runs_here_is_run_there_again(kind: str, image_text: str) -> None:
    cause = rerun.conclude(make_failure("failed", "strange"), [], make_result(None, kind), again=AGAIN)
    assert "strange" in cause.text
    assert image_text in cause.text
    assert AGAIN in cause.fix


@pytest.mark.parametrize("description", [SEGFAULT, "No module named 'torch'", "bad marshal data"])
def test_a_pickle_that_runs_in_the_exact_image_need_not_be_built_again(description: str) -> None:
    cause = rerun.conclude(make_failure("failed", description), [], make_result(None), again=AGAIN)
    assert "so the build is not the cause" in cause.text
    assert AGAIN in cause.fix
    assert "make pickle" not in cause.fix
    assert (
        "make pickle"
        in rerun.conclude(make_failure("failed", description), [], make_result(None, "stand_in"), again=AGAIN).fix
    )


def test_an_exceeded_limit_stays_the_cause() -> None:
    cause = rerun.conclude(make_failure("failed", "Execution timed out"), [], make_result(None), again=AGAIN)
    assert "smaller or faster" in cause.fix


@pytest.mark.parametrize("state", ["error", "ERROR", "submission_error"])
def test_a_problem_on_their_side_is_reported_as_such(state: str) -> None:
    cause = rerun.conclude(make_failure(state), [], None, again=AGAIN)
    assert "on their side" in cause.text
    assert "trigger" in cause.fix


@words.each_vocabulary
def test_a_problem_of_the_model_is_not_reported_as_theirs(words: StatusWords) -> None:
    cause = rerun.conclude(make_failure(words.run_bad), [], None, again=AGAIN)
    assert "on their side" not in cause.text


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (SEGFAULT, "another Python or numpy"),
        ("The model ran out of memory: it may use 4096 MB.", "out of memory"),
        ("Execution timed out", "its time limit"),
        ("ModuleNotFoundError: No module named 'torch'", "the module 'torch'"),
        ("Invalid submission: ids", "its predictions were rejected"),
        ("The model file could not be found.", "never stored"),
    ],
)
def test_the_tournaments_descriptions_are_recognized(description: str, message: str) -> None:
    cause = diagnose.explain_remote("failed", [description], [])
    assert message in cause.text
    assert cause.fix
    assert diagnose.explain_remote("failed", [], [description]) == cause


def test_a_failure_without_a_description_is_reported() -> None:
    assert diagnose.explain_remote("failed", [], []).text == "the tournament gives no reason"
    assert diagnose.explain_remote("failed", [""], ["a line", "ValueError: odd"]).text.endswith("ValueError: odd")
