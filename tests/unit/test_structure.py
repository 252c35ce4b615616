"""The layout metrics of ``benchmarks.structure``, on a small package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks import structure

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FILES = {
    "__init__.py": "from house.roof import cover\n",
    "ground.py": "import os\nLIMIT = 1\ndef dig():\n    pass\ndef _hide():\n    pass\n",
    "walls.py": """\
from typing import TYPE_CHECKING
from house import ground
try:
    from .rooms import kitchen
except ImportError:
    import house.rooms.bath
if TYPE_CHECKING:
    from house import roof
else:
    from house.rooms.attic import lamp
class Wall:
    from house.rooms import cellar
    def paint(self):
        from house import roof
        def colour():
            import house.roof
        return roof
""",
    "roof.py": "from house import walls\nfrom house.walls import Wall\nasync def cover():\n    pass\n",
    "rooms/__init__.py": "import house.roof\n",
    "rooms/kitchen.py": "from . import bath\nfrom .. import ground\n",
    "rooms/bath.py": "from house.rooms import kitchen\n",
    "rooms/attic.py": "import house.rooms.attic\nfrom house.roof import cover\nlamp = 1\n",
    "rooms/cellar.py": "",
}


def _write(folder: Path) -> Path:
    for name, text in FILES.items():
        path = folder / "house" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "house"


def test_the_metrics_of_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    house = _write(tmp_path)
    assert structure.main([str(house), "--json"]) == 0
    actual = json.loads(capsys.readouterr().out)
    assert actual == {
        "format": 1,
        "lines": sum(text.count("\n") for text in FILES.values()),
        "modules": 9,
        "top_modules": 4,
        "public_names": 3,  # dig, Wall, cover
        "imports_in_functions": 2,
        "longest_function": {"lines": 5, "where": "house/walls.py:13 paint"},
        "longest_module": {"lines": 17, "where": "house/walls.py"},
        # walls to ground, kitchen, bath, attic, cellar; roof to walls; kitchen to bath, ground; bath to kitchen;
        # attic to roof
        "module_arrows": 10,
        "module_circles": [
            ["house.roof", "house.rooms.attic", "house.walls"],
            ["house.rooms.bath", "house.rooms.kitchen"],
        ],
        "part_arrows": 5,  # walls to ground, rooms; roof to walls; rooms to ground, roof
        "part_circles": [["house.roof", "house.rooms", "house.walls"]],
    }
    assert structure.main([str(house)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "longest function                5 lines  house/walls.py:13 paint" in lines
    assert "circles of parts                1  house.roof, house.rooms, house.walls" in lines


def test_a_subpackage_is_measured_alone(tmp_path: Path) -> None:
    actual = structure.measure(_write(tmp_path) / "rooms")
    assert (actual.modules, actual.top_modules, actual.module_arrows, actual.part_arrows) == (5, 5, 2, 2)
    assert actual.part_circles == [["house.rooms.bath", "house.rooms.kitchen"]]


def test_a_folder_that_is_not_a_package_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert structure.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: not a Python package: __init__.py is missing\n"
    house = _write(tmp_path)
    (house / "cellar.py").write_text("a = 1\ndef\n")
    assert structure.main([str(house)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {house}/cellar.py:2: ")
