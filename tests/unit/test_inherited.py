"""What the tests' own processes inherit does not reach the processes that tests start."""

from __future__ import annotations

import subprocess
import sys

import hypothesis
import pytest

from tests.support import command

PROGRAM = """
import subprocess, sys
from tests import conftest
conftest.pytest_configure()
show = "import signal; print(signal.getsignal({0}) is not signal.SIG_IGN)"
print(subprocess.run([sys.executable, "-c", show.format(sys.argv[1])], stdout=subprocess.PIPE, text=True).stdout)
"""


@pytest.mark.parametrize("number", [1, 2, 3, 15])
def test_a_signal_that_is_ignored_here_is_not_ignored_there(number: int) -> None:
    shell = f"trap '' {number}; exec {sys.executable} -c \"$0\" {number}"
    done = subprocess.run(["sh", "-c", shell, PROGRAM], cwd=command.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_no_property_has_a_deadline() -> None:
    assert hypothesis.settings().deadline is None
