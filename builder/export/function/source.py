"""Generate a module from a function: its source, that of the functions it calls, its imports and its data."""

from __future__ import annotations

import ast
import builtins
import pprint
import sys
import sysconfig
import textwrap
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors
from builder.export.function import closure, inspection, outside, privacy

if TYPE_CHECKING:
    from collections.abc import Collection

_RESERVED_NAMES = frozenset({"load", "bundle"})
_MAX_LINE = 100
_UFUNC_MODULES = ("numpy", "scipy.special")


@dataclass(kw_only=True)
class FunctionSource:
    """A generated module.

    Attributes:
        text: The contents of ``code/model.py``.
        data: The arrays and files that it reads.
        findings: What it takes from outside of the bundle, and other notes for the user.
    """

    text: str
    data: closure.ClosureData
    findings: outside.Findings

    def describe_line(self, line: int) -> str:
        """Return where the user wrote a line of the module: ``line 2 of predict``."""
        for node in ast.parse(self.text).body:
            if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or line):
                return f"line {line - node.lineno + 1} of {node.name}"
        return f"line {line} of code/model.py"


def generate(function: types.FunctionType, modules: Collection[str]) -> FunctionSource:
    """Generate the module of a function that predicts.

    Args:
        function: The function; it takes one or two frames.
        modules: The names of the user's modules that the bundle contains.

    Raises:
        errors.ExportError: The function's source is not available, or it uses what a bundle cannot contain.
    """
    collector = _SourceCollector(modules=modules)
    name = function.__name__
    collector.bind(name, function, "export")
    body = collector.format_load(f"return {name}")
    return collector.finish(f"The function `{name}`, and what it uses.", body)


def generate_load(function: types.FunctionType, modules: Collection[str]) -> FunctionSource:
    """Generate the module of the user's ``load(bundle)``; arguments and errors as for ``generate``."""
    collector = _SourceCollector(modules=modules)
    collector.add_function(function)
    if collector.loaded:
        raise errors.ExportError(
            f"export: load uses `{next(iter(collector.loaded))}`, which is defined outside of it; write it to a file, "
            "pass files=, and read it in load with bundle.path or bundle.read"
        )
    return collector.finish("The user's load(bundle), and what it uses.", [])


@dataclass(kw_only=True)
class _SourceCollector:
    """Collects the names that the module needs, starting from one function.

    Attributes:
        modules: The user's modules that the bundle contains.
        data: Arrays and files.
        loaded: Names that ``load`` sets, with their expressions.
        findings: What the functions take from outside of the bundle.
    """

    modules: Collection[str]
    data: closure.ClosureData = field(default_factory=closure.ClosureData)
    loaded: dict[str, str] = field(default_factory=dict)
    findings: outside.Findings = field(default_factory=outside.Findings)
    _imports: set[str] = field(default_factory=set)
    _constants: dict[str, str] = field(default_factory=dict)
    _functions: dict[str, str] = field(default_factory=dict)
    _aliases: dict[str, str] = field(default_factory=dict)
    _bound: dict[str, tuple[object, str]] = field(default_factory=dict)
    _assigned: set[str] = field(default_factory=set)
    _refused: dict[str, errors.ExportError] = field(default_factory=dict)

    def bind(self, name: str, value: Any, user: str) -> None:
        """Add a name with its value in the function ``user``."""
        if name in self._bound:
            other_value, other_user = self._bound[name]
            if other_value is not value:
                raise errors.ExportError(
                    f"export: `{name}` has different values in {other_user} and {user}, which become one module; "
                    "rename one of them"
                )
            return
        if name in _RESERVED_NAMES:
            raise errors.ExportError(
                f"export: {user} uses the name `{name}`, which is reserved for the bundle's code; rename it"
            )
        self._bound[name] = (value, user)
        is_module = isinstance(value, types.ModuleType)
        line = self._format_import(name, value) if is_module else self._find_import(name, value)
        if line is not None:
            self._imports.add(line)
            self.findings.add_import(line.split()[1], user, self.modules)
        elif isinstance(value, types.FunctionType):
            self.add_function(value)
            if value.__name__ != name:  # the source defines the function under its own name
                self.bind(value.__name__, value, user)
                self._aliases[name] = value.__name__
        else:
            self.findings.notes += privacy.check_value(value, name)
            self._bind_data(name, value)

    def _bind_data(self, name: str, value: Any) -> None:
        imports = len(self.data.imports)
        try:
            text = self._to_expression(value, name)
        except errors.ExportError as error:
            self._refused[name] = error  # a function that is added later may assign it
            return
        # Only load has the bundle, and imports modules for data.
        if "bundle." in text or len(self.data.imports) > imports:
            self.loaded[name] = text
        else:
            self._constants[name] = _wrap_constant(value, text, len(name) + 3)

    def add_function(self, function: types.FunctionType) -> None:
        """Add a function's source and all names that it uses."""
        name = function.__name__
        if name in self._functions:
            return
        text, node = inspection.read_source(function)
        self.findings.notes += privacy.check_source(text, name)
        self.findings.add_source(text, name, self.modules)
        self._functions[name] = text
        self._assigned |= inspection.find_assigned_names(ast.parse(text))
        for outer_name, value in inspection.iter_outer_names(function):
            self.bind(outer_name, value, name)
        for module in inspection.iter_submodules(function):
            self._imports.add(f"import {module}")
        self._bind_defaults(function, node)

    def finish(self, summary: str, load: list[str]) -> FunctionSource:
        """Return the module, with ``summary`` as its docstring and the lines of ``load`` at its end.

        Raises:
            errors.ExportError: A value is not data, and no function assigns it.
        """
        for name, error in self._refused.items():
            if name not in self._assigned:
                raise error
            self._constants[name] = "None"
            self.findings.notes.append(
                f"`{name}` is None when the bundle is loaded: a function assigns it, and its value here is not data"
            )
        return FunctionSource(text=self._format_module(summary, load), data=self.data, findings=self.findings)

    def _format_module(self, summary: str, load: list[str]) -> str:
        parts = [f'"""{summary} Written by `export`."""', "from __future__ import annotations"]
        if self._imports:
            parts.append("\n".join(sorted(self._imports, key=lambda line: (line.split()[1], line))))
        values = [f"{name} = {text}" for name, text in sorted(self._constants.items())]
        values += [f"{name} = None  # set by load" for name in sorted(self.loaded)]
        parts += ["\n".join(values)] if values else []
        functions = list(self._functions.values())
        aliases = [f"{name} = {target}" for name, target in sorted(self._aliases.items())]
        functions += ["\n".join(aliases)] if aliases else []
        functions += ["\n".join(load)] if load else []
        return "\n\n".join(parts) + "\n\n\n" + "\n\n\n".join(functions) + "\n"

    def format_load(self, last: str) -> list[str]:
        """Return the lines of ``load(bundle)``, with ``last`` as its last statement."""
        lines = ["def load(bundle):", '    """Read the data, and return the function that predicts."""']
        lines += [f"    import {name}" for name in sorted(self.data.imports)] + [""] * bool(self.data.imports)
        if self.loaded:
            lines.append(f"    global {', '.join(sorted(self.loaded))}")
        lines += [f"    {name} = {text}" for name, text in sorted(self.loaded.items())]
        return [*lines, f"    {last}"]

    def _bind_defaults(self, function: types.FunctionType, node: ast.FunctionDef) -> None:
        """Add the names in defaults of parameters, which are evaluated when the module is imported."""
        defaults = [*node.args.defaults, *(default for default in node.args.kw_defaults if default is not None)]
        names = [part.id for default in defaults for part in ast.walk(default) if isinstance(part, ast.Name)]
        for name in names:
            if name in function.__globals__:
                self.bind(name, function.__globals__[name], function.__name__)
            if name in self._constants or hasattr(builtins, name):
                continue
            if name in self._refused:
                raise self._refused[name]
            value = function.__globals__.get(name)
            if not isinstance(value, types.ModuleType) and self._find_import(name, value) is None:
                raise errors.ExportError(
                    f"export: {function.__name__} has `{name}` in the default of a parameter, which is evaluated "
                    "before load sets it; write the value itself, or use the name in the function's body"
                )

    def _format_import(self, name: str, module: types.ModuleType) -> str:
        full_name = module.__name__
        if full_name not in self.modules and not _is_installed(full_name):
            raise errors.ExportError(
                f"export: `{name}` is your own module {full_name}, which the image does not have; include it with "
                f'modules=["{full_name}"]'
            )
        return f"import {full_name}" if name == full_name else f"import {full_name} as {name}"

    def _to_expression(self, value: Any, name: str) -> str:
        if isinstance(value, type):
            raise errors.ExportError(closure.explain_refusal(value, name))
        try:
            return self.data.to_expression(value, name)
        except errors.ExportError as error:
            module, attribute = _find_library_object(value)
            if not module:
                raise
            line = _format_from_import(module, attribute, name)
            raise errors.ExportError(
                f"export: `{name}` is {module}.{attribute}, which is not data; import it in the function ({line}), or "
                f"`import {module}` and write {module}.{attribute}"
            ) from error

    def _find_import(self, name: str, value: Any) -> str | None:
        """Return the line that imports a function or class from a library or an included module; None if it cannot."""
        if not isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)) and not (
            callable(value) and isinstance(getattr(value, "__name__", None), str)
        ):
            return None
        attribute = value.__name__
        is_ufunc = isinstance(value, np.ufunc)  # SciPy's have no __module__
        modules = _UFUNC_MODULES if is_ufunc else _list_packages(getattr(value, "__module__", None) or "")
        for module in modules:
            if getattr(sys.modules.get(module), attribute, None) is not value:
                continue
            if module in self.modules or (module != "__main__" and _is_installed(module)):
                return _format_from_import(module, attribute, name)
        return None


def _format_from_import(module: str, attribute: str, name: str) -> str:
    return f"from {module} import {attribute}" + (f" as {name}" if name != attribute else "")


def _list_packages(module: str) -> tuple[str, ...]:
    """Return a module's packages and itself, the outermost and most public first: pandas, ..., pandas.core.frame."""
    parts = module.split(".")
    return tuple(".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _find_library_object(value: Any) -> tuple[str, str]:
    """Return the module and name of a library's object, such as ``scipy.stats.norm``; empty for any other object."""
    for module in _list_packages(type(value).__module__):
        attributes = vars(sys.modules[module]) if module in sys.modules and module != "builtins" else {}
        names = (name for name, item in attributes.items() if item is value and not name.startswith("_"))
        name = next(names, "")
        if name and module != "__main__" and _is_installed(module):
            return module, name
    return "", ""


def _is_installed(name: str) -> bool:
    """Return whether a module is Python's or an installed package's, so that the image may have it."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return True
    module = sys.modules.get(top)
    files = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    paths = [Path(file) for file in files if file]
    stdlib = Path(sysconfig.get_path("stdlib"))
    return any({"site-packages", "dist-packages"} & set(path.parts) or stdlib in path.parents for path in paths)


def _wrap_constant(value: Any, text: str, indent: int) -> str:
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
