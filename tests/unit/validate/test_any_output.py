"""Any bytes that come out of a container become predictions or a finding in one line, and never an error of ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.engine import protocol
from builder.validate import checks, container_run, scenarios
from tests.support import container_output

if TYPE_CHECKING:
    from collections.abc import Sequence

IDS = [f"n{row:015x}" for row in range(6)]
CSV = container_output.make_csv(IDS)
OUTPUT = container_output.make_entry(CSV)
# Parts of files that the readers treat in a special way.
PIECES = [
    b"\0",
    b"\n",
    b"\r",
    b",",
    b'"',
    b"\xff",
    b"\x1b[2J",
    b"nan",
    b"1e999",
    b"0_1",
    b"-1",
    b"id,prediction\n",
    b"n0,1\n",
]


def mutate(content: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy: any bytes, or ``content`` with some bytes replaced."""

    def replace(changes: Sequence[tuple[int, int, bytes]]) -> bytes:
        mutated = content
        for start, size, piece in changes:
            mutated = mutated[:start] + piece + mutated[start + size :]
        return mutated

    change = st.tuples(
        st.integers(0, len(content)), st.integers(0, 40), st.sampled_from(PIECES) | st.binary(max_size=9)
    )
    return st.binary(max_size=300) | st.lists(change, min_size=1, max_size=4).map(replace)


def read(output: bytes) -> container_run.ContainerRun:
    result = container_run.read_output(output, "", protocol.Exit(code=0, out_of_memory=False))
    assert result.problem.isprintable()
    assert len(result.problem) < 1000
    assert not (result.problem and result.files)
    return result


def judge(content: bytes) -> list[checks.Check]:
    results = checks.judge_csv(content, IDS)
    assert all(check.detail.isprintable() and len(check.detail) < 1000 for check in results)
    return results


@given(output=mutate(OUTPUT))
def test_any_output_is_read(output: bytes) -> None:
    result = read(output)
    if result.csv is not None:
        judge(result.csv)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda items: st.lists(items, max_size=3) | st.dictionaries(st.text(max_size=9), items, max_size=3),
    max_leaves=9,
)
file_reports = st.fixed_dictionaries(
    {
        "name": st.text(max_size=9),
        "kind": st.sampled_from(["file", "folder", "link", "other"]),
        "size": st.integers(0, 9),
    }
)


@given(
    report=json_values
    | st.fixed_dictionaries(
        {
            "format": st.just(1) | json_values,
            "peak_bytes": st.integers(0, 9) | json_values,
            "cpu_seconds": st.floats() | json_values,
            "count": st.integers(0, 200) | json_values,
            "files": st.lists(file_reports, max_size=3) | json_values,
        }
    ),
    lines=st.lists(st.binary(max_size=9) | st.just(b"AAAA"), max_size=4),
)
def test_any_report_is_read(report: Any, lines: list[bytes]) -> None:
    read(b"\n".join([json.dumps(report).encode(), *lines, b""]))


@pytest.mark.parametrize(
    "report", [b"[" * 100_000, b'{"a":' * 40_000, b"9" * 5000, b'{"format": 1e999}', b"\xef\xbb\xbf{}"]
)
def test_a_report_that_no_reader_can_parse_is_a_finding(report: bytes) -> None:
    assert read(report + b"\n").problem.startswith("the pickle changed what its container returns")


def test_more_files_than_are_listed_are_a_finding() -> None:
    files = [{"name": str(number), "kind": "file", "size": 0} for number in range(100)]
    problem = read(container_output.make(count=5000, files=files) + b"\n" * 100).problem
    assert problem == "the pickle left 5,000 files in the output folder; expected at most 100"


def test_files_of_the_same_name_are_a_finding() -> None:
    files = [{"name": "a", "kind": "file", "size": 3}] * 2
    assert "incomplete" in read(container_output.make(count=2, files=files) + b"AAAA\nAAAA\n").problem


@given(content=mutate(CSV))
def test_any_csv_is_judged(content: bytes) -> None:
    results = judge(content)
    if all(check.good for check in results):
        # The ids and valid numbers remain, however they are written.
        assert sum(content.count(name.encode()) for name in IDS) == len(IDS)


@given(content=st.binary(max_size=100), name=st.sampled_from(["0.f64", "0.txt", "1.f64"]), rows=st.integers(1, 12))
def test_any_file_is_read_as_predictions(content: bytes, name: str, rows: int) -> None:
    predictions = scenarios.read_predictions({name: content}, 0, rows)
    if isinstance(predictions, str):
        assert predictions.isprintable()
    else:
        assert predictions.dtype == np.float64
        assert len(predictions) == rows
        assert predictions.tobytes() == content
