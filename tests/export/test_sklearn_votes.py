"""Votes, bags, stacks and AdaBoost: the framework, the bundle and the pickle predict the same."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn import compose, ensemble, impute, linear_model, neighbors, pipeline, preprocessing, tree

from builder import errors
from builder.bundle import model as bundle_model
from tests.support import pickles
from tests.support import sklearn_exports as cases

pytestmark = pytest.mark.usefixtures("one_thread", "numbers_only")

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


@pytest.mark.parametrize(
    "model",
    [
        ensemble.VotingRegressor([("inner", ensemble.VotingRegressor(make_members())), *make_members()]),
        ensemble.VotingRegressor(make_members(), weights=[3.0, -1.0, 1.0, 1.0]),
        compose.TransformedTargetRegressor(
            ensemble.VotingRegressor(make_members()), transformer=preprocessing.MinMaxScaler((0, 2))
        ),
        ensemble.BaggingRegressor(n_estimators=5, max_features=0.6, random_state=1),
        ensemble.BaggingRegressor(make_members()[0][1], 3, max_features=3, random_state=1),
        ensemble.BaggingRegressor(xgboost.XGBRegressor(n_estimators=3, n_jobs=1), 2, max_features=3, random_state=1),
        ensemble.StackingRegressor(make_members(), cv=2),
        ensemble.StackingRegressor(
            make_members(), pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()), cv=2
        ),
        ensemble.StackingRegressor(make_members()[:2], linear_model.LassoCV(), passthrough=True, cv=2),
        ensemble.AdaBoostRegressor(n_estimators=7, random_state=1),
        ensemble.AdaBoostRegressor(linear_model.LinearRegression(), n_estimators=4, random_state=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_ensemble_predicts_the_same(model: Any) -> None:
    steps = preprocessing.StandardScaler(), model
    for fitted in (model, pipeline.make_pipeline(*steps)):
        cases.assert_agree(fitted.fit(INTEGERS, cases.make_target(INTEGERS)), INTEGERS, INTEGERS * 3 - 2)


@pytest.mark.parametrize("classes", [(0, 1), (-1, 1), (1, 2, 3)])
def test_boosters_in_a_vote_have_its_classes(classes: tuple[int, ...]) -> None:
    pair = [
        ("light", lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1)),
        ("extreme", xgboost.XGBClassifier(n_estimators=3, n_jobs=1)),
    ]
    model = ensemble.VotingClassifier(pair, voting="soft")
    cases.assert_agree(model.fit(INTEGERS, cases.make_classes(INTEGERS, classes)), INTEGERS)
    model.fit(INTEGERS, cases.make_classes(INTEGERS, (1, 2, 5)))
    with pytest.raises(errors.ExportError, match="LGBMClassifier at member 'light' is a member of a vote or bag whose"):
        cases.export_and_read(model, INTEGERS)


@pytest.mark.parametrize("classes", [(0, 1), (-1, 1), (1, 2, 5)])
@pytest.mark.parametrize(
    "model",
    [
        ensemble.AdaBoostClassifier(tree.DecisionTreeClassifier(max_depth=2), n_estimators=5, random_state=1),
        ensemble.BaggingClassifier(n_estimators=3, random_state=1),
        ensemble.BaggingClassifier(n_estimators=3, max_samples=4, random_state=1),  # members without some class
        ensemble.BaggingClassifier(linear_model.LogisticRegression(), 2, random_state=1),
        ensemble.VotingClassifier(
            [("line", linear_model.LogisticRegression()), ("tree", tree.DecisionTreeClassifier(max_depth=3))],
            voting="soft",
            weights=[2, 1],
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_members_of_a_classifier_have_its_classes(model: Any, classes: tuple[int, ...]) -> None:
    cases.assert_agree(model.fit(INTEGERS, cases.make_classes(INTEGERS, classes)), INTEGERS)


def test_members_of_a_vote_become_members_of_the_outer_ensemble() -> None:
    target = cases.make_target(INTEGERS)
    vote = ensemble.VotingRegressor(make_members(), weights=[1.0, 2.0, 9.0, 3.0]).fit(INTEGERS, target)
    line = linear_model.Ridge().fit(INTEGERS.iloc[:, :2], target)
    bundle = cases.export_and_read([line, vote], INTEGERS, weights=[1, -3])
    assert isinstance(bundle.model, bundle_model.Ensemble)
    assert len(bundle.model.members) == 4
    expected = (line.predict(INTEGERS.iloc[:, :2]) - 3 * vote.predict(INTEGERS)) / 4
    raw = pickles.get_predict_raw(pickles.load_predict(bundle))
    np.testing.assert_allclose(raw(INTEGERS, None), expected, atol=1e-6)
    with pytest.raises(errors.ExportError, match="member 1 is itself an ensemble, whose sum cannot be ranked"):
        cases.export_and_read([line, vote], INTEGERS, transform="rank")


def test_linear_members_become_one_model() -> None:
    line = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge())
    bag = ensemble.BaggingRegressor(line, 4, max_features=3, random_state=1)
    bundle = cases.assert_agree(bag.fit(INTEGERS, cases.make_target(INTEGERS)), INTEGERS)
    assert isinstance(bundle.model, bundle_model.Linear)


def test_bag_of_trees_is_a_forest() -> None:
    model = ensemble.BaggingRegressor(n_estimators=5, random_state=1).fit(INTEGERS, cases.make_target(INTEGERS))
    bundle = cases.export_and_read(model, MISSING)
    assert isinstance(bundle.model, bundle_model.Trees)
    np.testing.assert_array_equal(
        bundle.golden.predictions, model.predict(pd.DataFrame(bundle.golden.inputs, columns=INTEGERS.columns))
    )


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
            "VotingRegressor is inside a TransformedTargetRegressor that is not linear",
        ),
        (
            ensemble.VotingRegressor([("near", neighbors.KNeighborsRegressor())]),
            "KNeighborsRegressor at member 'near' cannot be expressed",
        ),
        (
            ensemble.StackingRegressor(make_members(), ensemble.RandomForestRegressor(3)),
            "RandomForestRegressor at part 'final_estimator' is not linear",
        ),
        (
            ensemble.AdaBoostRegressor(ensemble.RandomForestRegressor(3), n_estimators=2),
            "AdaBoostRegressor has members of type RandomForestRegressor",
        ),
    ],
)
def test_unsupported_vote_is_named(model: Any, message: str) -> None:
    model.fit(INTEGERS, cases.make_target(INTEGERS) + 1)
    with pytest.raises(errors.ExportError, match=message):
        cases.export_and_read(model, INTEGERS)
