"""Build pickles and run them in real images: the scenarios of tests/support, and the threads under a CPU quota."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder import progress
from builder.build import engine_build
from builder.engine import docker_engine
from builder.engine import protocol as engines
from builder.image import stand_in
from tests.support import in_container, pickles, scenarios, stand_ins

THREADS = """
import json, sys
import pandas as pd, threadpoolctl
predict = pd.read_pickle("model.pkl")
few, quota = predict.__globals__["run_with_thread_limit"], predict.__globals__["read_cpu_quota"]

def blas():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

before = blas()
print(json.dumps({"quota": quota(), "before": before, "within": few(blas), "after": blas()}))
"""


@pytest.mark.parametrize("python", ["3.12", "3.13", "oldest", "newest"])
def test_every_scenario_passes(engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, python: str) -> None:
    image = stand_in.find_or_build(engine, python, progress.Silent(), fallback=True)
    files = {"scenarios.py": Path(scenarios.__file__).read_bytes()}
    for name in pickles.SCENARIO_BUNDLES:
        bundle, folder = pickles.scenario_bundle(name), tmp_path / name
        folder.mkdir()
        pickles.write_scenario_case(folder, bundle)
        rendered = pickles.render_bundle(folder, bundle, base=image.tag)
        engine_build.build(rendered, folder / "model.pkl", engine, run_id, progress=progress.Silent())
        files |= {f"{name}/{file}": (folder / file).read_bytes() for file in ("model.pkl", "case.npz")}
    folders = [f"{engines.WORKDIR}/{name}" for name in pickles.SCENARIO_BUNDLES]
    output = in_container.run(engine, image.image.id, run_id, files, *in_container.STRICT, "scenarios.py", *folders)
    outcomes: dict[str, dict[str, str | None]] = json.loads(output.strip().splitlines()[-1])
    assert outcomes.keys() == set(pickles.SCENARIO_BUNDLES)
    for name, results in outcomes.items():
        assert results.keys() == scenarios.SCENARIOS.keys()
        failed = [f"{name}, {scenario}:\n{text}" for scenario, text in results.items() if text]
        assert not failed, "\n".join(failed)


def test_the_number_of_threads_follows_the_cpu_quota(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path
) -> None:
    image = stand_ins.get_default()
    rendered = pickles.render_bundle(tmp_path, pickles.scenario_bundle("linear"), base=image.tag)
    engine_build.build(rendered, tmp_path / "model.pkl", engine, run_id, progress=progress.Silent())
    files = {"model.pkl": (tmp_path / "model.pkl").read_bytes()}
    for cpus, threads in ((1, 1), (1.5, 1), (0.5, 1), (2, 2)):
        counts = json.loads(in_container.run(engine, image.image.id, run_id, files, "python", "-c", THREADS, cpus=cpus))
        assert counts["quota"] == threads
        assert counts["before"]
        assert counts["within"] == [min(threads, before) for before in counts["before"]]
        assert counts["after"] == counts["before"]
