"""The commands, configs and scripts that README and docs/ show, run as they are printed."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from builder.config import model
from tests.support import clones, docs

if TYPE_CHECKING:
    from pathlib import Path

RUN_ELSEWHERE = {
    "make test": ".ci/run",
    'pip install "./numerai-builder[lightgbm]"': "test_installed.py",
    'pip install "./numerai-builder[build]"': "test_installed.py",
}
BUNDLE = clones.ROOT / "docs" / "bundle.md"
LIGHTGBM = clones.ROOT / "docs" / "export" / "lightgbm.md"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that `make setup` was run in, with the bundle that the README's export writes."""
    folder = clones.clone(tmp_path_factory.mktemp("docs") / "checkout")
    result = clones.run(folder, "make", "setup")
    assert result.returncode == 0, result.stderr
    training = docs.extract_python(LIGHTGBM).split("from builder.export")[0]
    script = f"{training}\n{docs.extract_python(docs.README)}"
    result = clones.run(folder, sys.executable, "-c", script)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("page", [docs.README, *docs.PAGES], ids=lambda page: page.stem)
def test_the_commands_of_a_page_run(
    page: Path, checkout: Path, tournament_environment: dict[str, str], tmp_path: Path
) -> None:
    path = f"{checkout}/.venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    for command in docs.list_commands(page):
        if command in RUN_ELSEWHERE:
            continue
        changes = {"HOME": str(tmp_path)} if "--install-completion" in command else {}
        result = clones.run(checkout, "bash", "-c", f"{command} && :", PATH=path, **tournament_environment, **changes)
        assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"


def test_a_bundle_written_as_shown_gives_a_valid_pickle(checkout: Path) -> None:
    result = clones.run(checkout, sys.executable, "-c", docs.extract_python(BUNDLE))
    assert result.returncode == 0, result.stderr
    config = 'name: mine\nimage: {ref: ghcr.io/numerai/numerai_predict_py_3_12:a78dedd, stand_in: "3.12"}\n'
    (checkout / "configs" / "mine.yaml").write_text(f"{config}bundle: bundles/mine\n")
    result = clones.run_builder(checkout, "pickle", "configs/mine.yaml")
    assert result.returncode == 0, result.stderr
    result = clones.run_builder(checkout, "validate", "configs/mine.yaml", "--json")
    assert result.returncode == 0, result.stdout
    assert json.loads(result.stdout)["good"] is True


@pytest.mark.parametrize("page", [docs.README, clones.ROOT / "docs" / "config.md"], ids=lambda page: page.stem)
def test_the_config_shown_loads(page: Path, checkout: Path) -> None:
    [shown] = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    path = checkout / "configs" / f"{re.findall(r'name: ([a-z]+)', shown)[0]}.yaml"
    path.write_text(shown)
    assert model.load(path).post is not None


def test_a_model_without_a_last_step_that_bounds_it_is_refused(clone: Path) -> None:
    config = clone / "configs" / "mlp.yaml"
    text = config.read_text()
    config.write_text(re.sub(r"post:.*\n  - rank:.*\n", "post: []\n", text))
    result = clones.run_builder(clone, "pickle", "configs/mlp.yaml")
    assert result.returncode == 2
    assert "post: no step limits the model's predictions to [0, 1]" in result.stderr
    assert "rank: {scope: era, ties: average}" in result.stderr
