"""What networks and linear models do to their inputs first: a value for each that is missing, a centre, a scale."""

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
"""Imputations and centres lie within this of zero: a live feature is 0 to 4, a benchmark 0 to 1."""
SCALES = (1e-9, 1e9)
"""Beyond these, a weight divided by the scale leaves float32."""

NAMES = SCALING


def collect_arrays(
    model: bundle_model.Network | bundle_model.Linear | bundle_model.Preprocessing, *, prefix: str = ""
) -> dict[str, bundle_model.Numbers]:
    """Return the three arrays under their names."""
    return {prefix + name: getattr(model, name) for name in NAMES}


def describe_inputs(header: bundle_header.BundleHeader) -> str:
    """Return what gives a model so many inputs."""
    features, benchmarks = len(header.features), len(header.benchmarks)
    return f"{features:,} features and {benchmarks:,} benchmarks make {len(header.columns):,} inputs"


def find_problems(header: bundle_header.BundleHeader, *, prefix: str = "") -> list[schema.Problem]:
    """Return what is wrong with the types and shapes of the three."""
    count = len(header.columns)
    problems = []
    for name in (prefix + name for name in NAMES):
        if name not in header.arrays:
            continue
        problems += find_dtype_problems(name, header.arrays[name])
        if header.arrays[name].shape != (count,):
            said = f"{header.arrays[name].shape}; expected {describe_inputs(header)}: ({count},)"
            problems.append(schema.Problem(path=("arrays", name, "shape"), text=said))
    return problems


def find_dtype_problems(name: str, declared: tensors.ArraySpec) -> list[schema.Problem]:
    """Return the fault of an array that holds whole numbers where any number may stand."""
    if declared.dtype.startswith("float"):
        return []
    said = f"{declared.dtype}; expected float32 or float64"
    return [schema.Problem(path=("arrays", name, "dtype"), text=said)]


def find_value_problems(
    columns: Sequence[str], arrays: Mapping[str, bundle_model.Numbers], *, prefix: str = "", may_miss: bool = False
) -> list[str]:
    """Return what is out of its range.

    Args:
        columns: The inputs.
        arrays: Those that could be read.
        prefix: Before the names of the three.
        may_miss: Whether an imputation may be NaN: the input stays missing.
    """
    problems = []
    for name in NAMES:
        array = arrays.get(prefix + name)
        if array is None:
            continue
        low, high = SCALES if name == "scale" else (-MOST_INPUT, MOST_INPUT)
        unfit = ~((array >= low) & (array <= high))
        if may_miss and name == "imputation":
            unfit &= ~np.isnan(array)
        bad = np.flatnonzero(unfit)
        if not bad.size:
            continue
        at = int(bad[0])
        # Where the lengths disagree, which is a fault of its own, a value may have no column.
        column = columns[at] if at < len(columns) else "no column"
        count = f"{bad.size:,} of {array.size:,} values do" if bad.size > 1 else "one value does"
        said = f"{prefix + name}: {array.flat[at]} for {column} (at [{at}]; {count} not fit)"
        problems.append(f"{said}; expected from {low:g} to {high:g}")
    return problems
