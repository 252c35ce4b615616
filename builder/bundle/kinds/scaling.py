"""Checks ``imputation``, ``centre`` and ``scale``, the arrays of networks, linear models and preprocessing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from builder import schema
from builder.inside.fold.nodes import SCALING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.bundle import header as bundle_header
    from builder.bundle import model as bundle_model
    from builder.bundle.storage import tensors

MOST_INPUT = 1e6
"""Largest magnitude of an imputation or a centre; live features are 0 to 4, benchmarks 0 to 1."""
SCALES = (1e-9, 1e9)
"""Range of a scale. Weights are divided by it, and the result has to fit into float32."""

NAMES = SCALING


def collect_arrays(
    model: bundle_model.Network | bundle_model.Linear | bundle_model.Preprocessing, *, prefix: str = ""
) -> dict[str, bundle_model.Numbers]:
    """Return the three arrays by their names in the bundle."""
    return {prefix + name: getattr(model, name) for name in NAMES}


def describe_inputs(header: bundle_header.BundleHeader) -> str:
    """Describe where a model's number of inputs comes from, for messages."""
    features, benchmarks = len(header.features), len(header.benchmarks)
    return f"{features:,} features and {benchmarks:,} benchmarks make {len(header.columns):,} inputs"


def find_problems(header: bundle_header.BundleHeader, *, prefix: str = "") -> list[schema.Problem]:
    """Find the problems of the dtypes and shapes of the three arrays."""
    count = len(header.columns)
    problems = []
    for name in (prefix + name for name in NAMES):
        if name not in header.arrays:
            continue
        problems += find_dtype_problems(name, header.arrays[name])
        if header.arrays[name].shape != (count,):
            text = f"{header.arrays[name].shape}; expected {describe_inputs(header)}: ({count},)"
            problems.append(schema.Problem(path=("arrays", name, "shape"), text=text))
    return problems


def find_dtype_problems(name: str, declared: tensors.ArraySpec) -> list[schema.Problem]:
    """Find an array of integers that should be floats."""
    if declared.dtype.startswith("float"):
        return []
    text = f"{declared.dtype}; expected float32 or float64"
    return [schema.Problem(path=("arrays", name, "dtype"), text=text)]


def find_value_problems(
    columns: Sequence[str], arrays: Mapping[str, bundle_model.Numbers], *, prefix: str = "", may_miss: bool = False
) -> list[str]:
    """Find values that are out of range.

    Args:
        columns: Names of the inputs.
        arrays: The arrays that could be read.
        prefix: Prefix of the names of the three arrays.
        may_miss: Whether an imputation may be NaN, which leaves the input missing.
    """
    problems = []
    for name in NAMES:
        array = arrays.get(prefix + name)
        if array is None:
            continue
        low, high = SCALES if name == "scale" else (-MOST_INPUT, MOST_INPUT)
        mask = ~((array >= low) & (array <= high))
        if may_miss and name == "imputation":
            mask &= ~np.isnan(array)
        bad = np.flatnonzero(mask)
        if not bad.size:
            continue
        index = int(bad[0])
        # If the lengths differ, which is a problem of its own, a value may have no column.
        column = columns[index] if index < len(columns) else "no column"
        count = f"{bad.size:,} of {array.size:,} values are" if bad.size > 1 else "one value is"
        text = f"{prefix + name}: {array.flat[index]} for {column} (at [{index}]; {count} out of range)"
        problems.append(f"{text}; expected from {low:g} to {high:g}")
    return problems
