"""Ensembles: each member folded as its own kind is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def fold_ensemble(header: dict[str, Any], arrays: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the members: each a folded model with its weight, its transform and the scope of that.

    A member's files lie in the folder under names that begin with the ``prefix`` that its header has.
    """
    from . import fold_model  # the two call each other

    # One string object a name, for the pickle writes an object that it has seen as a reference of a few bytes.
    names = {name: name for name in (*header["features"], *header["benchmarks"])}
    members = []
    for place, member in enumerate(header["members"]):
        prefix = f"m{place}."
        own = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
        columns = {key: [names[name] for name in member.get(key, ())] for key in ("features", "benchmarks")}
        members.append(
            {
                **fold_model({**member, **columns, "prefix": prefix}, own, folder),
                "weight": float(member.get("weight", 1.0)),
                "transform": member.get("transform", "raw"),
                "scope": member.get("scope", "era"),
            }
        )
    return {"members": members}
