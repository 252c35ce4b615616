"""Where people train, everything may be as old as in the oldest image, and as ``pyproject.toml`` says."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from tests.support import clones, training

if TYPE_CHECKING:
    from pathlib import Path

OLD = ("numpy==1.26.4", "pandas==2.0.3", "scipy==1.11.4", "scikit-learn==1.4.2", "lightgbm==4.0.0")


def test_models_are_exported_where_everything_is_as_old_as_the_oldest_image(tmp_path: Path) -> None:
    dependencies = tomllib.loads((clones.ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    least = [one.replace(">=", "==") for one in dependencies if not one.startswith(("numpy", "pandas"))]
    programs = training.create_environment(tmp_path, *OLD, *least)
    training.export_models(tmp_path, programs, PYTHONPATH=str(clones.ROOT))
    for name in training.BUNDLES:
        done = clones.run_builder(tmp_path, "bundle", "check", f"{name}.bundle.zip")
        assert done.returncode == 0, done.stdout + done.stderr
