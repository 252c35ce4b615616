"""What a pickle contains besides code: arrays, frames, models, texts; how large each is, and its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.validate.reading.analysis import Analysis, Function, get_cloudpickle_name
from builder.validate.reading.values import (
    FLOAT,
    SCALARS,
    Blob,
    Call,
    Container,
    Global,
    Number,
    Value,
    get_items,
    list_children,
    to_pairs,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIN_SIZE = 64  # smaller values are settings
_MAX_CAPTURES = 1000


@dataclass(frozen=True, kw_only=True)
class Capture:
    """A value that the pickle contains.

    Attributes:
        name: The variable of the function that has it, or the attribute of the object; empty if there is none.
        kind: What it is, such as ``array float32 2748x512`` or ``lightgbm.basic.Booster``.
        size: Its bytes in the pickle, without what a larger function or object before it contains too.
    """

    name: str
    kind: str
    size: int


def list_captures(root: Value, analysis: Analysis) -> tuple[Capture, ...]:
    """Return what the functions and the root object of a pickle contain, the largest first."""
    seen, result = set[int](), list[Capture]()
    for name, value in _list_named(root, analysis):
        if id(value) in analysis.functions or analysis.get_path(value) is not None:
            continue
        size = sum(map(_measure, walk(value, seen=seen)))
        if size >= _MIN_SIZE and len(result) < _MAX_CAPTURES:
            result.append(Capture(name=name, kind=describe(value, analysis), size=size))
    return tuple(sorted(result, key=lambda capture: -capture.size))


def describe(value: Value, analysis: Analysis) -> str:
    """Return what a value is."""
    if isinstance(value, Container):
        runs = [item for item in value.items if isinstance(item, Number)]
        if not all(run.count for run in runs):  # their numbers are not counted
            return f"{value.kind} of numbers"
        count = len(value.items) + sum(run.count - 1 for run in runs)
        return f"{value.kind} of {count // (2 if value.kind == 'dict' else 1):,}"
    if not isinstance(value, Call):
        kinds = {str: "text", int: "number", Number: "number", Global: "a class or function"}
        kind = value.kind if isinstance(value, Blob) else kinds.get(type(value), "None, True or False")
        return "text" if kind == "str" else kind
    if id(value) in analysis.functions:
        return f"function {analysis.functions[id(value)].code.name}"
    if id(value) in analysis.classes:
        return f"class {get_class_name(value)}"
    return _describe_call(value, analysis)


def get_class_name(call: Call) -> str:
    """Return the name of a class that the pickle contains."""
    # The second argument of both _make_skeleton_class and _make_skeleton_enum of cloudpickle.
    arguments = get_items(call.arguments)
    return arguments[1] if len(arguments) > 1 and isinstance(arguments[1], str) else "?"


def get_class(call: Call, analysis: Analysis) -> Value:
    """Return the class of an object that a call creates."""
    if analysis.get_path(call.function) in {"copyreg.__newobj__", "copyreg._reconstructor", "copyreg.__newobj_ex__"}:
        return next(iter(get_items(call.arguments)), None)
    return call.function


def _describe_call(call: Call, analysis: Analysis) -> str:
    path, arguments = analysis.get_path(call.function) or "", get_items(call.arguments)
    if path.startswith("numpy.") and path.endswith("._frombuffer"):
        return f"array {_describe_type(arguments[1:2])} {_describe_shape(arguments[2:3])}"
    if path.startswith("numpy.") and path.endswith("multiarray._reconstruct"):
        state = get_items(call.states[0]) if call.states else []
        return f"array {_describe_type(state[2:3])} {_describe_shape(state[1:2])}"
    source = get_class(call, analysis)
    if isinstance(source, Call) and id(source) in analysis.classes:
        return f"{get_class_name(source)} object"
    return analysis.get_path(source) or "object"


def _describe_type(values: list[Value]) -> str:
    arguments = get_items(values[0].arguments) if values and isinstance(values[0], Call) else []
    name = arguments[0] if arguments and isinstance(arguments[0], str) else "?"
    letters = {"f": "float", "i": "int", "u": "uint", "c": "complex"}
    if name[:1] in letters and name[1:].isdigit():
        return f"{letters[name[0]]}{int(name[1:]) * 8}" if len(name) < 4 else name
    return {"b1": "bool", "O8": "object"}.get(name, name)


def _describe_shape(values: list[Value]) -> str:
    items = get_items(values[0])[:8] if values else []
    return "x".join(str(item) for item in items if isinstance(item, int))


def _list_named(root: Value, analysis: Analysis) -> Iterator[tuple[str, Value]]:
    functions: list[Function] = list(analysis.functions.values())
    for function in functions:
        for name, value in function.names.items():
            yield name.strip("_"), value
    for attributes in analysis.classes.values():
        for name, value in attributes.items():
            yield name, value
    if isinstance(root, Call) and id(root) not in analysis.functions:
        for state in root.states:
            parts = get_items(state) if isinstance(state, Container) and state.kind == "tuple" else [state]
            for part in parts:
                pairs = to_pairs(part)
                yield from ((name if isinstance(name, str) else "", value) for name, value in pairs)
    if not get_cloudpickle_name(analysis.get_path(root)):
        yield "", root


def _measure(value: Value) -> int:
    """Return the bytes of a value itself in the pickle, and of the scalars that it contains."""
    if isinstance(value, (Blob, Number)):
        return value.size
    size = 2
    for item in value.items if type(value) is Container else list_children(value):
        if isinstance(item, str):
            size += len(item) + 2
        elif type(item) in SCALARS:
            size += 2
        elif item is FLOAT:
            size += FLOAT.size
    return size + len(value) if isinstance(value, str) else size
