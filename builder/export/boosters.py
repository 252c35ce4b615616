"""What the exporters of boosters have in common: their inputs, classes, categories and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from builder import errors
from builder.bundle import model as bundle_model
from builder.export import frameworks, overrides
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from builder.export import conversion
    from builder.export.conversion import Array


@dataclass(frozen=True, kw_only=True)
class OutputOptions(frameworks.Options):
    """The options of a booster that predicts several numbers for each row.

    Attributes:
        output: Index of the prediction among them, counted from 0, or ``"mean"`` of all.
    """

    output: int | Literal["mean"] | None = None


def check_inputs(
    names: Sequence[str] | None, count: int, spec: conversion.InputSpec, normalize: Callable[[str], str] = str
) -> None:
    """Refuse inputs other than the booster's, or in another order.

    Args:
        names: Names of the booster's features; None if it has none.
        count: Number of the booster's features.
        spec: The inputs.
        normalize: Returns what the library makes of the name of a column.
    """
    if len(spec.names) != count:
        raise errors.ExportError(
            f"the booster takes {count:,} features, but features= has {len(spec.features):,} and benchmark= "
            f"{len(spec.benchmarks):,}; pass the columns that it was trained on"
        )
    if names is None:
        return
    different = [index for index, name in enumerate(spec.names) if normalize(name) != names[index]]
    if different:
        index = different[0]
        raise errors.ExportError(
            f"input {index} is {spec.names[index]!r}, but that of the booster is {names[index]!r} ({len(different):,} "
            "differ); the inputs are the features, then the benchmark columns: train on columns in that order, or pass "
            "features= with their names"
        )


def check_methods(model: Any, library: str, replacement: str) -> None:
    """Refuse a model whose ``predict`` is overridden.

    Args:
        model: The model as the caller passed it.
        library: Name of its library.
        replacement: What to export instead, without the override.
    """
    override = overrides.find_override(model, ("predict", "predict_proba"))
    if override:
        raise errors.ExportError(
            f"{override} overrides {library}'s method, but a bundle contains only the booster; export {replacement}, "
            "with post= for post-processing, or see docs/export/predict-function.md"
        )


def parse_classes(labels: Iterable[Any]) -> tuple[float, ...]:
    """Return the number of each class, of which the prediction is the expected value."""
    labels = list(labels)
    try:
        return tuple(float(label) for label in labels)
    except (TypeError, ValueError) as error:
        raise errors.ExportError(
            f"classes {format_list([repr(label) for label in labels], most=3)} are not numeric, but the prediction is "
            "their expected value; train on numbers"
        ) from error


def build_head(
    outputs: int, classes: Sequence[float] | None = None, output: Any = None
) -> tuple[bundle_model.Node, ...]:
    """Return the nodes from a booster's outputs to the prediction.

    Args:
        outputs: Number of outputs.
        classes: The numbers of the classes whose probabilities they are, of which the prediction is the expected value;
            one output is the probability of the second of two classes. None if the outputs are not probabilities.
        output: See ``OutputOptions``.

    Raises:
        errors.ExportError: ``output`` is invalid, or there are several outputs and it is missing.
    """
    if output is not None:
        _check_output(outputs, output)
        if output != "mean":
            return (_select(output),)
        return (_weigh([1 / outputs] * outputs),)
    if classes is None and outputs > 1:
        raise errors.ExportError(
            f"the model predicts {outputs:,} numbers for each row that are not the probabilities of classes; pass "
            f'output="mean" for their mean, or output=K for the one at index K, counted from 0'
        )
    if classes is None or (outputs == 1 and tuple(classes) == (0, 1)):
        return ()
    if outputs == 1:
        return (_weigh([classes[1] - classes[0]], classes[0]),)
    return (_select(1) if tuple(classes) == (0, 1) else _weigh(classes),)


def combine(outputs: Any, classes: Sequence[float] | None = None, output: Any = None) -> Array:
    """Return the prediction (rows,) for a framework's outputs, (rows,) or (rows, outputs); see ``build_head``."""
    values: Array = np.asarray(outputs, dtype=np.float64)
    if output is not None:
        return values.mean(axis=1) if output == "mean" else values[:, output]
    if classes is not None and values.ndim == 1:
        values = np.stack([1 - values, values], axis=1)
    expected_value: Array = values if classes is None else values @ np.array(classes)
    return expected_value


def group_categories(
    values_by_input: Mapping[int, Sequence[Any]], spec: conversion.InputSpec, *, advice: str
) -> tuple[bundle_model.Categories, ...]:
    """Return the lists of values of inputs that were pandas categories, of which the booster takes the indices.

    Args:
        values_by_input: The list by the index of the input.
        spec: The inputs.
        advice: How to train on numbers instead.

    Raises:
        errors.ExportError: A list has values that are not numeric, or has no value that the sample has.
    """
    groups: dict[tuple[float, ...], list[int]] = {}
    for index, values in values_by_input.items():
        name, column = spec.names[index], spec.sample[:, index]
        other = [value for value in values if not isinstance(value, (int, float))]
        if other:
            raise errors.ExportError(
                f"categories of {name!r} are not numeric ({other[0]!r}), but live features are; train on numbers, or "
                "export a function (docs/export/predict-function.md)"
            )
        unknown = column[~np.isnan(column) & ~np.isin(column, np.asarray(values, dtype=np.float64))]
        if unknown.size:
            raise errors.ExportError(
                f"{name!r} has {unknown[0]:g} in the sample, which is not one of its {len(values):,} pandas "
                f"categories in training; pass a sample with the columns as in training, or train on numbers, {advice}"
            )
        groups.setdefault(tuple(float(value) for value in values), []).append(index)
    return tuple(bundle_model.Categories(inputs=tuple(inputs), values=values) for values, inputs in groups.items())


def _check_output(outputs: int, output: Any) -> None:
    if outputs == 1:
        raise errors.ExportError(f"output={output!r} is for models with several outputs, but this has one; omit it")
    is_index = isinstance(output, int) and not isinstance(output, bool) and 0 <= output < outputs
    if output != "mean" and not is_index:
        raise errors.ExportError(
            f"invalid value {output!r} for output; expected an integer from 0 to {outputs - 1:,}, or 'mean'"
        )


def _select(index: int) -> bundle_model.Node:
    return bundle_model.make_node("select", places=np.array([index], dtype=np.int32))


def _weigh(weights: Sequence[float], bias: float = 0.0) -> bundle_model.Node:
    column = np.array(weights, dtype=np.float64)[:, None]
    return bundle_model.make_node("dense", weights=column, bias=np.array([bias], dtype=np.float64))
