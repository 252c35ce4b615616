"""The inventory, taken in a bare interpreter."""

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
    """A virtual environment with nothing in it, not even pip."""
    folder: Path = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder


def take(bare: Path, *options: str, **environment: str) -> str:
    done = subprocess.run(
        [bare / "bin" / "python", *options, str(INVENTORY)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def put(folder: Path, name: str, version: str) -> None:
    """Leave what an installer leaves of a distribution."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_of_an_empty_environment_it_says_the_python(bare: Path) -> None:
    assert json.loads(take(bare, "-I")) == {
        "format": 1,
        "python": ".".join(map(str, sys.version_info[:3])),
        "implementation": "cpython",
        "packages": {},
    }


def test_names_are_sorted_and_as_indexes_write_them(bare: Path, tmp_path: Path) -> None:
    for name, version in (("Zope.Interface", "1"), ("scikit_learn", "1.7.0"), ("Jinja2", "3.1"), ("a--b__c", "2")):
        put(tmp_path, name, version)
    found = json.loads(take(bare, PYTHONPATH=str(tmp_path)))["packages"]
    assert list(found.items()) == [
        ("a-b-c", "2"),
        ("jinja2", "3.1"),
        ("scikit-learn", "1.7.0"),
        ("zope-interface", "1"),
    ]


def test_of_two_versions_it_says_the_one_that_is_imported(bare: Path, tmp_path: Path) -> None:
    put(tmp_path / "first", "numpy", "2.1.3")
    put(tmp_path / "second", "numpy", "1.26.4")
    both = os.pathsep.join(str(tmp_path / name) for name in ("first", "second"))
    assert json.loads(take(bare, PYTHONPATH=both))["packages"] == {"numpy": "2.1.3"}


def test_what_a_cut_short_installation_left_is_no_package(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "broken-1.0.dist-info").mkdir()
    put(tmp_path, "whole", "1")
    assert json.loads(take(bare, PYTHONPATH=str(tmp_path)))["packages"] == {"whole": "1"}


def test_it_says_what_this_environment_holds() -> None:
    done = subprocess.run([sys.executable, str(INVENTORY)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["packages"]
    assert found["cloudpickle"] == "3.1.1"
    assert {"numpy", "pandas", "numerai-builder"} <= found.keys()
