"""What a PyTorch module that calls ``nan_to_num`` puts where an input is missing, found by asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export.conversion import Array

_NEAR = 1e-5
"""How near two predictions are that differ by rounding alone, as a share of their size."""


def own_imputation(
    predict: Callable[[Array], Array], rows: Array, candidates: Sequence[float], *, names: Sequence[str], said: bool
) -> Array:
    """Return what each input becomes in the module itself where it is missing: float64 (n,), NaN where it stays NaN.

    Args:
        predict: The module, from float64 (rows, n) inputs to float64 (rows,); it may raise.
        rows: float64 (rows, n): one or two rows of the sample, none of their inputs missing.
        candidates: What its calls of ``nan_to_num`` put where they find a NaN.
        names: The inputs'.
        said: Whether the caller says what a missing input becomes, and so that the module is not asked.

    Raises:
        errors.ExportError: It takes missing inputs, but not as one of the candidates, and the caller says nothing.
    """
    found, taken = np.full(len(names), np.nan), np.ones(len(names), dtype=np.bool_)
    if not candidates:
        return found
    try:
        missing = [_each_by_itself(predict, row, np.nan) for row in rows]
    except Exception:  # noqa: BLE001 - the user's own code may insist on numbers
        return found
    for one in missing:
        taken &= np.isfinite(one)
    for candidate in candidates:
        fits = taken & np.isnan(found)
        for row, one in zip(rows, missing, strict=True):
            there = _each_by_itself(predict, row, candidate)
            fits &= np.isclose(one, there, rtol=_NEAR, atol=_NEAR * float(np.abs(there).max()))
        found[fits] = candidate
    unlike = np.flatnonzero(taken & np.isnan(found))
    if unlike.size and not said:
        raise errors.ExportError(
            f"export: the module predicts where {names[unlike[0]]} is missing, by nan_to_num, but not as if one number "
            "stood there, and a bundle has one number for each input; put nan_to_num right over the inputs, or pass "
            "imputation= to say what a missing input becomes before the module"
        )
    return found


def _each_by_itself(predict: Callable[[Array], Array], row: Array, value: float) -> Array:
    """Return what is predicted for a row with each of its inputs in turn replaced: float64 (n,)."""
    rows = np.repeat(row[None], len(row), axis=0)
    np.fill_diagonal(rows, value)
    return predict(rows)
