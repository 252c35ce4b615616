"""Functions of the user's own: ``export(predict, "x.bundle.zip", sample=X)``.

The function's source goes into the bundle, and what it closes over as data; the rest is refused by name. The bundle is
run at once in a fresh process, where nothing of the notebook is, and has to predict what the function does. A function
``load(bundle)`` is taken as it is, with ``files=``.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from builder import errors, paths
from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.bundle.kinds import custom
from builder.bundle.storage import files as bundle_files
from builder.bundle.storage import tensors
from builder.export import conversion, frameworks, parity
from builder.export.function import private_text, trial
from builder.export.function import source as function_source
from builder.inside import collect_results
from builder.text import describe, format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from builder.export.conversion import Array

OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = None
"""Nothing is done to what a function returns unless it is asked for."""

_TRIED_ROWS = 500
_MOST_INT8 = 127
_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, kw_only=True)
class Options(frameworks.Options):
    """What ``export`` takes for a function.

    Attributes:
        kind: ``custom``, the one kind that there is.
        modules: Modules of the caller's own that the function uses, or their dotted names.
        files: Paths of the files that ``load(bundle)`` reads, or a mapping of their names in the bundle to paths.
    """

    kind: str = "custom"
    modules: Iterable[str | types.ModuleType] = ()
    files: Iterable[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]] = ()


class _Predict(Protocol):
    """Predicts float64 (rows,) from inputs, float64 (rows, n); its features come as ``dtype``."""

    def __call__(self, inputs: Array, *, dtype: str = "float64") -> Array: ...


def feature_names(_model: types.FunctionType, _options: Options) -> tuple[str, ...] | None:
    """Return None: a function does not say which columns it takes."""
    return None


def convert(model: types.FunctionType, given: conversion.InputSpec, options: Options) -> conversion.ConvertedModel:
    """Return a function as code, files and arrays.

    Raises:
        errors.ExportError: a part of it cannot be taken in, or it does not do by itself what it does here.
    """
    if options.kind != "custom":
        raise errors.ExportError(f'export: kind={options.kind!r}: a function is of kind "custom"')
    modules = function_source.module_sources(_modules(options.modules))
    sources = {name: content for name, (_, content) in modules.items()}
    files = _files(options.files)
    is_load = model.__name__ == "load" and list(inspect.signature(model).parameters) == ["bundle"]
    if is_load:
        written = function_source.write_load(model, sources)
    else:
        _check_parameters(model)
        if files:
            raise errors.ExportError(
                "export: files= are read by a function load(bundle) that returns predict; export that one, or close "
                "over what is in them"
            )
        written = function_source.write(model, sources)
    notes = list(written.notes)
    for name, path in files.items():
        notes += private_text.notes_of_file(path, name)
    for name, (_, source) in modules.items():
        notes += private_text.notes_of_source(source.decode(errors="replace"), name)
    contents: dict[str, bytes | Path] = {"code/model.py": written.text.encode(), **dict(modules.values())}
    contents |= {f"files/{name}": content for name, content in written.data.files.items()}
    contents |= {f"files/{name}": path for name, path in files.items()}
    made = bundle_model.Custom(
        files=contents,
        modules=tuple(sorted(modules)),
        arrays=written.data.arrays,
        parameters=sum(array.size for array in written.data.arrays.values()),
    )

    def alone(inputs: Array, *, dtype: str = "float64") -> Array:
        return _try(made, given, inputs, dtype=dtype)

    predict = alone if is_load else _caller(model, given)
    compared = _compare(predict, alone, given)
    _compare_whole(predict, given, model.__name__)
    return conversion.ConvertedModel(
        model=made,
        predict=predict,
        takes_missing=True,
        holes=_bears_holes(predict, given),
        facts={"framework": "python", "version": platform.python_version(), "function": model.__name__},
        notes=tuple(notes),
        compared=compared,
    )


def _check_parameters(function: types.FunctionType) -> None:
    taken = inspect.signature(function).parameters
    if len(taken) not in (1, 2) or any(one.kind not in _PLAIN for one in taken.values()):
        raise errors.ExportError(
            f"export: {function.__name__} takes ({', '.join(map(str, taken.values()))}); the tournament calls it with "
            "(live_features) or (live_features, live_benchmark_models)"
        )


def _listed(value: Any, name: str) -> list[Any]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise errors.ExportError(f"export: {name}={value!r}; expected a list")
    return list(value)


def _modules(value: Any) -> list[str]:
    """Return the dotted names of the modules that are taken in; they come as names or as the modules themselves."""
    names = []
    for one in _listed(value, "modules"):
        if not isinstance(one, (str, types.ModuleType)):
            raise errors.ExportError(f"export: modules: {one!r}; expected a module, or its dotted name")
        names.append(one if isinstance(one, str) else one.__name__)
        fault = custom.find_module_name_problem(names[-1])
        if fault is not None:
            raise errors.ExportError(f"export: modules: {fault}")
    return names


def _files(value: Any) -> dict[str, Path]:
    """Return the files by their names in the bundle; they come as a list of paths, or as a mapping from names."""
    given = _listed(value, "files")
    pairs = list(value.items()) if isinstance(value, Mapping) else [(None, one) for one in given]
    for name, path in pairs:
        if not isinstance(path, (str, os.PathLike)) or not isinstance(name, (str, type(None))):
            raise errors.ExportError(
                f'export: files: {path!r}; expected a list of paths, or a mapping {{"name": path, ...}}'
            )
    found = {Path(path).name if name is None else name: Path(path) for name, path in pairs}
    absent = [str(path) for path in found.values() if not path.is_file()]
    if absent:
        raise errors.ExportError(f"export: files: {format_list(absent)}: no such file")
    if len(found) < len(given):
        raise errors.ExportError('export: files: two have one name; pass {"name": path, ...}')
    # Here too, not only when the bundle is written: it is tried first, and its files are put in place for that.
    bad = [describe(name) for name in found if not bundle_files.is_extra_name(f"files/{name}")]
    if bad:
        raise errors.ExportError(
            f"export: files: {format_list(bad)}: cannot be named so in a bundle ({bundle_files.NAMING}); pass "
            '{"name": path, ...} with other names'
        )
    return found


def _caller(function: types.FunctionType, given: conversion.InputSpec) -> _Predict:
    """Return the function as it predicts here, from an array of inputs."""

    def predict(inputs: Array, *, dtype: str = "float64") -> Array:
        try:
            live, benchmarks = collect_results.to_frames(inputs, list(given.features), list(given.benchmarks))
            live = live.astype(dict.fromkeys(given.features, dtype))
            called: Array = collect_results.call_predict(function, live, benchmarks)
        except Exception as error:
            raise errors.ExportError(
                f"export: {function.__name__} fails on rows of the sample: {type(error).__name__}: {error}; it is "
                "called with frames as in the live data: features= and benchmark= say with which columns"
            ) from error
        return called

    return predict


def _compare(predict: _Predict, alone: _Predict, given: conversion.InputSpec) -> conversion.ParityResult | None:
    """Return how near the bundle, run by itself, is to the function; None where that predicts no finite numbers."""
    inputs = _tried(given)
    expected = predict(inputs)
    if not np.isfinite(expected).all():
        return None  # said by the caller, for all kinds
    # A second time too: a function that keeps a state agrees with its copy as long as both begin anew.
    again = [alone(inputs)] if predict is alone else [alone(inputs), predict(inputs)]
    difference = max(float(np.abs(one - expected).max()) for one in again)
    bound = prediction.compute_tolerance(expected)
    if not difference <= bound:
        raise errors.ExportError(
            f"export: saved, or run again, the function predicts up to {difference:.2g} away from what it predicted "
            f"first, {bound:.2g} is allowed: does it draw random numbers, keep a state, or was it edited after it ran?"
        )
    return conversion.ParityResult(rows=len(inputs), difference=difference, bound=bound)


def _tried(given: conversion.InputSpec) -> Array:
    """Return some of the rows of the sample that are asked for anyway: each process that predicts them is a new one."""
    rows = parity.checked(given.sample)
    return rows[:: math.ceil(len(rows) / _TRIED_ROWS)]


def _compare_whole(predict: _Predict, given: conversion.InputSpec, name: str) -> None:
    """Make sure that what live data has, int8, is predicted as a wider whole number is: no product leaves its range.

    Not as float64 is: a function may go on in float32 from either, and rank what was rounded in other ways.
    """
    inputs = _tried(given)
    features = inputs[:, : len(given.features)]
    inputs = inputs[~np.isnan(features).any(axis=1)]
    features = inputs[:, : len(given.features)]
    if not features.size or (features != np.rint(features)).any() or np.abs(features).max() > _MOST_INT8:
        return
    expected = predict(inputs, dtype="int16")
    if not np.isfinite(expected).all():
        return
    difference, bound = (
        float(np.abs(predict(inputs, dtype="int8") - expected).max()),
        prediction.compute_tolerance(expected),
    )
    if not difference <= bound:
        raise errors.ExportError(
            f"export: {name} predicts up to {difference:.2g} away from what it says when features come as int8, which "
            f"live data has, {bound:.2g} is allowed: numbers above {_MOST_INT8} do not fit in that type, and their "
            'sums and products go wrong in silence; begin with live_features[features].astype("float32")'
        )


def _bears_holes(predict: Callable[[Array], Array], given: conversion.InputSpec) -> bool:
    """Whether it predicts finite numbers where some inputs are missing."""
    inputs = given.sample[:: math.ceil(len(given.sample) / 64)].copy()
    random = np.random.default_rng(len(inputs))
    inputs[random.random(inputs.shape) < 0.05] = np.nan
    try:
        return bool(np.isfinite(predict(inputs)).all())
    except errors.ExportError:
        return False


def _try(model: bundle_model.Custom, given: conversion.InputSpec, inputs: Array, *, dtype: str) -> Array:
    """Return what the bundle predicts in a fresh process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        header = {"features": given.features, "benchmarks": given.benchmarks, "modules": model.modules, "dtype": dtype}
        (folder / "bundle.json").write_text(json.dumps(header))
        tensors.write(folder / "arrays.safetensors", model.arrays)
        np.save(folder / "inputs.npy", inputs)
        for file, content in model.files.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        done = subprocess.run(
            [sys.executable, "-B", "-P", trial.__file__, str(paths.inside_folder().parent), str(folder)],
            cwd=folder,
            env=dict(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
            raise errors.ExportError(f"export: the bundle was tried in a fresh process: {said}")
        predictions: Array = np.load(folder / "predictions.npy")
        return predictions
