"""Nodes: from entries and arrays by name to dicts, with what each takes and what nothing takes after it.

``bundle.json`` has been checked; what an op is, is in ``inside.predict.nodes``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..operators import ACTIVATIONS, OPERATORS

# One number for each input: what it is if it is missing, what is taken off it, and by what it is divided then.
SCALING = ("imputation", "centre", "scale")
_PREPARE = "prepare."  # before the names of the arrays of that key


def fold_nodes(entries: Any, arrays: Any, prefix: str = "") -> list[dict[str, Any]]:
    """Return nodes for ``predict.nodes.run_nodes``, in the order written, nothing folded, every number float64."""
    return finished(read_nodes(entries, arrays, prefix))


def fold_preprocessing(entry: Any, arrays: Any) -> dict[str, Any] | None:
    """Return what ``predict.nodes.prepared`` takes; what does nothing is None.

    Args:
        entry: The key ``prepare`` of ``bundle.json``: ``layers``; None where there is none.
        arrays: All arrays of the model.
    """
    if entry is None:
        return None
    imputation, centre, scale = (plain(arrays[_PREPARE + name], "<f8") for name in SCALING)
    return {
        "imputation": None if np.isnan(imputation).all() else imputation,
        "centre": centre if centre.any() else None,
        "scale": scale if (scale != 1).any() else None,
        "layers": fold_nodes(entry.get("layers", ()), arrays, _PREPARE),
    }


def prepare_bytes(prepare: dict[str, Any] | None, inputs: int) -> int:
    """Return the bytes that ``prepared`` keeps for a row, at most, beside the inputs."""
    return 0 if prepare is None else row_bytes(prepare["layers"], inputs)


def read_nodes(entries: Any, arrays: Any, prefix: str = "") -> list[dict[str, Any]]:
    """Return nodes with all that their entries say and their arrays in float64, the way these have them."""
    found = []
    for index, entry in enumerate(entries):
        op, activation = entry.get("op", "dense"), entry.get("activation", "identity")
        definition = OPERATORS[op]
        constants = sorted(ACTIVATIONS[activation].constants.items())
        node = {"op": op, "from": [int(source) for source in entry.get("from") or [index - 1]]}
        node |= {**definition.defaults, **{name: entry[name] for name in definition.options if name in entry}}
        for one in definition.arrays:
            values = arrays[one.key(prefix, index)]
            node[one.name] = values if one.is_index else values.astype(np.float64)
        node["activation"] = activation
        node["constants"] = {name: float(entry.get(name, one.default)) for name, one in constants}
        found.append(node)
    return found


def finished(nodes: list[dict[str, Any]], kinds: list[str] | None = None) -> list[dict[str, Any]]:
    """Return nodes as predict takes them: arrays plain and turned to (values, ...), with what each sets free.

    Args:
        nodes: Of ``read_nodes``.
        kinds: The type of each node's numbers; float64 unless given. Those of an exact op are always float64.
    """
    last = {-1: -1}
    for place, node in enumerate(nodes):
        last.update(dict.fromkeys(node["from"], place))
    found = []
    for place, node in enumerate(nodes):
        definition = OPERATORS[node["op"]]
        kind = "<f8" if definition.exact or not kinds else kinds[place]
        made = {**node, "free": sorted(source for source in set(node["from"]) if last[source] == place)}
        for one in definition.arrays:
            if node[one.name] is not None:
                made[one.name] = plain(node[one.name].T, "<i4" if one.is_index else kind)
        found.append(made)
    return found


def row_bytes(nodes: list[dict[str, Any]], inputs: int, itemsize: int = 8) -> int:
    """Return the bytes that ``run_nodes`` keeps for a row, at most, beside what it is given.

    Args:
        nodes: Of ``finished``.
        inputs: How many values a row it is given.
        itemsize: Bytes of each of them.
    """
    width, size = {-1: inputs}, {-1: itemsize}
    live: dict[int, int] = {}
    most = 0
    for place, node in enumerate(nodes):
        definition = OPERATORS[node["op"]]
        width[place] = definition.compute_width([width[source] for source in node["from"]], _counts(node))
        size[place] = max([_itemsize(node), *(size[source] for source in node["from"] if not definition.casts)])
        out = width[place] * size[place]
        source = node["from"][0]
        turned = width[source] * size[place] if definition.casts and size[source] != size[place] else 0
        beside = out * definition.more_arrays
        computing = sum(live.values()) + turned + beside + out
        live[place] = out
        for gone in node["free"]:
            live.pop(gone, None)
        own = 0 if ACTIVATIONS[node["activation"]].in_place else 2 * out
        most = max(most, computing, sum(live.values()) + own)
    return most


def plain(values: Any, kind: Any) -> Any:
    """Return the values in that type, contiguous, owned, writeable, little-endian."""
    return np.array(values, dtype=kind, order="C")


def _itemsize(node: dict[str, Any]) -> int:
    """Return the bytes of each value that a node makes of those no wider than it."""
    definition = OPERATORS[node["op"]]
    held = [node[one.name].itemsize for one in definition.arrays if not one.is_index and node[one.name] is not None]
    return max(held, default=0)


def _counts(node: dict[str, Any]) -> dict[str, int]:
    """Return what the arrays of a finished node count, by the words of their shapes."""
    arrays = [(one.shape, node[one.name]) for one in OPERATORS[node["op"]].arrays]
    return {
        word: count
        for shape, array in arrays
        if array is not None
        for word, count in zip(reversed(shape), array.shape, strict=True)
    }
