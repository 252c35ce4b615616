"""Lists of nodes in ``bundle.json``, with their arrays: those of a network, of what is done before and after trees.

An entry of such a list says its ``op``; without one it is a dense layer. ``from`` lists the nodes that it takes, by
their places in the list, -1 for what the list as a whole is given; without it, it takes the node before. The constants
of an ``activation`` stand beside it; without one it is the identity, but a dense layer always has one.

============= ================================ ==============================================
op            further keys                     arrays: a stem, and the node's place after it
============= ================================ ==============================================
(dense)       ``activation``                   ``w`` (n_in, n_out), ``b`` (n_out,)
``affine``    ``activation``                   ``gain`` (n_in,), ``shift`` (n_in,)
``scale``                                      ``centre`` (n_in,), ``scale`` (n_in,)
``norm``      ``epsilon``, ``activation``      ``gain`` (n_in,), ``shift`` (n_in,)
``sum``       ``activation``
``concat``    ``activation``
``select``                                     ``places`` int32 (n_out,)
``clip``                                       ``low`` (n_in,), ``high`` (n_in,)
``quantiles`` ``normal``, ``inverse``          ``quantiles`` (q, n_in), ``references`` (q,)
``softmax``
============= ================================ ==============================================

The second layer of a network has ``w1`` and ``b1``; a list inside something has a prefix: ``finish.w1``. What each op
computes is said in ``builder.bundle.model``, in the words of ``builder.reference.nodes``, which has the formulas.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.schema import parse
from builder.text import listed, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NodeEntry = dict[str, object]

EPSILONS = (1e-30, 1e6)
_DENSE = "dense"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One array of an op.

    Attributes:
        field: The attribute of the node that it is.
        stem: Its name in ``arrays.safetensors``, before the node's place.
        shape: What its dimensions count: ``in``, ``out``, or something of its own.
        whole: Whether it holds int32, and not float32 or float64.
    """

    field: str
    stem: str
    shape: tuple[str, ...]
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Op:
    """What an op takes and gives.

    Attributes:
        node: Its class.
        parts: Its arrays; of two that count the same thing, the first is the one to go by.
        keys: Its own keys, and the kind of value of each.
        several: Whether it takes two nodes or more; else it takes one.
        activated: Whether it may have an activation.
    """

    node: type[bundle_model.Node]
    parts: tuple[Part, ...] = ()
    keys: Mapping[str, type] = field(default_factory=dict)
    several: bool = False
    activated: bool = False


_GAINS = (Part(field="gain", stem="gain", shape=("in",)), Part(field="shift", stem="shift", shape=("in",)))

OPS: Mapping[str, Op] = MappingProxyType(
    {
        _DENSE: Op(
            node=bundle_model.Layer,
            parts=(
                Part(field="weights", stem="w", shape=("in", "out")),
                Part(field="bias", stem="b", shape=("out",)),
            ),
            activated=True,
        ),
        "affine": Op(node=bundle_model.Affine, parts=_GAINS, activated=True),
        "scale": Op(
            node=bundle_model.Scale,
            parts=(
                Part(field="centre", stem="centre", shape=("in",)),
                Part(field="scale", stem="scale", shape=("in",)),
            ),
        ),
        "norm": Op(node=bundle_model.Norm, parts=_GAINS, keys={"epsilon": float}, activated=True),
        "sum": Op(node=bundle_model.Sum, several=True, activated=True),
        "concat": Op(node=bundle_model.Concat, several=True, activated=True),
        "select": Op(
            node=bundle_model.Select, parts=(Part(field="places", stem="places", shape=("out",), whole=True),)
        ),
        "clip": Op(
            node=bundle_model.Clip,
            parts=(Part(field="low", stem="low", shape=("in",)), Part(field="high", stem="high", shape=("in",))),
        ),
        "quantiles": Op(
            node=bundle_model.Quantiles,
            parts=(
                Part(field="quantiles", stem="quantiles", shape=("quantiles", "in")),
                Part(field="references", stem="references", shape=("quantiles",)),
            ),
            keys={"normal": bool, "inverse": bool},
        ),
        "softmax": Op(node=bundle_model.Softmax),
    }
)


def as_data(nodes: Sequence[bundle_model.Node]) -> list[NodeEntry]:
    """Return the entries that read back as these nodes."""
    return [_entry(node) for node in nodes]


def arrays_of(nodes: Sequence[bundle_model.Node], *, prefix: str = "") -> dict[str, bundle_model.Numbers]:
    """Return the nodes' arrays under their names."""
    return {
        f"{prefix}{part.stem}{place}": getattr(node, part.field)
        for place, node in enumerate(nodes)
        for part in OPS[_op_of(node)].parts
    }


def parameters(nodes: Sequence[bundle_model.Node]) -> int:
    """Return how many trained numbers there are: weights, biases, gains and shifts."""
    trained = (bundle_model.Layer, bundle_model.Affine, bundle_model.Norm)
    return sum(
        getattr(node, part.field).size
        for node in nodes
        if isinstance(node, trained)
        for part in OPS[_op_of(node)].parts
    )


def is_bounded(nodes: Sequence[bundle_model.Node], *, inputs: bool = False) -> bool:
    """Tell whether the last node's values lie in [0, 1], whatever the first is given.

    Args:
        nodes: The list; where it is empty, what it is given is what it gives.
        inputs: Whether what it is given lies in [0, 1].
    """
    known = {-1: inputs}
    for place, node in enumerate(nodes):
        given = [known[source] for source in node.sources or (place - 1,)]
        known[place] = _gives_bounded(node, all(given))
    return known[len(nodes) - 1]


def name_faults(
    declared: Iterable[str], wanted: Sequence[str], *, what: str, cure: str = "remove it, or add its layer"
) -> list[parse.Problem]:
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
    found = []
    if missing:
        said = f"{listed(missing)}: missing; {what} has {listed(wanted)}"
        found.append(parse.Problem(path=("arrays",), text=said))
    for name in [name for name in there if name not in known][:10]:
        near = difflib.get_close_matches(name[:40], missing or wanted, n=1)
        hint = f"did you mean {near[0]}?" if near else cure
        found.append(parse.Problem(path=("arrays", name), text=f"{what} has no such array; {hint}"))
    return found


@dataclass(frozen=True, kw_only=True)
class Read:
    """An entry that could be read: its op, what it takes, its keys, its activation."""

    op: str
    sources: tuple[int, ...]
    keys: Mapping[str, Any]
    activation: activations.Activation | None

    def node(self, arrays: Mapping[str, bundle_model.Numbers], place: int, prefix: str) -> bundle_model.Node:
        """Return the node."""
        op = OPS[self.op]
        numbers = {part.field: arrays[f"{prefix}{part.stem}{place}"] for part in op.parts}
        activation = {"activation": self.activation} if op.activated else {}
        made: Any = op.node
        return cast("bundle_model.Node", made(sources=self.sources, **numbers, **self.keys, **activation))


def read_entry(entry: Mapping[str, object], place: int) -> Read | list[str]:
    """Return what an entry says, or all that is wrong with it, each as text without its place."""
    name = entry.get("op", _DENSE)
    op = OPS.get(name) if isinstance(name, str) else None
    if op is None:
        near = difflib.get_close_matches(str(name)[:40], OPS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return [f"unknown op {show(name)}; {hint}valid: {', '.join(OPS)}"]
    rest = {key: value for key, value in entry.items() if key not in {"op", "from", *op.keys}}
    found = _source_faults(entry.get("from"), place, op, str(name))
    keys, wrong = _own_keys(entry, op, str(name))
    found += wrong
    activation = None
    if op.activated:
        read = activations.from_data(rest if rest or name == _DENSE else {"activation": "identity"})
        found += read if isinstance(read, list) else []
        activation = None if isinstance(read, list) else read
    elif rest:
        takes_keys = ", ".join(("from", *op.keys))
        found.append(f"{name} has no key {', '.join(map(repr, sorted(rest)))}; it takes {takes_keys}")
    if found:
        return found
    sources = cast("tuple[int, ...]", tuple(cast("Sequence[int]", entry.get("from", ()))))
    return Read(op=str(name), sources=sources, keys=keys, activation=activation)


def _own_keys(entry: Mapping[str, object], op: Op, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the values of an op's own keys, and what is wrong with them."""
    keys: dict[str, Any] = {}
    found = []
    for key, kind in op.keys.items():
        value = entry.get(key, False if kind is bool else None)
        if kind is bool and isinstance(value, bool):
            keys[key] = value
        elif kind is float and activations.is_number(value) and EPSILONS[0] <= value <= EPSILONS[1]:
            keys[key] = float(value)
        else:
            came = "missing" if value is None else show(value)
            needed = "true or false" if kind is bool else f"a number from {EPSILONS[0]:g} to {EPSILONS[1]:g}"
            found.append(f"{name}: {key}: {came}; {needed} is needed")
    return keys, found


def _source_faults(sources: object, place: int, op: Op, name: str) -> list[str]:
    count = "two nodes or more" if op.several else "one node"
    if sources is None and not op.several:
        return []
    if not isinstance(sources, (list, tuple)):
        came = "missing" if sources is None else show(sources)
        return [f"from: {came}; {name} takes a list of {count}"]
    if (len(sources) < 2) if op.several else (len(sources) != 1):
        return [f"from: lists {len(sources)}; {name} takes {count}"]
    bad = [one for one in sources if not isinstance(one, int) or isinstance(one, bool) or not -1 <= one < max(place, 0)]
    if bad:
        last = f"from -1 to {place - 1}: a node before it, or -1 for the inputs" if place else "-1: the inputs"
        return [f"from: {show(bad[0])}; {last} is needed"]
    return []


def _entry(node: bundle_model.Node) -> NodeEntry:
    name = _op_of(node)
    op = OPS[name]
    data: NodeEntry = {} if name == _DENSE else {"op": name}
    if node.sources:
        data["from"] = list(node.sources)
    data |= {key: getattr(node, key) for key in op.keys}
    if op.activated:
        activation: activations.Activation = getattr(node, "activation")  # noqa: B009 - not all nodes have one
        if name == _DENSE or activation.name != "identity":
            data |= activations.as_data(activation)
    return data


def _op_of(node: bundle_model.Node) -> str:
    return next(name for name, op in OPS.items() if op.node is type(node))


def _gives_bounded(node: bundle_model.Node, given: bool) -> bool:  # noqa: FBT001 - private
    """Tell whether a node's values lie in [0, 1] when what it takes does, or does not."""
    activation = getattr(node, "activation", None)
    if activation is not None and activation.name != "identity":
        return activations.is_bounded(activation)
    if isinstance(node, bundle_model.Clip):
        return bool(node.low.min() >= 0 and node.low.max() <= 1 and node.high.min() >= 0 and node.high.max() <= 1)
    if isinstance(node, bundle_model.Quantiles):
        if node.inverse:
            return bool(node.quantiles.min() >= 0 and node.quantiles.max() <= 1)
        return not node.normal
    return isinstance(node, bundle_model.Softmax) or (
        given and isinstance(node, (bundle_model.Select, bundle_model.Concat))
    )
