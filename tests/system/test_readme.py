"""The examples in the README and in docs/bundle.md work."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from tests.support import clones, docs

if TYPE_CHECKING:
    from pathlib import Path

README = (clones.ROOT / "README.md").read_text(encoding="utf-8")
BUNDLE = clones.ROOT / "docs" / "bundle.md"
CONFIG = """\
name: mine
image: {ref: ghcr.io/numerai/numerai_predict_py_3_12:a78dedd, stand_in: "3.11"}
bundle: bundles/mine
"""


def test_the_bundle_of_the_example_becomes_a_valid_pickle(clone: Path) -> None:
    result = clones.run(clone, sys.executable, "-c", docs.extract_python(BUNDLE))
    assert result.returncode == 0, result.stderr
    (clone / "configs" / "mine.yaml").write_text(CONFIG)
    built = clones.run_builder(clone, "pickle", "configs/mine.yaml")
    assert built.returncode == 0, built.stderr
    result = clones.run_builder(clone, "validate", "configs/mine.yaml", "--json")
    assert result.returncode == 0, result.stdout
    assert json.loads(result.stdout)["good"] is True


def test_an_unbounded_model_without_steps_is_refused(clone: Path) -> None:
    config = clone / "configs" / "mlp.yaml"
    text = config.read_text()
    config.write_text(re.sub(r"post:.*\n  - rank:.*\n", "post: []\n", text))
    result = clones.run_builder(clone, "pickle", "configs/mlp.yaml")
    assert result.returncode == 2
    assert "post: no step follows the model" in result.stderr
    assert "rank: {scope: era, ties: average}" in result.stderr


def test_the_example_config_loads(clone: Path) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (clone / "configs" / "mlp.yaml").write_text(example)
    result = clones.run_builder(clone, "render", "configs/mlp.yaml")
    assert result.returncode == 0, result.stderr
