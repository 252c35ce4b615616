"""The way a newcomer goes: one export where the model was trained, then ``init``, ``pickle``, ``validate``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import server
from tests.support import clones, docs, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.engine import docker_engine


@pytest.fixture(scope="module")
def settings(on: docker_engine.DockerEngine) -> Iterator[dict[str, str]]:
    """A stand-in of the tournament, and a registry with the image that it names: no stand-in, and never Numerai's."""
    with registry.start() as address, server.start() as sandbox:
        named = sandbox.state.get_image("numerai_predict_py_3_11")
        name = f"{address}/numerai/{named.image}:{named.tag}"
        by_digest = registry.publish(on, name, release=1)
        yield {**sandbox.environment(), "NUMERAI_REGISTRY": f"{address}/numerai"}
        for one in (name, by_digest):
            on.remove_image(one)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("page", docs.FRAMEWORKS)
def test_from_the_page_of_a_framework_to_a_valid_pickle(page: str, settings: dict[str, str], tmp_path: Path) -> None:
    def run(*command: str) -> str:
        done = clones.run(tmp_path, sys.executable, *command, PYTHONPATH=str(clones.ROOT), **settings)
        assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    [found] = [one for one in docs.PAGES_WITH_PYTHON if one.stem == page]
    script = tmp_path / "training" / "train.py"
    script.parent.mkdir()
    script.write_text(docs.extract_python(found), encoding="utf-8")
    run(str(script))
    bundles = sorted(tmp_path.glob("*.bundle.zip"))
    assert bundles
    for bundle in bundles:
        run("-m", "builder", "init", "--from", bundle.name)
        config = tmp_path / "configs" / f"{bundle.name.removesuffix('.bundle.zip')}.yaml"
        assert "\n  stand_in:" not in config.read_text()
        made = json.loads(run("-m", "builder", "pickle", "--json", str(config)))
        assert made["manifest"]["image"]["kind"] == "exact"
        assert json.loads(run("-m", "builder", "validate", "--json", str(config)))["good"] is True
