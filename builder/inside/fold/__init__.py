"""From a bundle's numbers to the model that the predict source takes.

No BLAS and no transcendental function here: their results differ between CPUs, and these numbers go into the pickle.
Elementwise products and ``sum(axis=0)`` do not.

What is folded is a tree of dicts, lists, strings, bytes, Python numbers and arrays that are contiguous, owned and
little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import custom
from . import ensemble, lightgbm, network, trees

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of model.

    Attributes:
        summary: What it is; for the documentation.
        fold: The function from ``bundle.json``, the arrays and the folder of the bundle to what ``predict`` takes.
        predict: The file of the predict source that enters the kind into ``RUNNERS``.
    """

    summary: str
    fold: Callable[[dict[str, Any], dict[str, Any], Path], dict[str, Any]]
    predict: str


KINDS = {
    "mlp": Kind(
        summary="a network: dense layers, normalisation, residual sums, concatenations; imputed, centred and scaled "
        "inputs",
        fold=network.fold_mlp,
        predict="network.py",
    ),
    "linear": Kind(summary="one weight an input", fold=network.fold_linear, predict="network.py"),
    "trees": Kind(summary="a forest as flat arrays", fold=trees.fold_trees, predict="trees.py"),
    "lightgbm": Kind(
        summary="a booster in the library's own text, loaded by the image's library",
        fold=lightgbm.fold_lightgbm,
        predict="boosters.py",
    ),
    "ensemble": Kind(
        summary="a weighted sum of the others, each raw, ranked or gaussianised first",
        fold=ensemble.fold_ensemble,
        predict="ensemble.py",
    ),
    "custom": Kind(summary="a function of your own", fold=custom.fold_custom, predict="custom.py"),
}


def fold(header: dict[str, Any], arrays: dict[str, Any], post: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return the model of a checked bundle, which holds all that ``predict`` needs.

    Args:
        header: ``bundle.json``.
        arrays: ``arrays.safetensors``.
        post: The post-processing steps in force, each a mapping of one name to its options.
        folder: Where the bundle's other files lie.
    """
    model = fold_model(header, arrays, folder)
    return {**model, "post": [[name, options] for step in post for name, options in step.items()]}


def fold_model(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a model without post-processing: that of a bundle, or a member of one."""
    header = {"benchmarks": [], **header}  # a bundle without any need not say so
    return {
        "kind": header["kind"],
        "features": list(header["features"]),
        "benchmarks": list(header["benchmarks"]),
        **KINDS[header["kind"]].fold(header, arrays, folder),
    }
