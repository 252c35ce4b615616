"""Generate a module from a function: its source, that of the functions it calls, its imports and its data."""

from __future__ import annotations

import ast
import builtins
import dis
import importlib
import importlib.util
import inspect
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
from builder.export.function import closure, privacy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_RESERVED_NAMES = frozenset({"load", "bundle"})
_GLOBAL_OPCODES = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_ATTRIBUTE_OPCODES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})  # LOAD_METHOD until Python 3.11
_MAX_LINE = 100
_UFUNC_MODULES = ("numpy", "scipy.special")


@dataclass(kw_only=True)
class FunctionSource:
    """A generated module.

    Attributes:
        text: The contents of ``code/model.py``.
        data: The arrays and files that it reads.
        notes: Notes for the user.
    """

    text: str
    data: closure.ClosureData
    notes: tuple[str, ...] = ()


def generate(function: types.FunctionType, modules: Mapping[str, bytes]) -> FunctionSource:
    """Generate the module of a function that predicts.

    Args:
        function: The function; it takes one or two frames.
        modules: The user's modules that the bundle contains, by name.

    Raises:
        errors.ExportError: The function's source is not available, or it uses what a bundle cannot contain.
    """
    collector = _SourceCollector(modules=modules)
    name = function.__name__
    collector.bind(name, function, "export")
    body = collector.format_load(f"return {name}")
    return collector.finish(f"The function `{name}`, and what it uses.", body)


def generate_load(function: types.FunctionType, modules: Mapping[str, bytes]) -> FunctionSource:
    """Generate the module of the user's ``load(bundle)``; arguments and errors as for ``generate``."""
    collector = _SourceCollector(modules=modules)
    collector.add_function(function)
    if collector.loaded:
        raise errors.ExportError(
            f"export: load uses `{next(iter(collector.loaded))}`, which is defined outside of it; write it to a file, "
            "pass files=, and read it in load with bundle.path or bundle.read"
        )
    return collector.finish("The user's load(bundle), and what it uses.", [])


def read_modules(names: Iterable[str]) -> dict[str, tuple[str, bytes]]:
    """Return the path in the bundle and the source of each module, by its dotted name.

    Raises:
        errors.ExportError: A module is not found, or is not written in Python.
    """
    sources = {}
    for name in names:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            spec = None
        origin = Path(spec.origin) if spec and spec.has_location and spec.origin else None
        if spec is None or (origin is None and spec.submodule_search_locations is None):
            raise errors.ExportError(f"export: modules: module {name!r} not found; is its folder on sys.path?")
        if origin is None:
            raise errors.ExportError(
                f"export: modules: {name} is a folder without __init__.py; pass the modules in it: {name}.NAME"
            )
        if origin.suffix != ".py":
            raise errors.ExportError(
                f"export: modules: {name} is not written in Python ({origin.name}), so a bundle cannot contain it; "
                "remove it from modules="
            )
        path = name.replace(".", "/")
        file = f"{path}/__init__.py" if spec.submodule_search_locations is not None else f"{path}.py"
        sources[name] = (f"code/{file}", origin.read_bytes())
    return sources


@dataclass(kw_only=True)
class _SourceCollector:
    """Collects the names that the module needs, starting from one function.

    Attributes:
        modules: The user's modules that the bundle contains.
        data: Arrays and files.
        loaded: Names that ``load`` sets, with their expressions.
    """

    modules: Mapping[str, object]
    data: closure.ClosureData = field(default_factory=closure.ClosureData)
    loaded: dict[str, str] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)
    _imports: set[str] = field(default_factory=set)
    _constants: dict[str, str] = field(default_factory=dict)
    _functions: dict[str, str] = field(default_factory=dict)
    _aliases: dict[str, str] = field(default_factory=dict)
    _bound: dict[str, tuple[object, str]] = field(default_factory=dict)

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
        if isinstance(value, types.ModuleType):
            self._imports.add(self._format_import(name, value))
        elif (line := self._find_import(name, value)) is not None:
            self._imports.add(line)
        elif isinstance(value, types.FunctionType):
            self.add_function(value)
            if value.__name__ != name:  # the source defines the function under its own name
                self.bind(value.__name__, value, user)
                self._aliases[name] = value.__name__
        else:
            if isinstance(value, type):
                raise errors.ExportError(closure.explain_refusal(value, name))
            self._notes += privacy.check_value(value, name)
            imports = len(self.data.imports)
            text = self._to_expression(value, name)
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
        text, node = _read_source(function)
        self._notes += privacy.check_source(text, name)
        self._functions[name] = text
        for outer_name, value in _iter_outer_names(function):
            self.bind(outer_name, value, name)
        for module in _iter_submodules(function):
            self._imports.add(f"import {module}")
        self._bind_defaults(function, node)

    def finish(self, summary: str, load: list[str]) -> FunctionSource:
        """Return the module, with ``summary`` as its docstring and the lines of ``load`` at its end."""
        return FunctionSource(text=self._format_module(summary, load), data=self.data, notes=tuple(self._notes))

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


def _read_source(function: types.FunctionType) -> tuple[str, ast.FunctionDef]:
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
    statements = [statement for statement in ast.walk(node) if isinstance(statement, ast.Nonlocal)]
    if any(variable in function.__code__.co_freevars for statement in statements for variable in statement.names):
        raise errors.ExportError(
            f"export: {name} changes a variable of the enclosing function; keep the value in {name} itself"
        )
    return text, node


def _iter_outer_names(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the names that a function uses from enclosing scopes, with their values.

    Raises:
        errors.ExportError: A name has no value.
    """
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            raise errors.ExportError(f"export: {function.__name__} uses `{name}` before it has a value") from None
    for name in _find_global_names(code):
        if name in function.__globals__ and not (name.startswith("__") and name.endswith("__")):
            yield name, function.__globals__[name]
        elif name == "__file__":
            raise errors.ExportError(f"export: {function.__name__} uses __file__, which does not exist in a pickle")
        elif not hasattr(builtins, name) and name not in ("__name__", "__doc__", "__module__", "__qualname__"):
            raise errors.ExportError(f"export: {function.__name__} uses `{name}`, which is not defined")


def _find_global_names(code: types.CodeType) -> list[str]:
    """Return the global names that a function, or a function in it, reads but does not set."""
    names: dict[str, None] = {}
    for part in _iter_code(code):
        instructions = list(dis.get_instructions(part))
        written = {str(item.argval) for item in instructions if item.opname in ("STORE_NAME", "STORE_GLOBAL")}
        read = (str(item.argval) for item in instructions if item.opname in _GLOBAL_OPCODES)
        names |= dict.fromkeys(name for name in read if name not in written)
    return list(names)


def _iter_submodules(function: types.FunctionType) -> Iterator[str]:
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
