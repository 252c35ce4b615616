"""The kinds ``xgboost`` and ``catboost``: what is checked of them without their libraries."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builder import errors
from builder.bundle import model, prediction
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import read, write
from tests.support import bundles, ensembles

if TYPE_CHECKING:
    from pathlib import Path

XGBOOST = model.XgBoost(content=b"{L", objective="reg:squarederror", outputs=1, parameters=7)
CATBOOST = model.CatBoost(content=b"CBM1", prediction="RawFormulaVal", outputs=1, parameters=8)
SELECT = model.make_node("select", places=np.array([1], dtype=np.int32))


def make_bundle(booster: model.XgBoost | model.CatBoost) -> model.Bundle:
    """Return a bundle of three features, whose golden predictions nothing computes."""
    golden = model.GoldenRows(inputs=np.zeros((2, 3)), predictions=np.zeros(2))
    return model.Bundle(features=("feature_a", "feature_b", "feature_c"), model=booster, golden=golden)


@pytest.mark.parametrize(
    "booster",
    [
        XGBOOST,
        dataclasses.replace(XGBOOST, linear=True, missing=-1.0),
        dataclasses.replace(XGBOOST, outputs=2, margins=(0.5, 0.25), head=(SELECT,)),
        dataclasses.replace(XGBOOST, categories=(model.Categories(inputs=(0, 2), values=(3.0, 1.0)),)),
        CATBOOST,
        dataclasses.replace(CATBOOST, categorical=(1,), outputs=2, prediction="Probability", head=(SELECT,)),
    ],
)
def test_a_bundle_reads_back_as_it_was_written(booster: Any, tmp_path: Path) -> None:
    write.write(tmp_path / "bundle", make_bundle(booster))
    result: Any = read.read(tmp_path / "bundle").model
    for field in dataclasses.fields(booster):
        if field.name not in {"content", "head"}:
            assert getattr(result, field.name) == getattr(booster, field.name)
    assert result.content.read_bytes() == booster.content
    assert len(result.head) == len(booster.head)
    assert kinds.count_parameters(result) == booster.parameters


@pytest.mark.parametrize(
    ("booster", "message"),
    [
        (dataclasses.replace(XGBOOST, content=b"{}"), "model.ubj: does not begin as such a file does"),
        (dataclasses.replace(CATBOOST, content=b""), "model.cbm: does not begin as such a file does"),
        (dataclasses.replace(XGBOOST, margins=(1.0, 2.0)), "margins: 2 numbers; expected one for each of 1 outputs"),
        (dataclasses.replace(XGBOOST, outputs=2), "outputs: returns 2 values a row; expected 1"),
        (
            dataclasses.replace(CATBOOST, categorical=(3,)),
            "categorical: 3; expected the index of an input, from 0 to 2",
        ),
        (dataclasses.replace(CATBOOST, outputs=0), "outputs: 0 is invalid; expected an integer from 1"),
    ],
)
def test_an_invalid_booster_is_reported(booster: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(errors.BundleError) as caught:
        write.write(tmp_path / "bundle", make_bundle(booster))
    assert message in str(caught.value)


def test_only_a_container_reads_the_file(tmp_path: Path) -> None:
    """The golden rows' tolerance of an ensemble is that of an unknown member; nothing loads the file, which is none."""
    member = ensembles.make_member("ab", transform="rank", scope="frame")
    ensemble = model.Ensemble(members=(dataclasses.replace(member, model=XGBOOST),))
    models: tuple[model.Model, ...] = (XGBOOST, CATBOOST, ensemble)
    assert all(map(prediction.needs_image, models))
    assert not prediction.needs_image(bundles.make_bundle().model)
    golden = model.GoldenRows(inputs=np.zeros((10, 2)), predictions=np.linspace(0, 1, 10))
    tolerances = prediction.compute_golden_tolerances(ensemble, golden)
    np.testing.assert_allclose(tolerances, prediction.UNKNOWN_STEPS / 10, atol=1e-4)
