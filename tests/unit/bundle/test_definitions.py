"""Each operator and activation is defined once; schema, reader and documentation follow from the definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors, paths
from builder.bundle import activations, model, nodes
from builder.bundle.kinds import catalog
from builder.bundle.storage import read, write
from builder.inside import fold, operators
from builder.inside.fold import nodes as fold_nodes
from builder.inside.predict import definitions
from builder.inside.predict import nodes as predict_nodes
from builder.inside.predict.definitions import ACTIVATION_FUNCTIONS, OPERATOR_FUNCTIONS, Array, Number
from tests.support import bundles, clones, node_lists

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

SEEDS = st.integers(0, 2**32)


def table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of the documentation."""
    lines = [head, "| --- " * (head.count("|") - 1) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(line.replace("|  |", "| |").replace("|  |", "| |") for line in lines) + "\n"


def array_text(array: Array) -> str:
    dimensions = ", ".join(array.shape) + "," * (len(array.shape) == 1)
    return f"`{array.stem or array.name}` ({dimensions})" + " int32" * array.is_index


def option_text(pair: tuple[str, Number | bool]) -> str:
    name, option = pair
    return f"`{name}`" if isinstance(option, bool) else f"`{name}` {option.minimum:g} to {option.maximum:g}"


TAKES = {"one": "1", "same_width": "2 or more of one width", "concatenated": "2 or more"}


def test_the_documentation_lists_every_operator_and_activation() -> None:
    text = (clones.ROOT / "docs" / "bundle.md").read_text(encoding="utf-8")
    expected = table(
        "| op | result | nodes that it takes | arrays | options | activation |",
        (
            (
                f"`{name}`",
                item.formula,
                TAKES[item.arity],
                ", ".join(map(array_text, item.arrays)),
                ", ".join(map(option_text, item.options.items())),
                "yes" if item.has_activation else "",
            )
            for name, item in operators.OPERATORS.items()
        ),
    )
    assert expected in text
    listed = table(
        "| activation | the same as | constants (default) |",
        (
            (
                f"`{name}`",
                item.same_as if item.same_as == "no activation" else f"`{item.same_as}`",
                ", ".join(f"`{key}` ({number.default:g})" for key, number in item.constants.items()),
            )
            for name, item in operators.ACTIVATIONS.items()
        ),
    )
    assert listed in text
    kinds = table("| kind | what it is |", ((f"`{name}`", item.summary) for name, item in fold.KINDS.items()))
    assert kinds in text


def test_every_kind_is_read_folded_and_predicted() -> None:
    assert catalog.KINDS.keys() == fold.KINDS.keys()
    assert all((paths.inside_folder() / "predict" / kind.predict).is_file() for kind in fold.KINDS.values())


def test_each_defined_operator_predicts() -> None:
    assert OPERATOR_FUNCTIONS.keys() == operators.OPERATORS.keys()
    assert ACTIVATION_FUNCTIONS.keys() == operators.ACTIVATIONS.keys()
    for definition in operators.OPERATORS.values():
        assert definition.has_activation or not definition.is_trained
        assert len({item.stem or item.name for item in definition.arrays}) == len(definition.arrays)
        assert not {"op", "from", "activation"} & {*definition.options}


@settings(max_examples=10)
@given(seed=SEEDS)
@pytest.mark.parametrize("op", operators.OPERATORS)
def test_a_node_gives_as_many_values_as_its_definition_says_and_within_its_bounds(op: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    item = node_lists.node(random, op, -1, {-1: 4}, "float64")
    folded = fold_nodes.fold_nodes(nodes.as_data([item]), nodes.collect_arrays([item]))
    values: NDArray[np.float64] = random.normal(size=(4, 30))
    before = values.copy()
    actual = predict_nodes.run_nodes(folded, values)
    assert actual.shape == (node_lists.width(item, {-1: 4}), 30)
    assert actual.dtype == np.float64
    if item.activation.name == "identity" and nodes.is_bounded([item]):
        assert actual.min() >= 0
        assert actual.max() <= 1
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("name", operators.ACTIVATIONS)
def test_an_activation_gives_values_within_its_bounds_and_works_in_place_if_it_says_so(name: str) -> None:
    definition, item = operators.ACTIVATIONS[name], activations.Activation(name=name)
    x = np.concatenate([np.linspace(-80, 80, 1_000), [-1e-9, 0.0, 1e-9]])
    if name in {"sqrt", "log", "log1p"}:
        x = x[x > 0]
    given_values = x.copy()
    actual = ACTIVATION_FUNCTIONS[name](given_values, item.constants)
    assert np.shares_memory(actual, given_values) == definition.in_place
    if definition.bounds is not None:
        low, high = (item.constants[bound] if isinstance(bound, str) else bound for bound in definition.bounds)
        assert actual.min() >= low
        assert actual.max() <= high
        assert activations.is_bounded(item) == (low >= 0 and high <= 1)


@pytest.mark.parametrize("name", [name for name, item in operators.ACTIVATIONS.items() if item.constants])
def test_constants_that_are_left_out_of_a_bundle_have_their_defaults(name: str, tmp_path: Path) -> None:
    built = bundles.make_bundle(3, network=bundles.make_network(3, widths=(4,), names=(name,)))
    folder = bundles.write_bundle(tmp_path / "net", built)

    def folded() -> Any:
        header = json.loads((folder / "bundle.json").read_bytes())
        read_back = read.read(folder)
        arrays = nodes.collect_arrays(read_back.model.layers)
        scaling = {key: getattr(read_back.model, key) for key in ("imputation", "centre", "scale")}
        return [layer["constants"] for layer in fold.fold_model(header, {**arrays, **scaling}, folder)["layers"]]

    expected = folded()
    assert expected[0]

    def cut(data: dict[str, Any]) -> None:
        data["layers"][0] = {"activation": name}

    bundles.edit_json(folder, cut)
    assert folded() == expected


@pytest.mark.parametrize(
    ("op", "values", "message"),
    [
        ("dens", {}, "unknown operator 'dens'; expected one of dense, affine"),
        ("dense", {"weights": np.ones((1, 1))}, "dense takes weights, bias, not weights"),
        ("norm", {"gain": np.ones(1), "shift": np.ones(1)}, "norm takes gain, shift, epsilon, not gain, shift"),
        ("softmax", {"gain": np.ones(1)}, "softmax takes nothing, not gain"),
        (
            "softmax",
            {"activation": activations.Activation(name="relu")},
            "softmax has no activation; add a node with relu",
        ),
    ],
)
def test_invalid_node_error_lists_expected_arguments(op: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        model.make_node(op, **values)


@pytest.fixture
def weigh() -> Iterator[str]:
    """Define an operator and an activation as the predict source does."""

    def half(values: Any, constants: Any) -> Any:
        return values * constants["share"]

    def node(folded: Any, taken: Any) -> Any:
        return taken[0] * folded["factor"][:, None] + (folded["more"] - folded["less"]) * (1 + folded["twice"])

    definitions.ActivationDefinition(same_as="", constants={"share": Number(default=0.5, minimum=0, maximum=1)})(half)
    definitions.OperatorDefinition(
        name="weigh",
        formula="",
        arrays=(Array(name="factor", is_divisor=True),),
        options={"more": Number(minimum=0, maximum=9), "less": Number(default=0, minimum=0, maximum=9), "twice": False},
        has_activation=True,
        is_trained=True,
    )(node)
    yield "weigh"
    for table in (definitions.OPERATORS, definitions.OPERATOR_FUNCTIONS):
        del table["weigh"]
    for functions in (definitions.ACTIVATIONS, definitions.ACTIVATION_FUNCTIONS):
        del functions["half"]


def test_a_new_operator_and_activation_need_no_more_than_their_definitions(weigh: str, tmp_path: Path) -> None:
    half = activations.Activation(name="half")
    layers = (
        model.make_node(weigh, factor=np.array([2.0, 3.0]), more=1, activation=half),
        model.make_node("dense", weights=np.ones((2, 1)), bias=np.zeros(1)),
    )
    built = model.Network(layers=layers, imputation=np.zeros(2), centre=np.zeros(2), scale=np.ones(2))
    golden = model.GoldenRows(inputs=np.ones((1, 2)), predictions=np.array([(2 + 1) / 2 + (3 + 1) / 2]))
    folder = tmp_path / "net"
    write.write(folder, model.Bundle(features=("a", "b"), model=built, golden=golden))
    back = read.read(folder).model
    assert nodes.as_data(back.layers)[0] == {
        "op": weigh,
        "more": 1.0,
        "less": 0.0,
        "twice": False,
        "activation": "half",
        "share": 0.5,
    }
    assert catalog.count_parameters(back) == 2 + 3
    folded = fold_nodes.fold_nodes(nodes.as_data(back.layers), nodes.collect_arrays(back.layers))
    assert predict_nodes.run_nodes(folded, golden.inputs.T).tolist() == [golden.predictions.tolist()]

    def cut(data: dict[str, Any]) -> None:
        data["layers"][0] = {"op": weigh, "more": 1.0, "activation": "half"}

    bundles.edit_json(folder, cut)
    assert nodes.as_data(read.read(folder).model.layers) == nodes.as_data(back.layers)
    short = json.loads((folder / "bundle.json").read_bytes())["layers"]
    assert (
        predict_nodes.run_nodes(fold_nodes.fold_nodes(short, nodes.collect_arrays(back.layers)), golden.inputs.T) == 3.5
    )

    bundles.edit_json(folder, lambda data: data["layers"][0].update(more=10, shear=0.5))
    with pytest.raises(errors.BundleError) as caught:
        read.read(folder)
    assert "layers.0: weigh: more: 10; expected a number from 0 to 9" in str(caught.value)
    assert 'layers.0: unknown constant "shear" of half; expected share from 0 to 1 (default 0.5)' in str(caught.value)
