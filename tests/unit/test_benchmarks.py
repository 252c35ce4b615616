"""``make bench`` prints each row as it is measured, also if another benchmark fails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks import __main__ as bench
from benchmarks import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


def row(name: str, value: float) -> table.Row:
    return table.Row(name=name, against="(seconds)", value=value, unit="s", target=1.0, detail="once")


def test_a_benchmark_that_fails_is_a_row_and_the_others_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> Iterator[table.Row]:
        yield row("before", 0.25)
        assert "before  " in capsys.readouterr().out, "it is printed before the next one is measured"
        raise RuntimeError("a first line\nno bridge\x1b network")

    benchmarks = {"help": lambda: [row("good", 0.5)], "changed": fail, "validate": lambda: [row("after", 0.75)]}
    monkeypatch.setattr(bench, "find", benchmarks.__getitem__)
    assert bench.main(["help", "changed", "validate"]) == 1
    failed, after = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"changed +FAILED +RuntimeError: a first line \| no bridge\\x1b network", failed)
    assert re.fullmatch(r"after +\(seconds\) +0.75 s +<= 1 s +ok +once", after)
    assert bench.main(["help", "validate"]) == 0
    assert bench.main(["nothing"]) == 2


def test_a_missed_target_exits_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "find", lambda _: lambda: [row("slow", 1.01)])
    assert bench.main(["help"]) == 1
    assert "MISSED" in capsys.readouterr().out


def test_each_benchmark_exists() -> None:
    assert all(callable(bench.find(name)) for name in bench.BENCHMARKS)
