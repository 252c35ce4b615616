"""Find what a PyTorch module that calls ``nan_to_num`` itself puts for a missing input, by running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export.conversion import Array

_TOLERANCE = 1e-5
"""Relative difference up to which two predictions count as equal: they differ by rounding."""


def find_imputation(
    predict: Callable[[Array], Array], rows: Array, candidates: Sequence[float], *, names: Sequence[str], explicit: bool
) -> Array:
    """Return the value that the module puts for each missing input: float64 (n,), NaN if it puts none.

    Args:
        predict: The module, from float64 (rows, n) inputs to float64 (rows,); it may raise.
        rows: float64 (rows, n): one or two complete rows of the sample.
        candidates: The values that its calls of ``nan_to_num`` put for NaN.
        names: Names of the inputs, for the error.
        explicit: Whether the caller passed ``imputation=``, so that an input without a match is not an error.

    Raises:
        errors.ExportError: The module predicts with a missing input, but not as it would with one of the candidates.
    """
    imputation, predicts_nan = np.full(len(names), np.nan), np.ones(len(names), dtype=np.bool_)
    if not candidates:
        return imputation
    try:
        missing = [_predict_each_replaced(predict, row, np.nan) for row in rows]
    except Exception:  # noqa: BLE001 - the user's module may refuse NaN with any error
        return imputation
    for predictions in missing:
        predicts_nan &= np.isfinite(predictions)
    for candidate in candidates:
        matches = predicts_nan & np.isnan(imputation)
        for row, predictions in zip(rows, missing, strict=True):
            expected = _predict_each_replaced(predict, row, candidate)
            matches &= np.isclose(
                predictions, expected, rtol=_TOLERANCE, atol=_TOLERANCE * float(np.abs(expected).max())
            )
        imputation[matches] = candidate
    unmatched = np.flatnonzero(predicts_nan & np.isnan(imputation))
    if unmatched.size and not explicit:
        raise errors.ExportError(
            f"export: the module predicts if {names[unmatched[0]]} is missing, with nan_to_num, but not as for any one "
            "number, and a bundle has one number for each missing input; call nan_to_num on the inputs themselves, or "
            "pass imputation= to replace missing inputs before the module"
        )
    return imputation


def _predict_each_replaced(predict: Callable[[Array], Array], row: Array, value: float) -> Array:
    """Return the predictions for a row with each of its inputs replaced in turn: float64 (n,)."""
    rows = np.repeat(row[None], len(row), axis=0)
    np.fill_diagonal(rows, value)
    return predict(rows)
