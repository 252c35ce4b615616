"""Fold the nodes of a network: from the entries of ``bundle.json`` and the arrays to dicts for ``predict.nodes``.

The bundle has been checked. The operators are defined in ``inside.predict.nodes``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..operators import ACTIVATIONS, OPERATORS

# Arrays with one number per input: what replaces a missing value, what is subtracted, and the divisor.
SCALING = ("imputation", "centre", "scale")
_PREFIX = "prepare."  # of the names of the arrays that belong to the key `prepare`


def fold_nodes(entries: Any, arrays: Any, prefix: str = "") -> list[dict[str, Any]]:
    """Return nodes for ``predict.nodes.run_nodes``, all numbers float64."""
    return finish_nodes(read_nodes(entries, arrays, prefix))


def fold_preprocessing(entry: Any, arrays: Any) -> dict[str, Any] | None:
    """Return the argument of ``predict.nodes.preprocess``; parts that change nothing are None.

    Args:
        entry: The key ``prepare`` of ``bundle.json``, with ``layers``; None if the bundle does not have it.
        arrays: All arrays of the model.
    """
    if entry is None:
        return None
    imputation, centre, scale = (to_array(arrays[_PREFIX + name], "<f8") for name in SCALING)
    return {
        "imputation": None if np.isnan(imputation).all() else imputation,
        "centre": centre if centre.any() else None,
        "scale": scale if (scale != 1).any() else None,
        "layers": fold_nodes(entry.get("layers", ()), arrays, _PREFIX),
    }


def preprocessing_bytes(preprocessing: dict[str, Any] | None, inputs: int) -> int:
    """Return the peak number of bytes per row that ``predict.nodes.preprocess`` uses besides the inputs."""
    return 0 if preprocessing is None else row_bytes(preprocessing["layers"], inputs)


def read_nodes(entries: Any, arrays: Any, prefix: str = "") -> list[dict[str, Any]]:
    """Return nodes with the values of their entries and their arrays as float64, in the bundle's orientation."""
    nodes = []
    for index, entry in enumerate(entries):
        op, activation = entry.get("op", "dense"), entry.get("activation", "identity")
        definition = OPERATORS[op]
        constants = sorted(ACTIVATIONS[activation].constants.items())
        node = {"op": op, "from": [int(source) for source in entry.get("from") or [index - 1]]}
        node |= {**definition.defaults, **{name: entry[name] for name in definition.options if name in entry}}
        for array in definition.arrays:
            values = arrays[array.key(prefix, index)]
            node[array.name] = values if array.is_index else values.astype(np.float64)
        node["activation"] = activation
        node["constants"] = {name: float(entry.get(name, number.default)) for name, number in constants}
        nodes.append(node)
    return nodes


def finish_nodes(nodes: list[dict[str, Any]], dtypes: list[str] | None = None) -> list[dict[str, Any]]:
    """Return nodes as ``run_nodes`` takes them: arrays transposed to (values, ...), with ``free``.

    ``free`` are the indices of the results that no later node takes, so that their memory can be released.

    Args:
        nodes: From ``read_nodes``.
        dtypes: The dtype of each node's numbers; float64 if omitted. Exact operators always use float64.
    """
    last_use = {-1: -1}
    for index, node in enumerate(nodes):
        last_use.update(dict.fromkeys(node["from"], index))
    finished = []
    for index, node in enumerate(nodes):
        definition = OPERATORS[node["op"]]
        dtype = "<f8" if definition.exact or not dtypes else dtypes[index]
        finished_node = {**node, "free": sorted(source for source in set(node["from"]) if last_use[source] == index)}
        for array in definition.arrays:
            if node[array.name] is not None:
                finished_node[array.name] = to_array(node[array.name].T, "<i4" if array.is_index else dtype)
        finished.append(finished_node)
    return finished


def row_bytes(nodes: list[dict[str, Any]], inputs: int, itemsize: int = 8) -> int:
    """Return the peak number of bytes per row that ``run_nodes`` uses besides its inputs.

    The size of a block of rows is chosen by it. It simulates the run: which results are alive at each node, and the
    temporary arrays of the operator and of its activation.

    Args:
        nodes: From ``finish_nodes``.
        inputs: The number of input values per row.
        itemsize: Bytes per input value.
    """
    width, size = {-1: inputs}, {-1: itemsize}
    live: dict[int, int] = {}
    peak = 0
    for index, node in enumerate(nodes):
        definition = OPERATORS[node["op"]]
        width[index] = definition.compute_width([width[source] for source in node["from"]], _count_dimensions(node))
        size[index] = max([_get_itemsize(node), *(size[source] for source in node["from"] if not definition.casts)])
        out = width[index] * size[index]
        source = node["from"][0]
        cast = width[source] * size[index] if definition.casts and size[source] != size[index] else 0
        temporary = max(width[index], width[source]) * size[index] * definition.more_arrays
        during_operator = sum(live.values()) + cast + temporary + out
        live[index] = out
        for freed in node["free"]:
            live.pop(freed, None)
        activation = 0 if ACTIVATIONS[node["activation"]].in_place else 2 * out
        peak = max(peak, during_operator, sum(live.values()) + activation)
    return peak


def to_array(values: Any, dtype: Any) -> Any:
    """Return a contiguous, writeable array that owns its data."""
    return np.array(values, dtype=dtype, order="C")


def _get_itemsize(node: dict[str, Any]) -> int:
    """Return the bytes per value of a node's own arrays; 0 if it has none."""
    definition = OPERATORS[node["op"]]
    arrays = [node[array.name] for array in definition.arrays if not array.is_index]
    return max((array.itemsize for array in arrays if array is not None), default=0)


def _count_dimensions(node: dict[str, Any]) -> dict[str, int]:
    """Return the size of each dimension of a finished node's arrays, by its name in the operator's definition."""
    arrays = [(array.shape, node[array.name]) for array in OPERATORS[node["op"]].arrays]
    return {
        dimension: count
        for shape, array in arrays
        if array is not None
        for dimension, count in zip(reversed(shape), array.shape, strict=True)
    }
