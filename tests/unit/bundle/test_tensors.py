"""Arrays written and read back by both readers, ours and the library's, with any memory layout."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from builder import paths
from builder.bundle.storage import tensors
from builder.inside import tensors as inside_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

LAYOUTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "as it is": lambda array: array,
    "Fortran": np.asfortranarray,
    "transposed": lambda array: array.T,
    "reversed": lambda array: array[::-1] if array.ndim else array,
    "every other": lambda array: array[..., ::2] if array.ndim else array,
    "broadcast": lambda array: np.broadcast_to(array, (3, *array.shape)),
    "read only": lambda array: np.frombuffer(array.tobytes(), dtype=array.dtype).reshape(array.shape),
    "at an odd address": lambda array: np.frombuffer(b"\0" + array.tobytes(), array.dtype, offset=1),
}
ARRAYS: st.SearchStrategy[NDArray[Any]] = hnp.arrays(
    dtype=st.sampled_from([np.dtype(f"{order}{code}") for code in ("f4", "f8", "i4", "u1") for order in "<>"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
NAMED = st.dictionaries(st.text(max_size=4), st.tuples(ARRAYS, st.sampled_from(sorted(LAYOUTS))), max_size=4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tensors") / "arrays.safetensors"


@given(named=NAMED.filter(lambda named: "__metadata__" not in named))
def test_written_arrays_read_back_by_both_readers(named: dict[str, tuple[NDArray[Any], str]], path: Path) -> None:
    arrays = {name: LAYOUTS[layout](array) for name, (array, layout) in named.items()}
    tensors.write(path, arrays)
    raw = path.read_bytes()
    ours, theirs = inside_tensors.read(path), safetensors.numpy.load_file(path)
    assert list(ours) == sorted(arrays)
    assert theirs.keys() == arrays.keys()
    for name, array in arrays.items():
        for back in (ours[name], theirs[name]):
            assert back.dtype == array.dtype.newbyteorder("=")
            assert back.dtype.isnative
            assert back.shape == (array.shape or (1,))
            assert back.flags.c_contiguous
            assert back.tobytes() == array.astype(back.dtype).tobytes()
        assert ours[name].flags.writeable
        assert ours[name].base is None or ours[name].base.flags.owndata
    tensors.write(path, {name: np.array(array) for name, array in reversed(arrays.items())})
    assert path.read_bytes() == raw


@given(named=st.dictionaries(st.text(max_size=4), ARRAYS, max_size=4), seed=st.integers(0, 9))
def test_files_of_the_library_are_read_the_same(named: dict[str, NDArray[Any]], seed: int, path: Path) -> None:
    plain = {name: np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))) for name, array in named.items()}
    safetensors.numpy.save_file(plain, path, metadata={"seed": str(seed)})
    back = inside_tensors.read(path)
    assert back.keys() == plain.keys()
    for name, array in plain.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_the_bytes_are_the_same_in_another_process(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import numpy as np; from builder.bundle.storage import tensors; "
        "tensors.write(Path(sys.argv[1]), {name: np.arange(6, dtype=kind).reshape(2, 3).T "
        "for name in 'cab' for kind in ['float64']} | {'z': np.ones(3, 'uint8'), 'a b': np.float32([1])})"
    )
    seen = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", program, str(path)]
        subprocess.run(command, cwd=paths.inside_folder().parents[1], env={"PYTHONHASHSEED": seed}, check=True)
        seen.add(hashlib.sha256(path.read_bytes()).hexdigest())
    arrays: dict[str, Any] = {name: np.arange(6.0).reshape(2, 3).T for name in "abc"}
    tensors.write(path, {"a b": np.array([1], "<f4"), "z": np.ones(3, "uint8"), **arrays})
    seen.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(seen) == 1


def test_a_file_that_ends_early_is_no_array_in_the_image(path: Path) -> None:
    tensors.write(path, {"a": np.arange(4.0)})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="cannot reshape array of size 3"):
        inside_tensors.read(path)
