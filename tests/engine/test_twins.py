"""Correct custom functions and their broken twins, validated in a stand-in image: only the broken ones are refused.

tests/unit/validate/test_scenarios.py tries all pairs without containers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cloudpickle
import pytest

from builder import progress
from builder.config import model as config
from builder.image import resolve, stand_in
from builder.validate import data
from builder.validate import run as validate
from tests.support import manifests, twins

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import docker_engine


@pytest.mark.parametrize(("name", "read"), [*zip(twins.FUNCTIONS, ("position", "prefix", "units"), strict=True)])
def test_only_the_broken_twin_is_refused_with_its_cause(
    tmp_path: Path, engine: docker_engine.DockerEngine, run_id: str, name: str, read: str
) -> None:
    runner = stand_in.find_or_build(engine, "3.11", progress.Silent())
    benchmarks = twins.BENCHMARKS.get(name, ())
    files = data.make_shaped_data(features=twins.NAMES, benchmarks=benchmarks, rows=100, cache=tmp_path / "cache")

    def find_failed(read: str) -> dict[str, str]:
        pickle = cloudpickle.dumps(twins.make_function(name, read))
        task = validate.ValidationTask(
            artifact=manifests.commit(tmp_path / "dist" / read, pickle),
            bundle=twins.make_bundle(name, read),
            image=resolve.resolve_stand_in("", "3.11", engine, progress.Silent()),
            python=runner.image.labels[stand_in.STAND_IN_LABEL],
            files=files,
            source="shaped",
            data_version="v5.3",
            limits=config.LimitsConfig(cpus=1, memory=1 << 30, seconds=60),
        )
        checks = validate.validate(task, engine, run_id, progress.Silent()).checks
        failed = [check for check in checks if check.good is False]
        assert all(check.fix for check in failed)
        return {check.name: check.text for check in failed}

    assert find_failed("correct") == {}
    relation, cause = twins.get_cause(name, read)
    failed = find_failed(read)
    assert failed.keys() == {relation}
    assert cause in failed[relation]
