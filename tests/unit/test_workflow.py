"""The CI workflow is valid, safe by a linter's rules, and pins what it uses; its steps are run by a system test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOOLS = Path(sys.executable).parent
PINNED = re.compile(r"(- )?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def run(*command: str) -> tuple[int, str]:
    done = subprocess.run([str(TOOLS / command[0]), *command[1:]], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_there_is_a_workflow_for_the_pickles() -> None:
    assert "pickle.yml" in [path.name for path in WORKFLOWS]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_schema_of_workflows_holds(path: Path) -> None:
    code, said = run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path))
    assert code == 0, said


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_the_linter_finds_nothing_even_when_pedantic(path: Path) -> None:
    code, said = run("zizmor", "--offline", "--no-config", "--persona", "pedantic", str(path))
    assert code == 0, said


def test_the_linter_would_find_an_expression_in_a_script(tmp_path: Path) -> None:
    text = (ROOT / ".github" / "workflows" / "pickle.yml").read_text(encoding="utf-8")
    spoilt = tmp_path / "pickle.yml"
    spoilt.write_text(text.replace("$NAME.yaml", "${{ github.ref_name }}.yaml"), encoding="utf-8")
    code, said = run("zizmor", "--offline", "--no-config", str(spoilt))
    assert code != 0
    assert "template-injection" in said


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it(path: Path) -> None:
    used = [line for line in path.read_text(encoding="utf-8").splitlines() if re.search(r"\buses:", line)]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line.strip())] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_job_ends_and_may_do_no_more_than_read(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        assert 0 < job["timeout-minutes"] <= 60
        assert [step["with"]["persist-credentials"] for step in job["steps"] if "checkout" in step.get("uses", "")] == [
            False
        ]


def test_the_matrix_is_every_config(tmp_path: Path) -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "pickle.yml").read_text(encoding="utf-8"))
    script = next(step["run"] for step in workflow["jobs"]["configs"]["steps"] if step.get("id") == "list")
    configs = tmp_path / "configs"
    (configs / "examples").mkdir(parents=True)
    for name in ("mlp.yaml", "wide.yaml", "schema.json", "examples/mlp_live.yaml"):
        (configs / name).touch()
    output = tmp_path / "output"
    environment = os.environ | {"GITHUB_OUTPUT": str(output)}
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environment, check=True)
    assert output.read_text(encoding="utf-8") == 'names=["mlp", "wide"]\n'


@pytest.mark.parametrize("tracked", [True, False])
def test_nothing_but_what_the_lock_file_says_is_made_where_it_is_kept(tmp_path: Path, tracked: bool) -> None:  # noqa: FBT001
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "pickle.yml").read_text(encoding="utf-8"))
    scripts = [step["run"] for step in workflow["jobs"]["pickle"]["steps"] if "run" in step]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "make").write_text('#!/bin/sh\nfor one in "$@"; do echo "$one"; done\n')
    (tmp_path / "bin" / "make").chmod(0o755)
    (tmp_path / "builder.lock.yaml").touch()  # a build writes it, too
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    if tracked:
        subprocess.run(["git", "add", "builder.lock.yaml"], cwd=tmp_path, check=True)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "NAME": "mlp"}
    for script in scripts:
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[1:] == [
            "CONFIG=configs/mlp.yaml",
            "LOCKED=builder.lock.yaml" if tracked else "LOCKED=",
        ]
    assert len(scripts) == 3
