"""Read the source of functions, lambdas and classes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import linecache
import sys
import types
from typing import TYPE_CHECKING, cast

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
_FIT_METHODS = frozenset({"fit", "partial_fit", "fit_transform", "fit_predict"})


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
    functions = list(iter_functions(kind))
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


def find_fits(definition: Definition) -> tuple[dict[str, int], dict[str, int]]:
    """Return the variables that a function fits, and those that it passes to ``fit``, with the line of each."""
    fitted: dict[str, int] = {}
    passed: dict[str, int] = {}
    for node in ast.walk(ast.parse(definition.text)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _FIT_METHODS):
            continue
        if isinstance(node.func.value, ast.Name):
            fitted[node.func.value.id] = node.lineno
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            passed |= {part.id: node.lineno for part in ast.walk(argument) if isinstance(part, ast.Name)}
    return fitted, passed


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


def iter_functions(kind: type) -> Iterator[types.FunctionType]:
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
