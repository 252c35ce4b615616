"""Settings that the test process inherits do not reach the processes that tests start."""

from __future__ import annotations

import subprocess
import sys

import hypothesis

from tests.support import command

PROGRAM = """
import subprocess, sys
from tests import conftest
conftest.pytest_configure()
show = "import signal; print([n for n in (1, 2, 3, 15) if signal.getsignal(n) is signal.SIG_IGN])"
print(subprocess.run([sys.executable, "-c", show], stdout=subprocess.PIPE, text=True).stdout)
"""


def test_an_ignored_signal_is_not_ignored_in_child_processes() -> None:
    shell = f"trap '' 1 2 3 15; exec {sys.executable} -c \"$0\""
    result = subprocess.run(["sh", "-c", shell, PROGRAM], cwd=command.ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_hypothesis_has_no_deadline() -> None:
    assert hypothesis.settings().deadline is None
