"""Write the statements that define a name, and sort them so that each follows what it needs."""

from __future__ import annotations

import ast
import dataclasses
import graphlib
import pprint
import textwrap
import types
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.export.function import inspection, objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_LINE = 100
_FACTORY = "_make_"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Definition:
    """Statements that define a name.

    Attributes:
        text: The statements.
        needs: Names that they use when the module is imported.
        uses: Names that a function or class uses when it is called.
        is_code: Whether they are a function or a class, which follow data.
    """

    text: str
    needs: Sequence[str]
    uses: Sequence[str]
    is_code: bool


def is_factory(name: str) -> bool:
    """Return whether a function of the module is a factory, which the user did not write."""
    return name.startswith(_FACTORY)


def sort_names(definitions: Mapping[str, Definition]) -> list[str]:
    """Return the defined names, each after those that it needs; data first where that is possible.

    What needs a function or class may call it when the module is imported, so that it also needs what that uses: a
    class with a decorator, for instance. Unless that is a circle.
    """
    graph = {name: set(definitions[name].needs) & definitions.keys() for name in definitions}
    closures = {name: _find_all_needs(definitions, needs) for name, needs in graph.items()}
    for name, needs in closures.items():
        graph[name] |= {need for need in needs - {name} if name not in closures[need]}
    try:
        return _sort(definitions, graph)
    except graphlib.CycleError as error:
        cycle = ", ".join(f"`{name}`" for name in dict.fromkeys(error.args[1]))
        raise errors.ExportError(
            f"export: {cycle} refer to each other before they are defined; pass one to the other as an argument"
        ) from error


def _find_all_needs(definitions: Mapping[str, Definition], needs: set[str]) -> set[str]:
    names, remaining = set(needs), list(needs)
    while remaining:
        definition = definitions[remaining.pop()]
        new = (set(definition.needs) | set(definition.uses)) & definitions.keys() - names
        names |= new
        remaining += new
    return names


def _sort(definitions: Mapping[str, Definition], graph: dict[str, set[str]]) -> list[str]:
    order = sorted(definitions, key=lambda name: definitions[name].is_code)
    indices = {name: index for index, name in enumerate(order)}
    sorter = graphlib.TopologicalSorter(graph)
    sorter.prepare()
    names: list[str] = []
    ready = set(sorter.get_ready())
    while ready:
        first = min(ready, key=indices.__getitem__)
        ready.remove(first)
        names.append(first)
        sorter.done(first)
        ready |= set(sorter.get_ready())
    return names


def unwrap(value: Any, name: str) -> tuple[types.FunctionType, int]:
    """Return the function inside what decorators of libraries made of it, and how many they are."""
    depth = 0
    while objects.is_wrapper(value):
        value, depth = value.__wrapped__, depth + 1
    if not isinstance(value, types.FunctionType):
        raise errors.ExportError(
            f"export: `{name}` wraps an object of type {type(value).__name__}, which a bundle cannot contain; write a "
            "function that calls it"
        )
    return value, depth


def list_decorators(value: Any, definition: inspection.Definition, depth: int) -> list[str]:
    """Return the decorators of ``depth`` layers; those outside of them have functions of their own."""
    decorators = list(definition.decorators[-depth:]) if depth else []
    if len(decorators) < depth and depth == 1 and hasattr(value, "cache_parameters"):  # applied without @
        return [f'__import__("functools").lru_cache(**{value.cache_parameters()!r})']
    if len(decorators) < depth:
        raise errors.ExportError(
            f"export: {definition.name} is wrapped by a function of {type(value).__module__}; write it as a decorator "
            f"of {definition.name}"
        )
    return decorators


def has_source(kind: type) -> bool:
    """Return whether the source of a class is available: not for one that a function of a library made."""
    try:
        inspection.read_class(kind)
    except errors.ExportError:
        return False
    return True


def format_definition(definition: inspection.Definition, name: str, parameters: dict[str, str]) -> str:
    """Return the statements that define a name: the definition itself, or a factory and its call."""
    if not parameters and definition.name == name:
        return definition.text
    factory = f"{_FACTORY}{name}"
    return (
        f"def {factory}({', '.join(parameters)}):\n{inspection.indent_definition(definition.text)}\n\n"
        f"    return {definition.name}\n\n\n{name} = {factory}({', '.join(parameters.values())})"
    )


def wrap_constant(value: Any, text: str, indent: int) -> str:
    """Return the text of a constant, on several lines if it is too long for one."""
    if indent + len(text) <= _MAX_LINE:
        return text
    wrapped = pprint.pformat(value, width=_MAX_LINE, compact=True, sort_dicts=False)
    try:
        if ast.literal_eval(wrapped) != value:
            return text
    except (ValueError, SyntaxError):
        return text  # pprint writes infinity as inf, for instance, which is not a literal
    return f"(\n{textwrap.indent(wrapped, '    ')}\n)"
