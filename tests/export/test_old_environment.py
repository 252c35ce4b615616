"""Exporting works with the oldest versions: of the oldest image, and in ``pyproject.toml``."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from tests.support import clones, training

if TYPE_CHECKING:
    from pathlib import Path

OLD = ("numpy==1.26.4", "pandas==2.0.3", "scipy==1.11.4", "scikit-learn==1.4.2", "lightgbm==4.0.0")


def test_models_are_exported_with_the_oldest_supported_versions(tmp_path: Path) -> None:
    dependencies = tomllib.loads((clones.ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    minimum_versions = [
        dependency.replace(">=", "==") for dependency in dependencies if not dependency.startswith(("numpy", "pandas"))
    ]
    programs = training.create_environment(tmp_path, *OLD, *minimum_versions)
    training.export_models(tmp_path, programs, PYTHONPATH=str(clones.ROOT))
    for name in training.BUNDLES:
        result = clones.run_builder(tmp_path, "bundle", "check", f"{name}.bundle.zip")
        assert result.returncode == 0, result.stdout + result.stderr
