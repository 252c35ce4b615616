"""Two builds of the same inputs, without cache, in containers that differ in all that must not matter."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

import pytest

from builder import progress
from builder.build import engine_build
from builder.image import stand_in
from tests.support import pickles

if TYPE_CHECKING:
    from pathlib import Path

    from builder.build import render
    from builder.engine import docker_engine

# An older CPU, as far as OpenBLAS and numpy can be told; another hash seed, home, zone and language, folder and user.
ELSEWHERE = """ENV PYTHONHASHSEED=4242 OPENBLAS_CORETYPE=Prescott NPY_DISABLE_CPU_FEATURES="AVX2 FMA3"
ENV HOME=/nowhere TZ=Asia/Tokyo LANG=tr_TR.UTF-8 LC_ALL=C PYTHONOPTIMIZE=2 OMP_NUM_THREADS=1
COPY """
AS_ANOTHER_USER = """RUN ["chown", "-R", "4321:4321", "/another"]
USER 4321:4321
RUN """


def moved(rendered: render.BuildContext) -> render.BuildContext:
    """Return the same build, with its surroundings changed."""
    text = rendered.dockerfile
    for old, new, times in (
        ("\nCOPY ", f"\n{ELSEWHERE}", 1),
        ("\nRUN ", f"\n{AS_ANOTHER_USER}", 1),
        ("/build", "/another/folder", -1),
    ):
        assert old in text
        text = text.replace(old, new, times)
    return dataclasses.replace(rendered, dockerfile=text)


@pytest.mark.parametrize(
    ("python", "name"), [("3.11", "narrow"), ("3.11", "wide"), ("3.11", "ensemble"), ("3.13", "wide")]
)
def test_one_hash(engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, python: str, name: str) -> None:
    base = stand_in.find_or_build(engine, python, progress.Silent()).tag
    hashes = []
    for folder, change in ((tmp_path / "here", lambda same: same), (tmp_path / "somewhere" / "else", moved)):
        folder.mkdir(parents=True)
        rendered = change(pickles.render_bundle(folder, pickles.scenario_bundle(name), base=base))
        made = engine_build.build(rendered, folder / "model.pkl", engine, run_id, progress=progress.Silent())
        content = (folder / "model.pkl").read_bytes()
        assert hashlib.sha256(content).hexdigest() == made.sha256
        assert made.size == len(content)
        assert made.protocol == 5
        assert made.parameters == ("live_features", "live_benchmark_models")
        hashes.append(made.sha256)
    assert hashes[0] == hashes[1]
