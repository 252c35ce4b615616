"""Runs pin, pickle, validate and upload against a sandbox that runs pickles on a real engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import runs, server
from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path

OURS, NEWER = "numerai_predict_py_3_12", "numerai_predict_py_3_13"


@pytest.fixture
def sandbox(container_sandbox: server.Sandbox) -> server.Sandbox:
    return container_sandbox


@pytest.fixture
def settings(sandbox: server.Sandbox, stand_in_registry: str) -> dict[str, str]:
    return {**sandbox.create_environment(), "NUMERAI_REGISTRY": stand_in_registry}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh copy of the repository, with a config that names the tournament's default image."""
    path = clones.clone(tmp_path / "clone")
    write(path, "tryout", "rank: {scope: era, ties: average}")
    return path


def write(clone: Path, name: str, step: str, *, ref: str = "default") -> None:
    text = (clone / "configs" / "mlp.yaml").read_text()
    text = re.sub(r"(?m)^name: .*", f"name: {name}", text)
    text = re.sub(r"(?m)^  ref: .*", f"  ref: {ref}", text)
    text = re.sub(r"(?m)^  stand_in: .*\n", "", text)
    text = re.sub(r"(?m)^  - rank: .*", f"  - {step}", text)
    (clone / "configs" / f"{name}.yaml").write_text(text)


def run_command(clone: Path, settings: dict[str, str], *arguments: str, code: int = 0) -> str:
    result = clones.run_builder(clone, *arguments, **settings)
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout + result.stderr


def prepare(clone: Path, settings: dict[str, str], name: str = "tryout") -> None:
    for command in ("pin", "pickle", "validate"):
        run_command(clone, settings, command, f"configs/{name}.yaml")


def test_from_the_default_image_to_a_slot_that_runs_it_and_back(
    clone: Path, sandbox: server.Sandbox, settings: dict[str, str]
) -> None:
    prepare(clone, settings)
    output = run_command(clone, settings, "upload", "configs/tryout.yaml", "--model", "fresh", "--yes", "--trigger")
    (first,) = sandbox.state.list_pickles()
    assert sandbox.state.get_slot("fresh").pickle_id == first.id
    assert "Saving predictions" in output  # what the run printed
    receipt = json.loads((clone / "dist" / "tryout" / "receipt.json").read_bytes())
    assert receipt["trigger"] in {trigger.id for trigger in first.triggers}

    write(clone, "other", "blend: {benchmark: v53_lgbm_ender20, weight: 0.5}")
    prepare(clone, settings, "other")
    output = run_command(clone, settings, "upload", "configs/other.yaml", "--model", "fresh", "--yes")
    match = re.search(
        r"compared +correlation (\S+) \(Spearman (\S+)\) on 500 rows of the live data of round 1000, v5\.3", output
    )
    assert match, output
    assert -1 < float(match[1]) < 1
    second = sandbox.state.list_pickles()[-1]
    assert sandbox.state.get_slot("fresh").pickle_id == second.id

    run_command(clone, settings, "rollback", "fresh", "--yes")
    assert sandbox.state.get_slot("fresh").pickle_id == first.id

    # The pickle that the slot runs is no longer in dist, but still in the cache.
    shutil.rmtree(clone / "dist" / "tryout")
    config = clone / "configs" / "other.yaml"
    config.write_text(re.sub(r"(?m)^  model: .*", "  model: fresh", config.read_text()))
    output = run_command(clone, settings, "validate", "configs/other.yaml")
    (line,) = (line for line in output.splitlines() if line.startswith("  slot"))
    assert line.startswith("  slot  fresh: correlation ")
    assert f" on 6,000 rows with {first.filename}, which it runs" in line
    assert "slot fresh now" in (clone / "dist" / "other" / "report.html").read_text()


def test_a_reference_to_the_tournaments_registry_uses_the_configured_mirror(
    clone: Path, settings: dict[str, str], stand_in_registry: str
) -> None:
    write(clone, "mirrored", "rank: {scope: era, ties: average}", ref=f"ghcr.io/numerai/{OURS}:a78dedd")
    output = run_command(clone, settings, "pickle", "configs/mirrored.yaml")
    assert f"pinned ghcr.io/numerai/{OURS}:a78dedd in " in output
    image = json.loads((clone / "dist" / "mirrored" / "manifest.json").read_bytes())["image"]
    assert (image["kind"], image["ref"]) == ("exact", f"ghcr.io/numerai/{OURS}:a78dedd")
    assert image["base"] == f"ghcr.io/numerai/{OURS}@{image['identity']}"  # the manifest does not name the mirror
    run_command(clone, settings, "pickle", "configs/mirrored.yaml", "--locked")
    run_command(clone, settings, "validate", "configs/mirrored.yaml")
    output = run_command(clone, settings, "upload", "configs/mirrored.yaml", "--model", "fresh", "--dry-run")
    assert f"{stand_in_registry}/{OURS}:a78dedd" in output


def test_a_pickle_for_another_python_fails_there_and_is_not_assigned(
    clone: Path, sandbox: server.Sandbox, settings: dict[str, str]
) -> None:
    """Between plan and validation the tournament changes the Python of the image id."""
    prepare(clone, settings)
    from builder.sandbox import faults

    sandbox.faults.add("PUT", faults.stall())
    arguments = ["upload", "configs/tryout.yaml", "--model", "fresh", "--yes"]
    with subprocess.Popen(
        [sys.executable, "-m", "builder", *arguments],
        cwd=clone,
        env=clones.make_environment(**settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        sandbox.requests.wait_for("PUT")
        ours, newer = sandbox.state.get_image(OURS), sandbox.state.get_image(NEWER)
        ours.image, ours.tag = newer.image, newer.tag
        sandbox.faults.release()
        out, err = process.communicate(timeout=300)
    assert process.returncode == 1, out + err
    assert runs.SEGMENTATION_FAULT in out
    assert "another Python" in out
    assert sandbox.state.get_slot("fresh").pickle_id is None
