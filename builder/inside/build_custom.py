"""Build the pickle of a custom model, and check that building it again gives the same bytes.

The user's ``load`` runs during the build, and what it computes goes into the pickle, so it may differ by chance or by
CPU. ``build_pickle`` calls :func:`build_and_compare`, which starts these processes one after another:

1. build ``first.pkl``: ``python -B -m inside.build_custom OUT.pkl`` with a fixed hash seed and one thread;
2. load it without the user's modules, as the tournament does;
3. build ``second.pkl`` in the same way, but with numpy and OpenBLAS limited to what an old CPU has;
4. only if the bytes differ, build ``third.pkl`` like the first: if it equals the first, the CPU is the reason, else
   chance. The finding contains the first opcode that differs.

A build also writes ``OUT.pkl.json``: ``{"parameters": [names]}``, or ``{"error": message}`` if the code is wrong.
"""

from __future__ import annotations

import contextlib
import ctypes
import filecmp
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import random
import re
import resource
import subprocess
import sys
import uuid
import warnings
from pathlib import Path
from typing import Any

from . import build_warnings, custom, pickle_diff, serialize

_LIBC = ctypes.CDLL(None)
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _MAX_CAPABILITIES = 24, 38, 64  # linux/prctl.h, linux/capability.h
# Neither the memory (the engine limits it, and libraries reserve more than they use) nor the number of processes (which
# has no effect on root).
_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_CPU: 3600,  # seconds
    resource.RLIMIT_FSIZE: 4 << 30,
}
_FIXED_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # the order of sets of strings
    "PYTHONOPTIMIZE": "",  # with -OO functions would have no docstrings
    "OPENBLAS_NUM_THREADS": "1",  # the order in which BLAS adds numbers depends on the threads
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

# The tournament loads with pandas.read_pickle; plain pickle is faster and fails for the same missing modules.
_LOAD_SCRIPT = """
import os, pickle, sys
with open(sys.argv[1], "rb") as file:
    pickle.load(file)
os._exit(0)  # for the reason at the end of build_custom.py
"""


def build_and_compare(folder: Path) -> tuple[bytes, list[str], list[dict[str, Any]], list[str]]:
    """Return the pickle, its parameters' names, the findings, each ``{"file", "line", "text"}``, and what was printed.

    Raises:
        custom.CustomCodeError: The user's code cannot be made into a pickle.
    """
    out = folder / "out"
    out.mkdir(exist_ok=True)
    with contextlib.ExitStack() as cleanup:
        paths = [out / f".{name}.pkl" for name in ("first", "second", "third")]
        for path in paths:
            cleanup.callback(_remove, path)
        first, second, third = paths
        report, output = _build_in_process(folder, first, {})
        _check_loads(first)
        _build_in_process(folder, second, get_old_cpu_environment())
        findings = []
        if not filecmp.cmp(first, second, shallow=False):
            _build_in_process(folder, third, {})
            is_random = not filecmp.cmp(first, third, shallow=False)
            text = _describe_difference(first, third if is_random else second, is_random=is_random)
            findings = [{"file": custom.MAIN_FILE, "line": 1, "text": text}]
        return first.read_bytes(), report["parameters"], findings, output.splitlines()


def get_old_cpu_environment() -> dict[str, str]:
    """Return the environment variables with which numpy and OpenBLAS work as on an old CPU."""
    package = "numpy._core" if importlib.util.find_spec("numpy._core") else "numpy.core"  # renamed in numpy 2
    umath: Any = importlib.import_module(f"{package}._multiarray_umath")
    # https://numpy.org/devdocs/reference/simd/build-options.html: only features that numpy dispatches on and that this
    # CPU has can be disabled; any other name is an error.
    features = [name for name in getattr(umath, "__cpu_dispatch__", ()) if umath.__cpu_features__.get(name)]
    return {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": " ".join(features)}


def restrict_process() -> None:
    """Take from a new process what custom code has no use for, before it starts: capabilities and large files.

    The engine's builder has no option for any of this. The process keeps the user of the build, root, but the program
    that it starts gets no capability; without the permission to drop them, there are none that matter.
    """
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(_MAX_CAPABILITIES):
        _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    for limit, value in _LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value, value) if hard == resource.RLIM_INFINITY else (min(value, hard), hard))


def build_once(folder: Path, target: Path) -> None:
    """Build the pickle in this process and write it to ``target``.

    Raises:
        custom.CustomCodeError: The user's code cannot be made into a pickle.
    """
    header = (folder / "bundle" / "bundle.json").read_bytes()
    _fix_class_ids(hashlib.sha256(header).digest())
    _seed_generators()
    _show_deprecations([custom.MODULE_NAME, *json.loads(header).get("modules", ())])
    try:
        content, parameters = serialize.serialize_bundle(folder, Path(__file__).resolve().parent / "predict")
    except custom.CustomCodeError:
        raise
    except Exception as error:
        # cloudpickle's message contains the object that cannot be pickled, but not where it is from.
        raise custom.CustomCodeError(
            f"{custom.MAIN_FILE}: what load returns cannot be pickled: {type(error).__name__}: {error}; keep arrays, "
            "frames, numbers and functions, and open nothing that predict uses"
        ) from error
    target.write_bytes(content)
    _get_report_path(target).write_text(json.dumps({"parameters": parameters}))


def _build_in_process(folder: Path, target: Path, environment: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Build the pickle in a new process; return the content of its ``OUT.pkl.json``, and what it printed."""
    command = [sys.executable, "-B", "-m", f"{__package__}.build_custom", str(target)]
    environment = {**os.environ, **_FIXED_ENVIRONMENT, **environment}
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        preexec_fn=restrict_process,
    )
    output = result.stdout.decode(errors="replace")
    sys.stderr.write(output)  # into the log of the build
    path = _get_report_path(target)
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if "error" in report:
        raise custom.CustomCodeError(report["error"])
    if result.returncode or not report:  # code that calls sys.exit(0) leaves no report
        # Signal 9 is what the kernel sends when memory runs out.
        reason = "ran out of memory" if result.returncode == -9 else f"ended with exit {result.returncode}"
        raise custom.CustomCodeError(f"{custom.MAIN_FILE}: building the pickle {reason}; see its output above")
    return report, output


def _get_report_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _show_deprecations(modules: list[str]) -> None:
    """Make Python print the deprecation warnings of the user's modules, as it does for a program's main module."""
    pattern = rf"(?:{'|'.join(map(re.escape, modules))})\Z"
    warnings.filterwarnings("default", category=DeprecationWarning, module=pattern)


def _check_loads(path: Path) -> None:
    """Load a pickle in a new process, as the tournament does.

    Raises:
        custom.CustomCodeError: It cannot be loaded.
    """
    result = subprocess.run(
        [sys.executable, "-B", "-c", _LOAD_SCRIPT, path.name],
        cwd=path.parent,  # not the build folder: the user's modules must not be found here
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=restrict_process,
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit {result.returncode}"]
        raise custom.CustomCodeError(
            f"{custom.MAIN_FILE}: the pickle was built but cannot be loaded without your modules: {lines[-1]}; list "
            "all of your modules under `modules`"
        )


def _remove(path: Path) -> None:
    for file in (path, _get_report_path(path)):
        file.unlink(missing_ok=True)


def _seed_generators() -> None:
    """Give the global random generators a fixed state: a distribution of SciPy is pickled with that of numpy."""
    random.seed(0)
    np: Any = importlib.import_module("numpy")
    np.random.seed(0)


def _fix_class_ids(seed: bytes) -> None:
    """Replace the random ids that cloudpickle gives to classes with ids that depend on the bundle alone.

    See https://github.com/cloudpipe/cloudpickle/issues/510. Two pickles that are loaded in one process share the
    classes with the same id. That is right for pickles of one bundle and wrong for pickles of different bundles, so the
    ids are derived from ``seed``, the hash of the bundle.
    """
    counter = iter(range(1 << 30))

    def uuid4() -> uuid.UUID:
        return uuid.UUID(bytes=hashlib.sha256(seed + next(counter).to_bytes(8, "big")).digest()[:16], version=4)

    uuid.uuid4 = uuid4  # cloudpickle calls it as `uuid.uuid4().hex`


def _describe_difference(left_path: Path, right_path: Path, *, is_random: bool) -> str:
    with left_path.open("rb") as left, right_path.open("rb") as right:
        difference = pickle_diff.find_first_difference(left, right)
    details = "one ends before the other"
    if difference:
        details = f"first at byte {difference[0]}: {difference[1]} and {difference[2]}"
    if is_random:
        return (
            f"two builds of the pickle differ ({details}); seed random numbers and sort sets in load, or save what it "
            "computes to files/"
        )
    return (
        f"two builds of the pickle on different CPUs differ ({details}); compute it where you train and save it to "
        "files/, or compute it in predict"
    )


def main() -> int:
    """Build the pickle once and return the exit code."""
    folder = Path.cwd()
    # The user's code must import its own modules from code/, not one of the folders beside the bundle.
    sys.path[:] = [path for path in sys.path if path not in ("", str(folder))]
    warnings.formatwarning = build_warnings.format_warning
    logging.basicConfig(format="%(name)s: %(levelname)s: %(message)s")
    target = Path(sys.argv[1])
    try:
        build_once(folder, target)
    except custom.CustomCodeError as error:
        _get_report_path(target).write_text(json.dumps({"error": str(error)}))
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # If load has read a parquet file, pyarrow's threads sometimes abort the interpreter as it ends:
    # https://github.com/apache/arrow/issues/34314
    os._exit(code)
