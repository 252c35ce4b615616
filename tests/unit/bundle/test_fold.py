"""Folding: the same function of the inputs in fewer steps, in arrays that pickle to the same bytes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from builder.bundle import activations
from builder.bundle.kinds import catalog as kinds
from builder.bundle.kinds import ensemble
from builder.bundle.storage import read
from builder.inside import fold, tensors
from builder.inside.fold import lightgbm, network
from tests.support import bundles, custom, pickles

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUMBERS = st.floats(-4, 4).map(lambda value: round(value, 3))
SCALES = st.floats(0.25, 4).map(lambda value: round(value, 3))


def arrays_in(tree: Any) -> list[NDArray[Any]]:
    """Return every array of a folded model."""
    if isinstance(tree, np.ndarray):
        return [tree]
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [array for item in inner for array in arrays_in(item)]


def one_layer(weights: NDArray[Any], bias: NDArray[Any], centre: NDArray[Any], scale: NDArray[Any]) -> dict[str, Any]:
    given_arrays = {"w0": weights, "b0": bias, "imputation": centre, "centre": centre, "scale": scale}
    return network.fold_mlp({"layers": [{"activation": "identity"}]}, given_arrays, Path())


@given(
    weights=arrays_of.arrays(np.float64, (5, 3), elements=NUMBERS),
    bias=arrays_of.arrays(np.float64, 3, elements=NUMBERS),
    centre=arrays_of.arrays(np.float64, 5, elements=NUMBERS),
    scale=arrays_of.arrays(np.float64, 5, elements=SCALES),
    inputs=arrays_of.arrays(np.float64, 5, elements=NUMBERS),
)
def test_scaling_and_bias_are_inside_the_first_layers_weights(
    weights: NDArray[Any], bias: NDArray[Any], centre: NDArray[Any], scale: NDArray[Any], inputs: NDArray[Any]
) -> None:
    folded = one_layer(weights, bias, centre, scale)
    shifted = inputs.copy()
    for index, _, far_centre in folded["far"]:
        shifted[index] -= far_centre
    expected = ((inputs - centre) / scale) @ weights + bias
    ones = np.ones(folded["layers"][0]["weights"].shape[1] - len(shifted))
    np.testing.assert_allclose(folded["layers"][0]["weights"] @ np.append(shifted, ones), expected, atol=1e-12)


def unsaid(kind: type, data: dict[str, Any]) -> dict[str, Any]:
    """Return what a bundle says without the keys that need not be there and say what is so without them."""
    output = {}
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in data.items():
        field = fields.get(key)
        if field is not None and field.default is not field.default_factory:  # both MISSING: it is required
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            if value == (list(default) if isinstance(default, tuple) else default):
                continue
        output[key] = value
    return output


def folded(bundle: Path) -> Any:
    """Return what a bundle is folded to, as plain values that compare."""
    header = json.loads((bundle / "bundle.json").read_bytes())
    return plain(fold.fold(header, tensors.read(bundle / "arrays.safetensors"), [], bundle))


def plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: plain(item) for key, item in tree.items() if not callable(item)}
    if isinstance(tree, (list, tuple)):
        return [plain(item) for item in tree]
    return (tree.dtype.str, tree.shape, tree.tobytes()) if isinstance(tree, np.ndarray) else tree


@pytest.mark.parametrize("name", [*pickles.SCENARIO_BUNDLES, "custom"])
def test_optional_key_can_be_missing(name: str, tmp_path: Path) -> None:
    built = custom.make_bundle() if name == "custom" else pickles.scenario_bundle(name)
    if not hasattr(built.model, "members"):  # those of an ensemble name benchmarks
        built = dataclasses.replace(built, benchmarks=(), features=built.features + built.benchmarks)
    bundle = bundles.write_bundle(tmp_path / "bundle", built)
    expected = folded(bundle)

    def cut(data: dict[str, Any]) -> None:
        short = unsaid(kinds.KINDS[data["kind"]], data)
        if "members" in short:
            short["members"] = [
                unsaid(ensemble.Share, unsaid(kinds.KINDS[item["kind"]], item)) for item in short["members"]
            ]
        assert short != data
        data.clear()
        data.update(short)

    bundles.edit_json(bundle, cut)
    read.read(bundle)
    assert folded(bundle) == expected


def test_averaged_is_optional_for_a_summed_booster() -> None:
    output = {"objective": "regression", "leaves": 1_000_000, "trees": 1_000, "outputs": 1, "features": ["a"]}
    header = {**output, "benchmarks": []}
    assert lightgbm.choose_step(header) == lightgbm.choose_step({**header, "averaged": False}) > 0
    assert lightgbm.choose_step({**header, "averaged": True}) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_array_is_plain(dtype: str, order: Any) -> None:
    rng = np.random.default_rng(1)
    given_arrays = {
        "w0": np.array(rng.normal(size=(300, 150)), dtype=dtype, order=order)[::-1],
        "b0": rng.normal(size=300).astype(dtype)[::2],
        "w1": np.array(rng.normal(size=(150, 1)), dtype=dtype, order=order),
        "b1": rng.normal(size=1).astype(f">{dtype[0]}{dtype[-2:]}".replace("32", "4").replace("64", "8")),
        **{name: np.ones(300, dtype) for name in ("imputation", "centre", "scale")},
    }
    for array in given_arrays.values():
        array.setflags(write=False)
    before = {name: array.copy() for name, array in given_arrays.items()}
    actual = arrays_in(
        network.fold_mlp({"layers": [{"activation": "relu"}, {"activation": "identity"}]}, given_arrays, Path())
    )
    assert len(actual) == 4
    for array in actual:
        assert array.flags.c_contiguous
        assert array.flags.owndata
        assert array.flags.writeable
        assert array.dtype.isnative
    for name, array in given_arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_wide_layers_are_float32_and_narrow_ones_float64() -> None:
    folded = pickles.fold_bundle(
        bundles.make_bundle(300, network=bundles.make_network(300, widths=(160, 24), names=("relu", "relu")))
    )
    assert [layer["weights"].dtype.name for layer in folded["layers"]] == ["float32", "float64", "float64"]
    assert [layer["weights"].shape for layer in folded["layers"]] == [(160, 304), (24, 160), (1, 24)]
    assert [layer["bias"] is None for layer in folded["layers"]] == [True, False, False]
    assert folded["imputation"].dtype == np.float32


def test_a_layer_that_float32_cannot_hold_stays_float64() -> None:
    weights, ones = np.ones((300, 200)), np.ones(300)
    assert one_layer(weights, np.zeros(200), ones, ones)["layers"][0]["weights"].dtype == np.float32
    assert one_layer(weights * 1e39, np.zeros(200), ones, ones)["layers"][0]["weights"].dtype == np.float64
    assert one_layer(weights, np.full(200, -1e39), ones, ones)["layers"][0]["weights"].dtype == np.float64


def test_a_far_centre_is_left_for_predict() -> None:
    centre, scale = np.array([2.0, 0.5, -1e6]), np.array([1.0, 0.01, 1e-9])
    folded = one_layer(np.ones((3, 1)), np.zeros(1), centre, scale)
    assert folded["far"] == [[1, 0.5, 0.5], [2, -1e6, -1e6]]
    assert [type(value) for value in folded["far"][0]] == [int, float, float]
    assert folded["layers"][0]["weights"].tolist() == [[1.0, pytest.approx(100), pytest.approx(1e9), -2.0, *[0.0] * 12]]


def test_constants_come_in_a_fixed_order_and_as_floats() -> None:
    named = activations.as_data(activations.Activation(name="softplus", constants={"threshold": 20, "beta": 2}))
    given_arrays = {
        "w0": np.ones((1, 1)),
        "b0": np.ones(1),
        **dict.fromkeys(("imputation", "centre", "scale"), np.ones(1)),
    }
    constants = network.fold_mlp({"layers": [named]}, given_arrays, Path())["layers"][0]["constants"]
    assert list(constants.items()) == [("beta", 2.0), ("threshold", 20.0)]
    assert all(type(value) is float for value in constants.values())
