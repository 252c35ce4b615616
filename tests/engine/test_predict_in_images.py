"""Pickles made and run in real images: the scenarios of tests/support there, and the threads under a CPU quota."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder import progress
from builder.build import engine_build
from builder.engine import docker_engine
from builder.engine import protocol as engines
from builder.image import stand_in
from tests.support import in_container, pickles, scenarios

THREADS = """
import json, sys
import pandas as pd, threadpoolctl
predict = pd.read_pickle("model.pkl")
few, quota = predict.__globals__["with_few_threads"], predict.__globals__["cpu_quota"]

def blas():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

before = blas()
print(json.dumps({"quota": quota(), "before": before, "within": few(blas), "after": blas()}))
"""


@pytest.mark.parametrize("name", pickles.SCENARIO_BUNDLES)
@pytest.mark.parametrize("python", ["3.11", "3.13", "oldest", "newest"])
def test_scenarios(engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, python: str, name: str) -> None:
    image = stand_in.make(engine, python, progress.Silent())
    made = pickles.scenario_bundle(name)
    pickles.write_case(tmp_path, made)
    rendered = pickles.rendered(tmp_path, made, base=image.tag)
    engine_build.build(rendered, tmp_path / "model.pkl", engine, run_id, progress=progress.Silent())
    files = {path.name: path.read_bytes() for path in (tmp_path / "model.pkl", tmp_path / "case.npz")}
    files["scenarios.py"] = Path(scenarios.__file__).read_bytes()
    command = (*in_container.STRICT, "scenarios.py", engines.BOX)
    said = in_container.run(engine, image.image.id, run_id, files, *command)
    outcomes: dict[str, str | None] = json.loads(said.strip().splitlines()[-1])
    assert outcomes.keys() == scenarios.SCENARIOS.keys()
    failed = [f"{scenario}:\n{text}" for scenario, text in outcomes.items() if text]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize(("cpus", "threads"), [(1, 1), (1.5, 1), (0.5, 1), (2, 2)])
def test_as_many_threads_as_the_quota_grants(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, cpus: float, threads: int
) -> None:
    image = stand_in.make(engine, "3.11", progress.Silent())
    rendered = pickles.rendered(tmp_path, pickles.scenario_bundle("linear"), base=image.tag)
    engine_build.build(rendered, tmp_path / "model.pkl", engine, run_id, progress=progress.Silent())
    files = {"model.pkl": (tmp_path / "model.pkl").read_bytes()}
    found = json.loads(in_container.run(engine, image.image.id, run_id, files, "python", "-c", THREADS, cpus=cpus))
    assert found["quota"] == threads
    assert found["before"]
    assert found["within"] == [min(threads, before) for before in found["before"]]
    assert found["after"] == found["before"]
