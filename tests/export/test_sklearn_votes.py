"""VotingRegressor becomes an ensemble; the framework, the reference and the pickle agree."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from sklearn import compose, ensemble, impute, linear_model, pipeline, preprocessing

from builder import errors
from builder.bundle import model as bundle_model
from tests.support import sklearn_exports as cases

pytestmark = pytest.mark.usefixtures("one_thread")

WHOLE = cases.whole(160, 5)
MISSING = cases.holed(WHOLE)


def members() -> list[tuple[str, Any]]:
    """Return models of several kinds, not fitted."""
    target = compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1)
    return [
        ("linear", pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge())),
        ("trees", ensemble.RandomForestRegressor(5, max_depth=4, random_state=1)),
        ("none", "drop"),
        ("target", target),
    ]


@pytest.mark.parametrize("weights", [None, [1.0, 2.5, 9.0, 0.5], [1.0, 0.0, 0.0, 3.0]])
def test_a_vote_is_the_weighted_mean_of_its_members(weights: Any) -> None:
    model = ensemble.VotingRegressor(members(), weights=weights).fit(WHOLE, cases.target(WHOLE))
    bundle = cases.assert_agree(model, WHOLE)
    assert isinstance(bundle.model, bundle_model.Ensemble)
    assert len(bundle.model.members) == (3 if weights is None or weights[1] else 2)


def test_a_vote_behind_steps_imputes_once_for_all() -> None:
    steps = (impute.SimpleImputer(strategy="median"), preprocessing.RobustScaler())
    booster = ("booster", lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1))
    model = pipeline.make_pipeline(*steps, ensemble.VotingRegressor([*members(), booster]))
    cases.assert_agree(model.fit(MISSING, cases.target(MISSING)), MISSING, WHOLE)


def test_a_member_that_takes_no_missing_values_decides_for_all() -> None:
    pair = [("any", ensemble.HistGradientBoostingRegressor(max_iter=5)), ("whole", linear_model.Ridge())]
    bundle = cases.exported(ensemble.VotingRegressor(pair).fit(WHOLE, cases.target(WHOLE)), WHOLE, imputation=1.0)
    first = bundle.model.members[0].model
    assert first.preprocessing is not None
    assert (first.preprocessing.imputation == 1).all()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            compose.TransformedTargetRegressor(ensemble.VotingRegressor(members()), func=np.log, inverse_func=np.exp),
            "VotingRegressor is inside a TransformedTargetRegressor, which a bundle cannot hold; put one around each",
        ),
        (
            ensemble.VotingRegressor([("inner", ensemble.VotingRegressor(members())), *members()]),
            "VotingRegressor has a vote as its member 'inner'",
        ),
        (
            ensemble.VotingRegressor(members(), weights=[3.0, -1.0, 1.0, 1.0]),
            "VotingRegressor has a weight below 0",
        ),
        (
            ensemble.VotingRegressor([("bag", ensemble.BaggingRegressor(n_estimators=2))]),
            "BaggingRegressor at member 'bag' cannot be expressed",
        ),
    ],
)
def test_a_vote_that_cannot_be_expressed_is_named(model: Any, said: str) -> None:
    model.fit(WHOLE, cases.target(WHOLE) + 1)
    with pytest.raises(errors.ExportError, match=said):
        cases.exported(model, WHOLE)
