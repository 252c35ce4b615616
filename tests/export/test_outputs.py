"""One of several outputs, their mean or the probability of a class is exported: ``output=``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn import ensemble, linear_model, multioutput, neural_network, pipeline, preprocessing, tree

from builder import errors
from builder.bundle.storage import read
from builder.export import export
from tests.support import pickles
from tests.support import sklearn_exports as cases

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("one_thread"),
]

X = cases.make_integers(120, 4)
TARGETS = np.stack([cases.make_target(X), cases.make_target(X, 8) / 2, cases.make_target(X, 9) - 1], axis=1)
LEVELS = cases.make_classes(X, (0, 1, 2))
WORDS = np.array(["down", "flat", "up"])[LEVELS]
LIGHTGBM: dict[str, Any] = {"n_estimators": 4, "verbose": -1, "n_jobs": 1}
XGBOOST: dict[str, Any] = {"n_estimators": 4, "n_jobs": 1}

REGRESSORS = [
    linear_model.Ridge(),
    linear_model.MultiTaskLasso(0.01),
    neural_network.MLPRegressor(hidden_layer_sizes=(5,), max_iter=50, random_state=1),
    tree.DecisionTreeRegressor(max_depth=4),
    ensemble.RandomForestRegressor(4, max_depth=4, random_state=1),
    multioutput.MultiOutputRegressor(lightgbm.LGBMRegressor(**LIGHTGBM)),
    pipeline.make_pipeline(preprocessing.StandardScaler(), xgboost.XGBRegressor(**XGBOOST)),
]
CLASSIFIERS = [
    linear_model.LogisticRegression(),
    ensemble.RandomForestClassifier(4, max_depth=4, random_state=1),
    ensemble.GradientBoostingClassifier(n_estimators=3, random_state=1),
    ensemble.BaggingClassifier(linear_model.LogisticRegression(), 2, random_state=1),
    pipeline.make_pipeline(preprocessing.StandardScaler(), lightgbm.LGBMClassifier(**LIGHTGBM)),
    lightgbm.LGBMClassifier(**LIGHTGBM),
]


def name(model: Any) -> str:
    return type(model).__name__


def predict_bundle(model: Any, folder: Path, **options: Any) -> Any:
    """Export a model, and return what its pickle predicts."""
    export(model, folder, sample=X, **options)
    return pickles.get_predict_raw(pickles.load_predict(read.read(folder)))(X, None)


@pytest.mark.parametrize("model", REGRESSORS, ids=name)
def test_one_of_several_targets_or_their_mean(model: Any, tmp_path: Path) -> None:
    outputs = model.fit(X, TARGETS).predict(X)
    np.testing.assert_allclose(predict_bundle(model, tmp_path / "mean", output="mean"), outputs.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(predict_bundle(model, tmp_path / "last", output=2), outputs[:, 2], atol=1e-6)
    for output, message in (
        (None, r'pass output="mean"'),
        (3, "invalid value 3 for output; .* from 0 to 2, or 'mean'"),
    ):
        with pytest.raises(errors.ExportError, match=message):
            export(model, tmp_path / "other", sample=X, output=output)


@pytest.mark.parametrize("model", CLASSIFIERS, ids=name)
def test_probability_of_one_class(model: Any, tmp_path: Path) -> None:
    probabilities = model.fit(X, WORDS).predict_proba(X)
    np.testing.assert_allclose(predict_bundle(model, tmp_path / "up", output="up"), probabilities[:, 2], atol=1e-6)
    np.testing.assert_allclose(predict_bundle(model, tmp_path / "first", output=0), probabilities[:, 0], atol=1e-6)
    for output, message in ((None, "are not numeric.* pass output='up'"), ("mean", "the classes down, flat, up")):
        with pytest.raises(errors.ExportError, match=message):
            export(model, tmp_path / "other", sample=X, output=output)


def test_first_of_two_classes(tmp_path: Path) -> None:
    for index, model in enumerate((xgboost.XGBClassifier(**XGBOOST), linear_model.LogisticRegression())):
        expected = model.fit(X, LEVELS > 0).predict_proba(X)[:, 0]
        np.testing.assert_allclose(predict_bundle(model, tmp_path / f"{index}", output=0), expected, atol=1e-6)


def test_members_of_an_ensemble_have_outputs_of_their_own(tmp_path: Path) -> None:
    members = {
        "targets": xgboost.XGBRegressor(**XGBOOST).fit(X, TARGETS),
        "forest": ensemble.RandomForestRegressor(4, max_depth=4, random_state=1).fit(X, TARGETS),
        "line": linear_model.Ridge().fit(X, TARGETS[:, 0]),
    }
    outputs = {name: member.predict(X) for name, member in members.items()}
    expected = (outputs["targets"].mean(axis=1) + outputs["forest"][:, 1] + outputs["line"]) / 3
    actual = predict_bundle(members, tmp_path / "bundle", output={"targets": "mean", "forest": 1})
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    with pytest.raises(errors.ExportError, match=r"member forest: RandomForestRegressor has several outputs"):
        export(members, tmp_path / "other", sample=X, output={"targets": "mean"})


def test_output_of_a_model_with_one_is_refused(tmp_path: Path) -> None:
    model = linear_model.Ridge().fit(X, TARGETS[:, 0])
    with pytest.raises(errors.ExportError, match="output=0 is for models with several outputs, but this has one"):
        export(model, tmp_path / "bundle", sample=X, output=0)
