"""Fold boosters: their file goes into the pickle unchanged; the image's own library loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import nodes

if TYPE_CHECKING:
    from pathlib import Path

XGBOOST_FILE = "model.ubj"
CATBOOST_FILE = "model.cbm"


def fold_booster(header: dict[str, Any], arrays: dict[str, Any], folder: Path, file: str) -> dict[str, Any]:
    """Return the content of a booster's file, and what is the same for all libraries.

    ``keep`` is false for a member of an ensemble: its loaded booster is not kept for a second call, which saves memory.
    ``row_bytes`` are the bytes that preprocessing uses for a row besides the inputs. ``categories`` has, for each group
    of categorical inputs, the indices of the inputs, the sorted values, and the original position of each value.
    """
    preprocessing = nodes.fold_preprocessing(header.get("prepare"), arrays)
    inputs = len(header["features"]) + len(header["benchmarks"])
    return {
        "content": (folder / f"{header.get('prefix', '')}{file}").read_bytes(),
        "keep": "prefix" not in header,
        "categories": [_fold_category(entry) for entry in header.get("categories", ())],
        "prepare": preprocessing,
        # Boosters take rows, so there is also a transposed copy of the preprocessed inputs.
        "row_bytes": 0 if preprocessing is None else 8 * inputs + 2 * nodes.preprocessing_bytes(preprocessing, inputs),
        "finish": nodes.fold_nodes(header.get("finish", ()), arrays, "finish."),
    }


def fold_xgboost(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the booster's file and how to predict with it.

    ``missing`` is a number that counts as missing like NaN; NaN if there is none. ``margins`` (outputs,) is what the
    sum of the trees starts from; None if the file has it. ``linear`` is whether it is a ``gblinear``.
    """
    margins = header.get("margins", ())
    return {
        **fold_booster(header, arrays, folder, XGBOOST_FILE),
        "missing": float(header.get("missing", "nan")),
        "margins": np.array(margins, dtype="<f4") if margins else None,
        "linear": bool(header.get("linear", False)),
    }


def fold_catboost(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the booster's file and how to predict with it.

    ``prediction`` is CatBoost's ``prediction_type``; ``categorical`` are the indices of the categorical inputs.
    """
    return {
        **fold_booster(header, arrays, folder, CATBOOST_FILE),
        "prediction": header["prediction"],
        "categorical": [int(index) for index in header.get("categorical", ())],
    }


def _fold_category(entry: dict[str, Any]) -> dict[str, Any]:
    """Return one group of categorical inputs."""
    values = np.array(entry["values"], dtype="<f8")
    positions = np.argsort(values, kind="stable")
    return {
        "inputs": [int(index) for index in entry["inputs"]],
        "values": np.array(values[positions], dtype="<f8", order="C"),
        "positions": np.array(positions, dtype="<f8", order="C"),
    }
