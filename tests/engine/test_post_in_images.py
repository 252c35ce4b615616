"""Run every post-processing step in real images and compare it with its reference on the host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder import progress
from builder.build import engine_build
from builder.engine import docker_engine
from builder.engine import protocol as engines
from builder.image import stand_in
from tests.support import in_container, pickles, post_case, post_steps


@pytest.mark.parametrize("python", ["3.12", "3.13", "oldest", "newest"])
def test_every_step_equals_its_reference(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, python: str
) -> None:
    image = stand_in.find_or_build(engine, python, progress.Silent(), fallback=True)
    rendered = pickles.render_bundle(tmp_path, post_steps.make_bundle(), base=image.tag)
    engine_build.build(rendered, tmp_path / "model.pkl", engine, run_id, progress=progress.Silent())
    paths = (tmp_path / "model.pkl", post_steps.write(tmp_path), Path(post_case.__file__))
    files = {path.name: path.read_bytes() for path in paths}
    command = (*in_container.STRICT, "post_case.py", engines.WORKDIR)
    result = json.loads(in_container.run(engine, image.image.id, run_id, files, *command).strip().splitlines()[-1])
    assert result["cases"] == 12 * len(post_steps.STEPS)
    assert result["worst"] <= 1e-12, result
