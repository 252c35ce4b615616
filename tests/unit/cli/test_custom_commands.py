"""The commands on a custom model, on the fake engine: built, noted, refused with its line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from builder import errors, paths
from builder.build import artifact
from builder.bundle.storage import write
from builder.cli import engine_session
from builder.validate import checks, data
from tests.support import command, container_output, custom, judged
from tests.support.command import CONFIG, call, read_output
from tests.support.fake_engine import FakeEngine, Program

if TYPE_CHECKING:
    from pathlib import Path

DRAWS = custom.CODE.replace('bundle.arrays["weights"]', "__import__('random').SystemRandom().random()")


@pytest.fixture
def project(tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a config, as the working directory, and an engine for every command."""
    monkeypatch.chdir(command.write_project(tmp_path / "project"))
    monkeypatch.setattr(engine_session, "connect", lambda *_, **__: engine)
    return tmp_path / "project"


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    engine = FakeEngine(tmp_path / "engine")
    engine.add_image("runner:1", layers=("sha256:1",))
    return engine


def write_bundle(project: Path, code: str, **changes: dict[str, str]) -> None:
    write.write(project / "configs" / "bundles" / "small", custom.make_bundle(code, **changes))  # type: ignore[arg-type]


def test_it_is_built_and_verified(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(
        project, custom.CODE.replace("import pandas", "import team.maths\nimport pandas"), modules={"team.maths": ""}
    )
    assert call("pickle", "configs/small.yaml") == 0
    out = read_output(capsys)[0]
    assert "custom, 3 features" in out
    assert "other bytes" not in out
    built = artifact.load(project / "dist" / "small")
    assert built.manifest.pickle.parameters == ("live_features",)
    assert built.manifest.pickle.findings == ()
    assert (built.folder / "context" / "bundle" / "code" / "team" / "maths.py").is_file()
    assert call("verify", "configs/small.yaml") == 0


def test_builds_that_differ_are_reported(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(project, DRAWS)
    assert call("pickle", "configs/small.yaml") == 0
    note = (
        "note: another build of this pickle may give other bytes (`make verify CONFIG=configs/small.yaml` compares "
        "them):\n  code/model.py:1: two builds of the pickle differ (first at byte "
    )
    assert note in read_output(capsys)[0]
    actual = artifact.load(project / "dist" / "small").manifest.pickle.findings
    assert [(finding.file, finding.line) for finding in actual] == [("code/model.py", 1)]
    assert call("pickle", "configs/small.yaml") == 0
    assert note in read_output(capsys)[0], "also if nothing changed"
    assert call("verify", "configs/small.yaml") == 1
    out = read_output(capsys)[0]
    assert "DIFFERENT" in out
    assert "code/model.py:1: " in out


def test_warnings_are_printed_escaped_and_are_in_the_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warns = "    import warnings\n    warnings.warn('\u202etxet', stacklevel=1)\n    weights ="
    write_bundle(project, custom.CODE.replace("    weights =", warns))
    assert call("pickle", "configs/small.yaml") == 0
    note = "note: warnings while the pickle was built:\n  code/model.py:6: UserWarning:  txet\n"
    assert note in read_output(capsys)[0]
    assert call("pickle", "configs/small.yaml", "--json") == 0
    assert json.loads(read_output(capsys)[0])["warnings"] == [], "nothing was built"
    (project / "dist" / "small" / "model.pkl").unlink()
    assert call("pickle", "configs/small.yaml", "--json") == 0
    report = json.loads(read_output(capsys)[0])
    assert report["warnings"] == ["code/model.py:6: UserWarning:  txet"]
    assert "txet" not in json.dumps(report["manifest"])


def test_code_that_cannot_run_is_reported_with_its_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(project, custom.CODE.replace("import pandas as pd", "import gone"))
    assert call("pickle", "configs/small.yaml") == errors.EngineError.exit_code
    text = read_output(capsys)[1]
    assert "code/model.py:2: in <module>: the image has no module 'gone'; if it is yours, list it under" in text
    assert "Traceback" not in text


def test_an_exempt_relation_is_in_the_first_line_and_in_the_report(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every frame is predicted as the numbers of its rows, so that the order of the rows matters."""
    write_bundle(project, custom.CODE)
    assert call("pickle", "configs/small.yaml") == 0
    bundle, cache = custom.make_bundle(), paths.cache_folder() / "shaped"
    files = data.make_shaped_data(features=bundle.features, benchmarks=(), rows=50, cache=cache)
    values = np.linspace(0.125, 1, 50)  # as in the CSV
    inputs = judged.predict_by_id(bundle, files, values)
    others = [np.resize(values, len(item)) for item in inputs]
    engine.programs = {
        "predict_inputs.py": Program(output=container_output.make_predictions(bundle.golden.predictions, *others)),
        "predict.py": Program(
            output=container_output.make_entry(container_output.make_csv(checks.read_ids(files.live)))
        ),
    }
    config = project / "configs" / "small.yaml"
    config.write_text(f"{CONFIG}validate: {{rows: 50}}\n")
    read_output(capsys)
    assert call("validate", "configs/small.yaml") == 1
    config.write_text(f"{CONFIG}validate: {{rows: 50, exempt: {{shuffle: ranks by first}}}}\n")
    read_output(capsys)
    assert call("validate", "configs/small.yaml") == 0
    lines = read_output(capsys)[0].splitlines()
    assert lines[0].endswith("on 50 rows (shaped); exempt from shuffle: ranks by first")
    assert any(line.split()[0] == "note" and "exempt (ranks by first): 4" in line for line in lines)
    assert json.loads((project / "dist" / "small" / "validation.json").read_bytes())["exempt"] == {
        "shuffle": "ranks by first"
    }
