"""Select among the tournament's data versions: its own list decides what is offered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import data_versions
from builder.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.tournament.types import DataVersion


def find_version(text: str, versions: Sequence[DataVersion]) -> DataVersion | None:
    """Return the tournament's data version, deprecated or not, of a name like ``v5.3``, or None."""
    # Which of the two has the form `v5.3` is not documented.
    return next((version for version in versions if text in {version.version, version.name}), None)


def find_problem(text: str, versions: Sequence[DataVersion]) -> str:
    """Return why no pickle can be registered for a data version, or an empty text."""
    version = find_version(text, versions)
    if version and not version.deprecated:
        return ""
    offered = sanitize(", ".join(_get_name(item) for item in versions if not item.deprecated)) or "none"
    problem = f"data version {text} is deprecated" if version else f"the tournament has no data version {text}"
    return f"{problem}; offered: {offered}"


def find_notes(text: str, versions: Sequence[DataVersion]) -> tuple[str, ...]:
    """Return what a person should know about an offered data version."""
    version = find_version(text, versions)
    default = next((_get_name(item) for item in versions if item.default), data_versions.DEFAULT)
    notes = [f"data version {text} is experimental"] if version and version.experimental else []
    age = sanitize(data_versions.format_age_note(text, default))
    return tuple([*notes, age] if age else notes)


def _get_name(version: DataVersion) -> str:
    return version.version or version.name
