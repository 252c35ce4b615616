"""Read the tournament's ``features.json``, which lists the features of each feature set, such as ``medium``.

The file is expected at the root of the project, as ``v5.3/features.json`` (where ``numerapi`` puts it) or as
``features.json``, or in the cache, as ``data/v5.3/features.json``.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from builder import commands, data_versions, paths, schema
from builder.bundle import post
from builder.text import describe, find_nearest, format_list

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE = "features.json"
MAX_BYTES = 1 << 26
"""Largest file that is read: far more than the names and statistics of all features."""


def find(root: Path, data_version: str) -> Path | None:
    """Return the path of the file for a data version: in its folder, else at the root, else in the cache, else None."""
    if not re.fullmatch(data_versions.PATTERN, data_version):  # of a report that somebody else wrote: "../.."
        return None
    candidates = (*_list_paths(root, data_version), paths.cached_features_file(data_version))
    return next((path for path in candidates if path.is_file()), None)


def read(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the features of every feature set, in the file's order.

    Raises:
        ValueError: The file is invalid; the text begins with its path and has all problems.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; make it readable, or fetch it again") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES:,} bytes; fetch it again")
    data = schema.read_json(content)
    if isinstance(data, list):
        raise _create_error(path, map(str, data))
    if "feature_sets" not in data:
        raise _create_error(path, ["feature_sets: missing; expected a mapping of names to lists of features"])
    # Only this key: the tournament adds others, whose content does not matter here.
    parsed = schema.parse(dict[str, dict[str, tuple[post.Column, ...]]], {"feature_sets": data["feature_sets"]})
    if isinstance(parsed, list):
        raise _create_error(path, map(str, parsed))
    problems, sets = [], parsed["feature_sets"]
    for name, features in sets.items():
        duplicates = [feature for feature, count in Counter(features).items() if count > 1]
        if duplicates:
            shown = format_list(duplicates, most=3)
            problems.append(f"feature_sets.{name}: duplicates: {shown}; list each once")
    if problems:
        raise _create_error(path, problems)
    return sets


def read_names(root: Path, data_version: str, name: str) -> tuple[str, ...]:
    """Return the features of one feature set, at least one.

    Args:
        root: The folder that contains ``configs/``.
        data_version: Such as ``v5.3``.
        name: Of the feature set.

    Raises:
        ValueError: There is no file, it is invalid, or the set is missing or empty.
    """
    path = find(root, data_version)
    if path is None:
        paths = " nor ".join(map(str, _list_paths(root, data_version)))
        raise ValueError(
            f"cannot find the features of the set {describe(name)}: neither {paths} exists; "
            f"fetch the file (`{commands.suggest_plain('data')}`), or list the features: features: [...]"
        )
    sets = read(path)
    features = sets.get(name, ())
    if not features:
        near = find_nearest(name, (other for other in sets if other != name))
        problem = "has no features in" if name in sets else "is not a feature set of"
        hint = f"did you mean {near}?" if near else f"expected one of {', '.join(sets)}"
        raise ValueError(f"{describe(name)} {problem} {path}; {hint if sets else 'fetch it again'}")
    return features


def _list_paths(root: Path, data_version: str) -> tuple[Path, Path]:
    return root / data_version / FILE, root / FILE


def _create_error(path: Path, problems: Iterable[str]) -> ValueError:
    texts = list(problems)
    more = f"; and {len(texts) - 10:,} more problems" if len(texts) > 10 else ""
    return ValueError(f"{path} is invalid ({'; '.join(texts[:10])}{more}); fetch it again")
