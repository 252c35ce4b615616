"""Each message of the runner has one cause and one fix, the same for a run here and for the API's log."""

from __future__ import annotations

import pytest

from builder.validate import diagnose, known_causes, runner_log
from tests.support import runner_logs as logs

UNKNOWN = diagnose.RunConditions(seconds=600, memory=4 << 30, python="3.12.11", built_on=None)
OTHER = diagnose.RunConditions(seconds=600, memory=4 << 30, python="3.12.11", built_on="3.11.2")
CODE = "TypeError: code() argument 13 must be str, not int"
CODE_10 = "TypeError: code expected at most 16 arguments, got 18"
PR_63 = (
    "Pickle could not be loaded in Python 3.12. It was likely created with a different Python version. Dump it again."
)
ISSUBCLASS = "TypeError: issubclass() arg 1 must be a class"
NONE_TYPE = "unsupported operand type(s) for +: 'NoneType' and 'int'"
NO_COLUMNS = "IndexError: single positional indexer is out-of-bounds"
PANDAS_FILE = "/usr/local/lib/python3.12/site-packages/pandas/core/indexing.py"

OTHER_PYTHON = ("another Python or numpy", "make pickle")
RETURN = "return a DataFrame with one column `prediction`"
BUNDLE = "build it from a bundle"

# The log, and what the cause and the fix contain.
REFUSED = [
    (logs.make_refusal("Pickle function is invalid - returned None"), "returned None", RETURN),
    (
        logs.make_refusal("Pickle function is invalid - returned <class 'pandas.core.series.Series'> and no DataFrame"),
        "returned pandas.core.series.Series, not exactly a pandas DataFrame",
        RETURN,
    ),
    (logs.make_refusal("Pickle function returned 0 predictions"), "returned no rows", RETURN),
    (
        logs.make_refusal("Pickle function returned at least 1 NaN prediction"),
        "returned NaN",
        "in rows without a benchmark model",
    ),
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
    (logs.make_refusal("Invalid pickle - pickle data was truncated"), "empty or truncated", "build it again"),
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
        (
            f"{logs.HEAD}ERROR:root:{ISSUBCLASS[11:]}\n{logs.make_chained_traceback(CODE, ISSUBCLASS)}"
            f"ERROR:root:{PR_63}\n{logs.HELP_BOX}"
        ),
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
    (
        logs.make_refusal("'feature_a'", logs.make_traceback("KeyError: 'feature_a'")),
        "reads the feature feature_a",
        "data_version",
    ),
    (logs.make_refusal(f"Pickle function is invalid - {NONE_TYPE}"), NONE_TYPE, ""),
    (
        logs.make_refusal(f"Pickle function is invalid - {NONE_TYPE}", logs.make_traceback(f"TypeError: {NONE_TYPE}")),
        NONE_TYPE,
        "",
    ),
    (logs.make_refusal("unknown opcode", logs.make_traceback("SystemError: unknown opcode")), *OTHER_PYTHON),
    (logs.make_refusal(NO_COLUMNS[12:], logs.make_traceback(NO_COLUMNS, PANDAS_FILE)), "without columns", RETURN),
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
# Failures without the box of help, which the runner does not expect.
UNEXPECTED = [
    (
        logs.HEAD
        + logs.make_traceback("AttributeError: Can't get attribute 'predict' on <module '__main__' from '/p.py'>"),
        "'predict' of the module '__main__'",
        BUNDLE,
    ),
    (logs.HEAD + logs.make_traceback("EOFError: Ran out of input"), "empty or truncated", "build it again"),
    (logs.HEAD + logs.make_traceback("ValueError: unsupported pickle protocol: 6"), *OTHER_PYTHON),
    (logs.HEAD + logs.make_traceback("ValueError: bad marshal data (unknown type code)"), *OTHER_PYTHON),
    (logs.HEAD + logs.make_traceback("TypeError: {} is not a callable object"), "{}, which is not a function", "dump"),
    ("ERROR:root:Local dataset not found - /box/live.parquet\n", "live data that the run was given", "run it again"),
    (logs.make_traceback("TypeError: int() argument must be a string, not 'NoneType'"), "TypeError: int()", ""),
]
CASES = [*REFUSED, *UNEXPECTED]


@pytest.mark.parametrize("end", ["", logs.PRINTED], ids=["alone", "printed"])
@pytest.mark.parametrize(("log", "cause", "fix"), CASES)
def test_the_cause_is_the_same_here_and_there(log: str, cause: str, fix: str, end: str) -> None:
    local = diagnose.find_cause(diagnose.RunEnd(code=1, timed_out=False, out_of_memory=False, log=log + end), UNKNOWN)
    assert cause in local.text
    assert fix in local.fix
    assert local.fix
    remote = diagnose.explain_remote("failed", [], (log + end).splitlines())
    assert cause in remote.text
    assert fix in remote.fix
    assert diagnose.explain_remote("failed", [], [log + end]) == remote  # in one message
    assert diagnose.explain_remote("model_failed", ["Model failed", "-" * 80], [log + end]).text == remote.text
    for text in (str(local), str(remote)):
        assert "----" not in text
        assert "\n" not in text
        assert "help" not in text


@pytest.mark.parametrize(("log", "cause", "fix"), REFUSED)
def test_the_reason_is_read_even_if_the_process_died_after_it(log: str, cause: str, fix: str) -> None:
    for code in (-6, 134, -11):
        run_end = diagnose.RunEnd(code=code, timed_out=False, out_of_memory=False, log=log + logs.ABORTED)
        cause_found = diagnose.find_cause(run_end, UNKNOWN)
        assert cause in cause_found.text
        assert fix in cause_found.fix
        assert "aborted" not in cause_found.text


@pytest.mark.parametrize(("log", "cause", "fix"), CASES)
def test_another_python_is_only_blamed_for_its_own_failures(log: str, cause: str, fix: str) -> None:
    cause_found = diagnose.find_cause(diagnose.RunEnd(code=1, timed_out=False, out_of_memory=False, log=log), OTHER)
    blamed = "the pickle was built for Python 3.11.2, but the image has Python 3.12.11"
    if (cause, fix) == OTHER_PYTHON:
        assert cause_found.text.startswith(blamed)
    else:
        assert blamed not in cause_found.text
        assert cause in cause_found.text


@pytest.mark.parametrize("box", [logs.HELP_BOX, logs.LOGGED_HELP_BOX], ids=["plain", "logged"])
def test_the_box_of_help_is_not_shown(box: str) -> None:
    log = logs.HEAD + "ERROR:root:Pickle function returned at least 1 NaN prediction\n" + box + logs.PRINTED
    shown = runner_log.format_excerpt([log], 12)
    assert shown == [
        *logs.HEAD.splitlines(),
        "ERROR:root:Pickle function returned at least 1 NaN prediction",
        shown[-1],
    ]
    assert shown[-1] == logs.PRINTED.strip()
    assert runner_log.format_excerpt(log.splitlines(), 2) == shown[-2:]
    assert runner_log.find_last_message(log) == "Pickle function returned at least 1 NaN prediction"


def test_a_traceback_is_shown_whole_with_the_exceptions_before_it() -> None:
    chain = logs.make_chained_traceback("TypeError: first", "TypeError: second")
    shown = runner_log.format_excerpt([logs.HEAD, "ERROR:root:reason\n", chain, logs.HELP_BOX], 3)
    assert shown == ["ERROR:root:reason", *(line for line in chain.splitlines() if line)]
    endless = "Traceback (most recent call last):\n" + "  a line\n" * 500 + "KeyError: 1"
    assert runner_log.format_excerpt([endless], 3) == ["  a line", "  a line", "KeyError: 1"]


def test_lines_between_two_rules_with_an_error_are_not_help() -> None:
    rule = "-" * 80
    log = f"{rule}\nERROR:root:Pickle function returned 0 predictions\n{logs.HELP_BOX}"
    assert runner_log.find_help_lines(log.splitlines()) == set(range(2, 2 + len(logs.HELP_BOX.splitlines())))
    assert runner_log.find_last_message(log) == "Pickle function returned 0 predictions"
    long_box = [rule, *["a line"] * 100, rule]
    assert runner_log.find_help_lines(long_box) == set()


def test_errors_that_a_library_logs_or_a_model_catches_are_not_the_reason() -> None:
    caught = logs.make_traceback("MemoryError: caught")
    noise = f"DEBUG:urllib3.pool:timeout=60 out of memory\n{caught}WARNING:x:timed out\n"
    log = logs.HEAD + noise + "ERROR:root:Pickle function returned at least 1 NaN prediction\n" + logs.HELP_BOX
    assert "returned NaN" in diagnose.explain_remote("failed", [], [log]).text
    run_end = diagnose.RunEnd(code=1, timed_out=False, out_of_memory=False, log=log)
    assert "returned NaN" in diagnose.explain(run_end, UNKNOWN)
    cut = diagnose.explain_remote("failed", [], [logs.HEAD, "DEBUG:x:timed out"])
    assert cut.text == "the tournament gives no reason, and the log ends without an error: DEBUG:x:timed out"


def test_a_description_is_parsed_like_the_log() -> None:
    description = "ERROR:root:Pickle function returned at least 1 NaN prediction"
    assert "returned NaN" in diagnose.explain_remote("failed", [description], []).text
    assert "returned NaN" in diagnose.explain_remote("failed", [f"{description}\n{logs.HELP_BOX}"], []).text


def test_an_abort_is_the_cause_if_the_log_has_no_error() -> None:
    def explain_abort(log: str, *, twice: bool = False) -> known_causes.Cause:
        run_end = diagnose.RunEnd(code=-6, timed_out=False, out_of_memory=False, log=log, aborted_twice=twice)
        return diagnose.find_cause(run_end, UNKNOWN)

    assert "exit 134) before its CSV was complete: terminate called" in explain_abort(logs.HEAD + logs.ABORTED).text
    assert "exit 134) twice in a row" in explain_abort(logs.HEAD + logs.ABORTED, twice=True).text
    assert "KeyError: 'x'" in explain_abort(logs.HEAD + logs.make_traceback("KeyError: 'x'") + logs.ABORTED).text
    remote = diagnose.explain_remote("failed", ["exit code 134"], [logs.HEAD, logs.ABORTED])
    assert "exit 134" in remote.text
    assert "trigger it again" in remote.fix
    other = diagnose.explain_remote(
        "failed", ["exit code 134"], [logs.make_refusal("Pickle function returned 0 predictions")]
    )
    assert "returned no rows" in other.text


def test_exit_0_without_a_csv_is_explained() -> None:
    assert "as `sys.exit` does" in diagnose.explain_no_csv(logs.HEAD).text
    disk = "OSError: [Errno 28] No space left on device"
    cause_found = diagnose.explain_no_csv(logs.HEAD + f"ERROR:root:{disk[9:]}\n" + logs.make_traceback(disk))
    assert disk in cause_found.text
    assert "make doctor" in cause_found.fix


def test_control_characters_in_a_log_are_removed() -> None:
    log = logs.make_refusal("Pickle function is odd \x1b[2J")
    run_end = diagnose.RunEnd(code=1, timed_out=False, out_of_memory=False, log=log)
    assert "\x1b" not in diagnose.explain(run_end, UNKNOWN)
    assert "\x1b" not in diagnose.explain_remote("failed", [], [log]).text
