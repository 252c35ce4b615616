"""The explanation of a failed run on this machine, from its exit code and its log."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.validate import diagnose

SAME = diagnose.RunConditions(seconds=600, memory=4 << 30, python="3.12.11", built_on="3.12.9")
OTHER = diagnose.RunConditions(seconds=600, memory=4 << 30, python="3.13.5", built_on="3.11.2")
UNKNOWN = diagnose.RunConditions(seconds=600, memory=4 << 30, python="3.12.11", built_on=None)

SEGFAULT = "the interpreter crashed (segmentation fault, exit 139)"
MEMORY = "it ran out of memory at 4 GiB (exit 137); the tournament would stop it too: make the model smaller"
ANOTHER = "the pickle was built for Python 3.11.2, but the image has Python 3.13.5: "
NUMPY = "the pickle was built for another Python or numpy, but the image has Python 3.12.11: "
TRACEBACK = "Traceback (most recent call last):\n  File x\n"


def end(code: int | None, log: str = "", *, timed_out: bool = False, out_of_memory: bool = False) -> diagnose.RunEnd:
    return diagnose.RunEnd(code=code, timed_out=timed_out, out_of_memory=out_of_memory, log=log)


@pytest.mark.parametrize(
    ("run_end", "conditions", "message"),
    [
        (end(-9, timed_out=True), SAME, "it exceeded the limit of 600 seconds; the tournament would stop it too"),
        (end(-9, timed_out=True, out_of_memory=True), SAME, "it exceeded the limit of 600 seconds"),
        (end(None, timed_out=True), OTHER, "it exceeded the limit of 600 seconds"),
        (end(-9), SAME, MEMORY),
        (end(137), SAME, MEMORY),
        (end(1, "MemoryError", out_of_memory=True), SAME, MEMORY),
        (end(None, out_of_memory=True), OTHER, MEMORY),
        (end(-9), OTHER, MEMORY),
        (end(-11), SAME, SEGFAULT),
        (end(139), SAME, SEGFAULT),
        (end(-4), UNKNOWN, SEGFAULT),
        (end(-7), SAME, SEGFAULT),
        (end(-11), OTHER, ANOTHER + SEGFAULT),
        (end(139), OTHER, ANOTHER + SEGFAULT),
        (end(132), OTHER, ANOTHER + SEGFAULT),
        (end(135), SAME, SEGFAULT),
        (end(1, TRACEBACK + "SystemError: unknown opcode"), OTHER, ANOTHER + "exit 1: SystemError: unknown opcode"),
        (end(1, TRACEBACK + "ValueError: something"), OTHER, "exit 1: ValueError: something; fix the model"),
        (
            end(1, "XXX lineno: 7, opcode: 0\n" + TRACEBACK + "SystemError: unknown opcode"),
            SAME,
            "built for another Python or numpy",
        ),
        (end(1, "SystemError: unknown opcode"), UNKNOWN, NUMPY),
        (end(1, "SystemError: error return without exception set"), UNKNOWN, NUMPY),
        (end(1, "SystemError: error return without exception set"), OTHER, ANOTHER),
        (end(1, "TypeError: code() takes at most 16 arguments (18 given)"), UNKNOWN, NUMPY),
        (end(1, "TypeError: code expected at least 16 arguments, got 15"), UNKNOWN, NUMPY),
        (end(1, "ValueError: bad marshal data (unknown type code)"), UNKNOWN, NUMPY),
        (end(1, "ModuleNotFoundError: No module named 'numpy._core'"), UNKNOWN, NUMPY),
        (end(1, "ValueError: numpy.dtype size changed, may indicate binary incompatibility"), UNKNOWN, NUMPY),
        (
            end(1, TRACEBACK + "ModuleNotFoundError: No module named 'my_repository.model'"),
            SAME,
            "the pickle needs the module 'my_repository.model', which is not in the image",
        ),
        (
            end(1, TRACEBACK + "ValueError: x\n\n" + TRACEBACK + "KeyError: 'feature_a'\nlast line"),
            SAME,
            "it reads the feature feature_a, which the live data do not have",
        ),
        (
            end(1, TRACEBACK + "TypeError: code() takes 1 positional argument but 2 were given"),
            UNKNOWN,
            "exit 1: TypeError: code() takes 1 positional argument but 2 were given; fix the model",
        ),
        (end(1, TRACEBACK + "TimeoutError: timed out"), SAME, "the function uses the network"),
        (end(1, TRACEBACK + "TimeoutError: 3 futures unfinished"), SAME, "exit 1: TimeoutError: 3 futures unfinished"),
        (
            end(1, TRACEBACK + "KeyError: 'feature_a'"),
            dataclasses.replace(SAME, columns=frozenset({"feature_a"})),
            "exit 1: KeyError: 'feature_a': the data have this column; the function removed it, or reads it from",
        ),
        (
            end(1, TRACEBACK + "KeyError: 'feature_a'"),
            dataclasses.replace(SAME, columns=frozenset({"feature_b"})),
            "it reads the feature feature_a, which the live data do not have",
        ),
        (end(1, "pandas.errors.ParserError: bad"), SAME, "exit 1: pandas.errors.ParserError: bad"),
        (end(2, "usage: predict.py\nno such option\n\n"), SAME, "exit 2: no such option"),
        (end(-15), SAME, "exit -15: it printed nothing"),
        (end(3, " \n"), UNKNOWN, "exit 3: it printed nothing"),
    ],
)
def test_each_end_is_explained(run_end: diagnose.RunEnd, conditions: diagnose.RunConditions, message: str) -> None:
    text = diagnose.explain(run_end, conditions)
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("code", [1, 2, 3])
@pytest.mark.parametrize("last", ["INFO:root:Predicting on 5000 rows of live features", "the model's own goodbye"])
def test_a_function_that_ends_the_process_is_not_mistaken_for_a_usage_error(code: int, last: str) -> None:
    log = f"INFO:root:Running numerai-predict: - Python 3.12\n{last}\n"
    text = diagnose.explain(end(code, log), SAME)
    assert text.startswith(f"exit {code} without an error in the log: the function ended the process")
    assert ("own goodbye" in text) == ("goodbye" in last)
    assert "return the predictions instead" in text
    assert "options" not in text
    other = diagnose.explain(end(2, last), SAME)
    assert "does not take the runner's options" in other


@pytest.mark.parametrize(
    ("description", "cause"),
    [
        ("exit code 139", "the interpreter crashed"),
        ("Container exited with code 139", "the interpreter crashed"),
        ("exit status: 132", "the interpreter crashed"),
        ("ExitCode=135", "the interpreter crashed"),
        ("killed by signal 11", "the interpreter crashed"),
        ("code 137", "out of memory"),
        ("Exited (137)", "out of memory"),
        ("returned non-zero exit status 137.", "out of memory"),
        ("exit_code: 134", "the interpreter aborted (exit 134)"),
    ],
)
def test_an_exit_code_is_recognized_in_any_wording(description: str, cause: str) -> None:
    assert cause in diagnose.explain_remote("failed", [description], []).text
    assert cause in diagnose.explain_remote("failed", [], [description]).text


@pytest.mark.parametrize("description", ["exit code 1", "code 1370 rows", "137 predictions", "status 13"])
def test_other_numbers_are_not_exit_codes(description: str) -> None:
    assert diagnose.explain_remote("failed", [description], []).text == f"the tournament reports: {description}"


def test_an_error_in_the_log_is_preferred_to_a_vague_description() -> None:
    nan = "ERROR:root:Pickle function returned at least 1 NaN prediction"
    assert "returned NaN" in diagnose.explain_remote("failed", ["Invalid submission"], [nan]).text
    unknown = "ERROR:root:KeyError: 'feature_a'"
    assert "feature_a" in diagnose.explain_remote("failed", ["Invalid submission"], [unknown]).text
    alone = diagnose.explain_remote("failed", ["Invalid submission"], ["INFO:root:Predicting on 5 rows"])
    assert "predictions were rejected" in alone.text


@pytest.mark.parametrize(("built_on", "python"), [("3.12.1", "3.12.11"), ("3.1", "3.1.4")])
def test_another_patch_release_is_not_another_python(built_on: str, python: str) -> None:
    conditions = diagnose.RunConditions(seconds=1, memory=1 << 30, python=python, built_on=built_on)
    assert diagnose.explain(end(1, "SystemError: x"), conditions).startswith("exit 1: SystemError: x; fix the model")


@given(
    code=st.none() | st.integers(-70, 300),
    timed_out=st.booleans(),
    out_of_memory=st.booleans(),
    log=st.text() | st.sampled_from(["No module named ''", "Error", "a.b.Error:", "No module named 'x", "\n\n\r\x00"]),
    python=st.text(max_size=8) | st.just("3.12.1"),
    built_on=st.none() | st.text(max_size=8) | st.just("3.11.2"),
    seconds=st.floats(0.001, 1e6),
    memory=st.integers(1, 1 << 44),
)
def test_every_failure_is_explained(
    *,
    code: int | None,
    timed_out: bool,
    out_of_memory: bool,
    log: str,
    python: str,
    built_on: str | None,
    seconds: float,
    memory: int,
) -> None:
    run_end = diagnose.RunEnd(code=code, timed_out=timed_out, out_of_memory=out_of_memory, log=log)
    conditions = diagnose.RunConditions(seconds=seconds, memory=memory, python=python, built_on=built_on)
    assert diagnose.explain(run_end, conditions).strip()


def test_a_long_line_in_a_log_is_parsed() -> None:
    for log in ("a" * 65536, "a." * 32768, "Error" * 13000, "No module named '" * 4000):
        assert diagnose.explain(end(1, log), SAME)
