"""One cause and one fix for each thing that the runner says, the same from a run here and from the API's log."""

from __future__ import annotations

import pytest

from builder.validate import diagnose
from tests.support import runner_logs as logs

UNKNOWN = diagnose.Where(seconds=600, memory=4 << 30, python="3.12.11", built_on=None)
OTHER = diagnose.Where(seconds=600, memory=4 << 30, python="3.12.11", built_on="3.11.2")
CODE = "TypeError: code() argument 13 must be str, not int"
CODE_10 = "TypeError: code expected at most 16 arguments, got 18"
PR_63 = (
    "Pickle could not be loaded in Python 3.12. It was likely created with a different Python version. Dump it again."
)
ISSUBCLASS = "TypeError: issubclass() arg 1 must be a class"
NONE_TYPE = "unsupported operand type(s) for +: 'NoneType' and 'int'"
NO_COLUMNS = "IndexError: single positional indexer is out-of-bounds"
OF_PANDAS = "/usr/local/lib/python3.12/site-packages/pandas/core/indexing.py"

OTHER_PYTHON = ("another Python or numpy", "make pickle")
RETURN = "return a DataFrame with one column `prediction`"
BUNDLE = "build it from a bundle"

# What it logged, what the cause and the fix name.
REFUSED = [
    (logs.make_refusal("Pickle function is invalid - returned None"), "returned None", RETURN),
    (
        logs.make_refusal("Pickle function is invalid - returned <class 'pandas.core.series.Series'> and no DataFrame"),
        "returned pandas.core.series.Series, not exactly a pandas DataFrame",
        RETURN,
    ),
    (logs.make_refusal("Pickle function returned 0 predictions"), "returned no rows", RETURN),
    (logs.make_refusal("Pickle function returned at least 1 NaN prediction"), "returned NaN", "fill what is missing"),
    (
        logs.make_refusal("Pickle function returned invalid predictions. Ensure values are between 0 and 1."),
        "outside 0 to 1",
        "rank",
    ),
    (logs.make_refusal("Pickle function is invalid - it has 0 parameters instead of 1 or 2"), "1 nor 2", "give it one"),
    (
        logs.make_refusal("Invalid pickle function - /box/model.pkl must have 1 or 2 arguments"),
        "1 nor 2",
        "give it one",
    ),
    (
        logs.make_refusal("Invalid pickle - invalid load key, 'n'."),
        "not a valid pickle: invalid load key",
        "build it again",
    ),
    (logs.make_refusal("Invalid pickle - pickle data was truncated"), "empty or cut short", "build it again"),
    (logs.make_refusal("Invalid pickle - No module named 'mine.model'"), "the module 'mine.model'", BUNDLE),
    (logs.make_refusal("Pickle incompatible with 3.12"), *OTHER_PYTHON),
    (logs.make_refusal(PR_63), *OTHER_PYTHON),
    # with --debug, in either order
    (logs.make_refusal("Pickle incompatible with 3.12", logs.make_chained_traceback(CODE, ISSUBCLASS)), *OTHER_PYTHON),
    (
        logs.make_refusal(
            "Pickle incompatible with 3.12",
            f"ERROR:root:{ISSUBCLASS[11:]}\n{logs.make_chained_traceback(CODE_10, ISSUBCLASS)}",
        ),
        *OTHER_PYTHON,
    ),
    (
        f"{logs.HEAD}ERROR:root:{ISSUBCLASS[11:]}\n{logs.make_chained_traceback(CODE, ISSUBCLASS)}ERROR:root:{PR_63}\n{logs.HELP_BOX}",
        *OTHER_PYTHON,
    ),
    (
        logs.make_refusal(
            "Pickle incompatible with 3.12", logs.make_chained_traceback("TypeError: f() missing 'a'", ISSUBCLASS)
        ),
        "cannot be loaded: TypeError: f() missing 'a'",
        "build it in the image",
    ),
    (logs.make_refusal(PR_63, logs.make_traceback("ValueError: bad marshal data (unknown type code)")), *OTHER_PYTHON),
    (
        logs.make_refusal("Invalid pickle - x", logs.make_traceback("_pickle.UnpicklingError: x")),
        "valid pickle: x",
        "again",
    ),
    # exceptions of the function
    (logs.make_refusal("'feature_a'", logs.make_traceback("KeyError: 'feature_a'")), "KeyError: 'feature_a'", ""),
    (logs.make_refusal(f"Pickle function is invalid - {NONE_TYPE}"), NONE_TYPE, ""),
    (
        logs.make_refusal(f"Pickle function is invalid - {NONE_TYPE}", logs.make_traceback(f"TypeError: {NONE_TYPE}")),
        NONE_TYPE,
        "",
    ),
    (logs.make_refusal("unknown opcode", logs.make_traceback("SystemError: unknown opcode")), *OTHER_PYTHON),
    (logs.make_refusal(NO_COLUMNS[12:], logs.make_traceback(NO_COLUMNS, OF_PANDAS)), "without columns", RETURN),
    (logs.make_refusal(NO_COLUMNS[12:], logs.make_traceback(NO_COLUMNS)), NO_COLUMNS, ""),
    (
        logs.make_refusal("x", logs.make_traceback("socket.gaierror: [Errno -3] Temporary failure in name resolution")),
        "uses the network",
        "into the pickle",
    ),
    (
        logs.make_refusal(
            "x", logs.make_traceback("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 40. GiB")
        ),
        "ran out of memory",
        "smaller",
    ),
]
# Without the box: what the runner does not foresee.
UNFORESEEN = [
    (
        logs.HEAD
        + logs.make_traceback("AttributeError: Can't get attribute 'predict' on <module '__main__' from '/p.py'>"),
        "'predict' of the module '__main__'",
        BUNDLE,
    ),
    (logs.HEAD + logs.make_traceback("EOFError: Ran out of input"), "empty or cut short", "build it again"),
    (logs.HEAD + logs.make_traceback("ValueError: unsupported pickle protocol: 6"), *OTHER_PYTHON),
    (logs.HEAD + logs.make_traceback("ValueError: bad marshal data (unknown type code)"), *OTHER_PYTHON),
    (logs.HEAD + logs.make_traceback("TypeError: {} is not a callable object"), "is not a callable object", ""),
    ("ERROR:root:Local dataset not found - /box/live.parquet\n", "live data that the run was given", "run it again"),
    (logs.make_traceback("TypeError: int() argument must be a string, not 'NoneType'"), "TypeError: int()", ""),
]
CASES = [*REFUSED, *UNFORESEEN]


@pytest.mark.parametrize("end", ["", logs.PRINTED], ids=["alone", "printed"])
@pytest.mark.parametrize(("log", "cause", "fix"), CASES)
def test_here_and_there_it_is_the_same_cause(log: str, cause: str, fix: str, end: str) -> None:
    here = diagnose.find_cause(diagnose.Ended(code=1, timed_out=False, out_of_memory=False, log=log + end), UNKNOWN)
    assert cause in here.text
    assert fix in here.fix
    assert here.fix
    there = diagnose.explain_remote("failed", [], (log + end).splitlines())
    assert cause in there.text
    assert fix in there.fix
    assert diagnose.explain_remote("failed", [], [log + end]) == there  # in one message
    assert diagnose.explain_remote("model_failed", ["Model failed", "-" * 80], [log + end]).text == there.text
    for text in (str(here), str(there)):
        assert "----" not in text
        assert "\n" not in text
        assert "help" not in text


@pytest.mark.parametrize(("log", "cause", "fix"), REFUSED)
def test_the_reason_is_read_though_the_process_died_after_it(log: str, cause: str, fix: str) -> None:
    for code in (-6, 134, -11):
        ended = diagnose.Ended(code=code, timed_out=False, out_of_memory=False, log=log + logs.ABORTED)
        found = diagnose.find_cause(ended, UNKNOWN)
        assert cause in found.text
        assert fix in found.fix
        assert "aborted" not in found.text


@pytest.mark.parametrize(("log", "cause", "fix"), CASES)
def test_another_python_is_blamed_for_nothing_but_its_own_failures(log: str, cause: str, fix: str) -> None:
    found = diagnose.find_cause(diagnose.Ended(code=1, timed_out=False, out_of_memory=False, log=log), OTHER)
    blamed = "the pickle was made for Python 3.11.2, and the image has Python 3.12.11"
    if (cause, fix) == OTHER_PYTHON:
        assert found.text.startswith(blamed)
    else:
        assert blamed not in found.text
        assert cause in found.text


@pytest.mark.parametrize("box", [logs.HELP_BOX, logs.LOGGED_HELP_BOX], ids=["plain", "logged"])
def test_the_box_is_left_out_of_what_is_shown(box: str) -> None:
    log = logs.HEAD + "ERROR:root:Pickle function returned at least 1 NaN prediction\n" + box + logs.PRINTED
    shown = diagnose.format_excerpt([log], 12)
    assert shown == [
        *logs.HEAD.splitlines(),
        "ERROR:root:Pickle function returned at least 1 NaN prediction",
        shown[-1],
    ]
    assert shown[-1] == logs.PRINTED.strip()
    assert diagnose.format_excerpt(log.splitlines(), 2) == shown[-2:]
    assert diagnose.find_last_message(log) == "Pickle function returned at least 1 NaN prediction"


def test_a_traceback_is_shown_whole_with_what_it_follows_from() -> None:
    chain = logs.make_chained_traceback("TypeError: first", "TypeError: second")
    shown = diagnose.format_excerpt([logs.HEAD, "ERROR:root:reason\n", chain, logs.HELP_BOX], 3)
    assert shown == ["ERROR:root:reason", *(line for line in chain.splitlines() if line)]
    endless = "Traceback (most recent call last):\n" + "  a line\n" * 500 + "KeyError: 1"
    assert diagnose.format_excerpt([endless], 3) == ["  a line", "  a line", "KeyError: 1"]


def test_lines_between_two_rules_that_name_an_error_are_not_help() -> None:
    rule = "-" * 80
    log = f"{rule}\nERROR:root:Pickle function returned 0 predictions\n{logs.HELP_BOX}"
    assert diagnose.find_help_lines(log.splitlines()) == set(range(2, 2 + len(logs.HELP_BOX.splitlines())))
    assert diagnose.find_last_message(log) == "Pickle function returned 0 predictions"
    many = [rule, *["a line"] * 100, rule]
    assert diagnose.find_help_lines(many) == set()


def test_an_error_that_a_library_logs_or_a_model_catches_is_not_the_reason() -> None:
    noise = f"DEBUG:urllib3.pool:timeout=60 out of memory\n{logs.make_traceback('MemoryError: caught')}WARNING:x:timed out\n"
    log = logs.HEAD + noise + "ERROR:root:Pickle function returned at least 1 NaN prediction\n" + logs.HELP_BOX
    assert "returned NaN" in diagnose.explain_remote("failed", [], [log]).text
    ended = diagnose.Ended(code=1, timed_out=False, out_of_memory=False, log=log)
    assert "returned NaN" in diagnose.explain(ended, UNKNOWN)
    cut = diagnose.explain_remote("failed", [], [logs.HEAD, "DEBUG:x:timed out"])
    assert cut.text == "the tournament gives no reason, and the log ends without an error: DEBUG:x:timed out"


def test_a_description_from_the_log_is_read_as_the_log_is() -> None:
    said = "ERROR:root:Pickle function returned at least 1 NaN prediction"
    assert "returned NaN" in diagnose.explain_remote("failed", [said], []).text
    assert "returned NaN" in diagnose.explain_remote("failed", [f"{said}\n{logs.HELP_BOX}"], []).text


def test_an_abort_is_the_cause_where_nothing_else_is_named() -> None:
    def abort(log: str, *, twice: bool = False) -> diagnose.Cause:
        ended = diagnose.Ended(code=-6, timed_out=False, out_of_memory=False, log=log, aborted_twice=twice)
        return diagnose.find_cause(ended, UNKNOWN)

    assert "exit 134) without a whole CSV: terminate called" in abort(logs.HEAD + logs.ABORTED).text
    assert "exit 134) twice in a row" in abort(logs.HEAD + logs.ABORTED, twice=True).text
    assert "KeyError: 'x'" in abort(logs.HEAD + logs.make_traceback("KeyError: 'x'") + logs.ABORTED).text
    there = diagnose.explain_remote("failed", ["exit code 134"], [logs.HEAD, logs.ABORTED])
    assert "exit 134" in there.text
    assert "trigger it again" in there.fix
    named = diagnose.explain_remote(
        "failed", ["exit code 134"], [logs.make_refusal("Pickle function returned 0 predictions")]
    )
    assert "returned no rows" in named.text


def test_no_csv_after_exit_0_has_its_cause() -> None:
    assert "as `sys.exit` does" in diagnose.explain_no_csv(logs.HEAD).text
    disk = "OSError: [Errno 28] No space left on device"
    found = diagnose.explain_no_csv(logs.HEAD + f"ERROR:root:{disk[9:]}\n" + logs.make_traceback(disk))
    assert disk in found.text
    assert "make doctor" in found.fix


def test_what_a_log_says_comes_without_control_characters() -> None:
    log = logs.make_refusal("Pickle function is odd \x1b[2J")
    ended = diagnose.Ended(code=1, timed_out=False, out_of_memory=False, log=log)
    assert "\x1b" not in diagnose.explain(ended, UNKNOWN)
    assert "\x1b" not in diagnose.explain_remote("failed", [], [log]).text
