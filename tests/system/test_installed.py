"""The package as somebody else installs it: nothing of the repository around it, and the same verbs."""

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
    """A folder with the installed package, and nothing else of ours."""
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
    done = clones.run(folder, *pip, str(source))
    assert done.returncode == 0, done.stderr
    [wheel] = (folder / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    shutil.rmtree(source)
    return folder / "site"


def test_it_makes_a_pickle_in_a_folder_of_the_users_own(installed: Path, clone: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(clone / "configs", mine / "configs")
    entry = "from builder.cli import main; main.run()"
    for verb in ("render", "pickle"):
        done = clones.run(mine, sys.executable, "-P", "-c", entry, verb, "configs/mlp.yaml", PYTHONPATH=str(installed))
        assert done.returncode == 0, done.stderr
    assert (mine / "dist" / "mlp" / "model.pkl").is_file()
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    ours = (clone / "dist" / "mlp" / "manifest.json").read_bytes()
    assert (mine / "dist" / "mlp" / "manifest.json").read_bytes() == ours

    api = "from builder.sandbox import server, example\nwith server.start() as sandbox, example.create() as config:\n"
    api += "    print(config.read_text(), list(sandbox.datasets()))"
    done = clones.run(tmp_path, sys.executable, "-P", "-c", api, PYTHONPATH=str(installed))
    assert "ref: default" in done.stdout, done.stderr
    assert "/live.parquet" in done.stdout


def test_the_command_and_the_module_say_the_same(clone: Path) -> None:
    module = clones.run(clone, sys.executable, "-m", "builder", "--help")
    command = clones.run(clone, str(Path(sys.executable).with_name("numerai-builder")), "--help")
    assert module.returncode == command.returncode == 0
    assert module.stdout == command.stdout


def test_the_extra_for_lightgbm_brings_what_its_page_runs_with_and_no_engine(installed: Path) -> None:
    """LightGBM's own package can do without scikit-learn; its LGBMRegressor cannot."""
    [wheel] = (installed.parent / "wheels").glob("*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "-q", "--report", "-")
    done = clones.run(installed.parent, *pip, f"{wheel}[lightgbm]")
    assert done.returncode == 0, done.stderr
    names = {one["metadata"]["name"] for one in json.loads(done.stdout)["install"]}
    assert {"lightgbm", "numpy", "pandas", "scikit-learn"} <= names
    assert names.isdisjoint({"docker", "httpx", "pyarrow"})


def test_a_training_environment_keeps_its_versions_and_gets_no_engine(clone: Path, tmp_path: Path) -> None:
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
        done = clones.run(tmp_path, command, "bundle", "check", f"{name}.bundle.zip")
        assert done.returncode == 0, done.stdout + done.stderr
    refused = clones.run(tmp_path, command, "pickle", "configs/mlp.yaml")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "docker, dotenv, filelock, graphql, httpx, jinja2, pyarrow, stamina, yaml; run" in refused.stderr
    assert 'pip install "./path/to/checkout[build]"' in refused.stderr
    training.install(programs, f"{clone}[build]")
    rendered = clones.run(clone, command, "render", "configs/mlp.yaml")
    assert rendered.returncode == 0, rendered.stderr
