"""Run an export: settle the inputs, convert the model, compare it with the framework, and write the bundle."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from builder import errors, schema
from builder.bundle import model as bundle_model
from builder.bundle import post as postprocessing
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import write
from builder.export import arguments, conversion, frameworks, parity
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from builder.export.conversion import Array
    from builder.export.frameworks import Framework, OptionsT

GOLDEN_ROWS = 64
MAX_SAMPLE_ROWS = 20_000
"""Rows of a sample that are used: a whole training set as float64 would take many times its memory."""

_NOT_FEATURES = frozenset({"id", "era", "data_type"})
_BENCHMARK = re.compile(r"v[0-9]{1,3}_[a-z]")
"""The beginning of the names of the tournament's benchmark models: ``v53_lgbm_ender20``."""
_MISSING_SHARE = 0.05
"""Share of the inputs that is set to NaN, in every fourth golden row."""


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written, and how closely the bundle matches the framework.

    Attributes:
        path: The bundle.
        kind: The kind of the model.
        features: Number of feature columns.
        parameters: Number of trained numbers.
        parity: The comparison on rows of the sample: of the bundle's predictions in float64, or for a function of the
            bundle run in a process of its own.
        notes: Notes for the user, a line each.
    """

    path: Path
    kind: str
    features: int
    parameters: int
    parity: conversion.ParityResult
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line for the user, and one for each note."""
        model = f"{self.kind}, {self.features:,} features, {self.parameters:,} parameters"
        parity_text = (
            f"largest difference on {self.parity.rows:,} rows of the sample: "
            f"{self.parity.difference:.2g} (at most {self.parity.bound:.2g} allowed)"
        )
        return "\n".join([f"{self.path}: {model}; {parity_text}", *(f"note: {note}" for note in self.notes)])


def export(
    model: Any,
    path: str | Path,
    *,
    sample: Any,
    features: Sequence[str] | None = None,
    benchmark: str | Sequence[str] = (),
    imputation: float | Sequence[float] | None = None,
    rank: Literal["era", "frame", "auto"] | None = "auto",
    neutralize: Mapping[str, Any] | None = None,
    post: Sequence[Mapping[str, Any]] | None = None,
    eras: Iterable[object] = (),
    target: str | None = None,
    **options: Any,
) -> ExportResult:
    """Write the bundle of a trained model, after checking that it predicts what the framework does.

    Args:
        model: A trained model, of any library or class that has ``predict``; a function or another callable that
            predicts; a list or dict of them for an ensemble.
        path: ``NAME.bundle.zip``, or a folder. An existing bundle is replaced.
        sample: Some real rows, from which golden rows are taken (a few hundred are enough; very many are thinned):
            a DataFrame with the features, and the benchmark columns if there are any; or an array (rows, n), features
            first.
        features: The model's feature columns, in the order of its inputs, if neither the model nor the sample has them.
        benchmark: Benchmark columns that are inputs after the features.
        imputation: Replaces a missing input if the model accepts no NaN: one number, or one for each input. By default
            the median of the sample's column.
        rank: The last step: rank within eras, or over the whole frame; None for no rank. By default within eras; for a
            function none, since it returns its final predictions.
        neutralize: A neutralization before the rank, as in a config: ``{"features": [...], "proportion": 0.5}``.
        post: All steps, as in a config, instead of ``rank`` and ``neutralize``.
        eras: The eras of the training data, so that diagnostics can mark them as in-sample.
        target: The name of the target.
        options: Options of one framework; see its page in docs/export. ``outputs`` is another spelling of ``output``.

    Raises:
        errors.ExportError: A part of the model cannot be expressed, its inputs are unknown, or the bundle would not
            predict what the framework does.
        errors.BundleError: The bundle cannot be written.
    """
    if "outputs" in options and "output" not in options:
        options["output"] = options.pop("outputs")
    path = arguments.parse_path(path)
    benchmarks = arguments.parse_benchmarks(benchmark)
    features = None if features is None else arguments.parse_names("features", features)
    post, neutralize = arguments.parse_steps(post), arguments.parse_neutralization(neutralize)
    eras, target = arguments.parse_eras(eras), arguments.parse_target(target)
    if post is not None and (neutralize or (rank and rank != "auto")):
        option = "neutralize=" if neutralize else f"rank={rank!r}"
        raise errors.ExportError(
            f"export: both {option} and post= are passed, but post= replaces all steps; put the step into post="
        )
    request = _Request(
        model=model,
        sample=sample,
        features=features,
        benchmarks=benchmarks,
        imputation=imputation,
        rank=rank,
        neutralize=neutralize,
        post=post,
        options=options,
    )
    result = _convert_or_store(request)
    converted = result.converted
    bundle = bundle_model.Bundle(
        features=result.features,
        benchmarks=result.benchmarks,
        model=converted.model,
        golden=result.golden,
        post=result.steps,
        trained={**converted.facts, "packages": converted.packages, **_collect_facts(eras, target)},
    )
    out = Path(path).expanduser()  # in a notebook, no shell expands ~
    write.write(out, bundle)
    return ExportResult(
        path=out,
        kind=kinds.get_kind_name(converted.model),
        features=len(result.features),
        parameters=kinds.count_parameters(converted.model),
        parity=result.parity,
        notes=converted.notes,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Request:
    """The arguments of ``export`` that a framework's module converts a model with, checked where that is possible."""

    model: Any
    sample: Any
    features: tuple[str, ...] | None
    benchmarks: tuple[str, ...]
    imputation: float | Sequence[float] | None
    rank: str | None
    neutralize: dict[str, Any] | None
    post: list[dict[str, Any]] | None
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Conversion:
    """A converted model that predicts what the framework does, with its inputs and post-processing steps."""

    features: tuple[str, ...]
    benchmarks: tuple[str, ...]
    steps: tuple[postprocessing.Step, ...]
    converted: conversion.ConvertedModel
    golden: bundle_model.GoldenRows
    parity: conversion.ParityResult


def _convert_or_store(request: _Request) -> _Conversion:
    """Convert a model by its framework's module; if that cannot express it in numbers, store it as data."""
    framework = frameworks.find_framework(request.model)
    storing = frameworks.find_storing(framework)
    options = _parse_options(framework, request.options)
    try:
        return _convert(request, framework, options)
    except errors.ExportError as error:
        if storing is None or isinstance(error, conversion.InputsError):
            raise
        if not request.options.keys() <= {field.name for field in dataclasses.fields(storing.OPTIONS)}:
            raise  # an option such as scale would have no effect on a stored model
        try:
            result = _convert(request, storing, _parse_options(storing, request.options))
        except conversion.InputsError:
            raise error from None
        except errors.ExportError as other:
            text = str(other).removeprefix("export: ")
            raise errors.ExportError(f"{error}; stored as data, it fails too: {text}") from error
        note = f"not written as numbers: {str(error).removeprefix('export: ')}"
        converted = dataclasses.replace(result.converted, notes=(note, *result.converted.notes))
        return dataclasses.replace(result, converted=converted)


def _convert(request: _Request, framework: Framework[OptionsT], options: OptionsT) -> _Conversion:
    is_default_rank = request.rank == "auto"
    default_rank = "era" if request.neutralize else framework.DEFAULT_RANK
    steps = _resolve_steps(request.post, default_rank if is_default_rank else request.rank, request.neutralize)
    model_names = framework.feature_names(request.model, options)
    benchmarks = request.benchmarks
    if not benchmarks and frameworks.has_functions(request.model):
        benchmarks = _find_benchmarks(request.sample)
    names = _resolve_features(request.features, model_names, request.sample, benchmarks)
    _check_features(names)
    spec = _describe_inputs(request.sample, names, benchmarks, request.imputation)
    converted = framework.convert(request.model, spec, options)
    if not steps and converted.columns != ("prediction",):
        raise errors.ExportError(
            f"export: the function returns the columns {format_list(converted.columns)}; the tournament expects one, "
            'prediction: return series.to_frame("prediction"), or frame.rename(columns={...})[["prediction"]]'
        )
    golden, parity_result = _check_parity(converted, spec, in_range=is_default_rank and not steps)
    return _Conversion(
        features=names, benchmarks=benchmarks, steps=steps, converted=converted, golden=golden, parity=parity_result
    )


def _parse_options(framework: Framework[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Return the options that only the framework accepts."""
    parameters = inspect.signature(export).parameters.values()
    common = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    return arguments.parse_options(framework.OPTIONS, values, common=common, hint=framework.OPTION_HINT)


def _describe_inputs(
    sample: Any, names: tuple[str, ...], benchmarks: tuple[str, ...], imputation: float | Sequence[float] | None
) -> conversion.InputSpec:
    """Return what a framework's module needs to know of the inputs."""
    columns = (*names, *benchmarks)
    sample = _thin(sample)
    inputs = _to_inputs(sample, columns)
    is_explicit = imputation is not None
    return conversion.InputSpec(
        features=names,
        benchmarks=benchmarks,
        sample=inputs,
        imputation=arguments.parse_imputation(imputation, columns) if is_explicit else _compute_medians(inputs),
        explicit_imputation=is_explicit,
        categories=_find_categories(sample, columns),
    )


def _check_parity(
    converted: conversion.ConvertedModel, spec: conversion.InputSpec, *, in_range: bool
) -> tuple[bundle_model.GoldenRows, conversion.ParityResult]:
    """Return the golden rows, and how closely the bundle matches the framework on rows of the sample.

    Raises:
        errors.ExportError: The difference is too large; or ``in_range`` and the predictions are not within [0, 1].
    """
    predict = _wrap_predict(converted, spec)
    inputs = parity.select_rows(spec.sample)
    predictions = predict(inputs)
    if in_range:
        _check_range(predictions)
    # One of the two is not None: a function has been compared by its module, any other model has not.
    result = cast(
        "conversion.ParityResult", converted.parity or parity.compare(converted.model, inputs, predictions, predict)
    )
    set_missing = converted.takes_missing if converted.golden_missing is None else converted.golden_missing
    golden_inputs = _select_golden_inputs(inputs, predictions, set_missing=set_missing)
    golden_predictions = predict(golden_inputs)
    # Golden rows have missing inputs that the sample may not have.
    parity.compare(converted.model, golden_inputs, golden_predictions, predict)
    return bundle_model.GoldenRows(inputs=golden_inputs, predictions=golden_predictions), result


def _resolve_steps(
    post: list[dict[str, Any]] | None, rank: str | None, neutralize: dict[str, Any] | None
) -> tuple[postprocessing.Step, ...]:
    """Return the post-processing steps, checked as those of a config are."""
    if post is None:
        post = [{"neutralize": neutralize}] if neutralize else []
        post += [{"rank": {"scope": rank}}] if rank else []
    parsed = schema.parse(postprocessing.Steps, {"post": post})
    if isinstance(parsed, list):
        raise errors.ExportError(f"export: {'; '.join(map(str, parsed))}")
    for group in postprocessing.find_groups(parsed.post).values():
        raise errors.ExportError(
            f"export: neutralize: the features of group {group!r} are unknown here, and a bundle must contain them; "
            "pass their names, {'features': [...]}, or omit neutralize= and write `group:` in the config"
        )
    return parsed.post


def _resolve_features(
    features: tuple[str, ...] | None, model_names: tuple[str, ...] | None, sample: Any, benchmarks: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names of the features in the model's order: the caller's, the model's or the sample's."""
    if features is not None:
        if model_names is not None and set(model_names) == set(features) and model_names != features:
            raise errors.ExportError(
                "export: features= has the model's features in another order; omit it, since the model knows its own"
            )
        return features
    if model_names is not None:
        return tuple(name for name in model_names if name not in benchmarks)
    columns = getattr(sample, "columns", None)
    if columns is None:
        raise errors.ExportError(
            "export: the names of the features are unknown: the model has none, and the sample is not a DataFrame; "
            "pass features="
        )
    return tuple(
        str(name)
        for name in columns
        if name not in benchmarks and name not in _NOT_FEATURES and not str(name).startswith("target")
    )


def _find_benchmarks(sample: Any) -> tuple[str, ...]:
    """Return the columns of the sample that are named like benchmark models, which a function may take."""
    return tuple(str(name) for name in getattr(sample, "columns", ()) if _BENCHMARK.match(str(name)))


def _check_features(names: tuple[str, ...]) -> None:
    """Refuse benchmark columns among the features: shaped data would have them there, but live features do not."""
    columns = [name for name in names if _BENCHMARK.match(name)]
    if columns:
        raise conversion.InputsError(
            f"export: {format_list(columns)} among the features: named like a benchmark model, which is not a column "
            f"of live features; pass benchmark={columns[:5]!r}{' with all of them' if len(columns) > 5 else ''}"
        )


def _thin(sample: Any) -> Any:
    """Return at most ``MAX_SAMPLE_ROWS`` rows of a frame or an array, spread evenly over it."""
    rows = getattr(sample, "iloc", sample)
    if rows is sample and not isinstance(sample, np.ndarray):
        return sample
    # An array of another dimension is refused by _to_inputs.
    step = math.ceil(len(sample) / MAX_SAMPLE_ROWS) if np.ndim(sample) == 2 else 1
    return rows[::step] if step > 1 else sample


def _to_inputs(sample: Any, columns: tuple[str, ...]) -> Array:
    """Return the sample as float64 (rows, n)."""
    if hasattr(sample, "columns"):
        missing = [name for name in columns if name not in sample.columns]
        if missing:
            raise errors.ExportError(
                f"export: {len(missing):,} of {len(columns):,} columns that the model takes are missing in the sample: "
                f"{format_list(missing)}{_explain_missing_columns(sample, missing)}"
            )
        sample = sample[list(columns)]
        _check_columns(sample, columns)
    try:
        if hasattr(sample, "columns"):
            # Nullable pandas types have pandas.NA, which numpy cannot convert.
            sample = sample.to_numpy(dtype=np.float64, na_value=np.nan)
        inputs: Array = np.ascontiguousarray(sample, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise errors.ExportError(
            f"export: the sample has columns that are not numeric ({error}); train on numbers, as live features are"
        ) from error
    if inputs.ndim != 2 or inputs.shape[1] != len(columns) or not len(inputs):
        raise errors.ExportError(
            f"export: the sample has shape {inputs.shape}; expected (rows, {len(columns):,}), with at least one row"
        )
    if np.isinf(inputs).any():
        raise errors.ExportError("export: the sample has infinite values; expected NaN for a missing value")
    return inputs


def _find_categories(sample: Any, columns: tuple[str, ...]) -> dict[str, Any]:
    """Return the dtypes of the columns that are pandas categories."""
    dtypes = getattr(sample, "dtypes", None) if hasattr(sample, "columns") else None
    if dtypes is None:
        return {}
    return {name: dtypes[name] for name in columns if hasattr(dtypes[name], "categories")}


def _compute_medians(inputs: Array) -> Array:
    """Return the median of each column without NaN, or 0 for a column of NaN alone: float64 (n,)."""
    return np.array(
        [np.median(column[~np.isnan(column)]) if not np.isnan(column).all() else 0.0 for column in inputs.T]
    )


def _explain_missing_columns(sample: Any, missing: Sequence[str]) -> str:
    label = next((name for name in sample.columns if not isinstance(name, str)), None)
    if label is not None:
        return f"; the sample's column names are not strings ({label!r}); name its columns as live features are named"
    if set(missing) <= {re.sub(r"\s", "_", name) for name in sample.columns}:
        return "; LightGBM replaces spaces in names by _: pass features= with the names that the data has"
    return ""


def _check_columns(sample: Any, columns: tuple[str, ...]) -> None:
    """Refuse duplicate columns of a frame, and columns of times, which would convert to numbers."""
    if len(sample.columns) > len(columns):
        duplicates = list(dict.fromkeys(str(name) for name in sample.columns[sample.columns.duplicated()]))
        raise errors.ExportError(
            f"export: the sample has duplicate columns {format_list(duplicates)}; expected each input once"
        )
    times = [str(name) for name, dtype in sample.dtypes.items() if getattr(dtype, "kind", "") in "mM"]
    if times:
        raise errors.ExportError(
            f"export: the sample has columns that are not numeric ({format_list(times)}: times); train on numbers, as "
            "live features are"
        )


def _wrap_predict(converted: conversion.ConvertedModel, spec: conversion.InputSpec) -> Callable[[Array], Array]:
    """Return the framework's prediction, with missing inputs replaced if it accepts none."""

    def predict(inputs: Array) -> Array:
        if not converted.takes_missing:
            inputs = np.where(np.isnan(inputs), spec.imputation, inputs)
        predictions: Array = np.asarray(converted.predict(inputs), dtype=np.float64).reshape(-1)
        if predictions.shape != (len(inputs),) or not np.isfinite(predictions).all():
            raise errors.ExportError(
                f"export: the model predicts {len(predictions):,} values for {len(inputs):,} rows of the sample, "
                f"{int((~np.isfinite(predictions)).sum()):,} of them not finite; expected one finite number for each "
                "row"
            )
        return predictions

    return predict


def _check_range(predictions: Array) -> None:
    """Refuse predictions outside of [0, 1], which the tournament does not accept, if no step follows by default."""
    low, high = float(predictions.min()), float(predictions.max())
    if low < 0 or high > 1:
        raise errors.ExportError(
            f"export: predictions on the sample are from {low:.4g} to {high:.4g}; the tournament accepts [0, 1]: pass "
            'rank="era" or rank="frame" to rank them, or rank=None if the config has the steps'
        )


def _select_golden_inputs(inputs: Array, predictions: Array, *, set_missing: bool) -> Array:
    """Return golden inputs: rows spread evenly over the range of predictions, some of them with NaN."""
    count = min(GOLDEN_ROWS, len(inputs))
    # Rows with low, medium and high predictions, so that an error in any range of the model shows.
    indices = np.linspace(0, len(inputs) - 1, count).round().astype(int)
    golden: Array = inputs[np.argsort(predictions, kind="stable")[indices]].copy()
    if set_missing:
        random = np.random.default_rng(len(inputs))  # the same rows at each export
        rows = golden[1::4]
        rows[random.random(rows.shape) < _MISSING_SHARE] = np.nan
    return golden


def _collect_facts(eras: tuple[str, ...], target: str | None) -> dict[str, bundle_model.Fact]:
    """Return the facts that the framework does not know."""
    facts: dict[str, bundle_model.Fact] = {}
    if eras:
        facts["eras"] = eras
    if target is not None:
        facts["target"] = target
    revision = _read_git_revision()
    if revision is not None:
        facts["git_revision"] = revision
    return facts


def _read_git_revision() -> str | None:
    """Return the commit of the repository around the current folder; None outside of a repository."""
    try:
        result = subprocess.run(
            ["git", "rev-parse", "--verify", "-q", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip() or None
