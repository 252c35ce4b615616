"""The inventory of an image, run in an empty virtual environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

import pytest

from builder import paths

if TYPE_CHECKING:
    from pathlib import Path

INVENTORY = paths.inside_folder() / "inventory.py"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty virtual environment, even without pip."""
    folder: Path = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder


def run_inventory(bare: Path, *options: str, **environment: str) -> str:
    result = subprocess.run(
        [bare / "bin" / "python", *options, str(INVENTORY)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def install_metadata(folder: Path, name: str, version: str) -> None:
    """Write the metadata of an installed distribution."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_an_empty_environment_has_a_python_and_no_packages(bare: Path) -> None:
    assert json.loads(run_inventory(bare, "-I")) == {
        "format": 1,
        "python": ".".join(map(str, sys.version_info[:3])),
        "implementation": "cpython",
        "packages": {},
    }


def test_names_are_sorted_and_normalized(bare: Path, tmp_path: Path) -> None:
    for name, version in (("Zope.Interface", "1"), ("scikit_learn", "1.7.0"), ("Jinja2", "3.1"), ("a--b__c", "2")):
        install_metadata(tmp_path, name, version)
    packages = json.loads(run_inventory(bare, PYTHONPATH=str(tmp_path)))["packages"]
    assert list(packages.items()) == [
        ("a-b-c", "2"),
        ("jinja2", "3.1"),
        ("scikit-learn", "1.7.0"),
        ("zope-interface", "1"),
    ]


def test_of_two_versions_the_imported_one_is_listed(bare: Path, tmp_path: Path) -> None:
    install_metadata(tmp_path / "first", "numpy", "2.1.3")
    install_metadata(tmp_path / "second", "numpy", "1.26.4")
    both = os.pathsep.join(str(tmp_path / name) for name in ("first", "second"))
    assert json.loads(run_inventory(bare, PYTHONPATH=both))["packages"] == {"numpy": "2.1.3"}


def test_an_interrupted_installation_is_not_a_package(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "broken-1.0.dist-info").mkdir()
    install_metadata(tmp_path, "whole", "1")
    assert json.loads(run_inventory(bare, PYTHONPATH=str(tmp_path)))["packages"] == {"whole": "1"}


def test_the_packages_of_this_environment_are_listed() -> None:
    result = subprocess.run([sys.executable, str(INVENTORY)], capture_output=True, text=True, check=True)
    packages = json.loads(result.stdout)["packages"]
    assert packages["cloudpickle"] == "3.1.1"
    assert {"numpy", "pandas", "numerai-builder"} <= packages.keys()
