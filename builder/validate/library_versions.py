"""Compare the versions of the packages that a model was exported with against those of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.text import sanitize
from builder.validate import checks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.bundle import model

_SHOWN = 10


def note_differences(trained: Mapping[str, model.Fact], packages: Mapping[str, str]) -> list[checks.Check]:
    """Return a note on the packages that have another version in the image; nothing if there are none.

    Args:
        trained: The facts of the bundle. ``packages`` are those that predict, each ``name version``; a model that is
            stored as numbers has none.
        packages: The packages of the image, with their versions.
    """
    recorded = trained.get("packages", ())
    if "packages" not in trained and trained.get("framework") == "lightgbm":  # exported by an earlier version
        recorded = (f"lightgbm {trained.get('version')}",)
    pairs = [text.partition(" ") for text in recorded] if isinstance(recorded, tuple) else []
    differences = [
        f"{name} {sanitize(version)[:40]} at training, {packages[name]} in the image"
        for name, version in {name: version for name, _, version in pairs}.items()
        if version and packages.get(name, version) != version
    ]
    if len(differences) > _SHOWN:
        differences[_SHOWN:] = [f"and {len(differences) - _SHOWN:,} more"]
    return [checks.Check(name="library versions", good=None, detail="; ".join(differences))] if differences else []
