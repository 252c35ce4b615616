"""Make the pickle of a custom model, and find out whether another make gives the same bytes.

Called by ``make``. The pickle is made in a fresh process with a fixed hash seed and one thread (``python -B -m
inside.build_custom OUT.pkl``), loaded in another one without the user's modules, and made again as an older CPU would. If
the two differ, a third make tells chance from the CPU, and the first opcode that differs is the finding.

``OUT.pkl.json`` gets ``{"parameters": [names]}``. Exit code 3: the user's code was refused; stderr says why.
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from . import custom, pickle_diff, serialize

REFUSED = 3
_STEADY = {
    "PYTHONHASHSEED": "0",
    "PYTHONOPTIMIZE": "",  # docstrings are part of functions
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

# Loads the pickle as the tournament does, but for pandas around it; no module of the user's is there.
_LOAD = """
import os, pickle, sys
with open(sys.argv[1], "rb") as file:
    pickle.load(file)
os._exit(0)
"""


def build(folder: Path) -> tuple[bytes, list[str], list[dict[str, Any]]]:
    """Return the pickle, the names of its parameters and the findings: ``{"file", "line", "text"}`` each.

    Raises:
        custom.CustomCodeError: the user's code cannot be made into a pickle.
    """
    out = folder / "out"
    out.mkdir(exist_ok=True)
    with contextlib.ExitStack() as undo:
        paths = [out / f".{name}.pkl" for name in ("first", "second", "third")]
        for path in paths:
            undo.callback(_remove, path)
        first, second, third = paths
        facts = _make(folder, first, {})
        _load(first)
        _make(folder, second, other_cpu())
        found = []
        if not filecmp.cmp(first, second, shallow=False):
            _make(folder, third, {})
            chance = not filecmp.cmp(first, third, shallow=False)
            found = [
                {
                    "file": custom.MAIN_FILE,
                    "line": 1,
                    "text": _describe(first, third if chance else second, chance=chance),
                }
            ]
        return first.read_bytes(), facts["parameters"], found


def other_cpu() -> dict[str, str]:
    """Return the environment in which numpy and its BLAS work as on a CPU that can do little."""
    package = "numpy._core" if importlib.util.find_spec("numpy._core") else "numpy.core"
    known: Any = importlib.import_module(f"{package}._multiarray_umath")
    able = [name for name in getattr(known, "__cpu_dispatch__", ()) if known.__cpu_features__.get(name)]
    return {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": " ".join(able)}


def once(folder: Path, target: Path) -> None:
    """Make the pickle in this process, into ``target``.

    Raises:
        custom.CustomCodeError: the user's code cannot be made into a pickle.
    """
    _fix_class_ids(hashlib.sha256((folder / "bundle" / "bundle.json").read_bytes()).digest())
    try:
        content, parameters = serialize.build(folder, Path(__file__).resolve().parent / "predict")
    except custom.CustomCodeError:
        raise
    except Exception as error:
        # cloudpickle names the object that cannot be pickled, and not whose it is.
        raise custom.CustomCodeError(
            f"{custom.MAIN_FILE}: what load returns cannot be pickled: {type(error).__name__}: {error}; keep arrays, "
            "frames, numbers and functions, and open nothing that predict uses"
        ) from error
    target.write_bytes(content)
    target.with_name(f"{target.name}.json").write_text(json.dumps({"parameters": parameters}))


def _make(folder: Path, target: Path, environment: dict[str, str]) -> dict[str, Any]:
    _run([sys.executable, "-B", "-m", f"{__package__}.build_custom", str(target)], folder, environment)
    facts: dict[str, Any] = json.loads(target.with_name(f"{target.name}.json").read_text())
    return facts


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **_STEADY, **environment}, stderr=subprocess.PIPE, check=False
    )
    said = done.stderr.decode(errors="replace")
    if done.returncode == REFUSED:
        raise custom.CustomCodeError(said.strip())
    sys.stderr.write(said)
    if done.returncode:
        how = "ran out of memory" if done.returncode == -9 else f"ended with {done.returncode}"
        raise custom.CustomCodeError(f"{custom.MAIN_FILE}: making the pickle {how}; what it printed is above")


def _load(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", _LOAD, path.name], cwd=path.parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise custom.CustomCodeError(
            f"{custom.MAIN_FILE}: the pickle was made and cannot be loaded without your modules: {lines[-1]}; list every "
            "module of yours under `modules`"
        )


def _remove(path: Path) -> None:
    for one in (path, path.with_name(f"{path.name}.json")):
        one.unlink(missing_ok=True)


def _fix_class_ids(seed: bytes) -> None:
    """Have cloudpickle, which gives every class a random id, give it one that comes from the bundle alone.

    Two pickles in one process share the classes of one id: those of one bundle may, those of two must not.
    """
    given = iter(range(1 << 30))

    def uuid4() -> uuid.UUID:
        return uuid.UUID(bytes=hashlib.sha256(seed + next(given).to_bytes(8, "big")).digest()[:16], version=4)

    uuid.uuid4 = uuid4


def _describe(one: Path, other: Path, *, chance: bool) -> str:
    with one.open("rb") as left, other.open("rb") as right:
        found = pickle_diff.find_first_difference(left, right)
    where = f"first at byte {found[0]}: {found[1]} and {found[2]}" if found else "one ends before the other"
    if chance:
        return f"two builds of the pickle differ ({where}); seed, sort or save to files/ what load computes by chance"
    return (
        f"two builds of the pickle on different CPUs differ ({where}); compute it where you train and save it to "
        "files/, or compute it in predict"
    )


def main() -> int:
    """Make the pickle once, and return the exit code."""
    folder = Path.cwd()
    # The folders beside the bundle are no modules of the user's.
    sys.path[:] = [path for path in sys.path if path not in ("", str(folder))]
    try:
        once(folder, Path(sys.argv[1]))
    except custom.CustomCodeError as refused:
        print(refused, file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Where load has read a parquet file, pyarrow's threads abort now and then while the interpreter ends.
    os._exit(code)
