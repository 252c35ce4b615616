"""A function as a file: its own source, that of the functions it calls, its imports, and the data it closes over."""

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
from builder.export.function import closure, private_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_TAKEN = frozenset({"load", "bundle"})
_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_ATTRIBUTE = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_LINE = 100
_UFUNC_HOMES = ("numpy", "scipy.special")


@dataclass(kw_only=True)
class FunctionSource:
    """What a function is made into.

    Attributes:
        text: ``code/model.py``.
        data: The arrays and files that it reads.
        notes: What a person should know of it.
    """

    text: str
    data: closure.Data
    notes: tuple[str, ...] = ()


def write(function: types.FunctionType, modules: Mapping[str, bytes]) -> FunctionSource:
    """Return the file of a function that predicts.

    Args:
        function: Takes one or two frames.
        modules: The helper modules that are taken in whole, by name.

    Raises:
        errors.ExportError: it has no source of its own, or uses what is neither data nor code that can be taken in.
    """
    gathered = _Gathered(modules=modules)
    name = function.__name__
    gathered.bind(name, function, "export")
    body = gathered.load_lines(f"return {name}")
    return gathered.written(f"The function `{name}`, and what it uses.", body)


def write_load(function: types.FunctionType, modules: Mapping[str, bytes]) -> FunctionSource:
    """Return the file of a ``load(bundle)`` that the user has written; as of :func:`write`."""
    gathered = _Gathered(modules=modules)
    gathered.add_function(function)
    if gathered.placed:
        raise errors.ExportError(
            f"export: load uses `{next(iter(gathered.placed))}`, which is data from outside; write it to a file, pass "
            "files=, and read it in load by bundle.path or bundle.read"
        )
    return gathered.written("A load(bundle) of the user's own, and what it uses.", [])


def module_sources(names: Iterable[str]) -> dict[str, tuple[str, bytes]]:
    """Return file name and source of each module that is taken in, by its dotted name.

    Raises:
        errors.ExportError: there is no such module, or it is not written in Python.
    """
    found = {}
    for name in names:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            spec = None
        origin = Path(spec.origin) if spec and spec.has_location and spec.origin else None
        if spec is None or (origin is None and spec.submodule_search_locations is None):
            raise errors.ExportError(f"export: modules: there is no module {name!r} here; is its folder on sys.path?")
        if origin is None:
            raise errors.ExportError(
                f"export: modules: {name} is a folder without __init__.py; list the modules in it: {name}.NAME"
            )
        if origin.suffix != ".py":
            raise errors.ExportError(f"export: modules: {name} is not written in Python ({origin.name}); do without it")
        home = name.replace(".", "/")
        file = f"{home}/__init__.py" if spec.submodule_search_locations is not None else f"{home}.py"
        found[name] = (f"code/{file}", origin.read_bytes())
    return found


@dataclass(kw_only=True)
class _Gathered:
    """The names of the file, as they are found one after the other."""

    modules: Mapping[str, object]
    data: closure.Data = field(default_factory=closure.Data)
    placed: dict[str, str] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)
    _imports: set[str] = field(default_factory=set)
    _constants: dict[str, str] = field(default_factory=dict)
    _functions: dict[str, str] = field(default_factory=dict)
    _aliases: dict[str, str] = field(default_factory=dict)
    _bound: dict[str, tuple[object, str]] = field(default_factory=dict)

    def bind(self, name: str, value: Any, user: str) -> None:
        """Give a name of the file its value, as the function ``user`` has it."""
        if name in self._bound:
            before, first = self._bound[name]
            if before is not value:
                raise errors.ExportError(
                    f"export: `{name}` is one thing in {first} and another in {user}; they end in one file: rename one"
                )
            return
        if name in _TAKEN:
            raise errors.ExportError(
                f"export: {user} uses the name `{name}`, which the bundle's own code has; rename it"
            )
        self._bound[name] = (value, user)
        if isinstance(value, types.ModuleType):
            self._imports.add(self._import_of(name, value))
        elif (line := self._importable(name, value)) is not None:
            self._imports.add(line)
        elif isinstance(value, types.FunctionType):
            self.add_function(value)
            if value.__name__ != name:
                self.bind(value.__name__, value, user)
                self._aliases[name] = value.__name__
        else:
            if isinstance(value, type):
                raise errors.ExportError(closure.refusal(value, name))
            self._notes += private_text.notes_of_value(value, name)
            count = len(self.data.imports)
            text = self._expression(value, name)
            if "bundle." in text or len(self.data.imports) > count:
                self.placed[name] = text
            else:
                self._constants[name] = _folded(value, text, len(name) + 3)

    def add_function(self, function: types.FunctionType) -> None:
        """Take a function's source in, and all that it uses."""
        name = function.__name__
        if name in self._functions:
            return
        text, node = _source(function)
        self._notes += private_text.notes_of_source(text, name)
        self._functions[name] = text
        for used, value in _used(function):
            self.bind(used, value, name)
        for imported in _submodules(function):
            self._imports.add(f"import {imported}")
        self._bind_defaults(function, node)

    def written(self, summary: str, load: list[str]) -> FunctionSource:
        """Return what all of it is made into."""
        return FunctionSource(text=self._text(summary, load), data=self.data, notes=tuple(self._notes))

    def _text(self, summary: str, load: list[str]) -> str:
        parts = [f'"""{summary} Written by `export`."""', "from __future__ import annotations"]
        if self._imports:
            parts.append("\n".join(sorted(self._imports, key=lambda line: (line.split()[1], line))))
        values = [f"{name} = {text}" for name, text in sorted(self._constants.items())]
        values += [f"{name} = None  # put in place by load" for name in sorted(self.placed)]
        parts += ["\n".join(values)] if values else []
        functions = list(self._functions.values())
        aliases = [f"{name} = {target}" for name, target in sorted(self._aliases.items())]
        functions += ["\n".join(aliases)] if aliases else []
        functions += ["\n".join(load)] if load else []
        return "\n\n".join(parts) + "\n\n\n" + "\n\n\n".join(functions) + "\n"

    def load_lines(self, last: str) -> list[str]:
        """Return the lines of ``load(bundle)``."""
        lines = ["def load(bundle):", '    """Put the data in place, and return the function that predicts."""']
        lines += [f"    import {name}" for name in sorted(self.data.imports)] + [""] * bool(self.data.imports)
        if self.placed:
            lines.append(f"    global {', '.join(sorted(self.placed))}")
        lines += [f"    {name} = {text}" for name, text in sorted(self.placed.items())]
        return [*lines, f"    {last}"]

    def _bind_defaults(self, function: types.FunctionType, node: ast.FunctionDef) -> None:
        defaults = [*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)]
        for used in (one for default in defaults for one in ast.walk(default) if isinstance(one, ast.Name)):
            if used.id in function.__globals__:
                self.bind(used.id, function.__globals__[used.id], function.__name__)
            if used.id in self._constants or hasattr(builtins, used.id):
                continue
            value = function.__globals__.get(used.id)
            if not isinstance(value, types.ModuleType) and self._importable(used.id, value) is None:
                raise errors.ExportError(
                    f"export: {function.__name__} has `{used.id}` in the default of a parameter, where it would be "
                    "needed before it is loaded; write the value itself, or use it in the function"
                )

    def _import_of(self, name: str, module: types.ModuleType) -> str:
        whole = module.__name__
        if whole not in self.modules and not _is_installed(whole):
            raise errors.ExportError(
                f"export: `{name}` is your own module {whole}, which the image does not have; take it in by "
                f'modules=["{whole}"]'
            )
        return f"import {whole}" if name == whole else f"import {whole} as {name}"

    def _expression(self, value: Any, name: str) -> str:
        try:
            return self.data.expression(value, name)
        except errors.ExportError as error:
            home, own = _of_library(value)
            if not home:
                raise
            line = f"from {home} import {own}" + (f" as {name}" if name != own else "")
            raise errors.ExportError(
                f"export: `{name}` is {home}.{own}, which is no data; import it in the function ({line}), or "
                f"`import {home}` and write {home}.{own}"
            ) from error

    def _importable(self, name: str, value: Any) -> str | None:
        """Return the line that imports a function or class of a library, or of a module that is taken in."""
        if not isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType, np.ufunc)) and not (
            callable(value) and isinstance(getattr(value, "__name__", None), str)
        ):
            return None
        own = value.__name__
        homes = _UFUNC_HOMES if isinstance(value, np.ufunc) else _public(getattr(value, "__module__", None) or "")
        for home in homes:
            if getattr(sys.modules.get(home), own, None) is not value:
                continue
            if home in self.modules or (home != "__main__" and _is_installed(home)):
                return f"from {home} import {own}" + (f" as {name}" if name != own else "")
        return None


def _public(home: str) -> tuple[str, ...]:
    """Return where a thing of a module may be imported from, the least private first: pandas, pandas.core.frame."""
    parts = home.split(".")
    return tuple(".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _of_library(value: Any) -> tuple[str, str]:
    """Return the module and the name of an object that a library has made; empty where it is none."""
    for home in _public(type(value).__module__):
        found = vars(sys.modules[home]) if home in sys.modules and home != "builtins" else {}
        own = next((name for name, one in found.items() if one is value and not name.startswith("_")), "")
        if own and home != "__main__" and _is_installed(home):
            return home, own
    return "", ""


def _source(function: types.FunctionType) -> tuple[str, ast.FunctionDef]:
    """Return a function's source, taken out of what it stands in.

    Raises:
        errors.ExportError: there is none, or it is no plain ``def``.
    """
    name = function.__name__
    if name == "<lambda>":
        raise errors.ExportError("export: a lambda has no name to be saved under; write it as a function with def")
    if hasattr(function, "__wrapped__"):  # its source is said to be that of the function in it
        raise errors.ExportError(
            f"export: {name} has another function around it, which is not taken in; do what that does in {name} itself"
        )
    try:
        text = textwrap.dedent(inspect.getsource(function)).rstrip()
    except (OSError, TypeError) as error:
        raise errors.ExportError(
            f"export: the source of {name} cannot be found; define it in a file or in a cell of a notebook, not at a "
            "prompt or by exec"
        ) from error
    try:
        nodes = ast.parse(text).body
    except SyntaxError as error:
        raise errors.ExportError(
            f"export: the source of {name} cannot be taken out of its surroundings ({error.msg}); define it at the top "
            "of a file or of a cell"
        ) from error
    node = nodes[0]
    if len(nodes) != 1 or not isinstance(node, ast.FunctionDef) or node.name != name:
        raise errors.ExportError(f"export: {name} is no plain function; write it as one with def")
    if node.decorator_list:
        decorator = ast.unparse(node.decorator_list[0])
        raise errors.ExportError(
            f"export: {name} has the decorator @{decorator}, which is not taken in; do what it does in the function"
        )
    outer = [one for one in ast.walk(node) if isinstance(one, ast.Nonlocal)]
    if any(used in function.__code__.co_freevars for one in outer for used in one.names):
        raise errors.ExportError(f"export: {name} changes a variable of the function around it; keep the value inside")
    return text, node


def _used(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the names that a function takes from outside, with their values.

    Raises:
        errors.ExportError: a name has none.
    """
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            raise errors.ExportError(f"export: {function.__name__} uses `{name}` before it has a value") from None
    for name in _global_names(code):
        if name in function.__globals__ and not (name.startswith("__") and name.endswith("__")):
            yield name, function.__globals__[name]
        elif name == "__file__":
            raise errors.ExportError(f"export: {function.__name__} uses __file__, which only this machine has")
        elif not hasattr(builtins, name) and name not in ("__name__", "__doc__", "__module__", "__qualname__"):
            raise errors.ExportError(f"export: {function.__name__} uses `{name}`, which is not defined")


def _global_names(whole: types.CodeType) -> list[str]:
    """Return the names that a function, or a function in it, looks up outside and does not set itself."""
    found: dict[str, None] = {}
    for code in _codes(whole):
        steps = list(dis.get_instructions(code))
        written = {str(one.argval) for one in steps if one.opname in ("STORE_NAME", "STORE_GLOBAL")}
        names = (str(one.argval) for one in steps if one.opname in _GLOBAL)
        found |= dict.fromkeys(name for name in names if name not in written)
    return list(found)


def _submodules(function: types.FunctionType) -> Iterator[str]:
    """Yield the submodules that a function reaches by attributes: ``scipy.stats`` where it says ``sp.stats.zscore``."""
    for code in _codes(function.__code__):
        whole = ""
        for one in dis.get_instructions(code):
            if one.opname in _GLOBAL:
                value = function.__globals__.get(str(one.argval))
                whole = value.__name__ if isinstance(value, types.ModuleType) else ""
            elif whole and one.opname in _ATTRIBUTE and f"{whole}.{one.argval}" in sys.modules:
                whole = f"{whole}.{one.argval}"
                yield whole
            else:
                whole = ""


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield a function's code and that of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _is_installed(name: str) -> bool:
    """Whether a module is Python's or a library's, not the user's own: the image may have it."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return True
    module = sys.modules.get(top)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    found = [Path(place) for place in places if place]
    standard = Path(sysconfig.get_path("stdlib"))
    return any({"site-packages", "dist-packages"} & set(place.parts) or standard in place.parents for place in found)


def _folded(value: Any, text: str, before: int) -> str:
    """Return the text of a constant, over several lines where one would be long."""
    if before + len(text) <= _LINE:
        return text
    folded = pprint.pformat(value, width=_LINE, compact=True, sort_dicts=False)
    try:
        if ast.literal_eval(folded) != value:
            return text
    except (ValueError, SyntaxError):
        return text  # an infinite number, say, which pprint does not write as Python reads it
    return f"(\n{textwrap.indent(folded, '    ')}\n)"
