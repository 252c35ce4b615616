"""The CI workflow is valid, safe by a linter's rules, and pins what it uses; a system test runs its steps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.image import lockfile

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOOLS = Path(sys.executable).parent
PINNED = re.compile(r"(- )?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def run(*command: str) -> tuple[int, str]:
    result = subprocess.run([str(TOOLS / command[0]), *command[1:]], capture_output=True, text=True, check=False)
    return result.returncode, result.stdout + result.stderr


def test_there_is_a_workflow_for_the_pickles() -> None:
    assert "pickle.yml" in [path.name for path in WORKFLOWS]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_matches_the_schema(path: Path) -> None:
    code, message = run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path))
    assert code == 0, message


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_pedantic_linter_finds_nothing(path: Path) -> None:
    code, message = run("zizmor", "--offline", "--no-config", "--persona", "pedantic", str(path))
    assert code == 0, message


def test_the_linter_would_find_an_expression_in_a_script(tmp_path: Path) -> None:
    text = (ROOT / ".github" / "workflows" / "pickle.yml").read_text(encoding="utf-8")
    unsafe = tmp_path / "pickle.yml"
    unsafe.write_text(text.replace('"$CONFIG"', "${{ github.ref_name }}"), encoding="utf-8")
    code, message = run("zizmor", "--offline", "--no-config", str(unsafe))
    assert code != 0
    assert "template-injection" in message


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it(path: Path) -> None:
    used = [line for line in path.read_text(encoding="utf-8").splitlines() if re.search(r"\buses:", line)]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line.strip())] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_has_a_timeout_and_read_permissions_only(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        assert 0 < job["timeout-minutes"] <= 60
        assert [step["with"]["persist-credentials"] for step in job["steps"] if "checkout" in step.get("uses", "")] == [
            False
        ]


def read_workflow() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "pickle.yml").read_text(encoding="utf-8"))
    return loaded


def list_scripts(job: str) -> dict[str, str]:
    return {step["name"]: step["run"] for step in read_workflow()["jobs"][job]["steps"] if "run" in step}


def bash(script: str, folder: Path, **changes: str) -> str:
    result = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=os.environ | changes,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


def test_every_config_except_the_examples_is_locked(tmp_path: Path) -> None:
    (tmp_path / "configs" / "examples").mkdir(parents=True)
    (tmp_path / "configs" / "schema.json").touch()
    (tmp_path / "configs" / "examples" / "live.yaml").touch()
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for name in ("mine", "mlp", "rehearsal", "wide"):
        text = f'name: {name}\nimage: {{ref: runner:1, stand_in: "3.11"}}\nbundle: bundles/{name}\n'
        (tmp_path / "configs" / f"{name}.yaml").write_text(text, encoding="utf-8")
    model = lockfile.LockedModel(image=f"sha256:{'1' * 64}", bundle="2" * 64, pickle="3" * 64)
    lock = lockfile.LockFile(models={"mine": model, "wide": model})
    (tmp_path / lockfile.NAME).write_bytes(lockfile.to_bytes(lock))
    output = tmp_path / "output"
    listed = read_workflow()["env"]["EXAMPLES"]
    bash(list_scripts("configs")["List"], tmp_path, GITHUB_OUTPUT=str(output), PYTHONPATH=str(ROOT), EXAMPLES=listed)
    lines = dict(line.split("=", 1) for line in output.read_text(encoding="utf-8").splitlines())
    assert {key: json.loads(text) for key, text in lines.items()} == {
        "examples": ["mlp"],
        "locked": ["mine", "rehearsal", "wide"],  # a rehearsal on a stand-in is refused until the lock file names it
    }


def test_the_examples_are_not_kept_as_artifacts() -> None:
    jobs = read_workflow()["jobs"]
    jobs_with_artifact = {
        name for name, job in jobs.items() for step in job["steps"] if "upload-artifact" in step.get("uses", "")
    }
    assert jobs_with_artifact == {"pickle"}
    assert "EXAMPLE ON A STAND-IN" in jobs["example"]["name"]
    assert "outputs.locked" in jobs["pickle"]["strategy"]["matrix"]["name"]
    assert "outputs.examples" in jobs["example"]["strategy"]["matrix"]["name"]


@pytest.mark.parametrize(("job", "locked"), [("pickle", ["--locked"]), ("example", [])])
def test_the_command_gets_the_config_unchanged(tmp_path: Path, job: str, locked: list[str]) -> None:
    recorder = tmp_path / ".venv" / "bin" / "python"
    recorder.parent.mkdir(parents=True)
    recorder.write_text('#!/bin/sh\nfor argument; do echo "$argument"; done\n')
    recorder.chmod(0o755)
    config = "configs/$(touch made) x.yaml"
    called = [
        bash(script, tmp_path, CONFIG=config).splitlines()
        for name, script in list_scripts(job).items()
        if name != "Set up"
    ]
    assert called == [["-m", "builder", name, *locked, config] for name in ("pickle", "verify", "validate")]
    assert not (tmp_path / "made").exists()


def test_only_make_setup_is_called_through_make() -> None:
    scripts = [script for job in read_workflow()["jobs"] for script in list_scripts(job).values()]
    assert [script for script in scripts if "make" in script] == ["make setup"] * 3
