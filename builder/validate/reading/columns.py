"""The columns that a pickle asks for, by the names of features and benchmark models that it contains."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.validate.reading.values import Container, Value, walk

if TYPE_CHECKING:
    import mmap
    from collections.abc import Sequence

_FEATURE = re.compile(r"feature_[a-z0-9][a-z0-9_]*")
# Attributes and parameters of frameworks, which functions name too.
_NOT_FEATURES = re.compile(
    r"feature_(?:names?|importances?|fraction|types?|cols?|columns?|sets?|weights|data|list)(?:_.*)?"
)
# The literal first: `re` then skips to it, which takes a fifth of the time.
_FEATURE_BYTES = re.compile(rb"feature_(?<![a-zA-Z0-9_]feature_)[a-z0-9]+(?:_[a-z0-9]+)*(?![a-zA-Z0-9_])")
_BENCHMARK = re.compile(r"v[0-9]{1,2}_[a-z0-9_]+")  # v53_lgbm_ender20
_BENCHMARK_BYTES = re.compile(rb"v[0-9]{1,2}_[a-z0-9_]")
_PREFIXES = ("feature_", *(f"v{digit}" for digit in range(10)))
_MAX_COLUMNS = 10_000


def find_columns(roots: Sequence[Value]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of features, those of the largest list of names first, and those of benchmark models."""
    groups, benchmarks = list[list[str]](), dict[str, None]()
    for value in walk(*roots):
        items = value.items if type(value) is Container else ()
        names = [item for item in items if isinstance(item, str) and item.startswith(_PREFIXES)]
        if not names:  # as in most of what may be millions
            continue
        features = list(filter(_is_feature, names))
        if features:
            groups.append(features)
        benchmarks |= dict.fromkeys(filter(_BENCHMARK.fullmatch, names))
    groups.sort(key=len, reverse=True)
    names = list(dict.fromkeys(name for group in groups for name in group))
    return tuple(names[:_MAX_COLUMNS]), tuple(benchmarks)[:_MAX_COLUMNS]


def has_names(buffer: bytes | mmap.mmap) -> bool:
    """Return whether there may be such names: searching the bytes takes less than looking at millions of values."""
    return buffer.find(b"feature_") >= 0 or bool(_BENCHMARK_BYTES.search(buffer))


def find_features_in_bytes(buffer: bytes | mmap.mmap) -> tuple[str, ...]:
    """Return the names of features anywhere in a file, such as in a model's own text."""
    names = (match[0].decode("ascii") for match in _FEATURE_BYTES.finditer(buffer))
    return tuple(dict.fromkeys(name for name in names if not _NOT_FEATURES.fullmatch(name)))[:_MAX_COLUMNS]


def _is_feature(name: str) -> bool:
    return bool(_FEATURE.fullmatch(name)) and not _NOT_FEATURES.fullmatch(name)
