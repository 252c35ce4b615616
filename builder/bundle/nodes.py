"""Reads and writes nodes: the entries of a list in ``bundle.json``, and the names of their arrays.

A network, the preprocessing of trees and the head after them are lists of entries. An entry has:

- ``op``; without it, the node is a dense layer;
- ``from``, the indices of the nodes whose results it takes, -1 for the input of the list; without it, the node before;
- the options of the op;
- ``activation`` and its constants; without it, the identity. A dense layer always has one.

The second layer of a network has the arrays ``w1`` and ``b1``; those of other lists have a prefix: ``finish.w1``. What
each op computes, and its arrays and options, is defined in ``builder.inside.predict.nodes``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder import schema
from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.inside.operators import OPERATORS
from builder.text import describe, find_nearest, format_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from builder.inside.predict.definitions import OperatorDefinition

NodeEntry = dict[str, object]

_DENSE = "dense"


def as_data(nodes: Sequence[bundle_model.Node]) -> list[NodeEntry]:
    """Return the entries that ``read_entry`` reads as these nodes."""
    return [_to_entry(node) for node in nodes]


def collect_arrays(nodes: Sequence[bundle_model.Node], *, prefix: str = "") -> dict[str, bundle_model.Numbers]:
    """Return the nodes' arrays by their names in the bundle."""
    return {
        array.key(prefix, index): node.arrays[array.name]
        for index, node in enumerate(nodes)
        for array in OPERATORS[node.op].arrays
    }


def count_parameters(nodes: Sequence[bundle_model.Node]) -> int:
    """Count the trained numbers: weights, biases, gains and shifts."""
    return sum(array.size for node in nodes if OPERATORS[node.op].is_trained for array in node.arrays.values())


def is_bounded(nodes: Sequence[bundle_model.Node], *, inputs: bool = False) -> bool:
    """Return whether the last node's values are in [0, 1] for any input.

    Args:
        nodes: The nodes; an empty list returns its input.
        inputs: Whether the input is in [0, 1].
    """
    bounds = {-1: inputs}
    for index, node in enumerate(nodes):
        inputs_bounded = [bounds[source] for source in node.sources or (index - 1,)]
        if node.activation.name == "identity":
            bounds[index] = OPERATORS[node.op].is_bounded(node, inputs_bounded)
        else:
            bounds[index] = activations.is_bounded(node.activation)
    return bounds[len(nodes) - 1]


def find_name_problems(
    declared: Iterable[str], expected: Sequence[str], *, owner: str, fix: str = "remove it, or add its layer"
) -> list[schema.Problem]:
    """Find arrays that are missing, and arrays that do not belong to the model.

    Args:
        declared: Names in ``bundle.json``.
        expected: Names that the model must have.
        owner: The model, for messages: ``an mlp of 2 layers``.
        fix: What to do with an unknown array whose name does not resemble one of ``expected``.
    """
    names = list(declared)
    missing = [name for name in expected if name not in names]
    known = set(expected)
    problems = []
    if missing:
        text = f"missing {format_list(missing)}; {owner} has {format_list(expected)}"
        problems.append(schema.Problem(path=("arrays",), text=text))
    # The first ten: with another kind's arrays, all names are wrong, and a hundred messages help no more.
    for name in [name for name in names if name not in known][:10]:
        near = find_nearest(name, missing or expected)
        hint = f"did you mean {near}?" if near else fix
        problems.append(schema.Problem(path=("arrays", name), text=f"not an array of {owner}; {hint}"))
    return problems


def find_operator(entry: Mapping[str, object]) -> OperatorDefinition | None:
    """Return the operator of an entry; None if it is unknown."""
    name = entry.get("op", _DENSE)
    return OPERATORS.get(name) if isinstance(name, str) else None


def read_entry(entry: Mapping[str, object], index: int) -> dict[str, Any] | list[str]:
    """Return the arguments of a ``Node`` except its arrays, or the problems of the entry, without a key path."""
    operator = find_operator(entry)
    if operator is None:
        name = entry.get("op")
        near = find_nearest(name, OPERATORS)
        hint = f"did you mean {near}? " if near else ""
        return [f"unknown op {describe(name)}; {hint}expected one of {', '.join(OPERATORS)}"]
    # What is left are the keys of the activation, which names its own constants.
    rest = {key: value for key, value in entry.items() if key not in {"op", "from", *operator.options}}
    problems = _find_source_problems(entry.get("from"), index, operator)
    options, option_problems = _read_options(entry, operator)
    problems += option_problems
    activation: activations.Activation | list[str] = activations.IDENTITY
    if operator.has_activation and (rest or operator.name == _DENSE):
        activation = activations.from_data(rest)
    elif rest:
        takes_keys = ", ".join(("from", *operator.options))
        problems.append(f"{operator.name} has no key {', '.join(map(repr, sorted(rest)))}; it takes {takes_keys}")
    if isinstance(activation, list):
        return problems + activation
    if problems:
        return problems
    sources: Any = entry.get("from", ())
    return {"op": operator.name, "options": options, "activation": activation, "sources": tuple(sources)}


def _read_options(entry: Mapping[str, object], operator: OperatorDefinition) -> tuple[dict[str, Any], list[str]]:
    """Return the values of an op's options, and their problems."""
    options: dict[str, Any] = {}
    problems = []
    for key, option in operator.options.items():
        value: Any = entry.get(key, operator.defaults.get(key))
        if isinstance(value, bool) if isinstance(option, bool) else activations.is_in_range(value, option):
            options[key] = value if isinstance(option, bool) else float(value)
            continue
        shown = "missing" if value is None else describe(value)
        expected = (
            "true or false" if isinstance(option, bool) else f"a number from {option.minimum:g} to {option.maximum:g}"
        )
        problems.append(f"{operator.name}: {key}: {shown}; expected {expected}")
    return options, problems


def _find_source_problems(sources: object, index: int, operator: OperatorDefinition) -> list[str]:
    takes_several = operator.arity != "one"
    count = "two nodes or more" if takes_several else "one node"
    if sources is None and not takes_several:
        return []
    if not isinstance(sources, (list, tuple)):
        shown = "missing" if sources is None else describe(sources)
        return [f"from: {shown}; {operator.name} takes a list of {count}"]
    if (len(sources) < 2) if takes_several else (len(sources) != 1):
        return [f"from: lists {len(sources)} nodes; {operator.name} takes {count}"]
    invalid = [
        source
        for source in sources
        if not isinstance(source, int) or isinstance(source, bool) or not -1 <= source < index
    ]
    if invalid:
        expected = f"from -1 to {index - 1}: a node before it, or -1 for the inputs" if index else "-1: the inputs"
        return [f"from: {describe(invalid[0])}; expected {expected}"]
    return []


def _to_entry(node: bundle_model.Node) -> NodeEntry:
    data: NodeEntry = {} if node.op == _DENSE else {"op": node.op}
    if node.sources:
        data["from"] = list(node.sources)
    data |= node.options
    if node.op == _DENSE or node.activation.name != "identity":
        data |= activations.as_data(node.activation)
    return data
