"""What the exporters of boosters have in common: their inputs, classes, categories and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors
from builder.bundle import model as bundle_model
from builder.export import conversion, frameworks, overrides
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from builder.export.conversion import Array


@dataclass(frozen=True, kw_only=True)
class OutputOptions(frameworks.Options):
    """The options of a model that predicts several numbers for each row.

    Attributes:
        output: Index of the prediction among them, counted from 0, or ``"mean"`` of all. Of a classifier the index or
            the name of a class, whose probability is the prediction.
    """

    output: int | str | None = None


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
        raise conversion.InputsError(
            f"the booster takes {count:,} features, but features= has {len(spec.features):,} and benchmark= "
            f"{len(spec.benchmarks):,}; pass the columns that it was trained on"
        )
    if names is None:
        return
    different = [index for index, name in enumerate(spec.names) if normalize(name) != names[index]]
    if different:
        index = different[0]
        raise conversion.InputsError(
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


def parse_classes(labels: Iterable[Any], output: Any = None) -> tuple[float, ...]:
    """Return the number that each class counts as, of which the prediction is the expected value.

    It is the class itself, or with ``output`` 1 for the chosen class and 0 for all others.
    """
    classes: list[Any] = np.asarray(list(labels)).tolist()  # numpy's scalars have another repr
    if output is not None:
        position = find_class(classes, output)
        return tuple(float(index == position) for index in range(len(classes)))
    try:
        return tuple(map(float, classes))
    except (TypeError, ValueError) as error:
        raise errors.ExportError(
            f"classes {format_list(list(map(repr, classes)), most=3)} are not numeric, but the prediction is their "
            f"expected value; train on numbers, or pass output={classes[-1]!r} for the probability of that class"
        ) from error


def find_class(labels: Sequence[Any], output: Any) -> int:
    """Return the index of a classifier's class.

    Args:
        labels: The classes.
        output: The index, or the name of the class.

    Raises:
        errors.ExportError: There is no such class.
    """
    names = [str(label) for label in labels]
    if output in names:
        return names.index(output)
    if isinstance(output, int) and not isinstance(output, bool) and 0 <= output < len(names):
        return output
    raise errors.ExportError(
        f"invalid value {output!r} for output; expected an integer from 0 to {len(names) - 1:,}, or the name of one of "
        f"the classes {format_list(names)}"
    )


def build_head(
    outputs: int, classes: Sequence[float] | None = None, output: Any = None
) -> tuple[bundle_model.Node, ...]:
    """Return the nodes from a booster's outputs to the prediction.

    Args:
        outputs: Number of outputs.
        classes: From ``parse_classes``, if the outputs are probabilities; one output is that of the second of two
            classes. None if the outputs are not probabilities.
        output: See ``OutputOptions``; only without classes.

    Raises:
        errors.ExportError: ``output`` is invalid, or there are several outputs and it is missing.
    """
    if classes is None and output is not None:
        check_output(outputs, output)
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
    is_choice = sorted(classes) == [0.0] * (outputs - 1) + [1.0]
    return (_select(list(classes).index(1)) if is_choice else _weigh(classes),)


def combine(outputs: Any, classes: Sequence[float] | None = None, output: Any = None) -> Array:
    """Return the prediction (rows,) for a framework's outputs, (rows,) or (rows, outputs); see ``build_head``."""
    values: Array = np.asarray(outputs, dtype=np.float64)
    if classes is None and output is not None:
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
        conversion.InputsError: A list has values that are not numeric, or has no value that the sample has.
    """
    groups: dict[tuple[float, ...], list[int]] = {}
    for index, values in values_by_input.items():
        name, column = spec.names[index], spec.sample[:, index]
        other = [value for value in values if not isinstance(value, (int, float))]
        if other:
            raise conversion.InputsError(
                f"categories of {name!r} are not numeric ({other[0]!r}), but live features are; train on numbers, or "
                "export a function (docs/export/predict-function.md)"
            )
        unknown = column[~np.isnan(column) & ~np.isin(column, np.asarray(values, dtype=np.float64))]
        if unknown.size:
            raise conversion.InputsError(
                f"{name!r} has {unknown[0]:g} in the sample, which is not one of its {len(values):,} pandas "
                f"categories in training; pass a sample with the columns as in training, or train on numbers, {advice}"
            )
        groups.setdefault(tuple(float(value) for value in values), []).append(index)
    return tuple(bundle_model.Categories(inputs=tuple(inputs), values=values) for values, inputs in groups.items())


def check_output(outputs: int, output: Any) -> None:
    """Refuse ``output`` if it is invalid for this number of outputs."""
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
