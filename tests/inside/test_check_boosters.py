"""Boosters are loaded while a pickle is built, so that a file that the image's library cannot read is reported."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import catboost as cb
import pytest
import xgboost as xgb

from builder.bundle.storage import read
from builder.export import export
from builder.inside import check_boosters
from tests.support import pickles
from tests.support.trained_boosters import CATBOOST, XGBOOST, make_rows

if TYPE_CHECKING:
    from pathlib import Path

VERSION = f"xgboost {xgb.__version__}"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of both libraries."""
    x, y = make_rows()
    models = [cb.CatBoostRegressor(**CATBOOST).fit(x, y), xgb.XGBRegressor(**XGBOOST).fit(x, y)]
    folder = tmp_path_factory.mktemp("boosters") / "bundle"
    export(models, folder, sample=x)
    return folder


def check(bundle: Path, folder: Path, damaged: str = "") -> None:
    """Check a copy of the bundle, of which one file is damaged."""
    header = json.loads((bundle / "bundle.json").read_bytes())
    for path in bundle.glob("m?.model.*"):
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[:64] if path.name == damaged else content)
    check_boosters.check_boosters(header, folder)


def test_what_the_library_cannot_read_is_reported_with_both_versions(bundle: Path, tmp_path: Path) -> None:
    check(bundle, tmp_path)
    message = (
        rf"^m1\.model\.ubj: {VERSION} in this image cannot read .* exported with {VERSION}: .*; train with {VERSION}"
    )
    with pytest.raises(check_boosters.BoosterError, match=message):
        check(bundle, tmp_path, "m1.model.ubj")
    with pytest.raises(check_boosters.BoosterError, match=rf"^m0\.model\.cbm: catboost {cb.__version__} in this image"):
        check(bundle, tmp_path, "m0.model.cbm")


def test_a_missing_library_is_reported(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "catboost", None)
    with pytest.raises(check_boosters.BoosterError, match="catboost, which the model needs to predict, cannot be"):
        check(bundle, tmp_path)


def test_two_builds_have_the_same_bytes(tmp_path: Path) -> None:
    x, y = make_rows()
    export(xgb.XGBRegressor(**XGBOOST).fit(x, y), tmp_path / "exported", sample=x)
    pickles.render_bundle(tmp_path, read.read(tmp_path / "exported"))
    first, second = (
        pickles.build_in(tmp_path / "context", {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": seed}) for seed in "01"
    )
    assert first == second
