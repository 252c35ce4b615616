"""From a bundle's numbers to the model that the predict source takes.

No BLAS and no transcendental function here: their results differ between CPUs, and these numbers go into the pickle.
Elementwise products and ``sum(axis=0)`` do not.

A kind's fold is a function from ``bundle.json``, the arrays and the folder of the bundle to a tree of dicts, lists,
strings, bytes, Python numbers and arrays that are contiguous, owned and little-endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import custom
from . import ensemble, lightgbm, network, trees

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "ensemble": ensemble.fold_ensemble,
    "mlp": network.fold_mlp,
    "linear": network.fold_linear,
    "trees": trees.fold_trees,
    "lightgbm": lightgbm.fold_lightgbm,
    "custom": custom.fold_custom,
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
        **KINDS[header["kind"]](header, arrays, folder),
    }
