"""Nodes: from entries and arrays by name to dicts, with what each takes and what nothing takes after it.

``bundle.json`` has been checked; the table of ops is in ``builder.bundle.nodes``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# By op: its arrays, as (key, stem of the name).
_ARRAYS = {
    "dense": (("weights", "w"), ("bias", "b")),
    "affine": (("gain", "gain"), ("shift", "shift")),
    "scale": (("centre", "centre"), ("scale", "scale")),
    "norm": (("gain", "gain"), ("shift", "shift")),
    "sum": (),
    "concat": (),
    "select": (("places", "places"),),
    "clip": (("low", "low"), ("high", "high")),
    "quantiles": (("quantiles", "quantiles"), ("references", "references")),
    "softmax": (),
}
_KEYS: dict[str, dict[str, Any]] = {"norm": {"epsilon": None}, "quantiles": {"normal": False, "inverse": False}}

_IN_PLACE = ("exp", "expm1", "hardtanh", "identity", "relu", "relu6", "square", "tanh")
# Arrays as large as its result that an op needs beside what it takes and gives.
_BESIDE = {"norm": 1, "softmax": 1}


def fold_nodes(entries: Any, arrays: Any, prefix: str = "") -> list[dict[str, Any]]:
    """Return nodes for ``predict.nodes.run_nodes``, in the order written, nothing folded, every number float64."""
    return finished(read_nodes(entries, arrays, prefix))


def fold_prepare(entry: Any, arrays: Any, prefix: str = "prepare.") -> dict[str, Any] | None:
    """Return what ``predict.nodes.prepared`` takes; what does nothing is None.

    Args:
        entry: The key ``prepare`` of ``bundle.json``: ``layers``; None where there is none.
        arrays: All arrays of the model.
        prefix: Before the names of those of the entry: ``imputation``, ``centre``, ``scale`` and its nodes'.
    """
    if entry is None:
        return None
    imputation, centre, scale = (plain(arrays[prefix + name], "<f8") for name in ("imputation", "centre", "scale"))
    return {
        "imputation": None if np.isnan(imputation).all() else imputation,
        "centre": centre if centre.any() else None,
        "scale": scale if (scale != 1).any() else None,
        "layers": fold_nodes(entry.get("layers", ()), arrays, prefix),
    }


def prepare_bytes(prepare: dict[str, Any] | None, inputs: int) -> int:
    """Return the bytes that ``prepared`` keeps for a row, at most, beside the inputs."""
    return 0 if prepare is None else row_bytes(prepare["layers"], inputs)


def read_nodes(entries: Any, arrays: Any, prefix: str = "") -> list[dict[str, Any]]:
    """Return nodes with all that their entries say and their arrays in float64, the way these have them."""
    found = []
    for place, entry in enumerate(entries):
        op = entry.get("op", "dense")
        keys = _KEYS.get(op, {})
        numbers = {key: arrays[f"{prefix}{stem}{place}"] for key, stem in _ARRAYS[op]}
        rest = sorted(set(entry) - {"op", "from", "activation", *keys})
        found.append(
            {
                "op": op,
                "from": [int(source) for source in entry.get("from") or [place - 1]],
                **{key: entry.get(key, default) for key, default in keys.items()},
                **{key: array if key == "places" else array.astype(np.float64) for key, array in numbers.items()},
                "activation": entry.get("activation", "identity"),
                "constants": {name: float(entry[name]) for name in rest},
            }
        )
    return found


def finished(nodes: list[dict[str, Any]], kinds: list[str] | None = None) -> list[dict[str, Any]]:
    """Return nodes as predict takes them: arrays plain and turned to (values, ...), with what each sets free.

    Args:
        nodes: Of ``read_nodes``.
        kinds: The type of each node's numbers; float64 unless given. Quantiles and references are always float64.
    """
    last = {-1: -1}
    for place, node in enumerate(nodes):
        last.update(dict.fromkeys(node["from"], place))
    found = []
    for place, node in enumerate(nodes):
        kind = kinds[place] if kinds else "<f8"
        made = {**node, "free": sorted(source for source in set(node["from"]) if last[source] == place)}
        for key, _ in _ARRAYS[node["op"]]:
            made[key] = None if node[key] is None else _array(key, node[key], kind)
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
        width[place] = _width(node, [width[source] for source in node["from"]])
        size[place] = max([_itemsize(node), *(size[source] for source in node["from"] if node["op"] != "dense")])
        out = width[place] * size[place]
        source = node["from"][0]
        turned = width[source] * size[place] if node["op"] == "dense" and size[source] != size[place] else 0
        beside = out * _BESIDE.get(node["op"], 0)
        computing = sum(live.values()) + turned + beside + out
        live[place] = out
        for gone in node["free"]:
            live.pop(gone, None)
        own = 0 if node["activation"] in _IN_PLACE else 2 * out
        most = max(most, computing, sum(live.values()) + own)
    return most


def plain(values: Any, kind: Any) -> Any:
    """Return the values in that type, contiguous, owned, writeable, little-endian."""
    return np.array(values, dtype=kind, order="C")


def _array(key: str, values: Any, kind: str) -> Any:
    if key == "places":
        return plain(values, "<i4")
    if key in ("quantiles", "references"):
        return plain(values.T, "<f8")
    return plain(values.T, kind)


def _itemsize(node: dict[str, Any]) -> int:
    """Return the bytes of each value that a node makes of those no wider than it."""
    if node["op"] == "quantiles":
        return 8
    return max(
        (node[key].itemsize for key, _ in _ARRAYS[node["op"]] if key != "places" and node[key] is not None), default=0
    )


def _width(node: dict[str, Any], given: list[int]) -> int:
    """Return how many values a row a node gives."""
    if node["op"] == "concat":
        return sum(given)
    if node["op"] in ("dense", "select"):
        return len(node["weights"] if node["op"] == "dense" else node["places"])
    return given[0]
