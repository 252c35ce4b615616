"""``export``: names and rows put in order, the framework's module asked, its answer checked and written."""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from builder import errors, schema
from builder.bundle import model as bundle_model
from builder.bundle import post as postprocessing
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import write
from builder.export import arguments, conversion, ensembles, known, parity
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from builder.export.conversion import Array
    from builder.export.frameworks import Framework, OptionsT

GOLDEN_ROWS = 64
MOST_ROWS = 20_000
"""Rows of a sample that are looked at: all that somebody trained on would take many times its memory as float64."""

_NOT_FEATURES = frozenset({"id", "era", "data_type"})
_BENCHMARK = re.compile(r"v[0-9]{1,3}_[a-z]")
"""How the names of the tournament's benchmark models begin: ``v52_lgbm_ender20``."""
_HOLES = 0.05
"""Part of the golden rows' inputs that is made NaN, in every fourth row, where the model takes NaN."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how near the bundle is to the framework.

    Attributes:
        path: The bundle.
        kind: Of the model.
        features: How many feature columns it takes.
        parameters: How many trained numbers it has.
        compared: On how many rows of the sample, how near, and how near they have to be. The framework is compared with
            what the bundle predicts in float64; a function with the bundle run in a process of its own.
        notes: What a person should know of it, a line each.
    """

    path: Path
    kind: str
    features: int
    parameters: int
    compared: conversion.ParityResult
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line for a person, and one for each note."""
        what = f"{self.kind}, {self.features:,} features, {self.parameters:,} parameters"
        near = f"largest difference {self.compared.difference:.2g} of {self.compared.bound:.2g} allowed"
        near = f"on {self.compared.rows:,} rows of the sample, {near}"
        line = f"{self.path}: {what}; {near}"
        return "\n".join([line, *(f"note: {note}" for note in self.notes)])


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
) -> Exported:
    """Write the bundle of a trained model, and make sure that it predicts what the framework does.

    Args:
        model: A trained model of LightGBM, scikit-learn or PyTorch; a list or dict of them for an ensemble; a function
            for anything else.
        path: ``NAME.bundle.zip``, or a folder. What is there is replaced when it is a bundle.
        sample: Some real rows (a few hundred do; of very many, some are taken), from which golden rows are taken: a
            DataFrame that has the features, and the benchmarks if there are any; or an array (rows, n), features first.
        features: The model's feature columns, in the order of its inputs, where neither the model nor the sample tells.
        benchmark: Benchmark columns that are inputs after the features.
        imputation: What a missing input becomes where the model takes no NaN: one number, or one each input. By default
            the median of the sample's column.
        rank: The last step: rank within eras, or over the whole frame; None for no rank. By default within eras, and
            none after a function, which returns what it means to.
        neutralize: A neutralisation before the rank, as in a config: ``{"features": [...], "proportion": 0.5}``.
        post: All steps, as in a config, instead of ``rank`` and ``neutralize``.
        eras: Those the model was trained on, so that diagnostics over them can be called in-sample.
        target: What it was trained to predict.
        options: What one framework takes beyond these; its page in the docs says.

    Raises:
        errors.ExportError: The model has a part that cannot be expressed, its inputs cannot be told, or the bundle
            would not predict what the framework does.
        errors.BundleError: The bundle cannot be written.
    """
    path = arguments.path_of(path)
    benchmarks = arguments.benchmarks_of(benchmark)
    features = None if features is None else arguments.names_of("features", features)
    post, neutralize = arguments.steps_of(post), arguments.neutralization_of(neutralize)
    eras, target = arguments.eras_of(eras), arguments.target_of(target)
    if post is not None and (neutralize or (rank and rank != "auto")):
        said = "neutralize=" if neutralize else f"rank={rank!r}"
        raise errors.ExportError(
            f"export: {said} and post= are both given, and post= is all the steps: put it in there"
        )
    framework = _framework(model)
    own = _options(framework, options)
    is_free = rank == "auto"
    steps = _resolve_steps(post, ("era" if neutralize else framework.DEFAULT_RANK) if is_free else rank, neutralize)
    names = _feature_names(features, framework.feature_names(model, own), sample, benchmarks)
    _check_features(names)
    given = _given(sample, names, benchmarks, imputation)
    found = framework.convert(model, given, own)
    golden, compared = _compared(found, given, in_range=is_free and not steps)
    bundle = bundle_model.Bundle(
        features=names,
        benchmarks=benchmarks,
        model=found.model,
        golden=golden,
        post=steps,
        trained={**found.facts, **_told(eras, target)},
    )
    out = Path(path).expanduser()
    write.write(out, bundle)
    return Exported(
        path=out,
        kind=kinds.get_kind_name(found.model),
        features=len(names),
        parameters=kinds.count_parameters(found.model),
        compared=compared,
        notes=found.notes,
    )


def _framework(model: Any) -> Framework[Any]:
    """Return the module that exports a model: that of ensembles, of functions, or of its framework."""
    if isinstance(model, (list, tuple, dict)):
        return ensembles
    if isinstance(model, types.FunctionType):
        from builder.export.function import functions  # noqa: PLC0415 - it needs pandas, as the function does

        return functions
    return known.find(model)


def _options(framework: Framework[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Return the options that only the framework takes."""
    common = [one.name for one in inspect.signature(export).parameters.values() if one.kind is one.KEYWORD_ONLY]
    return arguments.options_of(framework.Options, values, common=common, hint=framework.OPTION_HINT)


def _given(
    sample: Any, names: tuple[str, ...], benchmarks: tuple[str, ...], imputation: float | Sequence[float] | None
) -> conversion.InputSpec:
    """Return what a framework's module gets to know of the inputs."""
    columns = (*names, *benchmarks)
    sample = _thinned(sample)
    inputs = _inputs(sample, columns)
    return conversion.InputSpec(
        features=names,
        benchmarks=benchmarks,
        sample=inputs,
        imputation=_imputation(imputation, inputs, columns),
        imputed=imputation is not None,
        categories=_categories(sample, columns),
    )


def _compared(
    found: conversion.ConvertedModel, given: conversion.InputSpec, *, in_range: bool
) -> tuple[bundle_model.GoldenRows, conversion.ParityResult]:
    """Return the golden rows, and how near the bundle is to the framework on rows of the sample.

    Raises:
        errors.ExportError: It is too far away; or ``in_range`` is asked for and the predictions are not in [0, 1].
    """
    predict = _with_imputation(found, given)
    checked = parity.checked(given.sample)
    framework_says = predict(checked)
    if in_range:
        _check_range(framework_says)
    # One of the two: a function has been compared already, any other model has not.
    compared = cast(
        "conversion.ParityResult", found.compared or parity.compare(found.model, checked, framework_says, predict)
    )
    golden = _golden(checked, framework_says, holes=found.takes_missing if found.holes is None else found.holes)
    golden_says = predict(golden)
    parity.compare(found.model, golden, golden_says, predict)  # inputs are missing that the sample has
    return bundle_model.GoldenRows(inputs=golden, predictions=golden_says), compared


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
            f"export: neutralize: the feature group {group!r} is known by name alone, and a bundle is whole by itself; "
            "pass its names, {'features': [...]}, or leave neutralize= out and write `group:` in the config"
        )
    return parsed.post


def _feature_names(
    features: tuple[str, ...] | None, model_names: tuple[str, ...] | None, sample: Any, benchmarks: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names of the features in the model's order, from the one who knows best."""
    if features is not None:
        if model_names is not None and set(model_names) == set(features) and model_names != features:
            raise errors.ExportError(
                "export: features= has the model's features in another order; leave it out: the model knows its own"
            )
        return features
    if model_names is not None:
        return tuple(name for name in model_names if name not in benchmarks)
    columns = getattr(sample, "columns", None)
    if columns is None:
        raise errors.ExportError(
            "export: the model does not know the names of its features, and the sample is no DataFrame: pass features="
        )
    return tuple(
        str(name)
        for name in columns
        if name not in benchmarks and name not in _NOT_FEATURES and not str(name).startswith("target")
    )


def _check_features(names: tuple[str, ...]) -> None:
    """Refuse benchmark columns among the features: shaped data would have them there, and live features do not."""
    found = [name for name in names if _BENCHMARK.match(name)]
    if found:
        raise errors.ExportError(
            f"export: {format_list(found)} among the features: named like a benchmark model, of which live features have no "
            f"column; pass benchmark={found[:5]!r}{' and so on' if len(found) > 5 else ''}"
        )


def _thinned(sample: Any) -> Any:
    """Return at most ``MOST_ROWS`` rows of a frame or an array, spread over all of them."""
    rows = getattr(sample, "iloc", sample)
    if rows is sample and not isinstance(sample, np.ndarray):
        return sample
    step = math.ceil(len(sample) / MOST_ROWS) if np.ndim(sample) == 2 else 1
    return rows[::step] if step > 1 else sample


def _inputs(sample: Any, columns: tuple[str, ...]) -> Array:
    """Return the sample as float64 (rows, n)."""
    if hasattr(sample, "columns"):
        absent = [name for name in columns if name not in sample.columns]
        if absent:
            raise errors.ExportError(
                f"export: the sample lacks {len(absent):,} of {len(columns):,} columns that the model takes: "
                f"{format_list(absent)}{_column_hint(sample, absent)}"
            )
        sample = sample[list(columns)]
        _check_columns(sample, columns)
    try:
        if hasattr(sample, "columns"):
            sample = sample.to_numpy(dtype=np.float64, na_value=np.nan)
        inputs: Array = np.ascontiguousarray(sample, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise errors.ExportError(
            f"export: the sample has columns that are no numbers ({error}); live features are: train on numbers"
        ) from error
    if inputs.ndim != 2 or inputs.shape[1] != len(columns) or not len(inputs):
        raise errors.ExportError(
            f"export: the sample is {inputs.shape}; expected (rows, {len(columns):,}), with at least one row"
        )
    if np.isinf(inputs).any():
        raise errors.ExportError("export: the sample has infinite values; a missing value is NaN")
    return inputs


def _categories(sample: Any, columns: tuple[str, ...]) -> dict[str, bool]:
    """Return which of the columns are pandas categories, and whether ordered."""
    types = getattr(sample, "dtypes", None) if hasattr(sample, "columns") else None
    if types is None:
        return {}
    return {name: bool(types[name].ordered) for name in columns if hasattr(types[name], "categories")}


def _imputation(said: float | Sequence[float] | None, inputs: Array, columns: tuple[str, ...]) -> Array:
    if said is None:
        return np.array(
            [np.median(column[~np.isnan(column)]) if not np.isnan(column).all() else 0.0 for column in inputs.T]
        )
    return arguments.imputation_of(said, columns)


def _column_hint(sample: Any, absent: Sequence[str]) -> str:
    odd = next((name for name in sample.columns if not isinstance(name, str)), None)
    if odd is not None:
        return f"; its columns are no text ({odd!r}), as live features are: name them in the sample"
    if set(absent) <= {re.sub(r"\s", "_", name) for name in sample.columns}:
        return "; LightGBM puts _ for the blanks of a name: pass features= with the names that the data has"
    return ""


def _check_columns(sample: Any, columns: tuple[str, ...]) -> None:
    """Refuse columns of a frame that are there twice, or hold times, which would pass for numbers."""
    if len(sample.columns) > len(columns):
        twice = list(dict.fromkeys(str(name) for name in sample.columns[sample.columns.duplicated()]))
        raise errors.ExportError(
            f"export: the sample has {format_list(twice)} more than once; each input is one column"
        )
    times = [str(name) for name, dtype in sample.dtypes.items() if getattr(dtype, "kind", "") in "mM"]
    if times:
        raise errors.ExportError(
            f"export: the sample has columns that are no numbers ({format_list(times)}: times); live features are: "
            "train on numbers"
        )


def _with_imputation(found: conversion.ConvertedModel, given: conversion.InputSpec) -> Callable[[Array], Array]:
    """Return the framework's prediction for inputs of which some may be missing."""

    def predict(inputs: Array) -> Array:
        if not found.takes_missing:
            inputs = np.where(np.isnan(inputs), given.imputation, inputs)
        predicted: Array = np.asarray(found.predict(inputs), dtype=np.float64).reshape(-1)
        if predicted.shape != (len(inputs),) or not np.isfinite(predicted).all():
            raise errors.ExportError(
                f"export: for {len(inputs):,} rows of the sample the model predicts {predicted.shape} values, "
                f"{int((~np.isfinite(predicted)).sum()):,} of them not finite; expected one finite number a row"
            )
        return predicted

    return predict


def _check_range(predictions: Array) -> None:
    """Refuse predictions that the tournament refuses, where nobody has said what is to be done to them."""
    low, high = float(predictions.min()), float(predictions.max())
    if low < 0 or high > 1:
        raise errors.ExportError(
            f"export: it predicts {low:.4g} to {high:.4g} on the sample, and the tournament takes [0, 1]: pass "
            'rank="era" or rank="frame" to rank what it returns, or rank=None where the config has the steps'
        )


def _golden(inputs: Array, predictions: Array, *, holes: bool) -> Array:
    """Return golden inputs: rows spread evenly over what they predict; in some of them, NaN."""
    count = min(GOLDEN_ROWS, len(inputs))
    places = np.linspace(0, len(inputs) - 1, count).round().astype(int)
    golden: Array = inputs[np.argsort(predictions, kind="stable")[places]].copy()
    if holes:
        random = np.random.default_rng(len(inputs))
        holed = golden[1::4]
        holed[random.random(holed.shape) < _HOLES] = np.nan
    return golden


def _told(eras: tuple[str, ...], target: str | None) -> dict[str, bundle_model.Fact]:
    """Return what only the trainer knows."""
    facts: dict[str, bundle_model.Fact] = {}
    if eras:
        facts["eras"] = eras
    if target is not None:
        facts["target"] = target
    revision = _git_revision()
    if revision is not None:
        facts["git_revision"] = revision
    return facts


def _git_revision() -> str | None:
    """Return the commit of the repository that the training runs in, if it is one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--verify", "-q", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
