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
from tests.support import manifests, notebooks, pickles, torch_image

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import docker_engine

MISSING = "a feature is missing"
TWO_ERAS = "same values: two eras in one frame, and each alone"


class Workshop:
    """Export a function of a notebook, build its pickle in an image, and validate that there."""

    def __init__(
        self, engine: docker_engine.DockerEngine, run: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.engine, self.run = engine, run
        self._folder, self._monkeypatch = folder, monkeypatch

    def validate_in_image(self, shape: str, name: str, image: resolve.ResolvedImage) -> validate.Validation:
        folder = self._folder
        notebooks.export_function(shape, name, folder, self._monkeypatch)
        bundle = read.read(folder / "mine")
        rendered = pickles.render_bundle(folder, bundle, base=image.base)
        engine_build.build(rendered, folder / "model.pkl", self.engine, self.run, progress=progress.Silent())
        python = image.labels[stand_in.STAND_IN_LABEL]
        task = validate.ValidationTask(
            artifact=manifests.commit(folder / "dist", (folder / "model.pkl").read_bytes()),
            bundle=bundle,
            image=image,
            python=stand_in.EDITIONS.get(python, python),
            files=data.make_shaped_data(
                features=bundle.features, benchmarks=bundle.benchmarks, rows=100, cache=folder / "cache"
            ),
            source="shaped",
            data_version="v5.3",
            limits=config.LimitsConfig(cpus=1, memory=2 << 30, seconds=600),
        )
        return validate.validate(task, self.engine, self.run, progress.Silent())

    def validate_in_edition(self, shape: str, name: str) -> validate.Validation:
        image = resolve.resolve_stand_in("", "boosters", self.engine, progress.Silent())
        return self.validate_in_image(shape, name, image)


@pytest.fixture
def workshop(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workshop:
    return Workshop(engine, run_id, tmp_path, monkeypatch)


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
    workshop: Workshop, shape: str, name: str, notes: tuple[str, ...]
) -> None:
    result = workshop.validate_in_edition(shape, name)
    assert result.good, result.checks
    assert {check.name for check in result.checks if check.good is None} & {MISSING, TWO_ERAS} == {*notes}


def test_a_benchmark_by_position_is_refused(workshop: Workshop) -> None:
    result = workshop.validate_in_edition("xgboost_factory", "predict_by_position")
    (failed,) = (check for check in result.checks if check.good is False)
    assert "rows without a benchmark need `.reindex(live_features.index)`" in failed.detail


def test_torch_modules_are_valid_in_an_image_with_torch(workshop: Workshop) -> None:
    image = torch_image.build(workshop.engine, workshop.run)
    result = workshop.validate_in_image("torch_classes", "predictor", image)
    assert result.good, result.checks
