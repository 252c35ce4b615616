"""The tournament's ``features.json``: which features a feature set has, such as ``medium``.

It lies at the root of the configs, as ``v5.2/features.json`` (where ``numerapi`` puts it) or as ``features.json``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from builder import schema
from builder.bundle import post
from builder.text import describe, find_nearest, format_list

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE = "features.json"
MOST_BYTES = 1 << 26
"""Far more than the names and statistics of all features take."""


def find(root: Path, data_version: str) -> Path | None:
    """Return the file for a data version, if it is there: its own folder's before the root's."""
    return next((path for path in _places(root, data_version) if path.is_file()), None)


def read(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the features of every feature set, in the file's order.

    Raises:
        ValueError: All that is wrong with the file, in one text that begins with its path.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); make it readable, or fetch it again") from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path} is over {MOST_BYTES:,} bytes; fetch it again")
    data = schema.read_json(content)
    if isinstance(data, list):
        raise _refused(path, map(str, data))
    if "feature_sets" not in data:
        raise _refused(path, ["feature_sets: missing; expected a mapping of names to lists of features"])
    parsed = schema.parse(dict[str, dict[str, tuple[post.Column, ...]]], {"feature_sets": data["feature_sets"]})
    if isinstance(parsed, list):
        raise _refused(path, map(str, parsed))
    found, sets = [], parsed["feature_sets"]
    for name, features in sets.items():
        twice = [feature for feature, count in Counter(features).items() if count > 1]
        if twice:
            shown = format_list(twice, most=3)
            found.append(f"feature_sets.{name}: {shown} more than once; leave one of each")
    if found:
        raise _refused(path, found)
    return sets


def names(root: Path, data_version: str, name: str) -> tuple[str, ...]:
    """Return the features of one feature set, at least one.

    Args:
        root: The folder that holds ``configs/``.
        data_version: Such as ``v5.2``.
        name: Of the set.

    Raises:
        ValueError: There is no file, it has faults, or it has no such set.
    """
    path = find(root, data_version)
    if path is None:
        where = " nor ".join(map(str, _places(root, data_version)))
        how = f"numerapi.NumerAPI().download_dataset('{data_version}/{FILE}', '{data_version}/{FILE}')"
        raise ValueError(
            f"{describe(name)} is a feature set, and neither {where} is there to say which features it has; "
            f"fetch it ({how}), or name them: features: [...]"
        )
    sets = read(path)
    found = sets.get(name, ())
    if not found:
        near = find_nearest(name, (one for one in sets if one != name))
        what = "has no features in" if name in sets else "is not a feature set of"
        hint = f"did you mean {near}?" if near else f"there are {', '.join(sets) or 'none'}"
        raise ValueError(f"{describe(name)} {what} {path}; {hint}")
    return found


def _places(root: Path, data_version: str) -> tuple[Path, Path]:
    return root / data_version / FILE, root / FILE


def _refused(path: Path, problems: Iterable[str]) -> ValueError:
    faults = list(problems)
    more = f"; and {len(faults) - 10:,} more faults" if len(faults) > 10 else ""
    return ValueError(f"{path} has faults ({'; '.join(faults[:10])}{more}); fetch it again")
