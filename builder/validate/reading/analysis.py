"""Find out what the values of a pickle mean: its functions, what it imports, and what is dangerous in it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.validate.reading import bytecode, risks
from builder.validate.reading.values import Call, Container, Global, Value, get_items, to_pairs

if TYPE_CHECKING:
    import mmap

    from builder.validate.reading.opcodes import Program

_CLOUDPICKLE = re.compile(r"(?:joblib\.externals\.)?cloudpickle(?:\.cloudpickle(?:_fast)?)?\.(\w+)")
_IMPORTERS = {"builtins.__import__", "importlib.import_module", "importlib.__import__"}
_SETTERS = {"_function_setstate", "_class_setstate", "_fill_function", "_rehydrate_skeleton_class"}
_MAX_DANGERS, _MAX_ARGUMENTS = 1000, 8
_MAX_WORK = 4 << 20
"""Bytes of bytecode and number of names that are read: a pickle can refer to the same ones any number of times."""
_MAX_PATHS = 10_000


@dataclass(slots=True, repr=False)
class Function:
    """A function that the pickle contains by value: its code object and what it refers to, by name."""

    code: bytecode.Code
    position: int
    names: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True, repr=False)
class Analysis:
    """What the calls of a pickle mean.

    Attributes:
        paths: The dotted name of what a call results in, by the call's id: ``subimport("os")`` is ``os``.
        functions: The functions by the id of the call that creates them.
        classes: The attributes of classes that the pickle contains, by the id of the call that creates them.
        imports: The modules that are imported while loading, with the position.
        used: What each function imports and uses when it is called.
        dangers: What is dangerous, in the order of the pickle.
        remaining: How much more is read of :data:`_MAX_WORK`.
        has_unknown_code: Whether a code object has other arguments than any Python writes.
        has_nested_pickle: Whether it loads tensors from a file of ``torch.save`` inside.
    """

    paths: dict[int, str] = field(default_factory=dict)
    functions: dict[int, Function] = field(default_factory=dict)
    classes: dict[int, dict[str, Value]] = field(default_factory=dict)
    imports: dict[str, int] = field(default_factory=dict)
    used: list[tuple[Function, bytecode.NamesUsed]] = field(default_factory=list)
    dangers: list[risks.Danger] = field(default_factory=list)
    remaining: int = _MAX_WORK
    has_unknown_code: bool = False
    has_nested_pickle: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether all functions were read."""
        return self.remaining > 0 and not self.has_unknown_code and all(used.is_complete for _, used in self.used)

    def get_path(self, value: Value) -> str | None:
        """Return the dotted name of a value that is imported; None for any other."""
        if isinstance(value, Global):
            return f"{value.module}.{value.name}"
        return self.paths.get(id(value)) if isinstance(value, Call) else None


def analyse(program: Program, buffer: bytes | mmap.mmap) -> Analysis:
    """Return what the values of a program mean."""
    result, codes = Analysis(), dict[int, bytecode.Code]()
    for item in program.globals:
        result.imports.setdefault(item.module, item.position)
    for call in program.calls:  # a call's parts are before it
        path = result.get_path(call.function)
        _resolve(result, call, path)
        name = get_cloudpickle_name(path)
        if path == "types.CodeType":
            code = bytecode.read_code(call, buffer) if result.remaining > 0 else None
            result.has_unknown_code |= code is None
            if code:
                codes[id(call)] = code
                result.remaining -= 100 + len(code.instructions) + 8 * len(code.names + code.variables + code.cells)
        elif name in {"_make_function", "_make_skel_func"} or path == "types.FunctionType":
            source = _get_argument(call, 0)
            if isinstance(source, Call) and id(source) in codes:
                result.functions[id(call)] = Function(codes[id(source)], call.position)
        elif name in {"_make_skeleton_class", "_make_skeleton_enum"}:
            result.classes[id(call)] = {}
        elif path == "torch.storage._load_from_bytes":
            result.has_nested_pickle = True
        elif name in _SETTERS and result.remaining > 0:
            _set_state(result, call)
        _find_danger(result, call, path)
    _find_changes(result, program)
    _find_references(result, program)
    _read_functions(result, codes, program)
    return result


def get_cloudpickle_name(path: str | None) -> str:
    """Return the name of a function of cloudpickle; empty for any other."""
    match = _CLOUDPICKLE.fullmatch(path or "")
    return match[1] if match else ""


def _get_argument(call: Call, index: int) -> Value:
    arguments = get_items(call.arguments)
    return arguments[index] if index < len(arguments) else None


def _resolve(result: Analysis, call: Call, path: str | None) -> None:
    """Record the dotted name that a call results in, if it imports something or takes an attribute."""
    name, first = get_cloudpickle_name(path), _get_argument(call, 0)
    if path is None or len(result.paths) >= _MAX_PATHS:
        return
    if isinstance(first, str) and (name == "subimport" or path in _IMPORTERS):
        result.paths[id(call)] = first
        result.imports.setdefault(first, call.position)
    elif isinstance(first, str) and name == "_builtin_type":
        result.paths[id(call)] = f"types.{first}"
    elif path == "builtins.getattr":
        source, attribute = result.get_path(first), _get_argument(call, 1)
        if source and isinstance(attribute, str) and len(source) <= bytecode.MAX_PATH:
            result.paths[id(call)] = f"{source}.{attribute}"


def _set_state(result: Analysis, call: Call) -> None:
    """Record what cloudpickle sets on a function or class after it has created it."""
    target, state = _get_argument(call, 0), _get_argument(call, 1)
    parts = get_items(state) if isinstance(state, Container) and state.kind == "tuple" else [state]
    attributes, slots = (_to_dict(result, part) for part in [*parts, None, None][:2])
    if id(target) in result.classes:
        result.classes[id(target)].update(attributes)
    function = result.functions.get(id(target))
    if function is None:
        return
    slots = slots or attributes  # before cloudpickle 1.5, all is in one dict
    function.names.update(_to_dict(result, slots.get("__globals__", slots.get("globals"))))
    cells = get_items(slots.get("__closure__", slots.get("closure_values")))
    for name, cell in zip(function.code.free, cells, strict=False):
        function.names[name] = _get_argument(cell, 0) if isinstance(cell, Call) else cell
    for key in ("__defaults__", "defaults", "__kwdefaults__"):
        if get_items(slots.get(key)):
            function.names[key] = slots[key]


def _to_dict(result: Analysis, value: Value) -> dict[str, Value]:
    """Return the items of a dict that have a text as their key."""
    pairs = to_pairs(value)
    result.remaining -= len(pairs)
    return {key: item for key, item in pairs if isinstance(key, str)}


def _add_danger(
    result: Analysis, effect: str, name: str, position: int = -1, *, when: str = "load", function: str = ""
) -> None:
    if len(result.dangers) < _MAX_DANGERS:
        danger = risks.Danger(when=when, effect=effect, name=name, position=position, function=function)
        result.dangers.append(danger)


def _find_danger(result: Analysis, call: Call, path: str | None) -> None:
    """Record what a call does while loading, if it is dangerous."""
    function = call.function
    is_import = get_cloudpickle_name(path) == "subimport"
    is_part = path == "builtins.getattr" and result.get_path(_get_argument(call, 0)) is not None
    if (is_import or is_part) and id(call) not in result.paths:
        _add_danger(result, "imports by a computed name", str(path), call.position)
    if path is not None:
        effect = risks.find_effect(path)
        # Code is data until it is called; the function itself is read.
        if effect and path != "types.FunctionType":
            _add_danger(result, effect, path, call.position)
        for argument in [] if get_cloudpickle_name(path) else get_items(call.arguments)[:_MAX_ARGUMENTS]:
            passed = result.get_path(argument)  # such as to `map`, which calls it
            effect = risks.find_effect(passed) if passed else None
            if passed and effect:
                _add_danger(result, effect, passed, call.position)
    elif id(function) in result.functions:
        name = result.functions[id(function)].code.name
        _add_danger(result, "calls a function of its own", name, call.position)
    elif not call.is_new and id(function) not in result.classes:
        kind = "a computed function" if isinstance(function, Call) else "what is not a function"
        _add_danger(result, f"calls {kind}", _describe(result, function), call.position)


def _describe(result: Analysis, value: Value) -> str:
    inner = result.get_path(value.function) if isinstance(value, Call) else None
    return f"the result of {inner}" if inner else type(value).__name__.lower()


def _find_changes(result: Analysis, program: Program) -> None:
    """Record states that are set on what the pickle imports: they change it for the whole process."""
    for target, position in program.changed:
        path = result.get_path(target)
        if path:
            _add_danger(result, "changes what it imports", path, position)
    for call in program.calls:
        path, name = result.get_path(call), get_cloudpickle_name(result.get_path(call.function))
        if path and (call.states or call.items):
            _add_danger(result, "changes what it imports", path, call.position)
        target = result.get_path(_get_argument(call, 0)) if name in _SETTERS | {"cell_set"} else None
        if target:
            _add_danger(result, "changes what it imports", target, call.position)


def _find_references(result: Analysis, program: Program) -> None:
    """Record dangerous functions and modules that are imported and kept: a function may call them."""
    known = {danger.name for danger in result.dangers} | {"types.FunctionType"}
    imported = ((f"{item.module}.{item.name}", item.position) for item in program.globals)
    for path, position in itertools.chain(imported, result.imports.items()):
        effect = risks.find_effect(path)
        if effect and path not in known:
            known.add(path)
            _add_danger(result, effect, path, position, when="call")


def _read_functions(result: Analysis, codes: Mapping[int, bytecode.Code], program: Program) -> None:
    """Read the bytecode of every code object, also of code that no function has; outer functions first."""
    functions = {id(function.code): function for function in result.functions.values()}
    known_names = dict[int, Mapping[str, str]]()
    for call in reversed(program.calls):  # the parts of a call are before it
        code = codes.get(id(call))
        if code is None or result.remaining <= 0:
            continue
        function = functions.get(id(code)) or Function(code, call.position)
        known = known_names.get(id(code)) or {
            name: result.get_path(value) or "" for name, value in function.names.items()
        }
        used = bytecode.read_names(code, known)
        result.used.append((function, used))
        _find_uses(result, code, used)
        known = {**known, **used.aliases}
        result.remaining -= len(known)
        for constant in get_items(_get_constants(call)):
            if isinstance(constant, Call) and id(constant) in codes:
                known_names[id(codes[id(constant)])] = known


def _find_uses(result: Analysis, code: bytecode.Code, used: bytecode.NamesUsed) -> None:
    """Record what a function does when it is called, if it is dangerous."""
    paths = dict.fromkeys((*used.imports, *used.paths))
    for path in paths:
        effect = risks.find_effect(path)
        # `subprocess.run` says more than `subprocess`.
        if effect and not any(other.startswith(f"{path}.") for other in paths):
            _add_danger(result, effect, path, when="call", function=code.name)


def _get_constants(call: Call) -> Value:
    arguments = get_items(call.arguments)
    index = {15: 6, 16: 7, 18: 7}.get(len(arguments))
    return None if index is None else arguments[index]
