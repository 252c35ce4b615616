"""From a fresh clone, as a new user would: the workflow's steps, the verbs, and the same bytes everywhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second clone, in another folder, with the pickles of both configs in it."""
    folder = clones.clone(tmp_path_factory.mktemp("another place") / "repo")
    for name in ("mlp", "wide"):
        done = clones.run_builder(folder, "pickle", f"configs/{name}.yaml", PYTHONHASHSEED="77", TZ="Asia/Tokyo")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.usefixtures("nothing_left")
def test_the_workflows_steps_run_in_a_fresh_clone_and_give_the_same_bytes(clone: Path, elsewhere: Path) -> None:
    workflow = yaml.safe_load((clone / ".github" / "workflows" / "pickle.yml").read_text())
    output, environment = clone.parent / "output", {**workflow["env"], "CI": "true"}
    environment["GITHUB_OUTPUT"] = str(output)
    for step in [step for step in workflow["jobs"]["configs"]["steps"] if "run" in step]:
        done = clones.run(clone, "bash", "-eo", "pipefail", "-c", step["run"], **environment)
        assert done.returncode == 0, done.stderr
    lists = dict(line.split("=", 1) for line in output.read_text().splitlines())
    assert {key: json.loads(text) for key, text in lists.items()} == {"examples": ["mlp", "wide"], "locked": []}
    for name in json.loads(lists["examples"]):
        environment["CONFIG"] = f"configs/{name}.yaml"
        for step in [step for step in workflow["jobs"]["example"]["steps"] if "run" in step]:
            done = clones.run(clone, "bash", "-eo", "pipefail", "-c", step["run"], **environment)
            assert done.returncode == 0, f"{step['name']}: {done.stdout}{done.stderr}"
        assert sha256(clone / "dist" / name / "model.pkl") == sha256(elsewhere / "dist" / name / "model.pkl")
        made = json.loads((clone / "dist" / name / "manifest.json").read_text())
        assert made == json.loads((elsewhere / "dist" / name / "manifest.json").read_text())
        assert json.loads((clone / "dist" / name / "validation.json").read_text())["good"] is True


def test_what_is_printed_says_all_that_matters(elsewhere: Path) -> None:
    done = clones.run_builder(elsewhere, "pickle", "configs/mlp.yaml")
    manifest = json.loads((elsewhere / "dist" / "mlp" / "manifest.json").read_text())
    for word in (
        "nothing changed",
        "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd",
        "numerai-builder/stand-in:3.11-",
        manifest["image"]["identity"][:19],
        "STAND-IN",
        manifest["image"]["python"],
        "numpy 2.1.3",
        "pandas 2.3.1",
        "cloudpickle 3.1.1",
        "mlp, 50 features, 5,377 parameters",
        manifest["pickle"]["sha256"],
        "never to be uploaded",
    ):
        assert word in done.stdout
    assert done.stderr == ""


def test_a_comment_changes_nothing_and_another_step_does(elsewhere: Path) -> None:
    config = elsewhere / "configs" / "mlp.yaml"
    before = config.read_text()
    config.write_text(before.replace("upload:\n  model: my_slot", "# a comment\nupload:\n  model: other_slot"))
    same = json.loads(clones.run_builder(elsewhere, "pickle", "configs/mlp.yaml", "--json").stdout)
    config.write_text(before.replace("ties: average", "ties: first"))
    other = json.loads(clones.run_builder(elsewhere, "pickle", "configs/mlp.yaml", "--json").stdout)
    config.write_text(before)
    back = json.loads(clones.run_builder(elsewhere, "pickle", "configs/mlp.yaml", "--json").stdout)
    assert (same["made"], other["made"], back["made"]) == (False, True, True)
    assert other["manifest"]["pickle"]["sha256"] != back["manifest"]["pickle"]["sha256"]
    assert same["manifest"] == back["manifest"]


def test_a_build_by_hand_of_what_render_wrote_gives_the_same_pickle(elsewhere: Path, tmp_path: Path) -> None:
    client = shutil.which("docker", path="/usr/bin:/bin")
    assert client is not None, "Debian's docker client comes with its engine"
    assert clones.run_builder(elsewhere, "render", "configs/mlp.yaml", DOCKER_HOST="unix:///nowhere").returncode == 0
    folder = elsewhere / "dist" / "mlp"
    for buildkit in ("0", "1"):
        tag = f"numerai-builder-test/by-hand:{buildkit}"
        context = ("-f", str(folder / "Dockerfile"), str(folder / "context"))
        done = clones.run(
            tmp_path, client, "build", "-q", "--network", "none", "-t", tag, *context, DOCKER_BUILDKIT=buildkit
        )
        assert done.returncode == 0, done.stderr
        made = clones.run(tmp_path, client, "create", tag, "nothing").stdout.strip()
        clones.run(tmp_path, client, "cp", f"{made}:/model.pkl", str(tmp_path / "model.pkl"))
        clones.run(tmp_path, client, "rm", made)
        clones.run(tmp_path, client, "rmi", "-f", tag)
        assert sha256(tmp_path / "model.pkl") == sha256(folder / "model.pkl")
    clones.run(tmp_path, client, "image", "prune", "-f", "--filter", "label=numerai-builder.run=by-hand")


def test_real_live_and_validation_rows_are_validated_on(elsewhere: Path, fetched: Path) -> None:
    absent = clones.run_builder(elsewhere, "pickle", "configs/examples/mlp_live.yaml")
    assert absent.returncode == 0, absent.stderr
    absent = clones.run_builder(elsewhere, "validate", "configs/examples/mlp_live.yaml")
    assert absent.returncode == 2
    assert "live.parquet: does not exist; run `make rows`, which fetches the examples' rows" in absent.stderr
    shutil.copytree(fetched, elsewhere / "configs" / "train" / "fetched")
    for name, rows in (("mlp_live", 50), ("mlp_validation", 3261)):
        clones.run_builder(elsewhere, "pickle", f"configs/examples/{name}.yaml")
        done = clones.run_builder(elsewhere, "validate", f"configs/examples/{name}.yaml", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["data"]["rows"] == rows
