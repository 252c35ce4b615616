"""The installed package, without the repository around it, has the same commands."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import clones, training


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with only the installed package."""
    folder = tmp_path_factory.mktemp("installed")
    source = clones.clone(folder / "source")
    pip = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        "wheels",
    )
    result = clones.run(folder, *pip, str(source))
    assert result.returncode == 0, result.stderr
    [wheel] = (folder / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    shutil.rmtree(source)
    return folder / "site"


def test_it_builds_a_pickle_in_another_project(installed: Path, clone: Path, tmp_path: Path) -> None:
    project = tmp_path / "mine"
    shutil.copytree(clone / "configs", project / "configs")
    entry = "from builder.cli import main; main.run()"
    for command in ("render", "pickle"):
        result = clones.run(
            project, sys.executable, "-P", "-c", entry, command, "configs/mlp.yaml", PYTHONPATH=str(installed)
        )
        assert result.returncode == 0, result.stderr
    assert (project / "dist" / "mlp" / "model.pkl").is_file()
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    ours = (clone / "dist" / "mlp" / "manifest.json").read_bytes()
    assert (project / "dist" / "mlp" / "manifest.json").read_bytes() == ours

    api = "from builder.sandbox import server, example\nwith server.start() as sandbox, example.create() as config:\n"
    api += "    print(config.read_text(), list(sandbox.publish_datasets()))"
    result = clones.run(tmp_path, sys.executable, "-P", "-c", api, PYTHONPATH=str(installed))
    assert "ref: default" in result.stdout, result.stderr
    assert "/live.parquet" in result.stdout


def test_the_command_and_the_module_print_the_same_help(clone: Path) -> None:
    module = clones.run(clone, sys.executable, "-m", "builder", "--help")
    command = clones.run(clone, str(Path(sys.executable).with_name("numerai-builder")), "--help")
    assert module.returncode == command.returncode == 0
    assert module.stdout == command.stdout


def test_the_lightgbm_extra_installs_what_its_page_imports_and_no_engine_client(installed: Path) -> None:
    """The package lightgbm does not depend on scikit-learn, but its LGBMRegressor does."""
    [wheel] = (installed.parent / "wheels").glob("*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-q", "--report", "-")
    result = clones.run(installed.parent, *pip, f"{wheel}[lightgbm]")
    assert result.returncode == 0, result.stderr
    names = {package["metadata"]["name"] for package in json.loads(result.stdout)["install"]}
    assert {"lightgbm", "numpy", "pandas", "scikit-learn"} <= names
    assert names.isdisjoint({"docker", "httpx", "pyarrow"})


def test_installing_into_a_training_environment_changes_no_version_and_adds_no_engine_client(
    clone: Path, tmp_path: Path
) -> None:
    programs = training.create_environment(tmp_path, "pandas>=3", "scikit-learn")
    before = training.list_versions(programs)
    training.install(programs, f"{clone}[lightgbm]")
    after = training.list_versions(programs)
    assert {name: after.get(name) for name in before} == before
    added = set(after) - set(before)
    assert {"lightgbm", "numerai-builder", "typer"} <= added
    assert added.isdisjoint({"docker", "graphql-core", "httpx", "pyarrow"})
    training.export_models(tmp_path, programs)
    command = str(programs / "numerai-builder")
    for name in training.BUNDLES:
        result = clones.run(tmp_path, command, "bundle", "check", f"{name}.bundle.zip")
        assert result.returncode == 0, result.stdout + result.stderr
    refused = clones.run(tmp_path, command, "pickle", "configs/mlp.yaml")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert (
        "docker, dotenv, filelock, findpython, graphql, httpx, jinja2, matplotlib, pyarrow, stamina, yaml; run"
        in refused.stderr
    )
    assert 'pip install "./path/to/checkout[build]"' in refused.stderr
    training.install(programs, f"{clone}[build]")
    rendered = clones.run(clone, command, "render", "configs/mlp.yaml")
    assert rendered.returncode == 0, rendered.stderr
