"""A VotingRegressor becomes an ensemble; the framework, the bundle and the pickle predict the same."""

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

INTEGERS = cases.make_integers(160, 5)
MISSING = cases.set_missing(INTEGERS)


def make_members() -> list[tuple[str, Any]]:
    """Return unfitted models of several kinds."""
    target = compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1)
    return [
        ("linear", pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge())),
        ("trees", ensemble.RandomForestRegressor(5, max_depth=4, random_state=1)),
        ("none", "drop"),
        ("target", target),
    ]


@pytest.mark.parametrize("weights", [None, [1.0, 2.5, 9.0, 0.5], [1.0, 0.0, 0.0, 3.0]])
def test_vote_is_the_weighted_mean_of_its_members(weights: Any) -> None:
    model = ensemble.VotingRegressor(make_members(), weights=weights).fit(INTEGERS, cases.make_target(INTEGERS))
    bundle = cases.assert_agree(model, INTEGERS)
    assert isinstance(bundle.model, bundle_model.Ensemble)
    assert len(bundle.model.members) == (3 if weights is None or weights[1] else 2)


def test_vote_after_steps_imputes_once() -> None:
    steps = (impute.SimpleImputer(strategy="median"), preprocessing.RobustScaler())
    booster = ("booster", lightgbm.LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1))
    model = pipeline.make_pipeline(*steps, ensemble.VotingRegressor([*make_members(), booster]))
    cases.assert_agree(model.fit(MISSING, cases.make_target(MISSING)), MISSING, INTEGERS)


def test_member_without_support_for_nan_decides_for_all() -> None:
    pair = [("any", ensemble.HistGradientBoostingRegressor(max_iter=5)), ("whole", linear_model.Ridge())]
    bundle = cases.export_and_read(
        ensemble.VotingRegressor(pair).fit(INTEGERS, cases.make_target(INTEGERS)), INTEGERS, imputation=1.0
    )
    first = bundle.model.members[0].model
    assert first.preprocessing is not None
    assert (first.preprocessing.imputation == 1).all()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            compose.TransformedTargetRegressor(
                ensemble.VotingRegressor(make_members()), func=np.log, inverse_func=np.exp
            ),
            "VotingRegressor is inside a TransformedTargetRegressor, which a bundle does not support; put one around",
        ),
        (
            ensemble.VotingRegressor([("inner", ensemble.VotingRegressor(make_members())), *make_members()]),
            "VotingRegressor has a vote as its member 'inner'",
        ),
        (
            ensemble.VotingRegressor(make_members(), weights=[3.0, -1.0, 1.0, 1.0]),
            "VotingRegressor has a negative weight",
        ),
        (
            ensemble.VotingRegressor([("bag", ensemble.BaggingRegressor(n_estimators=2))]),
            "BaggingRegressor at member 'bag' cannot be expressed",
        ),
    ],
)
def test_unsupported_vote_is_named(model: Any, message: str) -> None:
    model.fit(INTEGERS, cases.make_target(INTEGERS) + 1)
    with pytest.raises(errors.ExportError, match=message):
        cases.export_and_read(model, INTEGERS)
