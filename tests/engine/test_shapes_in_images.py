"""The shapes in which people write predict functions: from the notebook to a validated pickle in an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder import progress
from builder.build import engine_build
from builder.bundle.storage import read
from builder.config import model as config
from builder.image import resolve, stand_in
from builder.validate import data
from builder.validate import run as validate
from tests.support import manifests, notebooks, pickles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builder.engine import docker_engine

EDITION = "boosters"
MISSING = "a feature is missing"
TWO_ERAS = "same values: two eras in one frame, and each alone"


@pytest.fixture
def validate_function(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], validate.Validation]:
    """Return a function that exports a function of a notebook, builds its pickle and validates that."""

    def validate_exported(shape: str, name: str) -> validate.Validation:
        notebooks.export_function(shape, name, tmp_path, monkeypatch)
        bundle = read.read(tmp_path / "mine")
        image = resolve.resolve_stand_in("", EDITION, engine, progress.Silent())
        rendered = pickles.render_bundle(tmp_path, bundle, base=image.base)
        engine_build.build(rendered, tmp_path / "model.pkl", engine, run_id, progress=progress.Silent())
        files = data.make_shaped_data(
            features=bundle.features, benchmarks=bundle.benchmarks, rows=100, cache=tmp_path / "cache"
        )
        task = validate.ValidationTask(
            artifact=manifests.commit(tmp_path / "dist", (tmp_path / "model.pkl").read_bytes()),
            bundle=bundle,
            image=image,
            python=stand_in.EDITIONS[EDITION],
            files=files,
            source="shaped",
            data_version="v5.3",
            limits=config.LimitsConfig(cpus=1, memory=2 << 30, seconds=600),
        )
        return validate.validate(task, engine, run_id, progress.Silent())

    return validate_exported


@pytest.mark.parametrize(
    ("shape", "name", "notes"),
    [
        ("barebones", "predict", ()),
        ("target_ensemble", "predict_ensemble", (TWO_ERAS,)),
        ("feature_neutral", "predict_neutral", (TWO_ERAS,)),
        ("xgboost_factory", "predict", (TWO_ERAS,)),
        ("stack", "predict_stack", (TWO_ERAS,)),
        ("stack", "predict_by_hand", (TWO_ERAS,)),
        ("callable_class", "predictor", (MISSING, TWO_ERAS)),
        ("numpy_network", "predict", ()),
        ("own_wrapper", "predict", ()),
        ("engineered", "predict", (TWO_ERAS,)),
    ],
)
def test_a_function_is_valid_with_notes_on_advisory_relations(
    validate_function: Callable[[str, str], validate.Validation], shape: str, name: str, notes: tuple[str, ...]
) -> None:
    result = validate_function(shape, name)
    assert result.good, result.checks
    assert {check.name for check in result.checks if check.good is None} & {MISSING, TWO_ERAS} == {*notes}


def test_a_benchmark_by_position_is_refused(validate_function: Callable[[str, str], validate.Validation]) -> None:
    result = validate_function("xgboost_factory", "predict_by_position")
    (failed,) = (check for check in result.checks if check.good is False)
    assert "rows without a benchmark need `.reindex(live_features.index)`" in failed.detail
