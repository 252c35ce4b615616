"""Make the pickle of a model of the user's own, and find out whether another make gives the same bytes.

Called by ``make``. The pickle is made in a fresh process with a fixed hash seed and one thread (``python -B -m
inside.repeat OUT.pkl``), loaded in another one without the user's modules, and made again as an older CPU would. Where
the two differ, a third make tells chance from the CPU and notes the lines of the user's code that run while making;
those lines that can be the cause are the findings.

``OUT.pkl.json`` gets ``{"parameters": [names]}``, and from a third make ``"ran": {file: [lines]}``. Exit code 3: the
user's code was refused, and the reason is on stderr.
"""

from __future__ import annotations

import ast
import contextlib
import filecmp
import hashlib
import importlib
import importlib.util
import json
import os
import pickletools
import subprocess
import sys
import uuid
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from . import custom, pickled

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED = 3
_STEADY = {
    "PYTHONHASHSEED": "0",
    "PYTHONOPTIMIZE": "",  # docstrings are part of functions
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_MOST = 20

# Loads the pickle as the tournament does, but for pandas around it; no module of the user's is there.
_LOAD = """
import os, pickle, sys
with open(sys.argv[1], "rb") as file:
    pickle.load(file)
os._exit(0)
"""

_CHANCE = (
    "random",
    "uuid",
    "time",
    "secrets",
    "tempfile",
    "datetime",
    "date",
    "urandom",
    "getpid",
    "environ",
    "getenv",
)
_CHANCE_CALLS = ("id", "hash", "set", "frozenset", "default_rng", "now", "utcnow", "today", "object", "cwd", "getcwd")
_CPU_CALLS = (
    *(
        "dot",
        "matmul",
        "inner",
        "vdot",
        "tensordot",
        "einsum",
        "solve",
        "lstsq",
        "inv",
        "pinv",
        "svd",
        "qr",
        "cholesky",
    ),
    *("eig", "eigh", "norm", "exp", "expm1", "log", "log1p", "log2", "log10", "tanh", "sin", "cos", "power", "erf"),
    *("fit", "fit_transform", "transform", "predict", "corrcoef", "cov", "corr", "std", "var", "mean", "sum"),
)


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
            ran = _make(folder, third, {}, "--trace")["ran"]
            chance = not filecmp.cmp(first, third, shallow=False)
            where = _first_difference(first, third if chance else second)
            found = findings(folder / "bundle", ran, where, chance=chance)
        return first.read_bytes(), facts["parameters"], found


def other_cpu() -> dict[str, str]:
    """Return the environment in which numpy and its BLAS work as on a CPU that can do little."""
    package = "numpy._core" if importlib.util.find_spec("numpy._core") else "numpy.core"
    known: Any = importlib.import_module(f"{package}._multiarray_umath")
    able = [name for name in getattr(known, "__cpu_dispatch__", ()) if known.__cpu_features__.get(name)]
    return {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": " ".join(able)}


def findings(folder: Path, ran: dict[str, list[int]], where: str, *, chance: bool) -> list[dict[str, Any]]:
    """Return what in the lines that ran while making can be why two makes differ; at least one.

    Args:
        folder: The bundle's.
        ran: The lines that ran, by file.
        where: Where the two pickles part.
        chance: Whether two makes on one CPU differ already.
    """
    said: dict[tuple[str, int], str] = {}
    for file, lines in ran.items():
        tree = ast.parse((folder / file).read_bytes().decode("utf-8-sig"))
        for node in ast.walk(tree):
            name, line = _suspect(node, chance=chance), getattr(node, "lineno", 0)
            if name is not None and line in lines:
                said.setdefault((file, line), _said(name, chance=chance))
    if not said:
        why = "each time it is made" if chance else "from one CPU to another"
        text = f"the pickle comes out different {why} ({where}); make what load computes there a file or an array"
        said[custom.MAIN, min(ran.get(custom.MAIN, [1]))] = text
    return [{"file": file, "line": line, "text": text} for (file, line), text in sorted(said.items())][:_MOST]


def once(folder: Path, target: Path, *, trace: bool) -> None:
    """Make the pickle in this process, into ``target``.

    Raises:
        custom.CustomCodeError: the user's code cannot be made into a pickle.
    """
    ran: dict[str, set[int]] = {}
    _fix_class_ids(hashlib.sha256((folder / "bundle" / "bundle.json").read_bytes()).digest())
    if trace:
        sys.settrace(_tracer(ran))
    try:
        content, parameters = pickled.build(folder, Path(__file__).resolve().parent / "predict")
    except custom.CustomCodeError:
        raise
    except Exception as error:
        # cloudpickle names the object that cannot be pickled, and not whose it is.
        raise custom.CustomCodeError(
            f"{custom.MAIN}: what load returns cannot be pickled: {type(error).__name__}: {error}; keep arrays, "
            "frames, numbers and functions, and open nothing that predict uses"
        ) from error
    finally:
        sys.settrace(None)
    target.write_bytes(content)
    facts = {"parameters": parameters, "ran": {file: sorted(lines) for file, lines in ran.items()}}
    target.with_name(f"{target.name}.json").write_text(json.dumps(facts))


def _make(folder: Path, target: Path, environment: dict[str, str], *options: str) -> dict[str, Any]:
    _run([sys.executable, "-B", "-m", f"{__package__}.repeat", str(target), *options], folder, environment)
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
        raise custom.CustomCodeError(f"{custom.MAIN}: making the pickle {how}; what it printed is above")


def _load(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", _LOAD, path.name], cwd=path.parent, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise custom.CustomCodeError(
            f"{custom.MAIN}: the pickle was made and cannot be loaded without your modules: {lines[-1]}; list every "
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


def _tracer(ran: dict[str, set[int]]) -> Any:
    def trace(frame: Any, event: str, _argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith("<numerai-builder/code/"):
            return None
        if event == "line":
            file = name.removeprefix("<numerai-builder/").removesuffix(">")
            ran.setdefault(file, set()).add(frame.f_lineno)
        return trace

    return trace


def _suspect(node: ast.AST, *, chance: bool) -> str | None:
    """Return what to call a piece of code that can give another result in another make."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return None if chance else "`@`"
    if isinstance(node, (ast.Set, ast.SetComp)):
        return "a set" if chance else None
    if not isinstance(node, ast.Call):
        return None
    dotted = ast.unparse(node.func).split(".")
    if not chance:
        return f"`{'.'.join(dotted)}`" if dotted[-1] in _CPU_CALLS else None
    if dotted[-1] in _CHANCE_CALLS or any(part in _CHANCE for part in dotted):
        return f"`{'.'.join(dotted)}`"
    return None


def _said(name: str, *, chance: bool) -> str:
    if chance:
        return (
            f"{name} gives something else in every process, and its result is in the pickle: no two makes are the "
            "same; give it a fixed seed or a sorted list, or put the result into files/"
        )
    return (
        f"the last digits of {name} depend on the CPU, and they are in the pickle: another machine makes other bytes; "
        "compute it where you train and put the result into files/, or in predict"
    )


def _first_difference(one: Path, other: Path) -> str:
    """Say where two pickles part."""

    def operations(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
        # A frame says how long it is, so it differs wherever anything in it does.
        return ((code.name, argument) for code, argument, _ in pickletools.genops(file) if code.name != "FRAME")

    with one.open("rb") as left, other.open("rb") as right:
        for (name, first), (_, second) in zip(operations(left), operations(right), strict=False):
            if first != second:
                return f"first at {name} {repr(first)[:60]} against {repr(second)[:60]}"
    return "in its structure"


def main() -> int:
    """Make the pickle once, and return the exit code."""
    target, *options = sys.argv[1:]
    folder = Path.cwd()
    # The folders beside the bundle are no modules of the user's.
    sys.path[:] = [path for path in sys.path if path not in ("", str(folder))]
    try:
        once(folder, Path(target), trace="--trace" in options)
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
