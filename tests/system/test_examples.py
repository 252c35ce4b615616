"""The tournament's four example models, by the committed configs and by `init`, on real rows in two look-alikes."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from configs.train import examples
from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_each_becomes_a_valid_pickle(clone: Path, fetched: Path, python: str) -> None:
    shutil.copytree(fetched, clone / "configs" / "train" / "fetched")
    for example in examples.EXAMPLES:
        config = clone / "configs" / "examples" / f"{example.name}.yaml"
        text = config.read_text()
        assert 'stand_in: "3.11"' in text
        text = text.replace('stand_in: "3.11"', f'stand_in: "{python}"')
        config.write_text(text)
        made = clones.run_builder(clone, "pickle", "--json", str(config))
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["manifest"]["image"]["python"].startswith(f"{python}.")
        done = clones.run_builder(clone, "validate", "--json", str(config))
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        report = json.loads(done.stdout)
        assert report["data"]["rows"] == 3_261
        assert report["good"] is True
        again = clones.run_builder(clone, "pickle", "--json", str(init(clone, example.name, text)))
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["manifest"]["pickle"] == json.loads(made.stdout)["manifest"]["pickle"]


def init(clone: Path, name: str, committed: str) -> Path:
    """Have ``init`` write a config for the bundle, and put the committed one's image in it, with its stand-in."""
    done = clones.run_builder(clone, "init", "--from", f"configs/bundles/{name}")
    assert done.returncode == 0, done.stderr
    written = clone / "configs" / f"{name}.yaml"
    text = written.read_text()
    assert text.count("  ref: default\n") == 1
    image = "".join(re.findall(r"(?m)^  (?:ref|stand_in): .*\n", committed))
    written.write_text(text.replace("  ref: default\n", image))
    return written


EXAMPLE_CONFIGS = sorted(path.name for path in (clones.ROOT / "configs" / "examples").glob("*.yaml"))


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh clone in which nothing was done but what the comments begin with."""
    folder = clones.clone(tmp_path_factory.mktemp("rehearsal") / "clone")
    done = clones.run(folder, "make", "rows")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", EXAMPLE_CONFIGS)
def test_what_its_comment_says_makes_a_valid_pickle_in_a_fresh_clone(rehearsal: Path, name: str) -> None:
    comment = (rehearsal / "configs" / "examples" / name).read_text().partition("\nname: ")[0]
    first, *commands = re.findall(r"`([^`]+)`", comment.replace("\n# ", " "))
    assert first == "make rows"
    assert [command.split()[:2] for command in commands] == [["make", "pickle"], ["make", "validate"]]
    for command in commands:
        done = clones.run(rehearsal, "sh", "-c", command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    assert "\nvalid  (" in done.stdout
