"""Find the names that functions and classes use from outside of themselves, and what was changed in a class."""

from __future__ import annotations
import __future__

import abc
import ast
import builtins
import dataclasses
import dis
import enum
import sys
import types
import typing
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.export.function import inspection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_GLOBAL_OPCODES = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTE_OPCODES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})  # LOAD_METHOD until Python 3.11
_IMPLICIT_NAMES = frozenset({"__name__", "__doc__", "__module__", "__qualname__", "__class__"})


def find_assigned_names(tree: ast.Module) -> set[str]:
    """Return the global names that functions assign."""
    return {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}


def iter_outer_names(function: types.FunctionType) -> Iterator[tuple[str, Any, bool]]:
    """Yield the names that a function uses from enclosing scopes, their values, and whether they are global.

    Raises:
        errors.ExportError: A name has no value.
    """
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents, False
        except ValueError:
            raise errors.ExportError(f"export: {function.__name__} uses `{name}` before it has a value") from None
    yield from (
        (name, value, True) for name, value in _iter_globals([code], function.__globals__, {}, function.__name__)
    )


def iter_class_names(kind: type, definition: inspection.Definition) -> Iterator[tuple[str, Any, bool]]:
    """Yield the names that a class uses from enclosing scopes, their values, and whether defining it uses them.

    Raises:
        errors.ExportError: A name has no value.
    """
    module = compile(definition.text, "<class>", "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True)
    cells: dict[str, Any] = {}
    namespace: dict[str, Any] = dict(vars(sys.modules[kind.__module__])) if kind.__module__ in sys.modules else {}
    for function in inspection.iter_functions(kind):
        namespace.update(function.__globals__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                cells[name] = cell.cell_contents
    parts = [part for part in module.co_consts if isinstance(part, types.CodeType)]
    body = next(part for part in parts if part.co_name == definition.name)
    # Where the class is defined: decorators and bases, then its body without the functions in it.
    needed = {name for code in (module, body) for name in _find_global_names([code])} - {definition.name}
    used = [name for name in _find_global_names(list(_iter_code(module))) if name != definition.name]
    names = dict(_resolve(used, namespace, cells, kind.__qualname__, frozenset()))
    yield from ((name, value, name in needed) for name, value in names.items())
    if dataclasses.is_dataclass(kind):
        # Annotations are not evaluated, but a dataclass recognizes these by their names in the module:
        # https://github.com/python/cpython/blob/v3.12.0/Lib/dataclasses.py#L691
        special = [typing.ClassVar, dataclasses.InitVar, dataclasses.KW_ONLY, typing, dataclasses]
        for node in ast.walk(ast.parse(definition.text)):
            if isinstance(node, ast.Name) and node.id not in names:
                value = namespace.get(node.id)
                if any(value is item for item in special):
                    names[node.id] = value
                    yield node.id, value, True


def find_changed_attributes(kind: type, definition: inspection.Definition) -> dict[str, Any]:
    """Return the attributes of a class that were set or changed after its definition, such as ``CFG.model = model``.

    Those whose expression is not a literal are evaluated again where the class is defined. Descriptors other than
    functions, and what an enum or a base class makes of a name, are left as they are.
    """
    body = next(node for node in ast.parse(definition.text).body if isinstance(node, ast.ClassDef))
    written = {
        target.id: node.value
        for node in body.body
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    code = compile(definition.text, "<class>", "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True)
    names = {name for part in _iter_code(code) if part.co_name == body.name for name in part.co_names}
    methods = {node.name for node in body.body if isinstance(node, ast.FunctionDef) and not node.decorator_list}
    is_plain = type(kind) in {type, abc.ABCMeta} and not body.decorator_list  # else these may have set a method
    changed = {}
    for name, value in vars(kind).items():
        if name.startswith("_") or issubclass(kind, enum.Enum):
            continue
        if isinstance(value, types.FunctionType):
            is_replaced = name in methods and value.__qualname__ != f"{kind.__qualname__}.{name}"
            is_changed = is_plain and (is_replaced or name not in names)
        elif hasattr(type(value), "__get__"):
            continue
        else:
            is_changed = not _is_literal(written[name], value) if name in written else name not in names
        if is_changed:
            changed[name] = value
    return changed


def _is_literal(node: ast.expr, value: Any) -> bool:
    """Return whether an expression has this value, or is not a literal."""
    try:
        literal = ast.literal_eval(node)
    except ValueError:
        return True
    try:
        return type(literal) is type(value) and bool(literal == value)
    except Exception:  # noqa: BLE001 - what a list contains raises anything when it is compared
        return False


def _iter_globals(
    codes: list[types.CodeType], namespace: Mapping[str, Any], cells: Mapping[str, Any], user: str
) -> Iterator[tuple[str, Any]]:
    parts = [part for code in codes for part in _iter_code(code)]
    assigned = {
        str(item.argval) for part in parts for item in dis.get_instructions(part) if item.opname == "STORE_GLOBAL"
    }
    yield from _resolve(_find_global_names(parts), namespace, cells, user, frozenset(assigned))


def _resolve(
    names: list[str], namespace: Mapping[str, Any], cells: Mapping[str, Any], user: str, assigned: frozenset[str]
) -> Iterator[tuple[str, Any]]:
    for name in names:
        if name in cells:
            yield name, cells[name]
        elif name in namespace and not (name.startswith("__") and name.endswith("__")):
            yield name, namespace[name]
        elif not (hasattr(builtins, name) or name in assigned or name in _IMPLICIT_NAMES):
            raise errors.ExportError(f"export: {user} uses `{name}`, which is not defined")


def _find_global_names(codes: list[types.CodeType]) -> list[str]:
    """Return the global names that code uses; not those that it only sets."""
    names: dict[str, None] = {}
    for part in codes:
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
