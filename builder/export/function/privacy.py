"""Refuse secrets in the data and source of a function, and note paths of this machine.

A bundle may be committed to a repository, and its contents are in the pickle that is uploaded. A secret is recognized
by its name or its form, and never shown.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from builder import errors, secret_scan
from builder.bundle import header as bundle_header
from builder.text import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SUSPICIOUS_NAME = (
    "`{}` is named like a secret: others can read a bundle, so it must not contain secrets; remove it, or "
)
_SUSPICIOUS_VALUE = (
    "{} contains what looks like a secret: others can read a bundle, so it must not contain secrets; remove it"
)
_PATH_NOTE = "{} has the path {}, which others can read in the bundle and the image does not have"
_MAX_DEPTH = 100
_SPECIFIC_PATH = re.compile(r"/home/[^/]|/Users/[^/]|^[^\s]+[/\\][^\s/\\]+[/\\][^/\\\n]+$")
"""A path of some depth, or in a home folder; not ``/`` or ``/100``."""
_MAX_FILE_BYTES = 4_000_000
_MAX_LINE_CHARS = 10_000
_SETTING = re.compile(
    r"""(?i)(?<![\w.-])["']?((?:[\w.-]{0,80}[_.-])?(?<!bos_)(?<!eos_)(?<!pad_)(?<!unk_)(?<!cls_)(?<!sep_)(?<!mask_)"""
    r"""(?:token|secret|passw(?:or)?d|api[_-]?key|private[_-]?key|secret[_-]?key|credentials?))["']?\s*[=:]\s*"""
    r"""(["']?)([A-Za-z0-9._~+/=$-]{8,})(?=["'\s,;}]|$)"""
)
"""``NAME=value``, ``name: value`` or ``"name": "value"`` with a name like that of a secret, except special tokens."""


def check_value(value: Any, name: str) -> list[str]:
    """Return notes for the user about data of a bundle.

    Raises:
        errors.ExportError: A text in it is a secret by its name or form, or the data contains itself.
    """
    notes = []
    for location, key, text in _iter_texts(value, name, name, ()):
        if secret_scan.is_secret_key(key) and len(text) >= secret_scan.MIN_LENGTH:
            raise errors.ExportError(f"export: {_SUSPICIOUS_NAME.format(location)}rename it if it is not one")
        if secret_scan.has_secret(text):
            raise errors.ExportError(f"export: {_SUSPICIOUS_VALUE.format(f'`{location}`')}")
        notes += _describe_path(f"`{location}`", text)
    return notes


def check_source(source: str, module: str) -> list[str]:
    """Return notes for the user about Python source of a bundle; raises as ``check_value``."""
    for line, text in enumerate(source.splitlines(), start=1):
        if secret_scan.has_secret(text.strip()):  # in comments too
            raise errors.ExportError(f"export: {_SUSPICIOUS_VALUE.format(f'line {line} of {module}')}")
    notes: list[str] = []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return notes  # reported when the source is read
    for node in ast.walk(tree):
        for name, value in _iter_assignments(node):
            constant = value.value if isinstance(value, ast.Constant) else None
            if (
                isinstance(constant, (str, bytes))
                and secret_scan.is_secret_key(name)
                and len(constant) >= secret_scan.MIN_LENGTH
            ):
                location = f"line {value.lineno} of {module}: "
                raise errors.ExportError(f"export: {location}{_SUSPICIOUS_NAME.format(name)}rename it if it is not one")
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            notes += _describe_path(f"line {node.lineno} of {module}", node.value)
    return notes


def check_file(path: Path, name: str) -> list[str]:
    """Return notes for the user about a file of a bundle; raises as ``check_value``.

    Each line of a text file is searched for names whose last word is that of a secret (``api_key``, not ``max_tokens``)
    and for values that look like one. A binary file, or one too long to be written by hand, is not searched.
    """
    if path.stat().st_size > _MAX_FILE_BYTES:
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    for line, content in enumerate(text.splitlines(), start=1):
        location = f"line {line} of {name}"
        for key, quote, value in _SETTING.findall(content):
            if quote or not _is_number(value):
                raise errors.ExportError(
                    f"export: {location}: {_SUSPICIOUS_NAME.format(key)}rename it if it is not one"
                )
        if len(content) <= _MAX_LINE_CHARS and secret_scan.has_secret(content.strip()):
            raise errors.ExportError(f"export: {_SUSPICIOUS_VALUE.format(location)}")
    return []


def check_pickle(content: bytes, name: str) -> list[str]:
    """Return notes for the user about a pickled object: a library keeps paths of files, such as those of its logs."""
    for folder in (Path.cwd(), Path.home()):
        if folder.parent == folder:
            continue
        match = re.search(re.escape(os.fsencode(folder)) + rb"[/\\][\w./\\-]*", content)
        if match:
            path = os.fsdecode(match[0])
            return [_PATH_NOTE.format(f"`{name}`", describe(path))]
    return []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _describe_path(location: str, text: str) -> list[str]:
    if not (bundle_header.looks_like_path(text) and _SPECIFIC_PATH.search(text)):
        return []
    return [_PATH_NOTE.format(location, describe(text))]


def _iter_texts(value: Any, location: str, key: str, ancestors: tuple[int, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield the location, the nearest name, and the text of each string in the data."""
    if isinstance(value, str):
        yield location, key, value
    elif isinstance(value, bytes):
        yield location, key, value.decode("latin-1")
    elif isinstance(value, (dict, list, tuple, set, frozenset)):
        if id(value) in ancestors or len(ancestors) > _MAX_DEPTH:
            raise errors.ExportError(f"export: `{location[:80]}` contains itself, or is nested too deeply")
        ancestors = (*ancestors, id(value))
        for item_key, item in _iter_items(value):
            if isinstance(value, dict):
                yield from _iter_texts(item_key, f"a key of {location}", "", ancestors)
            name = item_key if isinstance(item_key, str) else key
            yield from _iter_texts(item, f"{location}[{item_key!r}]", name, ancestors)
    else:
        for column_name, column in _iter_columns(value, key):
            for item in column:
                yield from _iter_texts(item, location, column_name, ancestors)


def _iter_items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _iter_columns(value: Any, key: str) -> Iterator[tuple[str, Iterable[Any]]]:
    """Yield the arrays of a numpy or pandas object that may contain strings, with their names.

    Everything that a bundle stores counts: names, index and ``attrs`` of a frame, and categories that no row has.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS":
        yield key, value.ravel().tolist()
    elif isinstance(value, pd.Index):
        yield key, [*value.names, *_list_values(value)]
    elif isinstance(value, pd.Series):
        yield key, _list_values(value)
        yield "", [value.name, value.attrs, *value.index.names, *_list_values(value.index)]
    elif isinstance(value, pd.DataFrame):
        yield "", [value.attrs, *value.columns.names, *value.columns, *value.index.names, *_list_values(value.index)]
        for name, column in value.items():
            yield str(name), _list_values(column)


def _list_values(value: pd.Series[Any] | pd.Index[Any]) -> list[Any]:
    """Return the values and categories of a column or an index, if they may be strings."""
    if pd.api.types.is_numeric_dtype(value.dtype):
        return []
    categories = value.dtype.categories.tolist() if isinstance(value.dtype, pd.CategoricalDtype) else []
    return [*categories, *value.astype(object).tolist()]


def _iter_assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield names and the expressions assigned to them: by assignment, keyword, default or dict key."""
    if isinstance(node, ast.Assign):
        yield from ((_find_name(target), node.value) for target in node.targets)
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        yield _find_name(node.target), node.value
    elif isinstance(node, ast.keyword) and node.arg is not None:
        yield node.arg, node.value
    elif isinstance(node, ast.Dict):
        yield from (
            (_find_name(key), value) for key, value in zip(node.keys, node.values, strict=True) if key is not None
        )
    elif isinstance(node, ast.arguments):
        plain = [*node.posonlyargs, *node.args]
        yield from (
            (parameter.arg, value) for parameter, value in zip(reversed(plain), reversed(node.defaults), strict=False)
        )
        yield from (
            (parameter.arg, value)
            for parameter, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)
            if value is not None
        )


def _find_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _find_name(node.slice)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
