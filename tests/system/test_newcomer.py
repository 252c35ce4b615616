"""The path of a new user: one export where the model was trained, then ``init``, ``pickle``, ``validate``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import clones, docs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("page", docs.FRAMEWORKS)
def test_from_the_page_of_a_framework_to_a_valid_pickle(
    page: str, tournament_environment: dict[str, str], tmp_path: Path
) -> None:
    def run(*command: str) -> str:
        result = clones.run(tmp_path, sys.executable, *command, PYTHONPATH=str(clones.ROOT), **tournament_environment)
        assert result.returncode == 0, f"{command}:\n{result.stdout[-2000:]}{result.stderr[-2000:]}"
        return result.stdout

    [path] = [path for path in docs.PAGES_WITH_PYTHON if path.stem == page]
    script = tmp_path / "training" / "train.py"
    script.parent.mkdir()
    script.write_text(docs.extract_python(path), encoding="utf-8")
    run(str(script))
    bundles = sorted(tmp_path.glob("*.bundle.zip"))  # those in folders need a library that this image does not have
    assert bundles
    for bundle in bundles:
        run("-m", "builder", "init", "--from", bundle.name)
        config = tmp_path / "configs" / f"{bundle.name.removesuffix('.bundle.zip')}.yaml"
        assert "\n  stand_in:" not in config.read_text()
        built = json.loads(run("-m", "builder", "pickle", "--json", str(config)))
        assert built["manifest"]["image"]["kind"] == "exact"
        assert json.loads(run("-m", "builder", "validate", "--json", str(config)))["good"] is True
