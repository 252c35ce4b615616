"""The way a newcomer goes: one export where the model was trained, then ``init``, ``pickle``, ``validate``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import clones, docs, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder import docker_engine

DEFAULT = "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd"


@pytest.fixture(scope="module")
def reference(on: docker_engine.DockerEngine) -> Iterator[str]:
    """An image that is no stand-in: what ``init`` writes names one, and none of Numerai's can be pulled here."""
    with registry.start() as address:
        name = f"{address}/numerai/numerai_predict_py_3_11:a78dedd"
        by_digest = registry.publish(on, name, release=1)
        yield name
        for one in (name, by_digest):
            on.remove_image(one)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("page", docs.FRAMEWORKS)
def test_from_the_page_of_a_framework_to_a_valid_pickle(page: str, reference: str, tmp_path: Path) -> None:
    def run(*command: str) -> str:
        done = clones.run(tmp_path, sys.executable, *command, PYTHONPATH=str(clones.ROOT))
        assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    [found] = [one for one in docs.RUNNING if one.stem == page]
    script = tmp_path / "training" / "train.py"
    script.parent.mkdir()
    script.write_text(docs.python_of(found), encoding="utf-8")
    run(str(script))
    bundles = sorted(tmp_path.glob("*.bundle.zip"))
    assert bundles
    for bundle in bundles:
        run("-m", "builder", "init", "--from", bundle.name)
        config = tmp_path / "configs" / f"{bundle.name.removesuffix('.bundle.zip')}.yaml"
        text = config.read_text()
        assert DEFAULT in text
        assert "\n  stand_in:" not in text
        config.write_text(text.replace(DEFAULT, reference))
        made = json.loads(run("-m", "builder", "pickle", "--json", str(config)))
        assert made["manifest"]["image"]["kind"] == "exact"
        assert json.loads(run("-m", "builder", "validate", "--json", str(config)))["good"] is True
