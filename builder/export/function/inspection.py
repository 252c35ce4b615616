"""Read the source of functions, lambdas and classes, and find the names that they use from outside of themselves."""

from __future__ import annotations
import __future__

import abc
import ast
import builtins
import dataclasses
import dis
import enum
import inspect
import linecache
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, cast

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_GLOBAL_OPCODES = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTE_OPCODES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})  # LOAD_METHOD until Python 3.11
_IMPLICIT_NAMES = frozenset({"__name__", "__doc__", "__module__", "__qualname__", "__class__"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Definition:
    """The source of a function or class, without indentation and, for a function, without decorators.

    Attributes:
        text: The source.
        name: The name that it defines.
        decorators: The decorators that the source of a function has, from the outermost to the innermost.
        nonlocals: The variables of the enclosing function that a function assigns.
        has_literal_defaults: Whether all default values of a function are numbers, strings and the like, as written.
    """

    text: str
    name: str
    decorators: tuple[str, ...] = ()
    nonlocals: frozenset[str] = frozenset()
    has_literal_defaults: bool = True


def read_function(function: types.FunctionType, name: str) -> Definition:
    """Return the definition of a function, or of a lambda as a function ``name``.

    Values of default arguments that are not literals become None, since they are not evaluated again.

    Raises:
        errors.ExportError: The source is not available.
    """
    if function.__code__.co_name == "<lambda>":
        return _read_lambda(function, name)
    try:
        # The source of the code: that of the function would be that of the innermost one if it is wrapped.
        lines, _ = inspect.getsourcelines(function.__code__)
    except (OSError, TypeError) as error:
        raise _explain_missing_source(function.__name__) from error
    node, text = parse_definition("".join(lines), function.__name__)
    if isinstance(node, ast.AsyncFunctionDef):
        raise errors.ExportError(f"export: {function.__name__} is an async function; define it with def")
    if not isinstance(node, ast.FunctionDef) or node.name != function.__code__.co_name:
        raise errors.ExportError(f"export: {function.__name__} is not a plain function; define it with def")
    decorators = tuple(ast.unparse(decorator) for decorator in node.decorator_list)
    text = _replace_defaults(text, node)
    text = "\n".join(text.split("\n")[node.lineno - 1 :])
    outer = set(function.__code__.co_freevars)
    nonlocals = {name for part in ast.walk(node) if isinstance(part, ast.Nonlocal) for name in part.names}
    return Definition(
        text=text,
        name=node.name,
        decorators=decorators,
        nonlocals=frozenset(nonlocals & outer),
        has_literal_defaults=_has_literal_defaults(node),
    )


def read_class(kind: type) -> Definition:
    """Return the definition of a class, with its decorators.

    Raises:
        errors.ExportError: The source is not available.
    """
    functions = list(_iter_functions(kind))
    module = sys.modules.get(kind.__module__)
    files = [getattr(module, "__file__", None), *(function.__code__.co_filename for function in functions)]
    # The cells of a notebook, where a class without methods has no file.
    files += [file for file in linecache.cache if kind.__module__ == "__main__" and "ipy" in file]
    first_lines = {function.__code__.co_firstlineno for function in functions}
    candidates: list[tuple[int, int, ast.ClassDef, list[str]]] = []
    for file in dict.fromkeys(filter(None, files)):
        lines = linecache.getlines(file, vars(module) if module else None)
        try:
            tree = ast.parse("".join(lines))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in _find_classes(tree, kind.__qualname__):
            matches = sum(node.lineno <= line <= (node.end_lineno or 0) for line in first_lines)
            candidates.append((matches, len(candidates), node, lines))
    if not candidates:
        raise _explain_missing_source(kind.__qualname__)
    *_, node, lines = max(candidates, key=lambda candidate: candidate[:2])  # a cell that was run again is the last
    start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    _, text = parse_definition("".join(lines[start - 1 : node.end_lineno]), kind.__qualname__)
    return Definition(text=text, name=node.name)


def parse_definition(source: str, name: str) -> tuple[ast.stmt, str]:
    """Return the statement that the source of a definition consists of, and the source without indentation.

    Raises:
        errors.ExportError: The source is more or less than a statement.
    """
    source = source.rstrip()
    indent = len(source) - len(source.lstrip(" \t"))
    try:
        if indent:
            # textwrap.dedent would also change the lines of strings.
            inner = ast.parse(f"if True:\n{source}")
            fixed = _find_string_lines(inner)
            lines = source.split("\n")
            source = "\n".join(
                line if number in fixed else line[indent:] if not line[:indent].strip() else line.lstrip()
                for number, line in enumerate(lines, start=2)
            )
        nodes = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        raise errors.ExportError(
            f"export: the source of {name} cannot be separated from the code around it ({error}); define it at the "
            "top level of a file or cell"
        ) from error
    if len(nodes) != 1:
        raise errors.ExportError(f"export: {name} shares a line with other statements; write it on lines of its own")
    return nodes[0], source


def find_imports(definition: Definition) -> list[tuple[ast.Import | ast.ImportFrom, str]]:
    """Return the import statements inside a definition, with the name of the module that each imports."""
    tree = ast.parse(definition.text)
    imports: list[tuple[ast.Import | ast.ImportFrom, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(node, alias.name) for alias in node.names[:1]]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node, "." * node.level + (node.module or "")))
    return imports


def remove_statements(definition: Definition, nodes: Iterable[ast.stmt]) -> Definition:
    """Return the definition with ``pass`` in place of statements; the number of lines is the same."""
    lines = definition.text.encode().split(b"\n")
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset), reverse=True):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        rest = lines[last][node.end_col_offset or 0 :]
        lines[first : last + 1] = [lines[first][: node.col_offset] + b"pass" + rest, *[b""] * (last - first)]
    return dataclasses.replace(definition, text=b"\n".join(lines).decode())


def find_fitted_names(definition: Definition) -> list[tuple[int, str]]:
    """Return the line and name of each variable that a function fits."""
    return [
        (node.lineno, node.func.value.id)
        for node in ast.walk(ast.parse(definition.text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"fit", "partial_fit", "fit_transform", "fit_predict"}
        and isinstance(node.func.value, ast.Name)
    ]


def indent_definition(text: str) -> str:
    """Return the source indented by four spaces, except for the lines inside strings."""
    fixed = _find_string_lines(ast.parse(text))
    return "\n".join(
        line if number in fixed or not line else f"    {line}" for number, line in enumerate(text.split("\n"), start=1)
    )


def _find_string_lines(tree: ast.Module) -> set[int]:
    """Return the lines that begin inside a string."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)))
        for line in range(node.lineno + 1, (node.end_lineno or node.lineno) + 1)
    }


def _explain_missing_source(name: str) -> errors.ExportError:
    return errors.ExportError(
        f"export: the source of {name} is not available; define it in a file or in a cell of a notebook, not at a "
        "prompt or with exec"
    )


def _read_lambda(function: types.FunctionType, name: str) -> Definition:
    code = function.__code__
    try:
        lines, _ = inspect.findsource(code)
        tree = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError) as error:
        raise _explain_missing_source(f"the lambda `{name}`") from error
    nodes = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda)
        and node.lineno <= code.co_firstlineno <= (node.end_lineno or node.lineno)
        and [item.arg for item in _list_parameters(node.args)]
        == list(code.co_varnames[: len(_list_parameters(node.args))])
        and _covers(node, code)
    ]
    if not nodes:
        raise _explain_missing_source(f"the lambda `{name}`")
    node = min(nodes, key=lambda node: len(ast.dump(node)))  # the innermost
    if name in (*code.co_freevars, *code.co_names):
        name = f"{name}_function"  # in its factory, a parameter has the name
    text = f"def {name}({ast.unparse(node.args)}):\n    return {ast.unparse(node.body)}"
    definition, _ = parse_definition(text, name)
    function_node = cast("ast.FunctionDef", definition)  # as it was written above
    return Definition(
        text=_replace_defaults(text, function_node),
        name=name,
        has_literal_defaults=_has_literal_defaults(function_node),
    )


def _list_parameters(arguments: ast.arguments) -> list[ast.arg]:
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def _covers(node: ast.Lambda, code: types.CodeType) -> bool:
    """Return whether the code is that of the lambda, by the columns that Python 3.11 and later have."""
    if not hasattr(code, "co_positions"):
        return True
    ranges = [item for item in code.co_positions() if None not in item and item[2] != item[3]]
    start, end = (node.body.lineno, node.body.col_offset), (node.body.end_lineno, node.body.end_col_offset)
    inside = [start <= (first, column) and (last, end_column) <= end for first, last, column, end_column in ranges]
    return bool(inside) and all(inside)


def _replace_defaults(text: str, node: ast.FunctionDef) -> str:
    """Return the source with None for default values that are not literals; the number of lines is the same."""
    if _has_literal_defaults(node):
        return text
    lines = text.encode().split(b"\n")
    defaults = [item for item in [*node.args.defaults, *node.args.kw_defaults] if item is not None]
    for item in sorted(defaults, key=lambda item: (item.lineno, item.col_offset), reverse=True):
        if item.end_lineno is None or item.end_col_offset is None:
            raise AssertionError("a parsed node has an end")
        first, last = item.lineno - 1, item.end_lineno - 1
        rest = lines[last][item.end_col_offset :]
        lines[first] = lines[first][: item.col_offset] + b"None" + (rest if first == last else b"")
        if first != last:
            lines[first + 1 : last + 1] = [*[b""] * (last - first - 1), rest]
    return b"\n".join(lines).decode()


def _has_literal_defaults(node: ast.FunctionDef) -> bool:
    defaults = [*node.args.defaults, *(item for item in node.args.kw_defaults if item is not None)]
    return all(
        isinstance(item, ast.Constant) or (isinstance(item, ast.UnaryOp) and isinstance(item.operand, ast.Constant))
        for item in defaults
    )


def _iter_functions(kind: type) -> Iterator[types.FunctionType]:
    """Yield the functions that a class defines itself, also those of properties and other descriptors."""
    for value in vars(kind).values():
        parts = [value, *(getattr(value, name, None) for name in ("__func__", "fget", "fset", "func", "__wrapped__"))]
        for part in parts:
            if isinstance(part, types.FunctionType) and part.__module__ == kind.__module__:
                yield part


def _find_classes(tree: ast.Module, qualified_name: str) -> Iterator[ast.ClassDef]:
    """Yield the classes of a qualified name, such as ``make.<locals>.Model``."""
    nodes: list[ast.AST] = [tree]
    for part in qualified_name.replace(".<locals>", "").split("."):
        nodes = [
            child
            for node in nodes
            for child in _iter_scope(node)
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and child.name == part
        ]
    yield from (node for node in nodes if isinstance(node, ast.ClassDef))


def _iter_scope(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope, without those of the functions and classes in it."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _iter_scope(node)


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


def iter_class_names(kind: type, definition: Definition) -> Iterator[tuple[str, Any, bool]]:
    """Yield the names that a class uses from enclosing scopes, their values, and whether defining it uses them.

    Raises:
        errors.ExportError: A name has no value.
    """
    module = compile(definition.text, "<class>", "exec", flags=__future__.annotations.compiler_flag, dont_inherit=True)
    cells: dict[str, Any] = {}
    namespace: dict[str, Any] = dict(vars(sys.modules[kind.__module__])) if kind.__module__ in sys.modules else {}
    for function in _iter_functions(kind):
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


def find_changed_attributes(kind: type, definition: Definition) -> dict[str, Any]:
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
