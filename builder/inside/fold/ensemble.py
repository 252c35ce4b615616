"""Fold ensembles: each member as its own kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def fold_ensemble(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the members: each a folded model with its weight, its transform and the transform's scope.

    The names of a member's arrays and files begin with ``m0.``, ``m1.`` and so on. Its own fold function gets that as
    the ``prefix`` in its header.
    """
    from . import fold_model  # here and not above: that module imports this one

    # Members share one string object per name, which pickle writes once and then refers to in a few bytes.
    names = {name: name for name in (*header["features"], *header["benchmarks"])}
    members = []
    for index, member in enumerate(header["members"]):
        prefix = f"m{index}."
        member_arrays = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
        columns = {key: [names[name] for name in member.get(key, ())] for key in ("features", "benchmarks")}
        members.append(
            {
                **fold_model({**member, **columns, "prefix": prefix}, member_arrays, folder),
                "weight": float(member.get("weight", 1.0)),
                "transform": member.get("transform", "raw"),
                "scope": member.get("scope", "era"),
            }
        )
    return {"members": members}
