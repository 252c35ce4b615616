"""Output on a terminal: the progress line, tables, colours and questions; and its absence without one."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.cli import terminal
from builder.text import escape_line
from tests.support import fork_server
from tests.support.command import ROOT, call, read_output, run

WORKING = """
import sys, time
from builder.cli import terminal
with terminal.progress() as progress:
    progress.step("making the pickle")
    progress.report_bytes(1_500_000, 3_000_000)
    time.sleep(float(sys.argv[1]))
    progress.note("a note that stays")
    progress.step("x" * 300)
print("the result")
"""


ERASED = "\r\x1b[2K"
"""Written before the progress line is drawn again, and when it is removed."""


def read_rest(leader: int) -> bytes:
    """Read a terminal until its other end is closed."""
    shown = b""
    with contextlib.suppress(OSError):  # Linux reports EIO when the other end is closed
        while chunk := os.read(leader, 4096):
            shown += chunk
    return shown


def make_environment(**changes: str) -> dict[str, str]:
    """Return environment variables as a terminal sets them."""
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"CI", "NO_COLOR", "COLUMNS", "LINES"}
    }
    return {**inherited, "TERM": "xterm-256color", **changes}


def run_on_terminal(
    program: str,
    *arguments: str,
    columns: int = 80,
    start: type[subprocess.Popen[Any]] = fork_server.Popen,
    **changes: str,
) -> tuple[str, str]:
    """Run a program whose standard error is a terminal; return what the terminal shows, and standard output."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, columns))
    with start(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env=make_environment(**changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
    ) as process:
        os.close(follower)
        shown = read_rest(leader)
        assert process.stdout is not None
        out = process.stdout.read()
    os.close(leader)
    assert process.returncode == 0, shown
    return shown.decode(), out


def test_an_error_is_printed_without_rich_and_typer() -> None:
    program = "import sys\nsys.modules |= dict.fromkeys(('rich', 'typer'))\nfrom builder.cli import main\n"
    shown, _ = run_on_terminal(program + "assert main.main(['status']) == 2", start=subprocess.Popen)
    assert shown.startswith("error: this command needs packages that are not installed")
    assert "Traceback" not in shown


def strip_escapes(text: str) -> str:
    """Remove colours and cursor movements from a text."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal_the_progress_line_is_drawn_and_removed(columns: int) -> None:
    shown, out = run_on_terminal(WORKING, "0.5", columns=columns)
    assert out == "the result\n"
    drawn = [strip_escapes(part) for part in shown.split(ERASED)]
    assert "making the pickle  0 s" in drawn
    assert any(part.startswith("making the pickle  1.5 MB of 3.0 MB  ") for part in drawn)
    assert any(part.startswith("a note that stays\r\n") for part in drawn)
    assert any(part.startswith("x" * (columns - 1) + "…") for part in drawn)
    # Only the note and the end begin a new line, and no line is so long that the terminal wraps it.
    assert max(len(line) for part in drawn for line in part.split("\r\n")) <= columns
    assert sum(part.count("\n") for part in drawn) == 2
    assert shown.endswith("\x1b[1A\x1b[2K")
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h"), "the cursor is shown again"


def test_the_progress_line_is_removed_before_a_result_is_printed() -> None:
    program = WORKING.replace('print("the result")', "").rstrip() + '\n    print("the result")\n    time.sleep(0.5)\n'
    program = program.replace("import sys, time", "import sys, time; sys.stdout = sys.stderr")
    shown, _ = run_on_terminal(program, "0.3")
    before, _, after = shown.partition("the result\r\n")
    assert before.endswith("\x1b[1A\x1b[2K")
    assert strip_escapes(after) == ""


def test_in_ci_there_is_no_progress_line_and_no_colour() -> None:
    assert run_on_terminal(WORKING, "0", CI="true") == ("a note that stays\r\n", "the result\n")


def test_help_without_a_terminal_has_no_colour_even_if_it_is_forced() -> None:
    _, out, _ = run("--help", GITHUB_ACTIONS="true", FORCE_COLOR="1")
    assert "Pipeline" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(("name", "coloured"), [("TERM", True), ("NO_COLOR", False), ("CI", False)])
def test_an_error_has_colour_if_the_terminal_has(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, coloured: bool
) -> None:
    for other in ("NO_COLOR", "CI"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert call("pikle") == 2
    _, err = read_output(capsys)
    assert ("\x1b[1;31merror:" in err) is coloured
    assert "error: no such command 'pikle'. Did you mean 'pickle'" in strip_escapes(err)


def test_closing_the_terminal_does_not_stop_the_work() -> None:
    leader, follower = pty.openpty()
    with fork_server.Popen(
        [sys.executable, "-c", WORKING, "0.5"],
        cwd=ROOT,
        env=make_environment(),
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
    ) as process:
        os.close(follower)
        os.close(leader)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "the result\n")


WAITING = """
import sys, time
from builder.cli import engine_session, main
def connect(progress, *, yes):
    progress.step("looking for an engine")
    time.sleep(60)
engine_session.connect = connect
sys.exit(main.main(["engine"]))
"""


def test_an_interrupt_removes_the_line_and_restores_the_cursor() -> None:
    leader, follower = pty.openpty()
    with fork_server.Popen(
        [sys.executable, "-c", WAITING], cwd=ROOT, env=make_environment(), stdin=subprocess.DEVNULL, stderr=follower
    ) as process:
        os.close(follower)
        shown = b""
        while b"looking for an engine" not in shown:
            shown += os.read(leader, 4096)
        process.send_signal(signal.SIGINT)
        shown += read_rest(leader)
    os.close(leader)
    assert process.returncode == 130
    text = shown.decode()
    assert text.partition("\x1b[1A\x1b[2K")[2] == "interrupted\r\n"
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


ASKING = """
import time
from builder.cli import confirmation, terminal
with terminal.progress() as progress:
    progress.step("asking again for the slots")
    time.sleep(0.3)
    confirmation.ask("Have it run nothing?", ["slot  staked"], yes=False)
"""


def test_the_progress_line_is_not_drawn_over_a_question() -> None:
    leader, follower = pty.openpty()
    with fork_server.Popen(
        [sys.executable, "-c", ASKING],
        cwd=ROOT,
        env=make_environment(),
        stdin=follower,
        stdout=follower,
        stderr=follower,
    ) as process:
        os.close(follower)
        shown = b""
        while b"[Y/n]" not in shown:
            shown += os.read(leader, 4096)
        time.sleep(0.5)
        os.write(leader, b"y\n")
        shown += read_rest(leader)
    os.close(leader)
    assert process.returncode == 0
    requests = shown.decode().split("asking again for the slots")[-1].partition("\x1b[1A\x1b[2K")[2]
    assert requests == "  slot  staked\r\nHave it run nothing? [Y/n] y\r\n"


def test_without_a_terminal_only_notes_are_printed() -> None:
    result = fork_server.run([sys.executable, "-c", WORKING, "0"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("the result\n", "a note that stays\n")


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("\n", True), ("y\n", True), ("YES\n", True), ("n\n", False), ("perhaps\n", False), ("", False)],
)
def test_a_question_is_answered_by_enter_yes_or_no(
    typed: str, monkeypatch: pytest.MonkeyPatch, *, answer: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert terminal.confirm("start it?") is answer


def test_the_columns_of_a_table_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table([("a", "bb", "last"), ("long", "b", ""), ("", "", "only")])
    assert read_output(capsys)[0] == "  a     bb  last\n  long  b\n            only\n"


IDENTITY = "9a5dd987-75e0-4bdb-8fce-6d8056bb268c"
HEAD = ("id", "file", "state", "image", "uploaded")
ROW = (IDENTITY, "a" * 40, "validated", "b" * 30, "1 hour ago")


def test_a_list_fits_the_terminal_and_keeps_ids_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.print_list(HEAD, [ROW])
    assert re.split("  +", capsys.readouterr().out.splitlines()[1].strip()) == list(ROW)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for columns in (60, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        terminal.print_list(HEAD, [ROW])
        lines = [strip_escapes(line) for line in capsys.readouterr().out.splitlines()]
        assert len(lines) == 2
        assert all(len(line) <= columns for line in lines)
        assert IDENTITY in lines[1]
        assert ("…" in lines[1]) is (columns < 200)
    monkeypatch.setenv("COLUMNS", "40")  # too narrow: the terminal wraps the lines, and no column is dropped
    terminal.print_list(HEAD, [ROW])
    assert re.search(rf"^  {IDENTITY}  a{{7,}}…  vali", strip_escapes(capsys.readouterr().out), re.MULTILINE)


def test_a_long_cell_of_a_table_is_wrapped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    terminal.print_table([("sha256", "0" * 64), ("post", "rank, then clip")])
    assert (
        strip_escapes(read_output(capsys)[0])
        == f"  sha256  {'0' * 30}\n          {'0' * 30}\n          0000\n  post    rank, then clip\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "coloured"),
    [("TERM", "xterm", True), ("TERM", "dumb", False), ("NO_COLOR", "1", False), ("CI", "true", False)],
)
def test_a_table_has_colour_if_the_terminal_has(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, coloured: bool
) -> None:
    for other in ("NO_COLOR", "CI"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stdout.isatty", lambda is_terminal=is_terminal: is_terminal)
        terminal.print_list(HEAD, [ROW])
        assert ("\x1b" in read_output(capsys)[0]) is (is_terminal and coloured)
        terminal.print_table([("FAILED", "rows")])
        assert ("\x1b" in read_output(capsys)[0]) is (is_terminal and coloured)


HOSTILE = ["\x1b[2J", "\x07", "\x9b31m", "\u202e", "\u2066", "\nvalid", "\r", "\x85", "\u2028", "\udcff", "a" * 9_000]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_everything_that_is_printed_is_escaped_and_short(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for write in (
        terminal.print_lines,
        terminal.show,
        terminal.put_error,
        lambda text: terminal.print_table([("name", text)]),
        lambda text: terminal.print_list(["name"], [[text]]),
        lambda text: terminal.print_json({"name": text[:100]}),
    ):
        write(text)
        shown = "".join(capsys.readouterr())
        assert shown.replace("\n", "").isprintable()
        assert len(shown) < 2_100
    terminal.print_lines(text)
    assert len(capsys.readouterr().out.splitlines()) == 1


@settings(max_examples=30)
@given(cell=st.text(max_size=20))
def test_untrusted_text_is_printed_literally_or_escaped(cell: str) -> None:
    for text in (cell, f"[red]{cell}[/red]", f":smile:{cell}\x1b[2J"):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            terminal.print_table([("a", text, "b")])
            terminal.print_list(("x", "y"), [(text, "b")])
        lines = out.getvalue().splitlines()
        assert len(lines) == 3
        assert escape_line(text).strip() in lines[0]
        assert escape_line(text).strip() in lines[2]
        assert out.getvalue().replace("\n", "").isprintable()
