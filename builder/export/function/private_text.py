"""What a bundle must not pass on: secrets are refused, paths of one machine are noted.

A bundle goes to a repository, into a pickle and to the tournament, and all that a function closes over goes with it,
its source too. A secret is found by what it is called and by what it looks like, and never shown.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from builder import errors, secret_scan
from builder.bundle import header as bundle_header
from builder.text import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_CALLED = "`{}` is called like a secret and is text: it is not put in a bundle, which others see; do without it, or "
_LOOKS = "{} has what looks like a secret: it is not put in a bundle, which others see; take it out"
_DEEPEST = 100
_PART = re.compile(r"/home/[^/]|/Users/[^/]|^[^\s]+[/\\][^\s/\\]+[/\\][^/\\\n]+$")
"""More of a path than ``/`` or ``/100``."""
_LONGEST_FILE = 4_000_000
_LONGEST_LINE = 10_000
_SETTING = re.compile(
    r"""(?i)(?<![\w.-])["']?((?:[\w.-]{0,80}[_.-])?(?<!bos_)(?<!eos_)(?<!pad_)(?<!unk_)(?<!cls_)(?<!sep_)(?<!mask_)"""
    r"""(?:token|secret|passw(?:or)?d|api[_-]?key|private[_-]?key|secret[_-]?key|credentials?))["']?\s*[=:]\s*"""
    r"""(["']?)([A-Za-z0-9._~+/=$-]{8,})(?=["'\s,;}]|$)"""
)
"""Such as ``NAME=value``, ``name: value``, ``"name": "value"``, of what is called like a secret."""


def notes_of_value(value: Any, name: str) -> list[str]:
    """Return what a person should know of data that goes into a bundle.

    Raises:
        errors.ExportError: Some of it is a secret, by its name or by its looks, or the data contains itself.
    """
    found = []
    for place, key, text in _texts(value, name, name, ()):
        if secret_scan.is_secret_key(key) and len(text) >= secret_scan.MIN_LENGTH:
            raise errors.ExportError(f"export: {_CALLED.format(place)}rename it if it is none")
        if secret_scan.has_secret(text):
            raise errors.ExportError(f"export: {_LOOKS.format(f'`{place}`')}")
        found += _path_notes(f"`{place}`", text)
    return found


def notes_of_source(source: str, where: str) -> list[str]:
    """Return what a person should know of Python source that goes into a bundle; raises as of ``notes_of_value``."""
    for line, text in enumerate(source.splitlines(), start=1):
        if secret_scan.has_secret(text.strip()):  # comments too
            raise errors.ExportError(f"export: {_LOOKS.format(f'line {line} of {where}')}")
    found: list[str] = []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return found  # said by those who have to read it
    for node in ast.walk(tree):
        for name, value in _named(node):
            given = value.value if isinstance(value, ast.Constant) else None
            if (
                isinstance(given, (str, bytes))
                and secret_scan.is_secret_key(name)
                and len(given) >= secret_scan.MIN_LENGTH
            ):
                place = f"line {value.lineno} of {where}: "
                raise errors.ExportError(f"export: {place}{_CALLED.format(name)}rename it if it is none")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += _path_notes(f"line {node.lineno} of {where}", node.value)
    return found


def notes_of_file(path: Path, name: str) -> list[str]:
    """Return what a person should know of a file that goes into a bundle as it is; raises as of ``notes_of_value``.

    Text is looked through by its lines, for keys whose last word is a secret's (``api_key``, not ``max_tokens``) and
    values that could be one. What is no text, or too long to be written by hand, is taken for numbers.
    """
    if path.stat().st_size > _LONGEST_FILE:
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    for line, content in enumerate(text.splitlines(), start=1):
        place = f"line {line} of {name}"
        for key, quote, value in _SETTING.findall(content):
            if quote or not _is_number(value):
                raise errors.ExportError(f"export: {place}: {_CALLED.format(key)}rename it if it is none")
        if len(content) <= _LONGEST_LINE and secret_scan.has_secret(content.strip()):
            raise errors.ExportError(f"export: {_LOOKS.format(place)}")
    return []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _path_notes(place: str, text: str) -> list[str]:
    if not (bundle_header.looks_like_path(text) and _PART.search(text)):
        return []
    shown = describe(text)
    return [f"{place} has a path, {shown}: it is in the bundle for others to see, and leads nowhere in the image"]


def _texts(value: Any, place: str, key: str, above: tuple[int, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield the place, the name next to it, and each text in data."""
    if isinstance(value, str):
        yield place, key, value
    elif isinstance(value, bytes):
        yield place, key, value.decode("latin-1")
    elif isinstance(value, (dict, list, tuple, set, frozenset)):
        if id(value) in above or len(above) > _DEEPEST:
            raise errors.ExportError(f"export: `{place[:80]}` contains itself, or is too deep to be written as text")
        inside = (*above, id(value))
        for one, item in _items(value):
            own = one if isinstance(one, str) else key
            if isinstance(value, dict):
                yield from _texts(one, f"a key of {place}", "", inside)
            yield from _texts(item, f"{place}[{one!r}]", own, inside)
    else:
        for own, column in _columns(value, key):
            for item in column:
                yield from _texts(item, place, own, above)


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _columns(value: Any, key: str) -> Iterator[tuple[str, Iterable[Any]]]:
    """Yield the arrays of a library's object that may hold texts, with their names.

    All of it is written: names, index and ``attrs`` of a frame, and categories that no row has.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        yield key, value.ravel().tolist()
    elif isinstance(value, pd.Index):
        yield key, [*value.names, *_rows(value)]
    elif isinstance(value, pd.Series):
        yield key, _rows(value)
        yield "", [value.name, value.attrs, *value.index.names, *_rows(value.index)]
    elif isinstance(value, pd.DataFrame):
        yield "", [value.attrs, *value.columns.names, *value.columns, *value.index.names, *_rows(value.index)]
        for name, column in value.items():
            yield str(name), _rows(column)


def _rows(value: pd.Series[Any] | pd.Index[Any]) -> list[Any]:
    """Return what may be text among the values of a column or an index, with its categories."""
    if pd.api.types.is_numeric_dtype(value.dtype):
        return []
    categories = value.dtype.categories.tolist() if isinstance(value.dtype, pd.CategoricalDtype) else []
    return [*categories, *value.astype(object).tolist()]


def _named(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield names and what is given to them: by an assignment, as a keyword, a default, or in a dict."""
    if isinstance(node, ast.Assign):
        yield from ((_name(target), node.value) for target in node.targets)
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield _name(node.target), node.value
    elif isinstance(node, ast.keyword) and node.arg is not None:
        yield node.arg, node.value
    elif isinstance(node, ast.Dict):
        yield from ((_name(key), value) for key, value in zip(node.keys, node.values, strict=True) if key is not None)
    elif isinstance(node, ast.arguments):
        plain = [*node.posonlyargs, *node.args]
        yield from ((one.arg, value) for one, value in zip(reversed(plain), reversed(node.defaults), strict=False))
        yield from (
            (one.arg, value) for one, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value is not None
        )


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.slice)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
