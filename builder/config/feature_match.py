"""Find the feature set and data version of a model's features in the ``features.json`` files of the project."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import commands, data_versions, paths
from builder.config import feature_sets
from builder.text import escape, format_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_VERSION = re.compile(data_versions.PATTERN)
_BENCHMARK_VERSION = re.compile(r"v([0-9])([0-9])_")  # v53_lgbm_ender20
_PREFERRED = ("small", "medium", "all")


@dataclass(frozen=True, kw_only=True)
class Match:
    """The feature set of a model.

    Attributes:
        text: One line for a person, such as ``42 features: exactly the set small of v5.3``.
        data_version: Such as ``v5.3``; None if it is unknown.
    """

    text: str
    data_version: str | None


def match(
    features: Sequence[str], benchmarks: Sequence[str], *, root: Path, file: Path | None = None
) -> tuple[Match, list[str]]:
    """Match a model's features with the feature sets of the project.

    Args:
        features: The model's features.
        benchmarks: Benchmark columns that the model or its steps use; their names begin with a data version.
        root: The folder that contains ``configs/``; its ``features.json`` and those in ``v5.3/`` etc. are read, else
            those in the cache.
        file: Read only this ``features.json``.

    Returns:
        The match, and notes: the problems of files that were skipped, or how to fetch one.

    Raises:
        ValueError: ``file`` is invalid.
    """
    benchmark_version = _find_benchmark_version(benchmarks)
    count = f"{len(features):,} feature{'s' if len(features) != 1 else ''}"
    matches: list[tuple[int, tuple[int, ...], str, str | None]] = []
    skipped: list[str] = []
    for path, version in _list_files(root, file):
        try:
            sets = feature_sets.read(path)
        except ValueError as error:
            if file is not None:
                raise
            skipped.append(str(error))
            continue
        rank, text = _compare(features, sets)
        newest_first = tuple(-int(part) for part in re.findall(r"[0-9]+", version or "v0"))
        matches.append((rank, newest_first, f"{count}: {text.format(file=escape(version or path.name))}", version))
    if not matches:
        expected = f"{data_versions.DEFAULT}/{feature_sets.FILE}"
        text = f"{count}: no {feature_sets.FILE} found to look up their set (expected {expected})"
        skipped.append(
            f"`{commands.suggest_plain('data')}` fetches {feature_sets.FILE} into the cache; then pass "
            f"{commands.format_option('--force')} to write the config again with the set"
        )
        return Match(text=text, data_version=benchmark_version), skipped
    # The best match; of equal ones, that of the benchmarks' version, then the newest.
    rank, _, text, version = min(matches, key=lambda match: (match[0], match[3] != benchmark_version, match[1]))
    return Match(text=text, data_version=version if version and rank < _NONE else benchmark_version), skipped


_EXACT, _SUBSET, _NONE = range(3)


def _compare(features: Sequence[str], sets: Mapping[str, Iterable[str]]) -> tuple[int, str]:
    """Return the rank of the best match, and a text with ``{file}`` for the version or file name."""
    # The preferred sets first: of several equal ones, the first is shown.
    by_name = {name: set(sets[name]) for name in (*(name for name in _PREFERRED if name in sets), *sets)}
    shown = {name: escape(name).replace("{", "{{").replace("}", "}}") for name in by_name}
    names = set(features)
    exact = [name for name, members in by_name.items() if members == names]
    if exact:
        return _EXACT, f"exactly the set {shown[exact[0]]} of {{file}}"
    supersets = sorted(
        (name for name, members in by_name.items() if names < members), key=lambda name: len(by_name[name])
    )
    if supersets:
        best = next((name for name in supersets if name in _PREFERRED), supersets[0])
        return _SUBSET, f"a subset of the {len(by_name[best]):,} features of the set {shown[best]} of {{file}}"
    missing = [name for name in features if not any(name in members for members in by_name.values())]
    if not missing:
        return _NONE, "not in any single set of {file}, but each of them in some set"
    first = format_list([escape(name) for name in missing], most=3).replace("{", "{{").replace("}", "}}")
    return _NONE, f"not in the sets of {{file}}, where {len(missing):,} of them are missing: {first}"


def _list_files(root: Path, file: Path | None) -> list[tuple[Path, str | None]]:
    """Return the files to read, each with the data version that its folder is named after."""
    if file is not None:
        version = file.resolve().parent.name
        return [(file, version if _VERSION.fullmatch(version) else None)]
    files = _list_versions(root)
    at_root = root / feature_sets.FILE
    if at_root.is_file():
        files.append((at_root, None))
    return files or _list_versions(paths.cached_features_file(data_versions.DEFAULT).parent.parent)


def _list_versions(folder: Path) -> list[tuple[Path, str | None]]:
    """Return the files in the folders of data versions."""
    return [
        (path, path.parent.name)
        for path in sorted(folder.glob(f"v*/{feature_sets.FILE}"))
        if _VERSION.fullmatch(path.parent.name) and path.is_file()
    ]


def _find_benchmark_version(names: Sequence[str]) -> str | None:
    # Only if they agree: a model may use benchmarks of several data versions.
    versions = {f"v{match[1]}.{match[2]}" for match in map(_BENCHMARK_VERSION.match, names) if match}
    return versions.pop() if len(versions) == 1 else None
