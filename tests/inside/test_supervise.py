"""Run a command as in a container: how it ended, what it used, and what it left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from builder import paths
from builder.engine import protocol
from builder.validate import container_run

SUPERVISE = paths.inside_folder() / "supervise.py"


def supervise(folder: Path, source: str, *, cwd: str = "/") -> container_run.ContainerRun:
    """Run Python code in ``folder/results``, under the script in a bare interpreter as in the image."""
    results = folder / "results"
    results.mkdir(exist_ok=True)
    source = f"import os; os.chdir({str(results)!r}) if {cwd == '/'} else None\n{source}"
    command = [sys.executable, "-I", "-S", "-W", "error", str(SUPERVISE), cwd, str(results)]
    result = subprocess.run(
        [*command, sys.executable, "-I", "-c", source], capture_output=True, check=False, stdin=subprocess.PIPE
    )
    end = protocol.Exit(code=result.returncode, out_of_memory=False)
    return container_run.read_output(result.stdout, result.stderr.decode("utf-8", "replace"), end)


def test_files_and_figures_are_returned(tmp_path: Path) -> None:
    content = bytes(range(256)) * 2000
    source = "open('b', 'wb').write(bytes(range(256)) * 2000); open('a', 'w').close(); print('printed')"
    result = supervise(tmp_path, source)
    assert (result.exit.code, result.problem, result.log) == (0, "", "printed\n")
    assert result.files == {"a": b"", "b": content}
    assert result.usage.cpu_seconds is not None
    assert result.usage.cpu_seconds > 0


def test_no_files_are_no_problem(tmp_path: Path) -> None:
    result = supervise(tmp_path, "pass")
    assert (result.problem, result.files) == ("", {})


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError('reason')", 1),
        ("import signal; os.kill(os.getpid(), signal.SIGSEGV)", 128 + signal.SIGSEGV),
        ("import signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
    ],
)
def test_it_ends_as_the_command_does(tmp_path: Path, source: str, code: int) -> None:
    result = supervise(tmp_path, f"open('a', 'w').write('x')\n{source}")
    assert result.exit.code == code
    assert result.files == {"a": b"x"}


def test_a_command_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(SUPERVISE), "/", str(tmp_path), "absent"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (127, "")
    assert result.stderr == "cannot run absent: [Errno 2] No such file or directory: 'absent'\n"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("os.symlink('/etc/hosts', 'a.csv')", "the pickle left a link in the output folder: 'a.csv'"),
        ("os.mkdir('a')", "the pickle left a folder in the output folder: 'a'"),
        ("os.mkfifo('a')", "the pickle left something that is not a file in the output folder: 'a'"),
        ("open('a', 'w').truncate(5 << 30)", "the pickle left files of 5,368,709,120 bytes in the output folder"),
        ("[open(str(n), 'w').close() for n in range(500)]", "the pickle left 500 files in the output folder"),
        ("open(b'\\xff\\x1b', 'w').close(); os.mkdir('z')", "a folder in the output folder: 'z'"),
    ],
)
def test_anything_but_files_is_a_problem(tmp_path: Path, source: str, problem: str) -> None:
    result = supervise(tmp_path, source)
    assert problem in result.problem
    assert not result.files


def test_a_killed_supervisor_returns_nothing(tmp_path: Path) -> None:
    result = supervise(tmp_path, "import signal; os.kill(os.getppid(), signal.SIGKILL)")
    assert result.problem == "the pickle ended the process that returns its predictions"


def test_the_peak_is_that_of_the_command(tmp_path: Path) -> None:
    """The memory was freed before the command ended."""
    peak = supervise(tmp_path, "held = b'x' * (300 << 20); del held").usage.peak_bytes
    assert peak is not None
    assert 300 << 20 < peak < 360 << 20


def test_cpu_time_does_not_include_waiting(tmp_path: Path) -> None:
    busy = supervise(tmp_path, "import time\nwhile time.process_time() < 0.5: pass").usage.cpu_seconds
    asleep = supervise(tmp_path, "import time; time.sleep(0.5)").usage.cpu_seconds
    assert busy is not None
    assert asleep is not None
    assert busy >= 0.5
    assert asleep < busy


def test_a_command_has_no_input_and_its_folder(tmp_path: Path) -> None:
    result = supervise(tmp_path, "import sys; print(repr(sys.stdin.read()), os.getcwd())", cwd=str(tmp_path))
    assert result.log == f"'' {os.fspath(tmp_path)}\n"
