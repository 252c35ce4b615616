"""Compare the pickle's predictions with the float64 reference, for any network, constants and range of inputs."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.bundle import activations, model, prediction
from builder.inside import operators
from tests.support import bundles, formulas, pickles

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS = 40
BETWEEN_LAYERS = sorted(name for name, definition in operators.ACTIVATIONS.items() if not definition.for_targets)
DTYPES = ("float32", "float64")
EXPONENTS = st.floats(-8.9, 8.9)  # powers of ten of a scale, from 1e-9 to 1e9


def activation(name: str, draw: st.DrawFn, *, moderate: bool) -> activations.Activation:
    """Draw the constants of an activation from all allowed values, or with ``moderate`` from those used in training."""
    constants = {}
    for key, allowed in operators.ACTIVATIONS[name].constants.items():
        assert allowed.default is not None
        near = sorted((allowed.default / 2, allowed.default * 2))
        minimum, maximum = near if moderate or name == "hardtanh" else (allowed.minimum, allowed.maximum)
        constants[key] = draw(st.floats(minimum, maximum))
    return activations.Activation(name=name, constants=constants)


def draw_layers(draw: st.DrawFn, sizes: list[int], random: np.random.Generator, *, moderate: bool) -> tuple[Any, ...]:
    """Draw layers whose values have about the same size in all layers.

    With ``moderate`` the last activation is one that a network for this tournament has. After a relu that is zero for
    all rows but one, the range of the predictions and so the bound would be too small for float32 layers.
    """
    kind = draw(st.sampled_from(DTYPES))
    last = ("identity", "sigmoid") if moderate else tuple(BETWEEN_LAYERS)
    names = [draw(st.sampled_from(BETWEEN_LAYERS)) for _ in sizes[2:]] + [draw(st.sampled_from(last))]
    return tuple(
        model.make_node(
            "dense",
            weights=(random.normal(size=(wide, narrow)) * math.sqrt(2 / wide)).astype(kind),
            bias=random.normal(size=narrow).astype(kind),
            activation=activation(name, draw, moderate=moderate),
        )
        for wide, narrow, name in zip(sizes[:-1], sizes[1:], names, strict=True)
    )


@st.composite
def narrow_cases(draw: st.DrawFn) -> tuple[model.Bundle, NDArray[np.float64]]:
    """A small network with extreme centres and scales, and inputs around them."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    features, benchmarks = draw(st.integers(1, 12)), draw(st.integers(0, 3))
    count = features + benchmarks
    sizes = [count, *draw(st.lists(st.integers(1, 20), max_size=5)), 1]
    kind = draw(st.sampled_from(DTYPES))
    centre = (random.uniform(-1, 1, size=count) * 10.0 ** draw(st.integers(-6, 6))).astype(kind)
    # + 0.0 turns -0.0 into 0.0: numpy rejects a range from 0.0 to -0.0.
    low, high = sorted((draw(EXPONENTS) + 0.0, draw(EXPONENTS) + 0.0))
    scale = (10.0 ** (low + (high - low) * random.random(count))).astype(kind)
    network = model.Network(
        layers=draw_layers(draw, sizes, random, moderate=False),
        imputation=np.clip(centre + scale, -1e6, 1e6).astype(kind),
        centre=centre,
        scale=scale,
    )
    inputs = centre.astype(np.float64) + scale.astype(np.float64) * random.normal(size=(ROWS, count))
    inputs[random.random(inputs.shape) < draw(st.sampled_from([0, 0.1, 1]))] = np.nan
    return bundles.make_bundle(features, [f"bench_{index}" for index in range(benchmarks)], network=network), inputs


@st.composite
def wide_cases(draw: st.DrawFn) -> tuple[model.Bundle, NDArray[np.float64]]:
    """A realistic network, wide enough for float32, with integer features and benchmarks that vary little."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    features, benchmarks = draw(st.integers(200, 500)), draw(st.integers(0, 3))
    count = features + benchmarks
    sizes = [count, *draw(st.lists(st.integers(190, 260), min_size=1, max_size=3)), 1]
    middle = np.array([2.0] * features + [0.5] * benchmarks)
    scale = np.array([math.sqrt(2)] * features + [10.0 ** draw(st.integers(-4, 0))] * benchmarks)
    kind = draw(st.sampled_from(DTYPES))
    network = model.Network(
        layers=draw_layers(draw, sizes, random, moderate=True),
        imputation=middle.astype(kind),
        centre=middle.astype(kind),
        scale=scale.astype(kind),
    )
    inputs = np.concatenate(
        [random.integers(0, 5, (ROWS, features)), 0.5 + scale[features:] * random.normal(size=(ROWS, benchmarks))],
        axis=1,
    )
    inputs[random.random(inputs.shape) < draw(st.sampled_from([0, 0.1]))] = np.nan
    return bundles.make_bundle(features, [f"bench_{index}" for index in range(benchmarks)], network=network), inputs


def make_frames(bundle: model.Bundle, inputs: NDArray[np.float64]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the inputs as the tournament passes them, the benchmarks in another order."""
    index = pd.Index([f"n{row}" for row in range(len(inputs))], name="id")
    count = len(bundle.features)
    live = pd.DataFrame(inputs[:, :count], index=index, columns=list(bundle.features)).assign(era="X")
    return live, pd.DataFrame(inputs[:, count:], index=index, columns=list(bundle.benchmarks)).iloc[::-1]


def assert_near_the_reference(bundle: model.Bundle, inputs: NDArray[np.float64]) -> None:
    expected = formulas.predict(bundle.model, inputs)
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))
    live, benchmarks = make_frames(bundle, inputs)
    bound = prediction.compute_tolerance(expected)
    predictions = raw(live, benchmarks)
    assert np.isfinite(predictions).all()
    assert np.abs(predictions - expected).max() <= bound
    single = raw(live.iloc[[3]], benchmarks)
    assert np.abs(single - expected[[3]]).max() <= bound


@settings(max_examples=25)
@given(narrow_cases())
def test_any_small_network_is_the_reference(case: tuple[model.Bundle, NDArray[np.float64]]) -> None:
    assert_near_the_reference(*case)


@settings(max_examples=10)
@given(wide_cases())
def test_a_wide_network_in_float32_is_the_reference(case: tuple[model.Bundle, NDArray[np.float64]]) -> None:
    assert pickles.fold_bundle(case[0])["layers"][0]["weights"].dtype == np.float32
    assert_near_the_reference(*case)


@settings(max_examples=10)
@given(narrow_cases(), st.sampled_from([1, 7, ROWS - 1, ROWS, ROWS + 1]))
def test_blocks_of_rows_do_not_change_the_predictions(
    case: tuple[model.Bundle, NDArray[np.float64]], rows: int
) -> None:
    bundle, inputs = case
    times = 2 + 200 // ROWS  # a block has 64 rows or more
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))
    raw.__globals__["BLOCK_BYTES"] = 0
    live, benchmarks = make_frames(bundle, np.tile(inputs, (times, 1))[: 200 + rows])
    expected = formulas.predict(bundle.model, inputs)
    predictions = raw(live, benchmarks)
    assert np.abs(predictions - np.tile(expected, times)[: 200 + rows]).max() <= prediction.compute_tolerance(expected)


def test_an_input_far_from_zero_keeps_its_precision() -> None:
    """A benchmark around 1e6 that differs by thousandths: in float32 all of its values are the same."""
    bundle = bundles.make_bundle(300, ("bench",), network=bundles.make_network(301, widths=(160,)))
    bundle.model.centre[-1], bundle.model.scale[-1] = 1e6, 1e-3
    assert pickles.fold_bundle(bundle)["layers"][0]["weights"].dtype == np.float32
    inputs = np.full((ROWS, 301), 2.0)
    inputs[:, -1] = 1e6 + np.linspace(-2e-3, 2e-3, ROWS)
    inputs[5, -1] = np.nan
    assert_near_the_reference(bundle, inputs)
    assert (
        len(set(pickles.get_predict_raw(pickles.load_predict(bundle))(*make_frames(bundle, inputs)).tolist())) == ROWS
    )


def test_weights_beyond_float32_are_used() -> None:
    bundle = bundles.make_bundle(400, network=bundles.make_network(400, widths=(100,)))
    bundle.model.layers[0]["weights"][:] *= np.float32(1e35)
    bundle.model.scale[:] = 1e-9
    bundle.model.layers[1]["weights"][:] *= np.float32(1e-35)
    assert_near_the_reference(bundle, np.random.default_rng(1).integers(0, 5, size=(ROWS, 400)).astype(float))


@pytest.fixture(scope="module")
def functions() -> dict[str, Any]:
    """The activations in a pickle by name."""
    functions: dict[str, Any] = pickles.load_predict(bundles.make_bundle(1)).__globals__["ACTIVATION_FUNCTIONS"]
    return functions


@pytest.mark.parametrize("name", operators.ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "digits"), [("float32", 2e-6), ("float64", 1e-13)])
def test_each_activation_is_precise(functions: dict[str, Any], name: str, dtype: str, digits: float) -> None:
    """Also for tiny results. The reference's formulas with tanh lose digits below its epsilon."""
    sizes = 10.0 ** np.linspace(-30, 6, 200)
    sizes = sizes[sizes < 80] if operators.ACTIVATIONS[name].for_targets else sizes  # e**88 is beyond float32
    hidden = np.concatenate([sizes, -sizes, np.linspace(-12, 12, 101)]).astype(dtype)
    if name in {"sqrt", "log", "log1p"}:
        hidden = hidden[hidden > 0]
    activation = activations.Activation(name=name)
    result = functions[name](hidden.copy(), dict(activation.constants))
    assert result.dtype == dtype
    expected = formulas.activations.activate(activation, hidden.astype(np.float64))
    # The smallest float32 is 1e-45; exp of what is rounded to float32 is off by the exponent's size times its step.
    np.testing.assert_allclose(result, expected, rtol=digits, atol=1e-15 if dtype == "float64" else 1e-14)


def test_a_new_process_without_this_tool_predicts_the_same(tmp_path: Path) -> None:
    """This tool cannot be imported there."""
    bundle = pickles.scenario_bundle("wide")
    folder = pickles.write_scenario_case(tmp_path, bundle)
    with np.load(folder / "case.npz") as stored:
        live, benchmarks = make_frames(bundle, stored["inputs"])
    live.to_pickle(folder / "live.pkl")
    benchmarks.to_pickle(folder / "benchmarks.pkl")
    script = (
        "import sys; sys.modules['builder'] = sys.modules['inside'] = sys.modules['tests'] = None\n"
        "import pandas as pd\n"
        "live, benchmarks, predict = (pd.read_pickle(n + '.pkl') for n in ('live', 'benchmarks', 'model'))\n"
        "print(predict.__module__, predict.__name__, predict.__doc__.split(';')[0])\n"
        "predict(live, benchmarks).to_pickle('found.pkl')"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("numerai_builder_model predict Return one column")
    expected = pickles.load_predict(bundle)(live, benchmarks)
    pd.testing.assert_frame_equal(pd.read_pickle(folder / "found.pkl"), expected, check_exact=True)
