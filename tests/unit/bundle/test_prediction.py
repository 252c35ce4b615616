"""What a model predicts in float64, against formulas, networks and tables that others have written."""

from __future__ import annotations

import dataclasses
import gzip
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from builder import errors
from builder.bundle import activations, model, prediction
from builder.inside import operators
from tests.support import bundles, ensembles, formulas, pickles

# What PyTorch's documentation and other public tables give at 1 and at -1, to their digits.
KNOWN = {
    "gelu": (0.8413447461, -0.1586552539),
    "gelu_tanh": (0.8411919906, -0.1588080094),
    "silu": (0.7310585786, -0.2689414214),
    "mish": (0.8650983883, -0.3034014613),
    "selu": (1.0507009874, -1.1113307378),
    "elu": (1.0, -0.6321205588),
    "softplus": (1.3132616875, 0.3132616875),
    "sigmoid": (0.7310585786, 0.2689414214),
    "leaky_relu": (1.0, -0.01),
}


def activated(name: str, x: formulas.Array, **constants: float) -> formulas.Array:
    """Return an activation of each value, by a model that does nothing else."""
    item, zero = np.ones(1), np.zeros(1)
    activation = activations.Activation(name=name, constants=constants) if constants else None
    line = model.Linear(
        weights=item,
        bias=zero,
        activation=activation or activations.Activation(name=name),
        imputation=zero,
        centre=zero,
        scale=item,
    )
    return prediction.predict(line, x.reshape(-1, 1))


@pytest.mark.parametrize("name", KNOWN)
def test_each_activation_has_its_known_values(name: str) -> None:
    np.testing.assert_allclose(activated(name, np.array([1.0, -1.0])), KNOWN[name], atol=2e-10)


def test_softplus_is_the_line_above_its_threshold() -> None:
    np.testing.assert_array_equal(activated("softplus", np.array([1.5, 3.0]), beta=1.0, threshold=1.0), [1.5, 3.0])


@pytest.mark.parametrize("name", [name for name, item in operators.ACTIVATIONS.items() if not item.for_targets])
def test_activations_stay_finite(name: str) -> None:
    sizes = 10.0 ** np.linspace(-30, 6, 100)
    assert np.isfinite(activated(name, np.concatenate([sizes, -sizes, np.zeros(1)]))).all()


@pytest.mark.parametrize(("ours", "theirs"), [("relu", "relu"), ("tanh", "tanh"), ("sigmoid", "logistic")])
def test_a_network_predicts_what_scikit_learn_does(ours: str, theirs: str) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(80, 6)), random.normal(size=80)
    regressor = MLPRegressor(hidden_layer_sizes=(5, 4), activation=theirs, max_iter=5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # five rounds are enough to compare by
        regressor.fit(x, y)
    names = [ours, ours, "identity"]
    layers = tuple(
        model.make_node("dense", weights=weights, bias=bias, activation=activations.Activation(name=name))
        for weights, bias, name in zip(regressor.coefs_, regressor.intercepts_, names, strict=True)
    )
    centre, scale = np.linspace(1, 2, 6), np.linspace(0.5, 3, 6)
    network = model.Network(layers=layers, imputation=np.full(6, 2.0), centre=centre, scale=scale)
    raw = x * scale + centre
    np.testing.assert_allclose(prediction.predict(network, raw), regressor.predict(x), rtol=1e-12, atol=1e-14)


@settings(max_examples=10)
@given(data=st.data())
def test_missing_values_are_the_imputation_in_raw_units(data: st.DataObject) -> None:
    network = dataclasses.replace(bundles.make_network(4), imputation=np.array([0.5, 1, 3, -2], dtype=np.float32))
    inputs = data.draw(st_numpy.arrays(np.float64, (5, 4), elements=st.floats(0, 4)))
    holes = data.draw(st_numpy.arrays(np.bool_, (5, 4)))
    filled = np.where(holes, network.imputation, inputs)
    holed = np.where(holes, np.nan, inputs)
    np.testing.assert_array_equal(prediction.predict(network, holed), prediction.predict(network, filled))


def test_one_row_by_hand() -> None:
    layer = model.make_node(
        "dense",
        weights=np.array([[2.0], [-1.0]]),
        bias=np.array([0.25]),
        activation=activations.Activation(name="relu"),
    )
    network = model.Network(
        layers=(layer,), imputation=np.array([2.0, 4.0]), centre=np.array([1.0, 2.0]), scale=np.array([0.5, 4.0])
    )
    # (3 - 1) / 0.5 = 4; (NaN -> 4, 4 - 2) / 4 = 0.5; 2 * 4 - 0.5 + 0.25
    np.testing.assert_array_equal(prediction.predict(network, np.array([[3.0, np.nan]])), [7.75])


@pytest.mark.parametrize("name", pickles.SCENARIO_BUNDLES)
def test_every_kind_is_its_formulas_in_float64(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The wide network too, whose pickle has float32 in it."""
    built = pickles.scenario_bundle(name)
    random = np.random.default_rng(11)
    inputs = random.integers(0, 5, size=(90, len(built.features) + len(built.benchmarks))).astype(np.float64)
    inputs[random.random(inputs.shape) < 0.05] = np.nan
    expected = formulas.predict(built.model, inputs)
    actual = prediction.predict(built.model, inputs)
    assert np.abs(actual - expected).max() <= 1e-12 * max(1.0, float(np.abs(expected).max()))
    assert capsys.readouterr().out == ""  # rows without a benchmark are reported in the tournament's log only


def test_float64_overflow_is_not_finite_without_warning() -> None:
    network = bundles.make_network(3, dtype="float64")
    for layer in network.layers:
        layer["weights"][:] = 1e200
    assert not np.isfinite(prediction.predict(network, np.full((2, 3), 1e6))).any()


def without(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    booster = pickles.scenario_bundle("lightgbm")
    without(monkeypatch, "lightgbm")
    with pytest.raises(errors.LibraryError, match=r"^lightgbm is not installed.*run `pip install lightgbm`$"):
        prediction.predict(booster.model, np.zeros((2, 12)))


def test_text_that_lightgbm_cannot_read_is_a_bundle_error() -> None:
    booster: Any = pickles.scenario_bundle("lightgbm").model
    text = gzip.decompress(booster.text).replace(b"objective=regression", b"objective=nonsense")
    booster = dataclasses.replace(booster, text=gzip.compress(text, mtime=0))
    with pytest.raises(errors.BundleError, match="LightGBM cannot read the booster: Unknown objective"):
        prediction.predict(booster, np.zeros((2, 12)))


@pytest.mark.parametrize("transform", ["raw", "rank", "gaussian"])
def test_golden_rows_are_judged_where_a_members_library_is_not_installed(
    transform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    booster: Any = pickles.scenario_bundle("lightgbm").model
    names = tuple(f"feature_{index}" for index in range(12))
    members = (model.Member(model=booster, features=names, transform=transform), ensembles.make_member("abc"))
    built = ensembles.make_bundle(
        members, inputs=np.random.default_rng(1).integers(0, 5, size=(64, 15)).astype(np.float64)
    )
    known = prediction.compute_golden_tolerances(built.model, built.golden)
    without(monkeypatch, "lightgbm")
    bounds = prediction.compute_golden_tolerances(built.model, built.golden)
    assert (bounds >= prediction.compute_tolerance(built.golden.predictions)).all()
    if transform == "raw":
        assert bounds.max() <= known.max()
    else:  # three ranks of 64, of half of the sum; a gaussian's are farther apart at the ends
        assert 1.5 / 64 <= bounds.max() <= (1.6 / 64 if transform == "rank" else 1)


def test_the_bound_is_of_the_range_with_a_floor_of_float32_steps() -> None:
    assert prediction.compute_tolerance(np.array([0.0, 1.0])) == pytest.approx(1e-5)
    assert prediction.compute_tolerance(np.array([-3.0, 7.0])) == pytest.approx(1e-4)
    # Constant predictions: float32 has steps of 2**-23 from 1 to 2.
    assert prediction.compute_tolerance(np.array([1.5])) == 8 * 2.0**-23
    assert prediction.compute_tolerance(np.array([1000.0, 1000.0])) == 8 * 2.0**-14


@given(st_numpy.arrays(np.float64, st.integers(1, 9), elements=st.floats(-1e6, 1e6, width=32)))
def test_rounding_to_float32_is_within_the_bound(expected: formulas.Array) -> None:
    rounded = expected.astype(np.float32).astype(np.float64)
    assert np.abs(rounded - expected).max() <= prediction.compute_tolerance(expected)


def test_a_difference_beyond_all_bounds_is_found_without_a_warning() -> None:
    difference, bound = prediction.find_worst_difference(np.array([0.0, 3e302]), np.zeros(2), np.full(2, 1e-8))
    assert (difference, bound) == (3e302, 1e-8)
