"""Predict with pickles on all kinds of live data; the same scenarios run in the images (tests/engine)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import pytest

from builder.bundle import post
from tests.support import bundles, pickles, scenarios

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module", params=pickles.SCENARIO_BUNDLES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> scenarios.Case:
    """A model of each kind, loaded from its pickle."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    return scenarios.load(pickles.write_scenario_case(folder, pickles.scenario_bundle(request.param)))


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_scenario(name: str, case: scenarios.Case) -> None:
    scenarios.SCENARIOS[name](case)


def test_the_scenarios_detect_a_wrong_model(case: scenarios.Case) -> None:
    """A model that depends on the order of the rows must not pass."""
    with pytest.raises(AssertionError):
        scenarios.assert_near(case.raw(case.live[::-1]), case.raw(), case.bound)
    with pytest.raises(AssertionError, match="no error"), scenarios.expect_error("something"):
        case.predict(case.live, case.benchmarks)


@pytest.mark.parametrize("ties", ["average", "first"])
@pytest.mark.parametrize("scope", ["era", "frame"])
def test_ranks_by_scope_and_ties(scope: Literal["era", "frame"], ties: Literal["average", "first"]) -> None:
    bundle = dataclasses.replace(bundles.make_bundle(3), post=(post.make_step("rank", scope=scope, ties=ties),))
    predict = pickles.load_predict(bundle)
    live = pd.DataFrame({f"feature_{index}": [1, 1, index, 1, 0] for index in range(3)}, index=list("abcde"))
    raw = pd.Series(pickles.get_predict_raw(predict)(live, None), index=live.index)
    assert raw["a"] == raw["b"]
    era = ["1", "1", "1", "2", "2"]
    expected = (raw.groupby(era) if scope == "era" else raw).rank(pct=True, method=ties)
    frame = live.assign(era=era) if scope == "era" else live
    pd.testing.assert_series_equal(predict(frame, None)["prediction"], expected, check_names=False, check_exact=True)


def test_without_steps_predictions_are_raw() -> None:
    predict = pickles.load_predict(dataclasses.replace(bundles.make_bundle(2), post=()))
    live = pd.DataFrame({"feature_0": [0.0, 4.0], "feature_1": [3.0, 1.0]}, index=["a", "b"])
    assert predict(live, None)["prediction"].tolist() == pickles.get_predict_raw(predict)(live, None).tolist()


def test_steps_run_in_order() -> None:
    """Rank within eras first, so that the highest rows of all eras tie over the whole frame."""
    bundle = dataclasses.replace(
        bundles.make_bundle(2), post=(post.make_step("rank", scope="era"), post.make_step("rank", scope="frame"))
    )
    live = pd.DataFrame({"feature_0": [0, 1, 2, 3], "feature_1": [4, 0, 4, 0], "era": ["1", "1", "2", "2"]})
    assert sorted(pickles.load_predict(bundle)(live, None)["prediction"]) == [0.375, 0.375, 0.875, 0.875]


def test_a_boolean_column_does_not_hide_missing_values_in_others() -> None:
    bundle = bundles.make_bundle(2)
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))
    live = pd.DataFrame({bundle.features[0]: [True, False], bundle.features[1]: [np.nan, 1.0]}, index=["n1", "n2"])
    plain = live.astype("float64")
    assert np.isfinite(raw(live, None)).all()
    assert raw(live, None).tolist() == raw(plain, None).tolist()
