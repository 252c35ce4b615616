"""What a pickle makes of live data, whatever that is like; the same scenarios run in the images (tests/engine)."""

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
    """A model of each sort, loaded from its pickle."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    return scenarios.load(pickles.write_scenario_case(folder, pickles.scenario_bundle(request.param)))


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_scenario(name: str, case: scenarios.Case) -> None:
    scenarios.SCENARIOS[name](case)


def test_the_scenarios_see_a_fault(case: scenarios.Case) -> None:
    """A model that takes the order of the columns for granted must not pass."""
    with pytest.raises(AssertionError):
        scenarios.near(case.raw(case.live[::-1]), case.raw(), case.bound)
    with pytest.raises(AssertionError, match="no error"), scenarios.fails("something"):
        case.predict(case.live, case.benchmarks)


@pytest.mark.parametrize("ties", ["average", "first"])
@pytest.mark.parametrize("scope", ["era", "frame"])
def test_ranks_by_scope_and_ties(scope: Literal["era", "frame"], ties: Literal["average", "first"]) -> None:
    made = dataclasses.replace(bundles.make_bundle(3), post=(post.make_step("rank", scope=scope, ties=ties),))
    predict = pickles.load_predict(made)
    live = pd.DataFrame({f"feature_{place}": [1, 1, place, 1, 0] for place in range(3)}, index=list("abcde"))
    raw = pd.Series(pickles.get_predict_raw(predict)(live, None), index=live.index)
    assert raw["a"] == raw["b"]
    era = ["1", "1", "1", "2", "2"]
    expected = (raw.groupby(era) if scope == "era" else raw).rank(pct=True, method=ties)
    frame = live.assign(era=era) if scope == "era" else live
    pd.testing.assert_series_equal(predict(frame, None)["prediction"], expected, check_names=False, check_exact=True)


def test_without_steps_the_raw_predictions_come_out() -> None:
    predict = pickles.load_predict(dataclasses.replace(bundles.make_bundle(2), post=()))
    live = pd.DataFrame({"feature_0": [0.0, 4.0], "feature_1": [3.0, 1.0]}, index=["a", "b"])
    assert predict(live, None)["prediction"].tolist() == pickles.get_predict_raw(predict)(live, None).tolist()


def test_steps_are_done_in_their_order() -> None:
    """Ranks of ranks: within eras first, so that every era's highest row ties over the whole frame."""
    made = dataclasses.replace(
        bundles.make_bundle(2), post=(post.make_step("rank", scope="era"), post.make_step("rank", scope="frame"))
    )
    live = pd.DataFrame({"feature_0": [0, 1, 2, 3], "feature_1": [4, 0, 4, 0], "era": ["1", "1", "2", "2"]})
    assert sorted(pickles.load_predict(made)(live, None)["prediction"]) == [0.375, 0.375, 0.875, 0.875]


def test_a_column_of_booleans_hides_no_missing_value_beside_it() -> None:
    made = bundles.make_bundle(2)
    raw = pickles.get_predict_raw(pickles.load_predict(made))
    live = pd.DataFrame({made.features[0]: [True, False], made.features[1]: [np.nan, 1.0]}, index=["n1", "n2"])
    plain = live.astype("float64")
    assert np.isfinite(raw(live, None)).all()
    assert raw(live, None).tolist() == raw(plain, None).tolist()
