"""The tournament's four example models, with the committed configs and with `init`, on real rows in two stand-ins."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from configs.train import examples
from tests.support import clones, stand_ins

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("python", ["3.12", "3.13"])
def test_each_example_becomes_a_valid_pickle(clone: Path, rows_folder: Path, python: str) -> None:
    shutil.copytree(rows_folder, clone / "configs" / "train" / "fetched")
    expected = python if python == "3.13" else stand_ins.get_default().python
    for example in examples.EXAMPLES:
        config = clone / "configs" / "examples" / f"{example.name}.yaml"
        text = config.read_text()
        assert 'stand_in: "3.12"' in text
        text = text.replace('stand_in: "3.12"', f'stand_in: "{python}"')
        config.write_text(text)
        built = clones.run_builder(clone, "pickle", "--json", str(config))
        assert built.returncode == 0, built.stderr
        assert json.loads(built.stdout)["manifest"]["image"]["python"].startswith(f"{expected}.")
        result = clones.run_builder(clone, "validate", "--json", str(config))
        assert result.returncode == 0, f"{result.stdout}{result.stderr}"
        report = json.loads(result.stdout)
        assert report["data"]["rows"] == 3_261
        assert report["good"] is True
        again = clones.run_builder(clone, "pickle", "--json", str(init(clone, example.name, text)))
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["manifest"]["pickle"] == json.loads(built.stdout)["manifest"]["pickle"]


def init(clone: Path, name: str, committed: str) -> Path:
    """Write a config for the bundle with ``init``, and use the image and stand-in of the committed config."""
    result = clones.run_builder(clone, "init", "--from", f"configs/bundles/{name}")
    assert result.returncode == 0, result.stderr
    path = clone / "configs" / f"{name}.yaml"
    text = path.read_text()
    assert text.count("  ref: default\n") == 1
    image = "".join(re.findall(r"(?m)^  (?:ref|stand_in): .*\n", committed))
    path.write_text(text.replace("  ref: default\n", image))
    return path


EXAMPLE_CONFIGS = sorted(path.name for path in (clones.ROOT / "configs" / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone in which only the first command of the comments was run."""
    folder = clones.clone(tmp_path_factory.mktemp("rehearsal") / "clone")
    result = clones.run(folder, "make", "rows")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("name", EXAMPLE_CONFIGS)
def test_the_commands_of_its_comment_build_a_valid_pickle_in_a_fresh_clone(rehearsal: Path, name: str) -> None:
    comment = (rehearsal / "configs" / "examples" / name).read_text().partition("\nname: ")[0]
    first, *commands = re.findall(r"`([^`]+)`", comment.replace("\n# ", " "))
    assert first == "make rows"
    assert [command.split()[:2] for command in commands] == [["make", "pickle"], ["make", "validate"]]
    for command in commands:
        result = clones.run(rehearsal, "sh", "-c", command)
        assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"
    assert "\nvalid  (" in result.stdout
