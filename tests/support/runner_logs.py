"""Logs in the format of the runner, recorded from the stand-in's runner.

The box of help has a text of its own, because the one of the published program is not known here. It contains error
messages, so that code that reads it as the reason of a failure fails its tests.
"""

from __future__ import annotations

HEAD = "INFO:root:Running numerai-predict: - Python 3.12\nINFO:root:Loading model /box/model.pkl\n"
_RULE = "-" * 80
HELP_BOX = f"""\
{_RULE}
Error? Any exception, such as a Segmentation fault or a timeout, is shown by:

    docker run -i --rm -v "$PWD:$PWD" IMAGE --debug --model $PWD/model.pkl

ValueError: this line is help too.
No module named 'help'

    [1] out of memory
    [2] unknown opcode
{_RULE}
"""
LOGGED_HELP_BOX = "".join(f"INFO:root:{line}\n" for line in HELP_BOX.splitlines())
PRINTED = "what the model printed: 7 errors, no exception\n"
"""Printed to standard output, which is flushed last, when the process ends."""
ABORTED = "terminate called without an active exception\n"


def make_traceback(last: str, file: str = "/tmp/cell.py", head: str = "") -> str:
    """Return a traceback that ends in an exception."""
    frames = (
        f'  File "/predict.py", line 90, in main\n    x = model(*args)\n        ^^^^^\n  File "{file}", line 7, in g\n'
    )
    return f"{head}Traceback (most recent call last):\n{frames}    y\n{last}\n"


def make_chained_traceback(first: str, last: str) -> str:
    """Return the log when pandas tries to load a pickle twice."""
    second = make_traceback(last, "/usr/lib/python3.12/site-packages/pandas/compat/pickle_compat.py")
    return f"{make_traceback(first)}\nDuring handling of the above exception, another exception occurred:\n\n{second}"


def make_refusal(reason: str, debug: str = "") -> str:
    """Return a log that ends in a refusal; ``debug`` is what ``--debug`` adds to it."""
    return f"{HEAD}ERROR:root:{reason}\n{debug}{HELP_BOX}"
