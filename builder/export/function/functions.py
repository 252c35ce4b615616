"""Export Python functions: ``export(predict, "x.bundle.zip", sample=X)``.

The bundle contains the function's source and that of what it uses, and the data and models that it closes over. It is
then run in a new process, without the notebook's state, where it must predict what the function does. A function
``load(bundle)`` that returns the predicting function may also read files, which ``files=`` lists.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import platform
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle import prediction
from builder.export import arguments, conversion, frameworks, parity
from builder.export.function import included, objects, outside, packages, privacy
from builder.export.function import source as function_source
from builder.export.function.process import TrialProcess
from builder.inside import predict_inputs
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from builder.export.conversion import Array

OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = None
"""No rank by default: a function returns its final predictions."""

_TRIAL_ROWS = 500
"""Rows that a new process predicts, which takes longer than here."""
_MAX_INT8 = 127


@dataclass(frozen=True, kw_only=True)
class FunctionOptions(frameworks.Options):
    """The options of a function.

    Attributes:
        kind: ``custom``, the only kind of functions.
        modules: The user's modules that the function imports, or their dotted names.
        files: Paths of the files that ``load(bundle)`` reads, or a mapping of their names in the bundle to paths.
    """

    kind: str = "custom"
    modules: Iterable[str | types.ModuleType] = ()
    files: Iterable[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]] = ()


OPTIONS = FunctionOptions


class _PredictFunction(Protocol):
    """Predicts float64 (rows,) from inputs float64 (rows, n), whose features are converted to ``dtype`` first."""

    def __call__(self, inputs: Array, *, dtype: str = "float64") -> Array: ...


def feature_names(_model: Callable[..., Any], _options: FunctionOptions) -> tuple[str, ...] | None:
    """Return None: a function does not know its columns."""
    return None


def convert(
    model: Callable[..., Any], spec: conversion.InputSpec, options: FunctionOptions
) -> conversion.ConvertedModel:
    """Convert a function to code, files and arrays.

    Raises:
        errors.ExportError: A bundle cannot contain a part of it, or it predicts something else in a new process.
    """
    if options.kind != "custom":
        raise arguments.invalid_value(options.kind, "kind", "'custom', the only kind of functions")
    modules = included.read_modules(included.parse_modules(options.modules))
    files = included.parse_files(options.files)
    name = function_source.describe(model)
    is_load = inspect.isfunction(model) and list(inspect.signature(model).parameters) == ["bundle"]
    if isinstance(model, types.FunctionType) and is_load:
        generated = function_source.generate_load(model, modules)
    else:
        if files:
            raise errors.ExportError(
                "export: files= requires a function load(bundle) that reads them and returns the predicting function; "
                "export load itself, or close over the contents"
            )
        generated = function_source.generate(model, modules)
    findings = generated.findings
    for file, path in files.items():
        findings.notes += privacy.check_file(path, file)
    added = sorted(generated.modules.keys() - modules.keys())
    if added:
        findings.notes.append(f"includes your modules {format_list(added)}")
        findings.causes += [
            f"your module {module} is run again from its file, without what was changed in it since" for module in added
        ]
    modules = dict(generated.modules)
    for module, (_, source) in modules.items():
        text = source.decode(errors="replace")
        findings.notes += privacy.check_source(text, module)
        findings.add_source(text, module, modules)
    contents: dict[str, bytes | Path] = {"code/model.py": generated.text.encode(), **dict(modules.values())}
    contents |= {f"files/{name}": content for name, content in generated.data.files.items()}
    contents |= {f"files/{name}": path for name, path in files.items()}
    _check_size(contents, generated.data.arrays)
    custom_model = bundle_model.Custom(
        files=contents,
        modules=tuple(sorted(modules)),
        arrays=generated.data.arrays,
        parameters=sum(array.size for array in generated.data.arrays.values()),
    )
    with contextlib.ExitStack() as processes:
        alone = TrialProcess(custom_model, spec, generated)
        processes.callback(alone.close)
        function = _FunctionPredict(model, spec, _find_captured_frames(generated)) if not is_load else None
        predict: _PredictFunction = function or alone.predict
        if is_load:
            another = TrialProcess(custom_model, spec, generated)
            processes.callback(another.close)
            predict = another.predict
        parity_result = _compare(predict, alone, spec, findings.causes)
        alone.close()
        _check_int8(predict, spec, name)
        golden_missing = _accepts_missing(predict, spec)
        processes.pop_all()  # the caller predicts too
    return conversion.ConvertedModel(
        model=custom_model,
        predict=predict,
        takes_missing=True,
        golden_missing=golden_missing,
        facts={"framework": "python", "version": platform.python_version(), "function": name},
        packages=packages.find_packages(
            [generated.text, *(source for _, source in modules.values())], generated.packages
        ),
        notes=tuple(dict.fromkeys([*findings.notes, *alone.reads])),
        columns=function.columns if function else ("prediction",),
        parity=parity_result,
    )


def check_function(function: Callable[..., Any], spec: conversion.InputSpec) -> None:
    """Refuse a function that fails on rows of the sample, or does not return a frame with their index."""
    _FunctionPredict(function, spec, ())(spec.sample[:20])


def _check_size(contents: Mapping[str, bytes | Path], arrays: Mapping[str, Any]) -> None:
    """Refuse several gigabytes, which are captured by accident: the largest parts are named."""
    sizes = {f"`{name}`": int(array.nbytes) for name, array in arrays.items()}
    for file, content in contents.items():
        sizes[file] = len(content) if isinstance(content, bytes) else content.stat().st_size
    total = sum(sizes.values())
    if total > objects.MAX_OBJECT_BYTES:
        largest = [name for name in sorted(sizes, key=lambda name: -sizes[name])[:3] if sizes[name] > total / 100]
        raise errors.ExportError(
            f"export: the function has {total / 1e9:,.1f} GB of data, but the tournament has 4 GB of memory; the "
            f"largest parts are {format_list([f'{name} ({sizes[name] / 1e9:,.1f} GB)' for name in largest])}: does it "
            "use a training frame by accident?"
        )


def _find_captured_frames(generated: function_source.FunctionSource) -> list[str]:
    """Return the frames that a function closes over, which it may look up its rows in, as causes of an error."""
    frames = [name.removesuffix(".parquet") for name in generated.data.files if name.endswith(".parquet")]
    return [f"`{name}` is a frame from here, which does not have the ids of live rows" for name in frames]


class _FunctionPredict:
    """Predicts with the user's function in this process, from an array of inputs.

    Attributes:
        columns: The columns of the frame that it returned last.
    """

    def __init__(self, function: Callable[..., Any], spec: conversion.InputSpec, causes: Sequence[str]) -> None:
        self.columns: tuple[str, ...] = ()
        self._function = function
        self._spec = spec
        self._causes = causes
        self._name = function_source.describe(function)
        count, _ = function_source.count_arguments(function)
        self._call = self._call_with_one if count == 1 else self._call_with_both

    def __call__(self, inputs: Array, *, dtype: str = "float64") -> Array:
        """Predict; see ``_PredictFunction``.

        Raises:
            errors.ExportError: The function fails, or returns no frame with these rows.
        """
        live, benchmarks = predict_inputs.to_frames(inputs, list(self._spec.features), list(self._spec.benchmarks))
        live = live.astype(dict.fromkeys(self._spec.features, dtype))
        try:
            predictions: Array = predict_inputs.call_predict(self._call, live, benchmarks)
        except errors.ExportError:
            raise
        except Exception as error:
            hint = ""
            if isinstance(error, OSError) and not isinstance(error, (FileNotFoundError, PermissionError)):
                hint = "; the tournament has no network: read it before, and use the data"
            if isinstance(error, FileNotFoundError):
                hint = (
                    "; the image has no files of yours: open it before, outside of the function, and use the contents"
                )
            if isinstance(error, (TypeError, ValueError)) and "str" in str(error):
                hint = "; `era` is a column of both frames, and is text: select columns by their names"
            raise errors.ExportError(
                f"export: {self._name} fails on rows of the sample: {type(error).__name__}: {str(error)[:300]}; it is "
                f"called with frames like live data, whose columns are those in features= and benchmark={hint}"
                f"{outside.format_causes(self._causes)}"
            ) from error
        return predictions

    def _call_with_one(self, live_features: Any) -> Any:
        return self._check(self._function(live_features))

    def _call_with_both(self, live_features: Any, live_benchmark_models: Any) -> Any:
        return self._check(self._function(live_features, live_benchmark_models))

    def _check(self, result: Any) -> Any:
        if not isinstance(result, pd.DataFrame):
            fix = 'result.to_frame("prediction")'
            if not isinstance(result, pd.Series):
                fix = 'pd.DataFrame({"prediction": result}, index=live_features.index)'
            raise errors.ExportError(
                f"export: {self._name} returns {type(result).__name__}; the tournament expects a DataFrame: return "
                f"{fix}"
            )
        self.columns = tuple(map(str, result.columns))
        return result


def _compare(
    predict: _PredictFunction, alone: TrialProcess, spec: conversion.InputSpec, causes: Sequence[str]
) -> conversion.ParityResult | None:
    """Compare the bundle in a new process with the function; return None if the function predicts NaN or infinity.

    ``causes`` are possible reasons for a difference.
    """
    inputs = _select_trial_rows(spec)
    expected = predict(inputs)
    if not np.isfinite(expected).all():
        return None  # the caller refuses it, as for all kinds of models
    # Also a second time: a function with a state agrees with the first run in a new process.
    difference = max(float(np.abs(run(inputs) - expected).max()) for run in (alone.predict, predict))
    bound = prediction.compute_tolerance(expected)
    if not difference <= bound:
        question = ": does it draw random numbers, have a state, or was its source edited after it was defined?"
        raise errors.ExportError(
            f"export: predictions of the function differ by up to {difference:.2g} when it is run again or from the "
            f"bundle; at most {bound:.2g} is allowed{outside.format_causes([*causes, *alone.reads]) or question}"
        )
    return conversion.ParityResult(rows=len(inputs), difference=difference, bound=bound)


def _select_trial_rows(spec: conversion.InputSpec) -> Array:
    """Return at most ``_TRIAL_ROWS`` of the rows that all models are compared on."""
    rows = parity.select_rows(spec.sample)
    return rows[:: math.ceil(len(rows) / _TRIAL_ROWS)]


def _check_int8(predict: _PredictFunction, spec: conversion.InputSpec, name: str) -> None:
    """Refuse a function that overflows with int8 features, as in live data, by comparing int8 with int16.

    It does not compare with float64, which a function may convert to float32 with other rounding, and then rank.
    """
    inputs = _select_trial_rows(spec)
    features = inputs[:, : len(spec.features)]
    inputs = inputs[~np.isnan(features).any(axis=1)]
    features = inputs[:, : len(spec.features)]
    if not features.size or (features != np.rint(features)).any() or np.abs(features).max() > _MAX_INT8:
        return
    expected = predict(inputs, dtype="int16")
    if not np.isfinite(expected).all():
        return
    difference = float(np.abs(predict(inputs, dtype="int8") - expected).max())
    bound = prediction.compute_tolerance(expected)
    if not difference <= bound:
        raise errors.ExportError(
            f"export: predictions of {name} differ by up to {difference:.2g} for int8 features, as in live data; "
            f"at most {bound:.2g} is allowed: sums and products above {_MAX_INT8} overflow silently; start with "
            'live_features[features].astype("float32")'
        )


def _accepts_missing(predict: Callable[[Array], Array], spec: conversion.InputSpec) -> bool:
    """Return whether the function predicts finite numbers when some inputs are missing."""
    # As many rows and missing inputs as golden rows have.
    inputs = spec.sample[:: math.ceil(len(spec.sample) / 64)].copy()
    random = np.random.default_rng(len(inputs))
    inputs[random.random(inputs.shape) < 0.05] = np.nan
    try:
        return bool(np.isfinite(predict(inputs)).all())
    except errors.ExportError:
        return False
