"""Any bytes are read within the bounds: no exception, 512 MB beyond the file's own size, 20 s."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.validate.reading import read
from tests.support import bundles, clones
from tests.support import pickles as own_pickles

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = [path.read_bytes() for path in sorted((clones.ROOT / "tests" / "data" / "pickles").glob("*.pkl"))]
OPCODES = st.sampled_from([code for name in pickle.__all__ if isinstance(code := getattr(pickle, name), bytes)])
"""Every opcode by its constant in the pickle module."""
PARTS = st.sampled_from(
    [
        *(
            b"ccloudpickle.cloudpickle\nsubimport\n",
            b"ccloudpickle.cloudpickle\n_function_setstate\n",
            b"cos\nsystem\n",
        ),
        *(b"ctypes\nCodeType\n", b"ccloudpickle.cloudpickle\n_make_function\n", b"cbuiltins\ngetattr\n"),
        *(b"\x8c\x02os", b"K\x01", b"C\x02\x97\x00", b"K\x07" * 70, b"h\x00", b"q\x00", b"I12\n", b"S'\\x41\\q'\n"),
    ]
)


def check(content: bytes) -> None:
    reading = read.read_buffer(content)
    assert reading.size == len(content)
    assert reading.is_complete or reading.problems or reading.notes
    repr(reading)


@given(st.binary(max_size=300))
def test_random_bytes_are_read(content: bytes) -> None:
    check(content)
    check(b"\x80\x04" + content)


@settings(max_examples=300)
@given(st.lists(st.one_of(OPCODES, OPCODES, PARTS, st.binary(max_size=3)), max_size=60))
def test_random_opcodes_are_read(parts: list[bytes]) -> None:
    check(b"\x80\x04" + b"".join(parts) + b".")


@settings(max_examples=200)
@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 1100), st.binary(max_size=6)), max_size=4))
def test_mutated_pickles_are_read(content: bytes, edits: list[tuple[int, bytes]]) -> None:
    for position, replacement in edits:
        content = content[:position] + replacement + content[position + len(replacement) // 2 * 2 :]
    check(content)


def test_every_prefix_of_a_pickle_is_read() -> None:
    content = own_pickles.pickle_bundle(bundles.make_bundle(2))
    for end in range(0, len(content), 97):
        reading = read.read_buffer(content[:end])
        assert "truncated" in reading.problems[0].text or end == 0


BOMBS = {
    "memo": b"\x80\x04N" + b"".join(b"r%s" % (2 * index).to_bytes(4, "little") for index in range(5_000_000)) + b".",
    "calls": b"\x80\x04ca\nb\n" + b")R" * 3_000_000 + b".",
}
CHILD = """
import resource, sys
from pathlib import Path
from builder.validate.reading import read
folder = Path(sys.argv[1])
for path in sorted(folder.iterdir()):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + path.stat().st_size + (512 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))
    reading = read.read(path)
    print(path.name, reading.is_complete, reading.notes[0].text)
"""


def test_memory_is_bounded(tmp_path: Path) -> None:
    for name, content in BOMBS.items():
        (tmp_path / name).write_bytes(content)
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], cwd=clones.ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split(" the pickle has")[0] for line in lines] == [f"{name} False" for name in sorted(BOMBS)]
    assert all("too many objects" in line for line in lines)


def test_two_million_nested_tuples_are_read_or_noted() -> None:
    reading = read.read_buffer(b"\x80\x04)" + b"\x85" * 2_000_000 + b".")
    assert not reading.is_good
    assert reading.root == "tuple of 1" or "too many objects" in reading.notes[0].text  # a slow machine


class Command:
    """Runs a command when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize("protocol", range(6))
def test_what_follows_skipped_tuples_and_lists_of_numbers_is_read(protocol: int) -> None:
    pairs = [(number / 7, number, None) for number in range(300)]
    rows = [[number / 7] * 5 for number in range(300)]
    names = ["feature_able", "feature_baker"]
    value = [pairs, rows, tuple(pairs[0]), names, Command(), rows[200:], names, Command()]
    reading = read.read_buffer(pickle.dumps(value, protocol))
    assert (reading.is_complete, reading.root) == (True, "list of 8")
    assert reading.features == tuple(names)
    assert [danger.effect for danger in reading.dangers] == ["runs a command"] * 2
    assert sum(capture.size for capture in reading.captures) > 0.6 * reading.size


def test_a_memo_may_skip_indices() -> None:
    parts = [b"cos\nsystem\n", b"r\x07\x00\x00\x00", b"0K\x01\x94", b"h\x07S'x'\n\x85R."]
    reading = read.read_buffer(b"\x80\x04" + b"".join(parts))
    assert [danger.name for danger in reading.dangers] == ["os.system"]


def test_millions_of_small_objects_are_read_completely() -> None:
    value = [[(number / 7, number) for number in range(200_000)], [f"name {number}" for number in range(100_000)]]
    value += [[{"value": number, "left": None} for number in range(20_000)], [True] * 200_000]
    reading = read.read_buffer(pickle.dumps(value, 5))
    assert (reading.is_complete, reading.root) == (True, "list of 4")


def test_large_arrays_and_lists_of_numbers_are_read_completely(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    values = np.random.default_rng(1).random(1_000_000)
    path.write_bytes(pickle.dumps([values, values.tolist(), list(range(10**6))], protocol=5))
    reading = read.read(path)
    assert (reading.is_complete, reading.root) == (True, "list of 3")
    assert reading.captures[0].size > 0.99 * reading.size
