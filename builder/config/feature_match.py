"""Which feature set and data version a model's features are of, as far as a ``features.json`` that is here tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.config import feature_sets
from builder.text import escape, format_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_VERSION = re.compile(r"v[0-9]+(\.[0-9]+)?")
_OF_BENCHMARK = re.compile(r"v([0-9])([0-9])_")  # v52_lgbm_ender20
_FIRST = ("small", "medium", "all")


@dataclass(frozen=True, kw_only=True)
class Match:
    """What was found.

    Attributes:
        text: One line for a person, such as ``42 features: exactly the set small of v5.2``.
        data_version: Such as ``v5.2``; None where nothing tells.
    """

    text: str
    data_version: str | None


def match(
    features: Sequence[str], benchmarks: Sequence[str], *, root: Path, given: Path | None = None
) -> tuple[Match, list[str]]:
    """Match a model's features with the feature sets that are at hand.

    Args:
        features: The model's.
        benchmarks: Benchmark columns that the model or its steps use; their names begin with a data version.
        root: The folder that holds ``configs/``; the files looked at are its own and those of ``v5.2/`` and the like.
        given: Look at this file alone.

    Returns:
        The match, and what is wrong with files that were found and passed over.

    Raises:
        ValueError: The given file has faults.
    """
    of_names = _of_benchmarks(benchmarks)
    counted = f"{len(features):,} feature{'s' if len(features) != 1 else ''}"
    found: list[tuple[int, tuple[int, ...], str, str | None]] = []
    passed_over: list[str] = []
    for path, version in _files(root, given):
        try:
            sets = feature_sets.read(path)
        except ValueError as error:
            if given is not None:
                raise
            passed_over.append(str(error))
            continue
        rank, text = _compare(features, sets)
        where = version or path.name
        order = tuple(-int(part) for part in re.findall(r"[0-9]+", version or "v0"))
        found.append((rank, order, f"{counted}: {text.format(where=escape(where))}", version))
    if not found:
        text = f"{counted}: no {feature_sets.FILE} is here to find their set in (v5.2/{feature_sets.FILE} would be)"
        return Match(text=text, data_version=of_names), passed_over
    # The nearest match; of several versions that match alike, the one that the benchmarks are of, then the newest.
    rank, _, text, version = min(found, key=lambda one: (one[0], one[3] != of_names, one[1]))
    return Match(text=text, data_version=version if version and rank < _NONE else of_names), passed_over


_EXACT, _SUBSET, _NONE = range(3)


def _compare(features: Sequence[str], sets: Mapping[str, Iterable[str]]) -> tuple[int, str]:
    """Return how near the features are to a set, and that in words with ``{where}`` for the file."""
    wanted = set(features)
    known = {name: set(sets[name]) for name in (*(one for one in _FIRST if one in sets), *sets)}
    shown = {name: escape(name).replace("{", "{{").replace("}", "}}") for name in known}
    exact = [name for name, names in known.items() if names == wanted]
    if exact:
        return _EXACT, f"exactly the set {shown[exact[0]]} of {{where}}"
    holding = sorted((name for name, names in known.items() if wanted < names), key=lambda name: len(known[name]))
    if holding:
        named = [name for name in holding if name in _FIRST] or holding
        return _SUBSET, f"some of the {len(known[named[0]]):,} of the set {shown[named[0]]} of {{where}}"
    absent = [name for name in features if not any(name in names for names in known.values())]
    if not absent:
        return _NONE, "in no one set of {where}, though each is in some"
    first = format_list([escape(name) for name in absent], most=3).replace("{", "{{").replace("}", "}}")
    return _NONE, f"in none of the sets of {{where}}, which lacks {len(absent):,} of them: {first}"


def _files(root: Path, given: Path | None) -> list[tuple[Path, str | None]]:
    """Return the files to look at, with the data version that the folder of each says."""
    if given is not None:
        version = given.resolve().parent.name
        return [(given, version if _VERSION.fullmatch(version) else None)]
    found: list[tuple[Path, str | None]] = [
        (path, path.parent.name)
        for path in sorted(root.glob(f"v*/{feature_sets.FILE}"))
        if _VERSION.fullmatch(path.parent.name) and path.is_file()
    ]
    alone = root / feature_sets.FILE
    return [*found, (alone, None)] if alone.is_file() else found


def _of_benchmarks(names: Sequence[str]) -> str | None:
    versions = {f"v{match[1]}.{match[2]}" for match in map(_OF_BENCHMARK.match, names) if match}
    return versions.pop() if len(versions) == 1 else None
