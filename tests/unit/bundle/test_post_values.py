"""The steps of the predict source against their float64 reference, on random frames."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import schema
from builder.bundle import post
from tests.support import bundles, pickles, post_case, post_steps
from tests.support.formulas import post as reference

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FEATURES = 8
BENCHMARKS = ("bench_a", "bench_b")
STEPS = (
    post.make_step("rank"),
    post.make_step("rank", scope="frame", ties="first"),
    post.make_step("gaussianize"),
    post.make_step("standardize"),
    post.make_step("neutralize", features=("feature_1",)),
    post.make_step("blend", benchmark="bench_a"),
    post.make_step("clip", low=0.2, high=0.7),
)


def functions_of(*steps: post.Step) -> dict[str, Any]:
    """Return the namespace of a pickle with these steps."""
    namespace: dict[str, Any] = pickles.load_predict(
        dataclasses.replace(bundles.make_bundle(2), post=steps)
    ).__globals__
    return namespace


NAMESPACE = functions_of(*STEPS)


def applied(steps: tuple[post.Step, ...], values: NDArray[Any], live: pd.DataFrame, benchmarks: Any) -> NDArray[Any]:
    for step in steps:
        ((name, options),) = post.as_data([step])[0].items()
        values = NAMESPACE["STEPS"][name](values, options, live, benchmarks)
        assert values.dtype == np.float64
    return values


@st.composite
def frames(draw: st.DrawFn) -> tuple[NDArray[np.float64], pd.DataFrame, pd.DataFrame]:
    """Predictions with ties, features of any sort of number, eras of one row and more, benchmarks of some rows."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.sampled_from([1, 2, 5, 40, 90]))
    index = pd.Index([f"n{row}" for row in range(rows)], name="id")
    columns = random.integers(0, 5, (rows, FEATURES)).astype(draw(st.sampled_from(["int8", "float32", "float64"])))
    sort = draw(st.sampled_from(["plain", "constant", "collinear"]))
    if sort == "constant":
        columns[:, [1, 4]] = 2
    if sort == "collinear":
        columns[:, 2] = columns[:, 3]
        columns[:, 5] = columns[:, 0] + columns[:, 1]
    if columns.dtype.kind == "f" and draw(st.booleans()):
        columns[random.random(columns.shape) < 0.1] = np.nan
        columns[:, 6] = np.nan
    live = pd.DataFrame(columns, index=index, columns=[f"feature_{position}" for position in range(FEATURES)])
    live["era"] = draw(
        st.sampled_from(["X", *([random.permutation(np.arange(rows) % count).astype(str) for count in (2, 7, 95)])])
    )
    if draw(st.booleans()):
        live["era"] = live["era"].where(random.random(rows) < 0.8)
    values = random.normal(0.5, 10.0 ** draw(st.integers(-4, 1)), rows)
    if draw(st.booleans()):
        values = np.round(values, 1)
    benchmarks = pd.DataFrame(random.random((rows + 5, 2)), columns=list(BENCHMARKS))
    benchmarks.index = pd.Index([*index, *(f"m{row}" for row in range(5))], name="id")
    benchmarks = benchmarks.sample(frac=1, random_state=1)
    if rows > 5 and draw(st.booleans()):
        benchmarks = benchmarks[benchmarks.index != "n0"]
        benchmarks.loc["n1", "bench_a"] = np.nan
        benchmarks.loc["n2", "bench_b"] = np.inf
    return values, live, benchmarks


SCOPES = st.sampled_from(["era", "frame"])
NAMES = st.lists(st.integers(0, FEATURES - 1), min_size=1, max_size=FEATURES, unique=True)
ANY_STEP = st.one_of(
    st.builds(post.make_step, st.just("rank"), scope=SCOPES, ties=st.sampled_from(["average", "first"])),
    st.builds(post.make_step, st.just("gaussianize"), scope=SCOPES),
    st.builds(post.make_step, st.just("standardize"), scope=SCOPES),
    st.builds(
        post.make_step,
        st.just("neutralize"),
        features=NAMES.map(lambda indices: tuple(f"feature_{index}" for index in indices)),
        proportion=st.sampled_from([0.0, 0.5, 1.0]),
        scope=SCOPES,
    ),
    st.builds(
        post.make_step,
        st.just("neutralize"),
        benchmarks=st.sampled_from([("bench_a",), BENCHMARKS]),
        proportion=st.floats(0, 1),
        scope=SCOPES,
    ),
    st.builds(
        post.make_step,
        st.just("blend"),
        benchmark=st.sampled_from(BENCHMARKS),
        weight=st.floats(0, 1),
        transform=st.sampled_from(["rank", "gaussian", "raw"]),
        scope=SCOPES,
    ),
    st.builds(post.make_step, st.just("clip"), low=st.floats(-1, 0.4), high=st.floats(0.5, 2)),
)


@settings(max_examples=40)
@given(frames(), ANY_STEP)
def test_each_step_is_its_reference(
    case: tuple[NDArray[np.float64], pd.DataFrame, pd.DataFrame], step: post.Step
) -> None:
    values, live, benchmarks = case
    before = live.copy(), benchmarks.copy(), values.copy()
    actual = applied((step,), values, live, benchmarks)
    expected = reference.apply_steps((step,), values, live, benchmarks)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12 * max(1.0, float(np.abs(values).max())))
    if post.get_step_name(step) in {"rank", "clip"}:
        np.testing.assert_array_equal(actual, expected)
    # What was handed over is as it was.
    pd.testing.assert_frame_equal(live, before[0])
    pd.testing.assert_frame_equal(benchmarks, before[1])
    np.testing.assert_array_equal(values, before[2])


@settings(max_examples=20)
@given(frames(), st.lists(ANY_STEP, min_size=2, max_size=4))
def test_steps_follow_one_another(
    case: tuple[NDArray[np.float64], pd.DataFrame, pd.DataFrame], steps: list[post.Step]
) -> None:
    """Each step takes the result of the one before; a list that is reported as bounded stays in [0, 1]."""
    values, live, benchmarks = case
    built = schema.parse(post.Steps, {"post": post.as_data(steps)})
    assert isinstance(built, post.Steps)
    actual = applied(built.post, values, live, benchmarks)
    expected = values
    for step in steps:
        expected = applied((step,), expected, live, benchmarks)
    np.testing.assert_array_equal(actual, expected)
    if post.find_unbounded_step(steps, model_bounded=False) is None:
        assert actual.min() >= 0
        assert actual.max() <= 1


def official(values: NDArray[Any], columns: NDArray[Any], proportion: float = 1.0) -> NDArray[Any]:
    """What the official example does, over the whole frame: https://docs.numer.ai, feature neutralisation."""
    design = np.hstack([columns, np.ones((len(columns), 1))])
    explained: NDArray[Any] = design @ (np.linalg.pinv(design, rcond=1e-6) @ values)
    return values - proportion * explained


def neutral(values: NDArray[Any], columns: NDArray[Any], **options: Any) -> NDArray[Any]:
    names = tuple(f"feature_{index}" for index in range(columns.shape[1]))
    step = post.make_step("neutralize", features=names, scope="frame", **options)
    return applied((step,), values, pd.DataFrame(columns, columns=list(names)), None)


@pytest.mark.parametrize("sort", ["plain", "constant", "twice", "sum", "correlated"])
@pytest.mark.parametrize("kind", ["int8", "int64", "float32", "float64"])
def test_neutralising_to_features_is_what_the_official_example_does(sort: str, kind: str) -> None:
    random = np.random.default_rng(3)
    columns = random.integers(0, 5, (300, 40))
    if sort == "constant":
        columns[:, ::7] = 2
    if sort == "twice":
        columns[:, 20:] = columns[:, :20]
    if sort == "sum":
        columns[:, 7] = columns[:, 8] - 3 * columns[:, 9] + 5
    if sort == "correlated":
        columns = np.where(random.random(columns.shape) < 0.98, columns[:, [0]], columns)
    values = random.normal(0.5, 0.01, 300)
    actual = neutral(values, columns.astype(kind), proportion=0.7)
    np.testing.assert_allclose(actual, official(values, columns.astype(float), 0.7), rtol=0, atol=1e-13)
    left = neutral(values, columns.astype(kind))
    assert np.abs(left @ (columns - columns.mean(axis=0))).max() <= 1e-11
    assert abs(left.sum()) <= 1e-11


def test_columns_far_from_zero_and_of_any_size_count_alike() -> None:
    random = np.random.default_rng(4)
    plain = random.normal(size=(300, 6))
    sizes, indices = 10.0 ** np.array([-6, -3, 0, 0, 3, 6]), np.array([0, 5, 1e6, -1e4, 1e3, 0])
    values = random.normal(size=300)
    actual = neutral(values, plain * sizes + indices * sizes)
    np.testing.assert_allclose(actual, official(values, plain), rtol=0, atol=1e-9)


@pytest.mark.parametrize("near", [1e-2, 1e-3, 1e-4])
def test_columns_that_are_almost_the_same_are_still_two(near: float) -> None:
    random = np.random.default_rng(5)
    columns = random.normal(size=(500, 12))
    columns[:, 1] = columns[:, 0] + near * columns[:, 1]
    columns[:, 5] = columns[:, 4] + columns[:, 3] + near * columns[:, 5]
    values = random.normal(size=500)
    np.testing.assert_allclose(neutral(values, columns), official(values, columns), rtol=0, atol=1e-10)


def test_more_columns_than_rows_leave_nothing() -> None:
    """Exactly nothing, so that the ranks that follow are ties and not those of rounding."""
    random = np.random.default_rng(6)
    for rows in (1, 2, 30, 41):
        values, columns = random.normal(size=rows), random.integers(0, 5, (rows, 40)).astype("int8")
        assert neutral(values, columns).tolist() == [0.0] * rows
        np.testing.assert_allclose(neutral(values, columns, proportion=0.25), 0.75 * values, rtol=1e-12)


def test_blocks_of_rows_do_not_show() -> None:
    random = np.random.default_rng(7)
    columns, values = random.integers(0, 5, (900, 30)), random.normal(size=900)
    holed = np.where(random.random(columns.shape) < 0.01, np.nan, columns)
    for given_columns in (columns.astype("int8"), columns.astype("float32"), holed, 1000 * columns):
        whole = neutral(values, given_columns)
        small = functions_of(*STEPS)
        small["BLOCK_BYTES"] = small["KEPT_BYTES"] = 0
        names = [f"feature_{index}" for index in range(30)]
        options = {"features": names, "proportion": 1.0, "scope": "frame"}
        actual = small["STEPS"]["neutralize"](values, options, pd.DataFrame(given_columns, columns=names), None)
        np.testing.assert_allclose(actual, whole, rtol=0, atol=1e-13)


def test_a_row_without_a_value_has_the_columns_mean() -> None:
    random = np.random.default_rng(8)
    columns, values = random.normal(size=(60, 3)), random.normal(size=60)
    columns[4, 1] = columns[9, 1] = np.nan
    filled = np.where(np.isnan(columns), np.nanmean(columns, axis=0), columns)
    np.testing.assert_allclose(neutral(values, columns), official(values, filled), rtol=0, atol=1e-13)
    columns[:, 2] = np.nan
    np.testing.assert_allclose(neutral(values, columns), official(values, filled[:, :2]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["Int8", "Float64", "boolean"])
def test_nullable_columns_are_numbers_too(kind: str) -> None:
    random = np.random.default_rng(9)
    columns, values = random.integers(0, 2, (50, 4)), random.normal(size=50)
    names = tuple(f"feature_{index}" for index in range(4))
    live = pd.DataFrame(columns, columns=list(names)).astype(kind)
    step = post.make_step("neutralize", features=names, scope="frame")
    np.testing.assert_allclose(applied((step,), values, live, None), neutral(values, columns), rtol=0, atol=1e-14)


def test_equal_predictions_stay_equal() -> None:
    live = pd.DataFrame({f"feature_{index}": np.arange(6) % (index + 2) for index in range(3)}).assign(era="X")
    for step, left in (
        (post.make_step("standardize"), 0.0),
        (post.make_step("gaussianize"), 0.0),
        (post.make_step("neutralize", features=("feature_0", "feature_1")), 0.0),
        (post.make_step("rank"), 3.5 / 6),
    ):
        assert applied((step,), np.full(6, 0.1), live, None).tolist() == [left] * 6


def test_ids_without_a_benchmark_get_the_mean_and_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    live = pd.DataFrame({"era": ["1", "1", "1", "2", "2"]}, index=list("abcde"))
    benchmarks = pd.DataFrame({"bench": [0.2, 0.6, np.inf]}, index=list("abd"))
    step = post.make_step("blend", benchmark="bench", weight=1.0, transform="raw")
    actual = applied((step,), np.arange(5.0), live, benchmarks)
    assert actual.tolist() == pytest.approx([0.2, 0.6, 0.4, 0.4, 0.4])  # of its era; of all where its era has none
    text = "numerai-builder: 3 of 5 rows have no bench; using the mean of the others\n"
    assert capsys.readouterr().out == text


def test_a_prediction_that_is_missing_is_not_hidden() -> None:
    """A custom function can return NaN, which the tournament refuses: no step replaces it by a number."""
    live = pd.DataFrame({"feature_1": [1, 2, 3, 5, 4], "era": "X"})
    values = np.array([0.1, np.nan, 0.3, 0.7, 0.2])
    for step in (*STEPS[:5], STEPS[6], post.make_step("neutralize", features=("feature_1",), scope="frame")):
        assert np.isnan(applied((step,), values, live, None)[1])


@pytest.mark.parametrize(
    ("step", "live", "benchmarks", "text"),
    [
        (
            post.make_step("neutralize", features=("a", "b")),
            {"era": ["1"], "b": [1]},
            None,
            "live_features is missing 1 of 2 columns: 'a'",
        ),
        (post.make_step("neutralize", features=("a",)), {"a": [1]}, None, "live_features has no column 'era'"),
        (post.make_step("neutralize", benchmarks=("x",)), {"era": ["1"]}, None, "live_benchmark_models is None"),
        (
            post.make_step("blend", benchmark="x"),
            {"era": ["1"]},
            {"y": [0.5]},
            "live_benchmark_models is missing 1 of 1 columns: 'x'",
        ),
        (post.make_step("blend", benchmark="x"), {"era": ["1"]}, {"x": [np.nan]}, "has no 'x' for any of the 1 ids"),
        (post.make_step("gaussianize"), {"a": [1]}, None, "live_features has no column 'era'"),
        (post.make_step("standardize"), {"a": [1]}, None, "live_features has no column 'era'"),
    ],
)
def test_missing_columns_are_reported(step: post.Step, live: Any, benchmarks: Any, text: str) -> None:
    other = None if benchmarks is None else pd.DataFrame(benchmarks)
    with pytest.raises(ValueError, match=text):
        applied((step,), np.array([0.5]), pd.DataFrame(live), other)


def test_a_whole_pickle_with_every_step() -> None:
    """From frames to the frame that the tournament takes; ids of features that the model does not have are read too."""
    steps = (
        post.make_step("gaussianize"),
        post.make_step("standardize"),
        post.make_step("neutralize", features=("feature_0", "riskiest"), proportion=0.5),
        post.make_step("neutralize", benchmarks=("bench",), scope="frame"),
        post.make_step("blend", benchmark="bench", weight=0.25, transform="gaussian"),
        post.make_step("clip", low=-3, high=3),
        post.make_step("rank", scope="frame"),
    )
    predict = pickles.load_predict(dataclasses.replace(bundles.make_bundle(3), post=steps))
    random = np.random.default_rng(10)
    live = pd.DataFrame(random.integers(0, 5, (80, 4)), columns=["riskiest", "feature_2", "feature_0", "feature_1"])
    live["era"] = np.where(np.arange(80) < 30, "0001", "0002")
    benchmarks = pd.DataFrame({"bench": random.random(80)})
    raw = pickles.get_predict_raw(predict)(live, benchmarks)
    actual = predict(live, benchmarks)
    expected = reference.apply_steps(steps, raw, live, benchmarks)
    np.testing.assert_allclose(actual["prediction"], expected, rtol=1e-12)
    assert actual.index.equals(live.index)


def test_the_case_that_runs_in_the_images(tmp_path: Path) -> None:
    post_steps.write(tmp_path)
    (tmp_path / "model.pkl").write_bytes(pickles.pickle_bundle(post_steps.make_bundle()))
    actual = post_case.run(tmp_path)
    assert actual["cases"] == 12 * len(post_steps.STEPS)
    assert actual["worst"] <= 1e-12
