"""Generate a module from a function: its source, that of what it uses, its imports and its data."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.export.function import definitions, included, objects, statements, stored_model

if TYPE_CHECKING:
    import types
    from collections.abc import Mapping

    from builder.export.function import closure, outside

_LIVE, _BENCHMARKS = "live_features", "live_benchmark_models"


@dataclass(kw_only=True)
class FunctionSource:
    """A generated module.

    Attributes:
        text: The contents of ``code/model.py``.
        data: The arrays and files that it reads.
        findings: What it takes from outside of the bundle, and other notes for the user.
        modules: The path in the bundle and the source of each of the user's modules, by its dotted name.
        packages: Top-level modules that its objects are from.
    """

    text: str
    data: closure.ClosureData
    findings: outside.Findings
    modules: Mapping[str, tuple[str, bytes]]
    packages: frozenset[str]

    def describe_line(self, line: int) -> str:
        """Return where the user wrote a line of the module: ``line 2 of predict``."""
        nodes: list[ast.stmt] = list(ast.parse(self.text).body)
        factories = [node for node in nodes if isinstance(node, ast.FunctionDef) and statements.is_factory(node.name)]
        for node in [*(inner for factory in factories for inner in factory.body), *nodes]:
            is_definition = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node not in factories
            if is_definition and node.lineno <= line <= (node.end_lineno or line):
                return f"line {line - node.lineno + 1} of {getattr(node, 'name', '')}"
        return f"line {line} of code/model.py"


def generate(function: Any, modules: Mapping[str, tuple[str, bytes]]) -> FunctionSource:
    """Generate the module of a function, or of another callable, that predicts.

    Args:
        function: It takes one or two frames.
        modules: The path in the bundle and the source of the user's modules that the bundle contains. Those that are
            used as a whole, ``import features``, are added.

    Raises:
        errors.ExportError: The source of a part is not available, or it uses what a bundle cannot contain.
    """
    count, is_plain = count_arguments(function)

    def write(collector: definitions.Collector) -> str:
        name = getattr(function, "__name__", "")
        hint = "predict" if inspect.isroutine(function) else "model"
        name = collector.define(function, name if name.isidentifier() else hint, "export")
        if is_plain:
            return name
        predict = collector.make_unique("predict" if name != "predict" else "predict_live")
        arguments = ", ".join((_LIVE, _BENCHMARKS)[:count])
        collector.add(predict, f"def {predict}({arguments}):\n    return {name}({arguments})", needs=[])
        return predict

    return _generate(write, modules, f"The function `{describe(function)}`, and what it uses.")


def generate_load(function: types.FunctionType, modules: Mapping[str, tuple[str, bytes]]) -> FunctionSource:
    """Generate the module of the user's ``load(bundle)``; arguments and errors as for ``generate``."""

    def write(collector: definitions.Collector) -> str:
        collector.add_load(function)
        data = next((name for name in collector.loaded if name != function.__name__), None)
        if data is not None:
            raise errors.ExportError(
                f"export: load uses `{data}`, which is defined outside of it; write it to a file, pass files=, and "
                "read it in load with bundle.path or bundle.read"
            )
        return ""

    return _generate(write, modules, "The user's load(bundle), and what it uses.")


def _generate(write: Any, modules: Mapping[str, tuple[str, bytes]], summary: str) -> FunctionSource:
    modules = dict(modules)
    while True:
        collector = definitions.Collector(modules=modules)
        try:
            predict = write(collector)
            text = collector.format(summary, predict)
        except objects.ModuleNeeded as needed:
            modules |= included.read_modules(included.find_imported_modules(needed.name, modules))
            continue
        return FunctionSource(
            text=text,
            data=collector.data,
            findings=collector.findings,
            modules=modules,
            packages=frozenset(collector.packages),
        )


def describe(function: Any) -> str:
    """Return the name of a function, or of the class of another callable, for messages."""
    if isinstance(function, (stored_model.StoredModel, stored_model.OwnModel)):
        function = function.model
    name = getattr(function, "__name__", None)
    return str(name) if isinstance(name, str) else type(function).__name__


def count_arguments(function: Any) -> tuple[int, bool]:
    """Return how many frames a callable takes, and whether it is a function with exactly these parameters.

    The tournament counts the parameters, so that of ``*args`` and those with bound values must not be among them.

    Raises:
        errors.ExportError: The tournament cannot call it.
    """
    name = describe(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise errors.ExportError(f"export: {name} has no signature ({error}); write a function with def") from error
    call = function if inspect.isroutine(function) else type(function).__call__
    if inspect.iscoroutinefunction(call) or inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise errors.ExportError(
            f"export: {name} is an async function or a generator; the tournament expects a DataFrame: write it with "
            "return"
        )
    kinds = inspect.Parameter
    positional = [item for item in parameters if item.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    required = [item for item in positional if item.default is kinds.empty]
    needs_keyword = any(item.kind is kinds.KEYWORD_ONLY and item.default is kinds.empty for item in parameters)
    takes_any = any(item.kind is kinds.VAR_POSITIONAL for item in parameters)
    if len(required) > 2 or needs_keyword or not (positional or takes_any):
        raise errors.ExportError(
            f"export: {name} takes ({', '.join(item.name for item in parameters)}); the tournament calls it with "
            "(live_features) or (live_features, live_benchmark_models): give other parameters a default value, or "
            "bind them with functools.partial"
        )
    # A default other than None is a value that the function keeps in a parameter: `def predict(live, model=model)`.
    frames = [item for item in positional if item.default in (kinds.empty, None)] if not takes_any else [0, 0]
    count = min(len(frames), 2)
    is_function = inspect.isfunction(function) and function.__code__.co_name != "<lambda>"
    is_plain = is_function and len(parameters) == len(positional) == count and not hasattr(function, "__wrapped__")
    return count, is_plain
