"""The tournament's four example models, made and validated on the real rows in two look-alikes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from configs.train import examples
from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_each_becomes_a_valid_pickle(clone: Path, fetched: Path, python: str) -> None:
    shutil.copytree(fetched, clone / "configs" / "train" / "fetched")
    for example in examples.EXAMPLES:
        config = clone / "configs" / "examples" / f"{example.name}.yaml"
        text = config.read_text()
        assert 'stand_in: "3.11"' in text
        config.write_text(text.replace('stand_in: "3.11"', f'stand_in: "{python}"'))
        made = clones.builder(clone, "pickle", "--json", str(config))
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["manifest"]["image"]["python"].startswith(f"{python}.")
        done = clones.builder(clone, "validate", "--json", str(config))
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        report = json.loads(done.stdout)
        assert report["data"]["rows"] == 3_261
        assert report["good"] is True
