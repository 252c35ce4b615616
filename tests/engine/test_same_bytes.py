"""Build the same inputs twice, without cache, in different environments; check that the pickles are equal."""

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

# What OpenBLAS and numpy take for an older CPU; another hash seed, home, time zone, locale, folder and user.
ELSEWHERE = """ENV PYTHONHASHSEED=4242 OPENBLAS_CORETYPE=Prescott NPY_DISABLE_CPU_FEATURES="AVX2 FMA3"
ENV HOME=/nowhere TZ=Asia/Tokyo LANG=tr_TR.UTF-8 LC_ALL=C PYTHONOPTIMIZE=2 OMP_NUM_THREADS=1
COPY """
AS_ANOTHER_USER = """RUN ["chown", "-R", "4321:4321", "/another"]
USER 4321:4321
RUN """


def change_environment(rendered: render.BuildContext) -> render.BuildContext:
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
    ("python", "name"), [("3.12", "narrow"), ("3.12", "wide"), ("3.12", "ensemble"), ("3.13", "wide")]
)
def test_both_builds_have_the_same_hash(
    engine: docker_engine.DockerEngine, run_id: str, tmp_path: Path, python: str, name: str
) -> None:
    base = stand_in.find_or_build(engine, python, progress.Silent(), fallback=True).tag
    hashes = []
    for folder, change in (
        (tmp_path / "here", lambda same: same),
        (tmp_path / "somewhere" / "else", change_environment),
    ):
        folder.mkdir(parents=True)
        rendered = change(pickles.render_bundle(folder, pickles.scenario_bundle(name), base=base))
        report = engine_build.build(rendered, folder / "model.pkl", engine, run_id, progress=progress.Silent())
        artifact = report.pickle
        assert report.warnings == ()
        content = (folder / "model.pkl").read_bytes()
        assert hashlib.sha256(content).hexdigest() == artifact.sha256
        assert artifact.size == len(content)
        assert artifact.protocol == 5
        assert artifact.parameters == ("live_features", "live_benchmark_models")
        hashes.append(artifact.sha256)
    assert hashes[0] == hashes[1]
