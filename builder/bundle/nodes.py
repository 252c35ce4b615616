"""Lists of nodes in ``bundle.json`` and in the arrays: those of a network, of what is done before and after trees.

An entry of such a list has its ``op``; without one it is a dense layer. ``from`` lists the nodes that it takes, by
their indices, -1 for what the list as a whole is given; without it, it takes the node before. The options of the op
stand beside it, and the constants of an ``activation``; without one it is the identity, but a dense layer always has
one.

The second layer of a network has ``w1`` and ``b1``; a list inside something has a prefix: ``finish.w1``. What each op
computes, and its arrays and options, is defined in ``builder.inside.predict.nodes``.
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
    """Return the entries that read back as these nodes."""
    return [_to_entry(node) for node in nodes]


def collect_arrays(nodes: Sequence[bundle_model.Node], *, prefix: str = "") -> dict[str, bundle_model.Numbers]:
    """Return the nodes' arrays under their names."""
    return {
        array.key(prefix, index): node.arrays[array.name]
        for index, node in enumerate(nodes)
        for array in OPERATORS[node.op].arrays
    }


def count_parameters(nodes: Sequence[bundle_model.Node]) -> int:
    """Return how many trained numbers there are: weights, biases, gains and shifts."""
    return sum(array.size for node in nodes if OPERATORS[node.op].is_trained for array in node.arrays.values())


def is_bounded(nodes: Sequence[bundle_model.Node], *, inputs: bool = False) -> bool:
    """Tell whether the last node's values lie in [0, 1], whatever the first is given.

    Args:
        nodes: The list; where it is empty, what it is given is what it gives.
        inputs: Whether what it is given lies in [0, 1].
    """
    known = {-1: inputs}
    for index, node in enumerate(nodes):
        given = [known[source] for source in node.sources or (index - 1,)]
        if node.activation.name == "identity":
            known[index] = OPERATORS[node.op].is_bounded(node, given)
        else:
            known[index] = activations.is_bounded(node.activation)
    return known[len(nodes) - 1]


def find_name_problems(
    declared: Iterable[str], wanted: Sequence[str], *, what: str, cure: str = "remove it, or add its layer"
) -> list[schema.Problem]:
    """Return the faults of arrays that are missing or that nothing has.

    Args:
        declared: Those of ``bundle.json``.
        wanted: Those that there must be.
        what: Whose they are: ``an mlp of 2 layers``.
        cure: What to do with one that is too many and like none that is wanted.
    """
    there = list(declared)
    missing = [name for name in wanted if name not in there]
    known = set(wanted)
    problems = []
    if missing:
        said = f"{format_list(missing)}: missing; {what} has {format_list(wanted)}"
        problems.append(schema.Problem(path=("arrays",), text=said))
    for name in [name for name in there if name not in known][:10]:
        near = find_nearest(name, missing or wanted)
        hint = f"did you mean {near}?" if near else cure
        problems.append(schema.Problem(path=("arrays", name), text=f"{what} has no such array; {hint}"))
    return problems


def find_operator(entry: Mapping[str, object]) -> OperatorDefinition | None:
    """Return the operator of an entry; None if it is unknown."""
    name = entry.get("op", _DENSE)
    return OPERATORS.get(name) if isinstance(name, str) else None


def read_entry(entry: Mapping[str, object], index: int) -> dict[str, Any] | list[str]:
    """Return the arguments of a ``Node`` but its arrays, or what is wrong with the entry, without its place."""
    operator = find_operator(entry)
    if operator is None:
        name = entry.get("op")
        near = find_nearest(name, OPERATORS)
        hint = f"did you mean {near}? " if near else ""
        return [f"unknown op {describe(name)}; {hint}valid: {', '.join(OPERATORS)}"]
    rest = {key: value for key, value in entry.items() if key not in {"op", "from", *operator.options}}
    problems = _find_source_problems(entry.get("from"), index, operator)
    options, wrong = _read_options(entry, operator)
    problems += wrong
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
    """Return the values of an op's options, and what is wrong with them."""
    options: dict[str, Any] = {}
    problems = []
    for key, kind in operator.options.items():
        value: Any = entry.get(key, operator.defaults.get(key))
        if isinstance(value, bool) if isinstance(kind, bool) else activations.is_in_range(value, kind):
            options[key] = value if isinstance(kind, bool) else float(value)
            continue
        came = "missing" if value is None else describe(value)
        needed = "true or false" if isinstance(kind, bool) else f"a number from {kind.minimum:g} to {kind.maximum:g}"
        problems.append(f"{operator.name}: {key}: {came}; expected {needed}")
    return options, problems


def _find_source_problems(sources: object, index: int, operator: OperatorDefinition) -> list[str]:
    several = operator.arity != "one"
    count = "two nodes or more" if several else "one node"
    if sources is None and not several:
        return []
    if not isinstance(sources, (list, tuple)):
        came = "missing" if sources is None else describe(sources)
        return [f"from: {came}; {operator.name} takes a list of {count}"]
    if (len(sources) < 2) if several else (len(sources) != 1):
        return [f"from: lists {len(sources)}; {operator.name} takes {count}"]
    bad = [one for one in sources if not isinstance(one, int) or isinstance(one, bool) or not -1 <= one < index]
    if bad:
        last = f"from -1 to {index - 1}: a node before it, or -1 for the inputs" if index else "-1: the inputs"
        return [f"from: {describe(bad[0])}; expected {last}"]
    return []


def _to_entry(node: bundle_model.Node) -> NodeEntry:
    data: NodeEntry = {} if node.op == _DENSE else {"op": node.op}
    if node.sources:
        data["from"] = list(node.sources)
    data |= node.options
    if node.op == _DENSE or node.activation.name != "identity":
        data |= activations.as_data(node.activation)
    return data
