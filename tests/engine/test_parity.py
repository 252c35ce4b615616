"""The golden rows of networks in an image: where a difference from the framework comes from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from builder import progress
from builder.bundle import activations, model
from builder.config import model as config
from builder.image import resolve as image
from builder.validate import data
from builder.validate import run as validate
from tests.support import bundles, manifests, pickles

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import docker_engine
    from builder.validate import checks

FEATURES = 300
ROUNDED = re.compile(r"largest difference from the framework (\S+), bound (\S+); from float32 (\S+), bound (\S+)")


def judge_golden(
    engine: docker_engine.DockerEngine, run_id: str, folder: Path, bundle: model.Bundle
) -> list[checks.Check]:
    """Return the checks of the golden rows; the pickle is made by this Python, whose version the image has too."""
    task = validate.ValidationTask(
        artifact=manifests.commit(folder / "dist", pickles.pickle_bundle(bundle)),
        bundle=bundle,
        image=image.resolve_stand_in("", "3.11", engine, progress.Silent()),
        python="3.11",
        files=data.make_shaped_data(
            features=bundle.features, benchmarks=bundle.benchmarks, rows=20, cache=folder / "cache"
        ),
        source="shaped",
        data_version="v5.2",
        limits=config.LimitsConfig(cpus=1, memory=1 << 30, seconds=60),
    )
    result = validate.validate(task, engine, run_id, progress.Silent())
    return [check for check in result.checks if check.name.startswith("golden rows")]


def make_cancelling_network() -> model.Network:
    """Return a network with numbers that float32 can represent, whose output is the difference of two large sums."""
    random = np.random.default_rng(1)

    def dense(weights: np.typing.NDArray[np.float64], name: str) -> model.Node:
        activation = activations.Activation(name=name)
        return model.make_node(
            "dense", weights=weights.astype(np.float32), bias=np.zeros(weights.shape[1]), activation=activation
        )

    first = np.abs(random.normal(size=(FEATURES, 160)))
    first[:, 1] = first[:, 0] + 1e-4 * random.normal(size=FEATURES)
    second = np.zeros((160, 1))
    second[:2, 0] = 1, -1
    return model.Network(
        layers=(dense(first, "relu"), dense(second, "identity")),
        imputation=np.full(FEATURES, 2.0),
        centre=np.zeros(FEATURES),
        scale=np.ones(FEATURES),
    )


def test_both_differences_are_reported(engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path) -> None:
    framework, exact = judge_golden(engine, run_id, tmp_path, pickles.scenario_bundle("wide"))
    assert (framework.good, exact.good) == (True, True)
    match = ROUNDED.match(exact.detail)
    assert match
    conversion, bound, rounding, _ = map(float, match.groups())
    assert 0 < conversion < rounding < bound / 100


def test_rounding_is_distinguished_from_a_wrong_conversion(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path
) -> None:
    bundle = bundles.make_bundle(FEATURES, network=make_cancelling_network())
    framework, exact = judge_golden(engine, run_id, tmp_path, bundle)
    assert (framework.good, exact.good) == (False, None)
    match = ROUNDED.match(exact.detail)
    assert match
    conversion, bound, rounding, _ = map(float, match.groups())
    assert conversion < bound / 1000
    assert rounding > bound
