"""What a person sees: the line that moves, tables, sizes, questions; nothing of it where nobody watches."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.cli import terminal
from tests.support.command import ROOT, said

WORKING = """
import sys, time
from builder.cli import terminal
with terminal.progress() as progress:
    progress.step("making the pickle")
    progress.amount(1_500_000, 3_000_000)
    time.sleep(float(sys.argv[1]))
    progress.note("a note that stays")
    progress.step("x" * 300)
print("the result")
"""


def rest_of(leader: int) -> bytes:
    """Return all that is still written to a terminal."""
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while chunk := os.read(leader, 4096):
            shown += chunk
    return shown


def test_on_a_terminal_one_line_moves_and_is_taken_away() -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WORKING, "0.5"], cwd=ROOT, stdout=subprocess.PIPE, stderr=follower, text=True
    ) as process:
        os.close(follower)
        shown = rest_of(leader)
        assert process.stdout is not None
        assert process.stdout.read() == "the result\n"
    os.close(leader)
    clear = "\r\x1b[K"
    parts = shown.decode().split(clear)
    assert "making the pickle  0 s" in parts
    assert any(part.startswith("making the pickle  1.5 MB of 3.0 MB  ") for part in parts)
    assert "a note that stays\r\n" in parts
    assert max(len(part) for part in parts) <= 112
    assert shown.decode().endswith(clear)


def test_a_result_takes_the_line_away_before_it_is_printed() -> None:
    program = WORKING.replace('print("the result")', "").rstrip() + '\n    print("the result")\n    time.sleep(0.5)\n'
    leader, follower = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", program, "0.3"], cwd=ROOT, stdout=follower, stderr=follower):
        os.close(follower)
        shown = rest_of(leader)
    os.close(leader)
    before, _, after = shown.decode().partition("the result\r\n")
    assert before.endswith("\r\x1b[K")
    assert after == "\r\x1b[K"


def test_a_terminal_that_is_closed_ends_no_work() -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", WORKING, "0.5"], cwd=ROOT, stdout=subprocess.PIPE, stderr=follower, text=True
    ) as process:
        os.close(follower)
        os.close(leader)
        out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "the result\n")


ASKING = """
import time
from builder.cli import consent, terminal
with terminal.progress() as progress:
    progress.step("asking again for the slots")
    time.sleep(0.3)
    consent.ask("Have it run nothing?", ["slot  staked"], yes=False)
"""


def test_nothing_is_drawn_over_a_question() -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", ASKING], cwd=ROOT, stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        shown = b""
        while b"[Y/n]" not in shown:
            shown += os.read(leader, 4096)
        time.sleep(0.5)
        os.write(leader, b"y\n")
        shown += rest_of(leader)
    os.close(leader)
    assert process.returncode == 0
    asked = shown.decode().split("asking again for the slots")[-1].partition("\r\x1b[K")[2]
    assert asked.startswith("  slot  staked\r\nHave it run nothing? [Y/n] y\r\n")


def test_where_nobody_watches_only_notes_are_said() -> None:
    done = subprocess.run([sys.executable, "-c", WORKING, "0"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("the result\n", "a note that stays\n")


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("\n", True), ("y\n", True), ("YES\n", True), ("n\n", False), ("perhaps\n", False), ("", False)],
)
def test_a_question_is_answered_by_enter_yes_or_no(
    typed: str, monkeypatch: pytest.MonkeyPatch, *, answer: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert terminal.confirm("start it?") is answer


@given(count=st.integers(0, 10**15))
def test_sizes_are_read_at_a_glance(count: int) -> None:
    number, unit = terminal.size(count).split()
    factor = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    assert float(number) <= 1000 or unit == "GB"
    assert abs(float(number) * factor - count) <= 0.05 * factor + 1e-9 * count


def test_columns_stand_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_table([("a", "bb", "last"), ("long", "b", ""), ("", "", "only")])
    assert said(capsys)[0] == "  a     bb  last\n  long  b\n            only\n"


def test_a_list_fits_the_terminal_and_keeps_ids_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = "9a5dd987-75e0-4bdb-8fce-6d8056bb268c"
    head, row = ("id", "file", "state", "image", "uploaded"), (identity, "a" * 40, "validated", "b" * 30, "1 hour ago")
    terminal.print_list(head, [row])
    assert capsys.readouterr().out.splitlines()[1].split("  ")[1:] == list(row)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    terminal.print_list(head, [row])
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert identity in lines[1]
    assert "…" in lines[1]
