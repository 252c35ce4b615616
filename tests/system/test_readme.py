"""What the README and docs/bundle.md show works as it stands there."""

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


def test_a_bundle_written_as_shown_becomes_a_valid_pickle(clone: Path) -> None:
    written = clones.run(clone, sys.executable, "-c", docs.extract_python(BUNDLE))
    assert written.returncode == 0, written.stderr
    (clone / "configs" / "mine.yaml").write_text(CONFIG)
    made = clones.run_builder(clone, "pickle", "configs/mine.yaml")
    assert made.returncode == 0, made.stderr
    done = clones.run_builder(clone, "validate", "configs/mine.yaml", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["good"] is True


def test_a_model_without_a_last_step_that_bounds_it_is_refused(clone: Path) -> None:
    config = clone / "configs" / "mlp.yaml"
    text = config.read_text()
    config.write_text(re.sub(r"post:.*\n  - rank:.*\n", "post: []\n", text))
    done = clones.run_builder(clone, "pickle", "configs/mlp.yaml")
    assert done.returncode == 2
    assert "post: there is no step to limit the model" in done.stderr
    assert "rank: {scope: era, ties: average}" in done.stderr


def test_the_config_shown_is_one_that_loads(clone: Path) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (clone / "configs" / "mlp.yaml").write_text(shown)
    done = clones.run_builder(clone, "render", "configs/mlp.yaml")
    assert done.returncode == 0, done.stderr
