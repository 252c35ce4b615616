"""What a person is told of a run that failed, from its exit code and what it printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.validate import diagnose

SAME = diagnose.Where(seconds=600, memory=4 << 30, python="3.12.11", built_on="3.12.9")
OTHER = diagnose.Where(seconds=600, memory=4 << 30, python="3.13.5", built_on="3.11.2")
UNKNOWN = diagnose.Where(seconds=600, memory=4 << 30, python="3.12.11", built_on=None)

SEGFAULT = "the interpreter died (segmentation fault, exit 139)"
MEMORY = "it ran out of memory at 4 GiB (exit 137); the tournament would fail it: make the model smaller"
ANOTHER = "the pickle was made for Python 3.11.2, and the image has Python 3.13.5: "
NUMPY = "the pickle was made for another Python or numpy, and the image has Python 3.12.11: "
TRACEBACK = "Traceback (most recent call last):\n  File x\n"


def ended(code: int | None, log: str = "", *, timed_out: bool = False, out_of_memory: bool = False) -> diagnose.Ended:
    return diagnose.Ended(code=code, timed_out=timed_out, out_of_memory=out_of_memory, log=log)


@pytest.mark.parametrize(
    ("how", "where", "said"),
    [
        (ended(-9, timed_out=True), SAME, "it ran over the limit of 600 seconds; the tournament would fail it"),
        (ended(-9, timed_out=True, out_of_memory=True), SAME, "it ran over the limit of 600 seconds"),
        (ended(None, timed_out=True), OTHER, "it ran over the limit of 600 seconds"),
        (ended(-9), SAME, MEMORY),
        (ended(137), SAME, MEMORY),
        (ended(1, "MemoryError", out_of_memory=True), SAME, MEMORY),
        (ended(None, out_of_memory=True), OTHER, MEMORY),
        (ended(-9), OTHER, MEMORY),
        (ended(-11), SAME, SEGFAULT),
        (ended(139), SAME, SEGFAULT),
        (ended(-4), UNKNOWN, SEGFAULT),
        (ended(-7), SAME, SEGFAULT),
        (ended(-11), OTHER, ANOTHER + SEGFAULT),
        (ended(139), OTHER, ANOTHER + SEGFAULT),
        (ended(132), OTHER, ANOTHER + SEGFAULT),
        (ended(135), SAME, SEGFAULT),
        (ended(1, TRACEBACK + "SystemError: unknown opcode"), OTHER, ANOTHER + "exit 1: SystemError: unknown opcode"),
        (ended(1, TRACEBACK + "ValueError: something"), OTHER, "exit 1: ValueError: something; fix the model"),
        (
            ended(1, "XXX lineno: 7, opcode: 0\n" + TRACEBACK + "SystemError: unknown opcode"),
            SAME,
            "made for another Python or numpy",
        ),
        (ended(1, "SystemError: unknown opcode"), UNKNOWN, NUMPY),
        (ended(1, "SystemError: error return without exception set"), UNKNOWN, NUMPY),
        (ended(1, "SystemError: error return without exception set"), OTHER, ANOTHER),
        (ended(1, "TypeError: code() takes at most 16 arguments (18 given)"), UNKNOWN, NUMPY),
        (ended(1, "TypeError: code expected at least 16 arguments, got 15"), UNKNOWN, NUMPY),
        (ended(1, "ValueError: bad marshal data (unknown type code)"), UNKNOWN, NUMPY),
        (ended(1, "ModuleNotFoundError: No module named 'numpy._core'"), UNKNOWN, NUMPY),
        (ended(1, "ValueError: numpy.dtype size changed, may indicate binary incompatibility"), UNKNOWN, NUMPY),
        (
            ended(1, TRACEBACK + "ModuleNotFoundError: No module named 'my_repository.model'"),
            SAME,
            "the pickle needs the module 'my_repository.model', which is not in the image",
        ),
        (
            ended(1, TRACEBACK + "ValueError: x\n\n" + TRACEBACK + "KeyError: 'feature_a'\nlast line"),
            SAME,
            "exit 1: KeyError: 'feature_a'",
        ),
        (ended(1, "pandas.errors.ParserError: bad"), SAME, "exit 1: pandas.errors.ParserError: bad"),
        (ended(2, "usage: predict.py\nno such option\n\n"), SAME, "exit 2: no such option"),
        (ended(-15), SAME, "exit -15: it printed nothing"),
        (ended(3, " \n"), UNKNOWN, "exit 3: it printed nothing"),
    ],
)
def test_each_end_is_explained(how: diagnose.Ended, where: diagnose.Where, said: str) -> None:
    text = diagnose.explain(how, where)
    assert said in text
    assert "\n" not in text


@pytest.mark.parametrize("code", [1, 2, 3])
@pytest.mark.parametrize("last", ["INFO:root:Predicting on 5000 rows of live features", "the model's own goodbye"])
def test_a_function_that_ends_the_process_is_told_from_other_options(code: int, last: str) -> None:
    log = f"INFO:root:Running numerai-predict: - Python 3.12\n{last}\n"
    text = diagnose.explain(ended(code, log), SAME)
    assert text.startswith(f"exit {code} without an error in the log: the function ended the process itself")
    assert ("own goodbye" in text) == ("goodbye" in last)
    assert "return the predictions instead" in text
    assert "options" not in text
    other = diagnose.explain(ended(2, last), SAME)
    assert "does not take the runner's options" in other


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("exit code 139", "the interpreter died"),
        ("Container exited with code 139", "the interpreter died"),
        ("exit status: 132", "the interpreter died"),
        ("ExitCode=135", "the interpreter died"),
        ("killed by signal 11", "the interpreter died"),
        ("code 137", "out of memory"),
        ("Exited (137)", "out of memory"),
        ("returned non-zero exit status 137.", "out of memory"),
        ("exit_code: 134", "the interpreter aborted (exit 134)"),
    ],
)
def test_an_exit_code_is_known_however_it_is_worded(said: str, cause: str) -> None:
    assert cause in diagnose.explain_remote("failed", [said], []).text
    assert cause in diagnose.explain_remote("failed", [], [said]).text


@pytest.mark.parametrize("said", ["exit code 1", "code 1370 rows", "137 predictions", "status 13"])
def test_other_numbers_are_no_exit_codes(said: str) -> None:
    assert diagnose.explain_remote("failed", [said], []).text == f"the tournament says: {said}"


def test_an_error_in_the_log_says_more_than_a_vague_description() -> None:
    nan = "ERROR:root:Pickle function returned at least 1 NaN prediction"
    assert "returned NaN" in diagnose.explain_remote("failed", ["Invalid submission"], [nan]).text
    unknown = "ERROR:root:KeyError: 'feature_a'"
    assert "feature_a" in diagnose.explain_remote("failed", ["Invalid submission"], [unknown]).text
    alone = diagnose.explain_remote("failed", ["Invalid submission"], ["INFO:root:Predicting on 5 rows"])
    assert "predictions were refused" in alone.text


@pytest.mark.parametrize(("built_on", "python"), [("3.12.1", "3.12.11"), ("3.1", "3.1.4")])
def test_another_patch_release_is_not_another_python(built_on: str, python: str) -> None:
    where = diagnose.Where(seconds=1, memory=1 << 30, python=python, built_on=built_on)
    assert diagnose.explain(ended(1, "SystemError: x"), where).startswith("exit 1: SystemError: x; fix the model")


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
def test_whatever_happened_something_is_said(
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
    how = diagnose.Ended(code=code, timed_out=timed_out, out_of_memory=out_of_memory, log=log)
    where = diagnose.Where(seconds=seconds, memory=memory, python=python, built_on=built_on)
    assert diagnose.explain(how, where).strip()


def test_a_long_log_on_one_line_is_read() -> None:
    for log in ("a" * 65536, "a." * 32768, "Error" * 13000, "No module named '" * 4000):
        assert diagnose.explain(ended(1, log), SAME)
