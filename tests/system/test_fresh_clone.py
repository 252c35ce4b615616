"""A fresh clone, used like a new user would: the steps of the workflow, the commands, and reproducible pickles."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support import clones, stand_ins

if TYPE_CHECKING:
    from pathlib import Path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def other_clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second clone, in another folder, with the pickles of both configs built."""
    folder = clones.clone(tmp_path_factory.mktemp("another place") / "repo")
    for name in ("mlp", "wide"):
        result = clones.run_builder(folder, "pickle", f"configs/{name}.yaml", PYTHONHASHSEED="77", TZ="Asia/Tokyo")
        assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.usefixtures("nothing_left")
def test_the_steps_of_the_workflow_build_the_same_pickles(clone: Path, other_clone: Path) -> None:
    workflow = yaml.safe_load((clone / ".github" / "workflows" / "pickle.yml").read_text())
    output, environment = clone.parent / "output", {**workflow["env"], "CI": "true"}
    environment["GITHUB_OUTPUT"] = str(output)
    for step in [step for step in workflow["jobs"]["configs"]["steps"] if "run" in step]:
        result = clones.run(clone, "bash", "-eo", "pipefail", "-c", step["run"], **environment)
        assert result.returncode == 0, result.stderr
    lists = dict(line.split("=", 1) for line in output.read_text().splitlines())
    assert {key: json.loads(text) for key, text in lists.items()} == {"examples": ["mlp", "wide"], "locked": []}
    for name in json.loads(lists["examples"]):
        environment["CONFIG"] = f"configs/{name}.yaml"
        for step in [step for step in workflow["jobs"]["example"]["steps"] if "run" in step]:
            result = clones.run(clone, "bash", "-eo", "pipefail", "-c", step["run"], **environment)
            assert result.returncode == 0, f"{step['name']}: {result.stdout}{result.stderr}"
        assert sha256(clone / "dist" / name / "model.pkl") == sha256(other_clone / "dist" / name / "model.pkl")
        manifest = json.loads((clone / "dist" / name / "manifest.json").read_text())
        assert manifest == json.loads((other_clone / "dist" / name / "manifest.json").read_text())
        assert json.loads((clone / "dist" / name / "validation.json").read_text())["good"] is True


def test_the_output_has_all_important_facts(other_clone: Path) -> None:
    result = clones.run_builder(other_clone, "pickle", "configs/mlp.yaml")
    manifest = json.loads((other_clone / "dist" / "mlp" / "manifest.json").read_text())
    for word in (
        "nothing changed",
        "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd",
        f"numerai-builder/stand-in:{stand_ins.get_default().python}-",
        manifest["image"]["identity"][:19],
        "STAND-IN",
        manifest["image"]["python"],
        "numpy 2.1.3",
        "pandas 2.3.1",
        "cloudpickle 3.1.1",
        "mlp, 50 features, 5,377 parameters",
        manifest["pickle"]["sha256"],
        "cannot be uploaded",
    ):
        assert word in result.stdout
    assert result.stderr == ""


def test_a_comment_causes_no_new_build_and_another_step_does(other_clone: Path) -> None:
    config = other_clone / "configs" / "mlp.yaml"
    before = config.read_text()
    config.write_text(before.replace("upload:\n  model: my_slot", "# a comment\nupload:\n  model: other_slot"))
    same = json.loads(clones.run_builder(other_clone, "pickle", "configs/mlp.yaml", "--json").stdout)
    config.write_text(before.replace("ties: average", "ties: first"))
    other = json.loads(clones.run_builder(other_clone, "pickle", "configs/mlp.yaml", "--json").stdout)
    config.write_text(before)
    restored = json.loads(clones.run_builder(other_clone, "pickle", "configs/mlp.yaml", "--json").stdout)
    assert (same["made"], other["made"], restored["made"]) == (False, True, True)
    assert other["manifest"]["pickle"]["sha256"] != restored["manifest"]["pickle"]["sha256"]
    assert same["manifest"] == restored["manifest"]


def test_docker_build_after_render_gives_the_same_pickle(other_clone: Path, tmp_path: Path) -> None:
    client = shutil.which("docker", path="/usr/bin:/bin")
    assert client is not None, "Debian's docker client comes with its engine"
    assert clones.run_builder(other_clone, "render", "configs/mlp.yaml", DOCKER_HOST="unix:///nowhere").returncode == 0
    folder = other_clone / "dist" / "mlp"
    for buildkit in ("0", "1"):
        tag = f"numerai-builder-test/by-hand:{buildkit}"
        context = ("-f", str(folder / "Dockerfile"), str(folder / "context"))
        result = clones.run(
            tmp_path, client, "build", "-q", "--network", "none", "-t", tag, *context, DOCKER_BUILDKIT=buildkit
        )
        assert result.returncode == 0, result.stderr
        container = clones.run(tmp_path, client, "create", tag, "nothing").stdout.strip()
        clones.run(tmp_path, client, "cp", f"{container}:/model.pkl", str(tmp_path / "model.pkl"))
        clones.run(tmp_path, client, "rm", container)
        clones.run(tmp_path, client, "rmi", "-f", tag)
        assert sha256(tmp_path / "model.pkl") == sha256(folder / "model.pkl")
    clones.run(tmp_path, client, "image", "prune", "-f", "--filter", "label=numerai-builder.run=by-hand")


def test_a_model_is_validated_on_real_rows(other_clone: Path, rows_folder: Path) -> None:
    without_rows = clones.run_builder(other_clone, "pickle", "configs/examples/mlp_live.yaml")
    assert without_rows.returncode == 0, without_rows.stderr
    without_rows = clones.run_builder(other_clone, "validate", "configs/examples/mlp_live.yaml")
    assert without_rows.returncode == 2
    assert "live.parquet: does not exist; run `make rows` to fetch the rows of the examples" in without_rows.stderr
    shutil.copytree(rows_folder, other_clone / "configs" / "train" / "fetched")
    for name, rows in (("mlp_live", 50), ("mlp_validation", 3261)):
        clones.run_builder(other_clone, "pickle", f"configs/examples/{name}.yaml")
        result = clones.run_builder(other_clone, "validate", f"configs/examples/{name}.yaml", "--json")
        assert result.returncode == 0, result.stdout + result.stderr
        assert json.loads(result.stdout)["data"]["rows"] == rows
