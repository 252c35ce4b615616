"""The purpose of the tool: a pickle built with one Python fails in another, and passes if built in the right image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support import clones, stand_ins

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("nothing_left")
def test_a_pickle_for_the_default_python_fails_in_3_13_and_one_built_there_passes(clone: Path) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    assert clones.run_builder(clone, "validate", "configs/mlp.yaml").returncode == 0
    failed = clones.run_builder(clone, "validate", "configs/mlp.yaml", "--stand-in", "3.13", "--json")
    assert failed.returncode == 1, failed.stdout + failed.stderr
    report = json.loads(failed.stdout)
    [check] = report["checks"]
    assert (check["name"], check["good"]) == ("entry point", False)
    assert check["detail"].startswith(f"the pickle was built for Python {stand_ins.get_default().python}.")
    assert "the image has Python 3.13." in check["detail"]
    # Not only concluded from the manifest: the interpreter failed.
    assert any(word in check["detail"] for word in ("exit 139", "unknown opcode", "SystemError"))
    config = clone / "configs" / "mlp.yaml"
    config.write_text(config.read_text().replace('stand_in: "3.12"', 'stand_in: "3.13"'))
    stale = clones.run_builder(clone, "validate", "configs/mlp.yaml")
    assert stale.returncode == 2
    assert "make pickle" in stale.stderr
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    passed = clones.run_builder(clone, "validate", "configs/mlp.yaml", "--json")
    assert passed.returncode == 0, passed.stdout
    assert json.loads(passed.stdout)["image"]["python"].startswith("3.13.")


@pytest.mark.usefixtures("nothing_left")
def test_too_little_memory_and_too_little_time_are_reported(clone: Path) -> None:
    config = clone / "configs" / "mlp.yaml"
    before = config.read_text()
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    for limits, message in (
        ("memory: 64m, seconds: 600", "out of memory"),
        ("memory: 4g, seconds: 1", "exceeded the limit"),
    ):
        config.write_text(before.replace("memory: 4g, seconds: 600", limits).replace("cpus: 1,", "cpus: 0.1,"))
        result = clones.run_builder(clone, "validate", "configs/mlp.yaml")
        assert result.returncode == 1, result.stdout + result.stderr
        assert message in result.stdout
        assert "NOT VALID" in result.stdout
