"""Read a function's source, and find the names that it uses from outside of itself."""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import sys
import textwrap
import types
from typing import TYPE_CHECKING, Any

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_GLOBAL_OPCODES = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_ATTRIBUTE_OPCODES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})  # LOAD_METHOD until Python 3.11
_IMPLICIT_NAMES = frozenset({"__name__", "__doc__", "__module__", "__qualname__"})


def read_source(function: types.FunctionType) -> tuple[str, ast.FunctionDef]:
    """Return a function's source without indentation, and its syntax tree.

    Raises:
        errors.ExportError: The source is not available, or not a plain ``def``.
    """
    name = function.__name__
    if name == "<lambda>":
        raise errors.ExportError(
            "export: a lambda cannot be exported, since it has no name; define a function with def"
        )
    if hasattr(function, "__wrapped__"):  # inspect.getsource would return the source of the wrapped function
        raise errors.ExportError(
            f"export: {name} is wrapped by another function, which the bundle would not contain; do what that does in "
            f"{name} itself"
        )
    try:
        text = textwrap.dedent(inspect.getsource(function)).rstrip()
    except (OSError, TypeError) as error:
        raise errors.ExportError(
            f"export: the source of {name} is not available; define it in a file or in a cell of a notebook, not at a "
            "prompt or with exec"
        ) from error
    try:
        nodes = ast.parse(text).body
    except SyntaxError as error:
        raise errors.ExportError(
            f"export: the source of {name} cannot be separated from the code around it ({error.msg}); define it at the "
            "top level of a file or cell"
        ) from error
    node = nodes[0]
    if len(nodes) != 1 or not isinstance(node, ast.FunctionDef) or node.name != name:
        raise errors.ExportError(f"export: {name} is not a plain function; define it with def")
    if node.decorator_list:
        decorator = ast.unparse(node.decorator_list[0])
        raise errors.ExportError(
            f"export: {name} has the decorator @{decorator}, which the bundle would not contain; do what it does in "
            "the function"
        )
    text = _replace_nonlocal(text, node, function.__code__.co_freevars)
    return text, node


def _replace_nonlocal(text: str, node: ast.FunctionDef, outer_names: Collection[str]) -> str:
    """Return the source with ``global`` instead of ``nonlocal``: variables of enclosing functions become the module's.

    Raises:
        errors.ExportError: A statement also has variables of the function itself.
    """
    lines = text.encode().split(b"\n")
    for statement in [part for part in ast.walk(node) if isinstance(part, ast.Nonlocal)]:
        names = set(statement.names)
        if not names.isdisjoint(outer_names):
            if not names.issubset(outer_names):
                raise errors.ExportError(
                    f"export: line {statement.lineno} of {node.name} has variables of {node.name} and of the function "
                    "around it in one nonlocal statement; write two statements"
                )
            line, column = statement.lineno - 1, statement.col_offset
            lines[line] = lines[line][:column] + lines[line][column:].replace(b"nonlocal", b"global", 1)
    return b"\n".join(lines).decode()


def find_assigned_names(tree: ast.Module) -> set[str]:
    """Return the global names that functions assign."""
    return {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}


def iter_outer_names(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the names that a function uses from enclosing scopes, with their values.

    Raises:
        errors.ExportError: A name has no value.
    """
    code = function.__code__
    assigned = {
        str(item.argval)
        for part in _iter_code(code)
        for item in dis.get_instructions(part)
        if item.opname == "STORE_GLOBAL"
    }
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            raise errors.ExportError(f"export: {function.__name__} uses `{name}` before it has a value") from None
    for name in _find_global_names(code):
        if name in function.__globals__ and not (name.startswith("__") and name.endswith("__")):
            yield name, function.__globals__[name]
        elif not (hasattr(builtins, name) or name in assigned or name in _IMPLICIT_NAMES):
            raise errors.ExportError(f"export: {function.__name__} uses `{name}`, which is not defined")


def _find_global_names(code: types.CodeType) -> list[str]:
    """Return the global names that a function, or a function in it, uses; not those that it only sets."""
    names: dict[str, None] = {}
    for part in _iter_code(code):
        instructions = list(dis.get_instructions(part))
        written = {str(item.argval) for item in instructions if item.opname == "STORE_NAME"}
        read = (str(item.argval) for item in instructions if item.opname in _GLOBAL_OPCODES)
        names |= dict.fromkeys(name for name in read if name not in written)
    return list(names)


def iter_submodules(function: types.FunctionType) -> Iterator[str]:
    """Yield the submodules that a function uses as attributes: ``scipy.stats`` for ``sp.stats.zscore``."""
    for code in _iter_code(function.__code__):
        module = ""
        for instruction in dis.get_instructions(code):
            if instruction.opname in _GLOBAL_OPCODES:
                value = function.__globals__.get(str(instruction.argval))
                module = value.__name__ if isinstance(value, types.ModuleType) else ""
            elif (
                module and instruction.opname in _ATTRIBUTE_OPCODES and f"{module}.{instruction.argval}" in sys.modules
            ):
                module = f"{module}.{instruction.argval}"
                yield module
            else:
                module = ""


def _iter_code(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a function's code and that of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _iter_code(constant)
