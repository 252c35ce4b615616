"""The commands that build, verify and validate a pickle, on the fake engine."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from builder import paths, progress
from builder.build import artifact, manifest
from builder.image import stand_in
from builder.validate import checks, data
from tests.support import bundles, container_output, judged, manifests, runner_logs
from tests.support.command import CONFIG, ROOT, call, find_loaded_modules, read_output, write_artifact
from tests.support.fake_engine import FakeEngine, Program

if TYPE_CHECKING:
    from pathlib import Path

SPEC = "5" * 64


# ---- pickle


def build(*extra: str) -> int:
    return call("pickle", *extra, "configs/small.yaml")


def test_a_pickle_is_built_again_only_if_something_changed(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build() == 0
    out, err = read_output(capsys)
    folder = project / "dist" / "small"
    built = artifact.load(folder)
    digest = built.manifest.pickle.sha256
    assert err == "", "no progress without a terminal"
    for text in (
        f"{built.pickle}  (built)",
        "runner:1 (a local image)",
        f"numpy {built.manifest.image.packages['numpy']}",
    ):
        assert text in out
    for text in ("mlp, 3 features, 21 parameters", "protocol 5", digest, "build ", "note: this image has no digest"):
        assert text in out
    assert engine.list_leftovers() == []

    artifact.write_report(folder, artifact.VALIDATION, b"{}")
    assert build() == 0
    assert "(nothing changed since it was built)" in read_output(capsys)[0]
    (project / "configs" / "small.yaml").write_text(CONFIG + "# a comment\nupload: {model: slot}\n")
    assert build() == 0
    assert "(nothing changed since it was built)" in read_output(capsys)[0]

    (project / "configs" / "small.yaml").write_text(CONFIG + "post:\n  - rank: {scope: frame, ties: first}\n")
    assert build("--json") == 0
    answer = json.loads(read_output(capsys)[0])
    assert (answer["format"], answer["made"], answer["folder"]) == (1, True, str(folder))
    assert answer["manifest"]["pickle"]["sha256"] != digest
    assert not (folder / artifact.VALIDATION).exists()


def test_a_rebuild_with_the_same_bytes_keeps_the_validation(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build() == 0
    folder = project / "dist" / "small"
    first = artifact.load(folder).manifest
    artifact.write_report(folder, artifact.VALIDATION, b"{}")
    engine.add_image("runner:1", layers=("sha256:2",))  # another image by the same name, with the same Python
    assert build() == 0
    assert "(built)" in read_output(capsys)[0]
    again = artifact.load(folder).manifest
    assert (again.pickle, again.image.identity) != (first.pickle, first.image.identity)
    assert again.pickle == first.pickle
    assert (folder / artifact.VALIDATION).exists()


def test_an_old_or_unknown_data_version_is_noted_once_per_command(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    config = project / "configs" / "small.yaml"
    config.write_text(f"{CONFIG}data_version: v5.2\n")
    note = f"note: {config}: data version v5.2 is older than the default, v5.3: train new models on v5.3\n"
    assert build("--json") == 0
    out, err = read_output(capsys)
    assert (json.loads(out)["made"], err) == (True, note)
    set_validation_output(engine)
    assert call("validate", "configs/small.yaml") == 0
    assert read_output(capsys)[1] == note
    config.write_text(f"{CONFIG}data_version: v5.3\n")
    assert build() == 0
    assert read_output(capsys)[1] == ""
    config.write_text(f"{CONFIG}data_version: v5.33\n")
    assert build() == 0
    assert (
        "data version v5.33 is newer than v5.3, the newest known here; `python -m builder data-versions`"
        in read_output(capsys)[1]
    )


@pytest.mark.parametrize("command", ["pickle", "validate", "verify"])
def test_an_invalid_registry_is_reported_before_the_engine_is_used(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    assert build() == 0
    read_output(capsys)
    engine.down = True
    monkeypatch.setenv("NUMERAI_REGISTRY", "https://ghcr.io/numerai")
    assert call(command, "configs/small.yaml") == 2
    assert "NUMERAI_REGISTRY: invalid; expected a registry" in read_output(capsys)[1]


def test_a_pickle_built_in_a_stand_in_is_reported(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "configs" / "small.yaml").write_text(CONFIG.replace("runner:1", 'absent:1\n  stand_in: "3.11"'))
    inputs = stand_in.compute_inputs_hash("3.11", stand_in.list_bases("3.11")[0])
    labels = {stand_in.STAND_IN_LABEL: "3.11", stand_in.SPEC_LABEL: SPEC, stand_in.INPUTS_LABEL: inputs}
    engine.add_image(stand_in.format_tag("3.11", SPEC), labels=labels)
    assert build() == 0
    out, _ = read_output(capsys)
    assert "A STAND-IN, not the runner image" in out
    assert "  cannot be uploaded. When the runner image is available, run:" in out.split("\n")
    set_validation_output(engine)
    assert call("validate", "configs/small.yaml") == 0
    out, _ = read_output(capsys)
    assert re.search(r"^  note +seconds +lower in a stand-in image: ", out, re.MULTILINE)
    assert "  cannot be uploaded. When the runner image is available, run:" in out.split("\n")
    assert call("stand-in", "--python", "3.11", "--json") == 0
    assert json.loads(read_output(capsys)[0]) == {
        "format": 1,
        "tag": stand_in.format_tag("3.11", SPEC),
        "spec": SPEC,
        "python": "3.11",
    }


def test_a_build_that_fails_leaves_the_old_pickle_and_nothing_else(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    manifests.commit(project / "dist" / "small", b"the old pickle")
    before = artifact.load(project / "dist" / "small")
    engine.add_image("runner:1", layers=("sha256:3",), labels={"broken": "yes"})
    image = engine.find_image("runner:1")
    assert image is not None
    engine.break_python(image.id)
    assert build() == 3
    assert re.match(r"error: the build failed at Step \d+/\d+ : RUN ", read_output(capsys)[1])
    assert artifact.load(project / "dist" / "small") == before
    assert sorted(path.name for path in before.folder.iterdir() if path.name[0] == ".") == [".lock", ".written"]
    assert engine.list_leftovers() == []


def test_engine_prints_json(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("engine") == 0
    assert read_output(capsys)[0] == "the engine is running: version 0, API 1.41, linux/amd64\n"
    assert call("engine", "--json") == 0
    assert json.loads(read_output(capsys)[0]) == {"format": 1, "version": "0", "api": "1.41", "platform": "linux/amd64"}


# ---- verify and validate


def test_verify_builds_again_and_compares(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build() == 0
    folder = project / "dist" / "small"
    built = artifact.load(folder)
    read_output(capsys)
    assert call("verify", "configs/small.yaml") == 0
    out, _ = read_output(capsys)
    assert out.count(built.manifest.pickle.sha256) == 2
    assert "equal: " in out

    forged = built.pickle.read_bytes().replace(b"live_features", b"LIVE_features")
    forged_manifest = dataclasses.replace(built.manifest, pickle=manifests.create_manifest(forged).pickle)
    built.pickle.write_bytes(forged)
    (folder / artifact.MANIFEST).write_bytes(manifest.to_bytes(forged_manifest))
    assert call("verify", "dist/small", "--json") == 1
    answer = json.loads(read_output(capsys)[0])
    assert (answer["format"], answer["equal"]) == (1, False)
    assert (answer["recorded"], answer["rebuilt"]) == (forged_manifest.pickle.sha256, built.manifest.pickle.sha256)
    assert "LIVE_fea" in answer["first_difference"]
    assert engine.list_leftovers() == []


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("context/inside/build_pickle.py", "inside/"),
        ("context/bundle/bundle.json", "bundle/"),
        ("context/plan.json", "plan.json"),
        ("Dockerfile", "Dockerfile"),
    ],
)
def test_verify_refuses_inputs_that_are_not_the_recorded_ones(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str], file: str, name: str
) -> None:
    write_artifact(project, engine)
    read_output(capsys)
    path = project / "dist" / "small" / file
    path.write_text(path.read_text().replace("runner:1", "another:1").replace("a", "b"))
    assert call("verify", "dist/small") == 2
    out, err = read_output(capsys)
    assert out == ""
    assert f"{name}" in err
    assert "run `make pickle CONFIG=configs/small.yaml` to" in err


def test_an_artifact_that_was_not_built_here_is_not_built_again(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write_artifact(project, engine)
    read_output(capsys)
    assert build() == 0
    assert "(nothing changed since it was built)" in read_output(capsys)[0]


def test_validate_prints_the_checks_and_the_resources(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    built = write_artifact(project, engine)
    set_validation_output(engine)
    read_output(capsys)
    assert call("validate", "configs/small.yaml") == 0
    out, err = read_output(capsys)
    assert err == ""
    for text in (
        f"{built.pickle}  on 6,000 rows (shaped)",
        "reported from inside: 150.0 MB of memory (3.5% of 4.3 GB), 1.25 s of CPU (83% of 1 CPU)",
        "1.50 s (0.2% of 600 s)",
    ):
        assert text in out
    assert re.search(r"^  ok +in \[0, 1\] +0\.5 to 1$", out, re.MULTILINE)
    assert "\nvalid  (validation " in out
    report = json.loads((built.folder / artifact.VALIDATION).read_bytes())
    assert (report["format"], report["good"], report["pickle"]) == (2, True, built.manifest.pickle.sha256)

    set_validation_output(engine, 0.5)
    assert call("validate", "dist/small") == 1
    out, _ = read_output(capsys)
    assert re.search(
        r"^  FAILED +not constant +1 value in all rows; check that .* `make pickle CONFIG=\S+`$", out, re.MULTILINE
    )
    assert "NOT VALID" in out
    assert out.endswith("last output of the entry point:\n    L\n")
    assert call("validate", "dist/small", "--json") == 1
    report = json.loads(read_output(capsys)[0])
    assert (report["format"], report["good"]) == (2, False)
    assert json.loads((built.folder / artifact.VALIDATION).read_bytes()) == report


def test_validate_notes_other_versions_than_at_training(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = dataclasses.replace(bundles.make_bundle(), trained={"packages": ("numpy 1.0", f"pandas {pd.__version__}")})
    bundles.write_bundle(project / "configs" / "bundles" / "small", bundle)
    assert build() == 0
    set_validation_output(engine)
    read_output(capsys)
    assert call("validate", "configs/small.yaml") == 0
    note = rf"^  note +library versions +numpy 1\.0 at training, {re.escape(np.__version__)} in the image$"
    assert re.search(note, read_output(capsys)[0], re.MULTILINE)
    report = json.loads((project / "dist" / "small" / artifact.VALIDATION).read_bytes())
    assert report["checks"][-1]["name"] == "library versions"


def test_validate_uses_every_feature_of_the_data_version(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write_artifact(project, engine)
    features, path = bundles.make_bundle().features, project / "v5.3" / "features.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"feature_sets": {"small": features[1:], "all": [*features[::-1], "feature_new"]}}))
    set_validation_output(engine)
    shaped = paths.cache_folder() / "shaped"
    shutil.rmtree(shaped)
    assert call("validate", "configs/small.yaml") == 0
    assert "same values: columns in another order, and more" in read_output(capsys)[0]
    (live,) = shaped.glob("*-live.parquet")
    names = [name for name in pq.read_schema(live).names if name.startswith("feature_")]
    assert set(names) == {*features, "feature_new"}
    # Now they are exactly the model's.
    path.write_text(json.dumps({"feature_sets": {"small": features}}))
    assert call("validate", "configs/small.yaml") == 0
    assert re.search("same values: columns in another order +1,000 rows", read_output(capsys)[0])
    path.write_text("[]")
    assert call("validate", "configs/small.yaml") == 2
    assert f"{path} is invalid (the file does not contain a JSON object" in read_output(capsys)[1]


def test_validate_prints_the_reason_without_the_runners_help(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write_artifact(project, engine)
    set_validation_output(engine)
    raised = runner_logs.make_traceback("KeyError: 'feature_\x1b[2J'")
    for reason, debug, finding in (
        (
            "Pickle function returned at least 1 NaN prediction",
            "",
            "the function returned NaN in its predictions; fill",
        ),
        ("'feature_a'", raised, "exit 1: KeyError: 'feature_ [2J'; fix the model"),
    ):
        log = runner_logs.make_refusal(reason, debug) + runner_logs.PRINTED
        engine.programs["predict.py"] = Program(code=1, log=log)
        capsys.readouterr()
        assert call("validate", "configs/small.yaml") == 1
        out = capsys.readouterr().out
        assert re.search(rf"^  FAILED +entry point +{re.escape(finding)}", out, re.MULTILINE)
        assert f"    ERROR:root:{reason}\n" in out
        assert "---" not in out
        assert "this line is help too" not in out
        assert "\x1b" not in out
    assert "\n        x = model(*args)\n" in out  # a traceback keeps its shape


def test_validate_detects_changes_since_the_build_and_exemptions_of_other_kinds(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    built = write_artifact(project, engine)
    set_validation_output(engine)
    (project / "configs" / "small.yaml").write_text(CONFIG + "post:\n  - rank: {scope: frame, ties: first}\n")
    assert call("validate", "configs/small.yaml") == 2
    assert (
        f"{project / 'configs' / 'small.yaml'} changed since it was built; run `make pickle CONFIG=configs/small.yaml`"
        in read_output(capsys)[1]
    )
    (project / "configs" / "small.yaml").write_text(CONFIG + "validate: {exempt: {shuffle: ranks by first}}\n")
    assert call("validate", "configs/small.yaml") == 2
    assert (
        "validate.exempt: the model is of the kind mlp, and only a custom function can be exempt"
        in read_output(capsys)[1]
    )
    (project / "configs" / "small.yaml").write_text(CONFIG)
    built.pickle.write_bytes(b"another")
    assert call("validate", "dist/small") == 2
    assert "edited or replaced after the build" in read_output(capsys)[1]
    built.pickle.write_bytes(b"pickle")
    engine.add_image("runner:1")
    assert call("validate", "dist/small") == 3
    assert "runner:1 is now another image" in read_output(capsys)[1]
    assert not (built.folder / artifact.VALIDATION).exists()


@pytest.mark.parametrize("command", ["pickle", "validate", "render"])
def test_a_command_waits_for_another_in_the_same_folder(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Two concurrent runs both succeed: the second finds the result of the first."""
    write_artifact(project, engine)
    set_validation_output(engine)
    read_output(capsys)
    folder, locked = project / "dist" / "small", threading.Event()

    def hold_lock() -> None:
        with artifact.lock_folder(folder, progress.Silent()):
            locked.set()
            time.sleep(0.5)

    with futures.ThreadPoolExecutor() as pool:
        other = pool.submit(hold_lock)
        assert locked.wait(60)
        assert call(command, "configs/small.yaml") == 0
        other.result()
    assert f"waiting for another command that uses {folder} (process {os.getpid()}, since 2" in read_output(capsys)[1]


def test_verify_needs_no_lock_and_writes_nothing(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder may belong to another user, on a read-only disk."""
    assert build() == 0
    before = {path: path.lstat().st_mtime_ns for path in (project / "dist").rglob("*")}
    with artifact.lock_folder(project / "dist" / "small", progress.Silent()):
        before[project / "dist" / "small" / ".lock"] = (project / "dist" / "small" / ".lock").lstat().st_mtime_ns
        assert call("verify", "dist/small") == 0
    assert {path: path.lstat().st_mtime_ns for path in (project / "dist").rglob("*")} == before


def set_validation_output(engine: FakeEngine, values: Any = None) -> None:
    """Set what the containers of a validation print: a CSV with these values, and good predictions."""
    cache = paths.cache_folder() / "shaped"
    bundle = bundles.make_bundle()
    files = data.make_shaped_data(features=bundle.features, benchmarks=bundle.benchmarks, cache=cache)
    csv = container_output.make_csv(
        checks.read_ids(files.live), np.linspace(0.5, 1, 6000) if values is None else values
    )
    zeros = judged.predict_by_id(bundle, files, np.zeros(6000), bundle.post)
    engine.programs = {
        "predict_inputs.py": Program(output=container_output.make_predictions(bundle.golden.predictions, *zeros)),
        "predict.py": Program(output=container_output.make_entry(csv), log="L\n"),
    }


def test_an_unchanged_pickle_imports_no_heavy_library(project: Path, engine: FakeEngine) -> None:
    write_artifact(project, engine)
    source = f"""
from pathlib import Path
from builder.cli import main
from builder.cli import engine_session as session
from tests.support.fake_engine import FakeEngine
engine = FakeEngine(Path({str(project / "engine")!r}))
engine.add_image("runner:1", layers=("sha256:1",))
session.connect = lambda *_, **__: engine
assert main.main(["pickle", "configs/small.yaml"]) == 0
"""
    heavy = {"numpy", "pandas", "pyarrow", "scipy", "jinja2", "httpx", "stamina", "builder.tournament.types"}
    assert not heavy & find_loaded_modules(source, project)


def test_a_cache_folder_that_cannot_be_created_is_an_error(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "file"))
    assert call("pickle", "configs/small.yaml") == 2
    assert str(project) in read_output(capsys)[1]
    assert not (project / "dist" / "small" / artifact.PICKLE).exists()


def test_every_command_gets_its_engine_from_engine_session() -> None:
    source = (ROOT / "builder" / "cli").glob("*.py")
    callers = {path.name for path in source if "docker_engine.connect(" in path.read_text(encoding="utf-8")}
    assert callers == {"engine_session.py"}
