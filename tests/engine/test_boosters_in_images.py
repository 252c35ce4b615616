"""Export models of XGBoost and CatBoost trained with newer versions than the image's, build and validate them in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import catboost as cb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb

from builder import errors, progress
from builder.build import engine_build
from builder.bundle.storage import read
from builder.config import model as config
from builder.export import export
from builder.image import resolve, stand_in
from builder.validate import data
from builder.validate import run as validate
from tests.support import manifests, pickles, stand_ins
from tests.support.trained_boosters import CATBOOST, XGBOOST, make_rows

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import docker_engine

X, Y = make_rows()
CLASSES = np.digitize(Y, [1, 4, 8])


def train_xgboost() -> tuple[Any, pd.DataFrame]:
    """Train what the image's version reads otherwise than the newest writes it: base scores, and categories."""
    frame = X.assign(feature_3=pd.Categorical(X["feature_3"], categories=[3, 1, 4, 0, 2]))
    models = {
        "regressor": xgb.XGBRegressor(enable_categorical=True, **XGBOOST).fit(frame, Y),
        "classes": xgb.XGBClassifier(**XGBOOST).fit(X, CLASSES),
        "linear": xgb.XGBRegressor(booster="gblinear", n_jobs=1).fit(X, Y),
    }
    return models, frame


def train_catboost() -> tuple[Any, pd.DataFrame]:
    models = {
        "regressor": cb.CatBoostRegressor(cat_features=["feature_3"], **CATBOOST).fit(X, Y),
        "classes": cb.CatBoostClassifier(**CATBOOST).fit(X, CLASSES),
    }
    return models, X


@pytest.mark.parametrize("train", [train_xgboost, train_catboost])
def test_a_model_is_built_and_validated_in_the_image(
    train: Any, engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path
) -> None:
    models, sample = train()
    export(models, tmp_path / "bundle", sample=sample, transform="gaussian", neutralize={"features": ["feature_4"]})
    bundle = read.read(tmp_path / "bundle")
    image = resolve.resolve_stand_in("", "boosters", engine, progress.Silent())
    rendered = pickles.render_bundle(tmp_path, bundle, base=image.base)
    engine_build.build(rendered, tmp_path / "model.pkl", engine, run_id, progress=progress.Silent())
    task = validate.ValidationTask(
        artifact=manifests.commit(tmp_path / "dist", (tmp_path / "model.pkl").read_bytes()),
        bundle=bundle,
        image=image,
        python=stand_in.EDITIONS["boosters"],
        files=data.make_shaped_data(features=bundle.features, benchmarks=(), rows=50, cache=tmp_path / "cache"),
        source="shaped",
        data_version="v5.2",
        limits=config.LimitsConfig(cpus=1, memory=2 << 30, seconds=120),
    )
    result = validate.validate(task, engine, run_id, progress.Silent())
    assert result.good, result


def test_an_image_without_the_library_fails_the_build(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path
) -> None:
    export(xgb.XGBRegressor(**XGBOOST).fit(X, Y), tmp_path / "bundle", sample=X)
    rendered = pickles.render_bundle(tmp_path, read.read(tmp_path / "bundle"), base=stand_ins.get_default().tag)
    with pytest.raises(errors.BuildError, match="xgboost, which the model needs to predict, cannot be imported"):
        engine_build.build(rendered, tmp_path / "model.pkl", engine, run_id, progress=progress.Silent())
