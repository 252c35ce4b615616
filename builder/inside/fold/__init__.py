"""Fold a bundle: prepare its numbers for the predict source, so that predicting does as little as possible.

Nothing here calls BLAS or a transcendental function: their results differ between CPUs, and these numbers go into the
pickle, whose bytes must not depend on the CPU it is built on. Elementwise products and ``sum(axis=0)`` do not differ.

A folded model is a tree of dicts, lists, strings, bytes, Python numbers and arrays that are contiguous, own their data
and are little-endian: pickle writes such objects in one way only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import custom
from . import boosters, ensemble, lightgbm, network, trees

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class KindDefinition:
    """A kind of model, as a bundle's ``kind`` names it.

    Attributes:
        summary: What it is, for the documentation.
        fold: The function that folds ``bundle.json``, the arrays and the other files in the folder of the bundle.
        predict: The file of the predict source that registers the kind in ``RUNNERS``.
    """

    summary: str
    fold: Callable[[dict[str, Any], dict[str, Any], Path], dict[str, Any]]
    predict: str


KINDS = {
    "mlp": KindDefinition(
        summary="a network: dense layers, normalisation, residual sums, concatenations; imputed, centred and scaled "
        "inputs",
        fold=network.fold_mlp,
        predict="network.py",
    ),
    "linear": KindDefinition(summary="one weight per input", fold=network.fold_linear, predict="network.py"),
    "trees": KindDefinition(summary="a forest as flat arrays", fold=trees.fold_trees, predict="trees.py"),
    "lightgbm": KindDefinition(
        summary="a booster in the library's text format, loaded by the image's library",
        fold=lightgbm.fold_lightgbm,
        predict="lightgbm.py",
    ),
    "xgboost": KindDefinition(
        summary="a booster in the library's UBJSON format, loaded by the image's library",
        fold=boosters.fold_xgboost,
        predict="xgboost.py",
    ),
    "catboost": KindDefinition(
        summary="a model in the library's cbm format, loaded by the image's library",
        fold=boosters.fold_catboost,
        predict="catboost.py",
    ),
    "ensemble": KindDefinition(
        summary="a weighted sum of the other kinds, each raw, ranked or gaussianised first",
        fold=ensemble.fold_ensemble,
        predict="ensemble.py",
    ),
    "custom": KindDefinition(
        summary="a function, or a model that is stored as data", fold=custom.fold_custom, predict="custom.py"
    ),
}


def fold(header: dict[str, Any], arrays: dict[str, Any], post: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return the folded model of a checked bundle: all data that ``predict`` uses.

    Args:
        header: ``bundle.json``.
        arrays: ``arrays.safetensors``.
        post: The post-processing steps, each a mapping of one name to its options.
        folder: The folder with the bundle's other files.
    """
    model = fold_model(header, arrays, folder)
    return {**model, "post": [[name, options] for step in post for name, options in step.items()]}


def fold_model(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the folded model of a bundle, or of a member of an ensemble, without post-processing."""
    header = {"benchmarks": [], **header}  # the key is optional
    return {
        "kind": header["kind"],
        "features": list(header["features"]),
        "benchmarks": list(header["benchmarks"]),
        **KINDS[header["kind"]].fold(header, arrays, folder),
    }
