"""The float64 reference, against formulas and networks that others have written."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from builder import reference
from builder.bundle import activations, model
from builder.inside import operators
from tests.support import bundles

Formula = Callable[[reference.Array], reference.Array]
BETWEEN_LAYERS = [name for name, one in operators.ACTIVATIONS.items() if not one.for_targets]
X = np.concatenate([np.linspace(-12, 12, 241), [-745.0, -40.0, -1e-9, 0.0, 1e-9, 40.0, 800.0]])

# Each in another form than the module's own, and from scipy where it has one.
FORMULAS: dict[str, tuple[dict[str, float], Formula]] = {
    "identity": ({}, lambda x: x),
    "relu": ({}, lambda x: (x + np.abs(x)) / 2),
    "leaky_relu": ({"slope": 0.2}, lambda x: x.clip(min=0) + 0.2 * x.clip(max=0)),
    "elu": ({"alpha": 0.7}, lambda x: x.clip(min=0) + 0.7 * (np.exp(x.clip(max=0)) - 1)),
    "selu": (
        {},
        lambda x: 1.0507009873554805 * (x.clip(min=0) + 1.6732632423543772 * (np.exp(x.clip(max=0)) - 1)),
    ),
    "gelu": ({}, lambda x: x * special.ndtr(x)),
    "gelu_tanh": ({}, lambda x: x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": ({}, lambda x: x * special.expit(x)),
    "mish": ({}, lambda x: x * np.tanh(-special.log_expit(-x))),
    "tanh": ({}, lambda x: 2 * special.expit(2 * x) - 1),
    "sigmoid": ({}, special.expit),
    "softplus": ({"beta": 2.0, "threshold": 60.0}, lambda x: -special.log_expit(-2 * x) / 2),
    "relu6": ({}, lambda x: x.clip(0, 6)),
    "hardtanh": ({"low": -0.5, "high": 3.0}, lambda x: x.clip(-0.5, 3.0)),
    "hardsigmoid": ({}, lambda x: (x / 6 + 0.5).clip(0, 1)),
    "hardswish": ({}, lambda x: x * (x / 6 + 0.5).clip(0, 1)),
    "celu": ({"alpha": 0.7}, lambda x: x.clip(min=0) + 0.7 * (np.exp(x.clip(max=0) / 0.7) - 1)),
    "logsigmoid": ({}, special.log_expit),
    "softsign": ({}, lambda x: np.sign(x) * (1 - 1 / (1 + np.abs(x)))),
    "tanhshrink": ({}, lambda x: x + 1 - 2 * special.expit(2 * x)),
    "exp": ({}, lambda x: special.expm1(x) + 1),
    "expm1": ({}, lambda x: np.exp(x) - 1),
    "square": ({}, lambda x: np.abs(x) ** 2),
}

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


@pytest.mark.parametrize("name", operators.ACTIVATIONS)
def test_each_activation_is_its_formula(name: str) -> None:
    constants, formula = FORMULAS[name]
    x = X[X < 700] if operators.ACTIVATIONS[name].for_targets else X
    ours = reference.activations.activate(activations.Activation(name=name, constants=constants), x)
    np.testing.assert_allclose(ours, formula(x), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", KNOWN)
def test_each_activation_has_its_known_values(name: str) -> None:
    ours = reference.activations.activate(activations.Activation(name=name), np.array([1.0, -1.0]))
    np.testing.assert_allclose(ours, KNOWN[name], atol=2e-10)


def test_softplus_is_the_line_above_its_threshold() -> None:
    activation = activations.Activation(name="softplus", constants={"beta": 1.0, "threshold": 1.0})
    np.testing.assert_array_equal(reference.activations.activate(activation, np.array([1.5, 3.0])), [1.5, 3.0])


@pytest.mark.parametrize("name", BETWEEN_LAYERS)
@settings(max_examples=25)
@given(x=st_numpy.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)))
def test_activations_stay_finite_and_do_not_write_to_their_input(name: str, x: reference.Array) -> None:
    before = x.copy()
    assert np.isfinite(reference.activations.activate(activations.Activation(name=name), x)).all()
    np.testing.assert_array_equal(x, before)


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
        model.node("dense", weights=weights, bias=bias, activation=activations.Activation(name=name))
        for weights, bias, name in zip(regressor.coefs_, regressor.intercepts_, names, strict=True)
    )
    centre, scale = np.linspace(1, 2, 6), np.linspace(0.5, 3, 6)
    network = model.Mlp(layers=layers, imputation=np.full(6, 2.0), centre=centre, scale=scale)
    raw = x * scale + centre
    np.testing.assert_allclose(reference.predict(network, raw), regressor.predict(x), rtol=1e-12, atol=1e-14)


@settings(max_examples=40)
@given(data=st.data())
def test_missing_values_are_the_imputation_in_raw_units(data: st.DataObject) -> None:
    network = replace(bundles.mlp(4), imputation=np.array([0.5, 1, 3, -2], dtype=np.float32))
    inputs = data.draw(st_numpy.arrays(np.float64, (5, 4), elements=st.floats(0, 4)))
    holes = data.draw(st_numpy.arrays(np.bool_, (5, 4)))
    filled = np.where(holes, network.imputation, inputs)
    holed = np.where(holes, np.nan, inputs)
    np.testing.assert_array_equal(reference.predict(network, holed), reference.predict(network, filled))


def test_one_row_by_hand() -> None:
    layer = model.node(
        "dense",
        weights=np.array([[2.0], [-1.0]]),
        bias=np.array([0.25]),
        activation=activations.Activation(name="relu"),
    )
    network = model.Mlp(
        layers=(layer,), imputation=np.array([2.0, 4.0]), centre=np.array([1.0, 2.0]), scale=np.array([0.5, 4.0])
    )
    # (3 - 1) / 0.5 = 4; (NaN -> 4, 4 - 2) / 4 = 0.5; 2 * 4 - 0.5 + 0.25
    np.testing.assert_array_equal(reference.predict(network, np.array([[3.0, np.nan]])), [7.75])


def test_inputs_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 5\).*\(rows, 3\)"):
        reference.predict(bundles.mlp(3), np.zeros((2, 5)))


def test_the_bound_is_of_the_range_with_a_floor_of_float32_steps() -> None:
    assert reference.bound(np.array([0.0, 1.0])) == pytest.approx(1e-5)
    assert reference.bound(np.array([-3.0, 7.0])) == pytest.approx(1e-4)
    # Constant predictions: float32 has steps of 2**-23 from 1 to 2.
    assert reference.bound(np.array([1.5])) == 8 * 2.0**-23
    assert reference.bound(np.array([1000.0, 1000.0])) == 8 * 2.0**-14


@given(st_numpy.arrays(np.float64, st.integers(1, 9), elements=st.floats(-1e6, 1e6, width=32)))
def test_rounding_to_float32_is_within_the_bound(expected: reference.Array) -> None:
    rounded = expected.astype(np.float32).astype(np.float64)
    assert np.abs(rounded - expected).max() <= reference.bound(expected)


def test_a_difference_beyond_all_bounds_is_told_without_a_warning() -> None:
    difference, bound = reference.compare(np.array([0.0, 3e302]), np.zeros(2), np.full(2, 1e-8))
    assert (difference, bound) == (3e302, 1e-8)
