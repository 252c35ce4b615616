"""The page on post-processing: its config loads, and it has every step with its options."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from builder.bundle import post
from builder.config import model as config

PAGE = (Path(__file__).parents[3] / "docs" / "post-processing.md").read_text(encoding="utf-8")


def test_the_config_shown_is_one_that_loads(tmp_path: Path) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "configs" / "bundles" / "mlp").mkdir(parents=True)
    path = tmp_path / "configs" / "mlp.yaml"
    path.write_text(shown)
    steps = config.load(path).post
    assert steps is not None
    assert len(steps) == 5


def test_every_step_and_option_is_in_the_table() -> None:
    for name, kind in post.KINDS.items():
        [row] = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
        for field in dataclasses.fields(kind):
            assert f"`{field.name}" in row, (name, field.name)
