"""Post-processing steps in the config, the plan, the bundle and the validation data, and which of them are refused."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from builder import errors
from builder.build import artifact
from builder.bundle import post
from builder.bundle.storage import read, write
from builder.export import run as export_run
from tests.support import bundles, command
from tests.support.command import CONFIG, call, read_output, write_artifact
from tests.support.fake_engine import FakeEngine, Program

if TYPE_CHECKING:
    from pathlib import Path

STEPS = "post:\n  - neutralize: {group: tiny, scope: frame}\n  - blend: {benchmark: bench}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a config, its bundle and features.json, as the working directory."""
    root = command.write_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (root / "features.json").write_text('{"feature_sets": {"tiny": ["feature_0", "risk"]}}')
    (root / "configs" / "small.yaml").write_text(CONFIG + STEPS)
    return root


def read_plan(project: Path) -> Any:
    return json.loads((project / "dist" / "small" / artifact.CONTEXT / "plan.json").read_bytes())


def test_the_plan_lists_the_features_of_a_group(project: Path) -> None:
    assert call("render", "configs/small.yaml") == 0
    plan = read_plan(project)
    expected = {"neutralize": {"features": ["feature_0", "risk"], "proportion": 1.0, "scope": "frame"}}
    assert plan["post"][0] == plan["config"]["post"][0] == expected


def test_a_changed_group_is_a_change_of_the_pickle(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write_artifact(project, engine)
    (project / "features.json").write_text('{"feature_sets": {"tiny": ["feature_0", "risk"], "other": []}}')
    assert call("pickle", "configs/small.yaml") == 0
    assert "(nothing changed since it was built)" in read_output(capsys)[0]
    (project / "features.json").write_text('{"feature_sets": {"tiny": ["feature_0", "riskier"]}}')
    assert call("validate", "configs/small.yaml") == 2
    assert (
        "small.yaml changed since it was built; run `make pickle CONFIG=configs/small.yaml`" in read_output(capsys)[1]
    )


def test_a_pickle_with_every_step_is_built(project: Path, engine: FakeEngine) -> None:
    """The fake engine runs the command of the Dockerfile, so the program is that of an image."""
    (project / "configs" / "small.yaml").write_text(
        CONFIG + STEPS + "  - standardize: {}\n  - gaussianize: {}\n  - clip: {low: -2, high: 2}\n  - rank: {}\n"
    )
    assert call("pickle", "configs/small.yaml") == 0
    predict = pd.read_pickle(project / "dist" / "small" / "model.pkl")
    names = [name for name, _ in predict.__globals__["MODEL"]["post"]]
    assert names == ["neutralize", "blend", "standardize", "gaussianize", "clip", "rank"]
    live = pd.DataFrame({f"feature_{index}": [index, 1, 4, 0] for index in range(3)}).assign(era="X", risk=[1, 2, 0, 0])
    actual = predict(live, pd.DataFrame({"bench": [0.1, 0.2, 0.3, 0.4]}))
    assert actual["prediction"].between(0, 1).all()


def test_validation_data_has_the_columns_that_the_steps_read(project: Path, engine: FakeEngine, tmp_path: Path) -> None:
    write_artifact(project, engine)
    engine.programs["supervise.py"] = Program()
    call("validate", "configs/small.yaml")
    live, benchmarks = (
        pd.read_parquet(next((tmp_path / "cache").rglob(f"*-{kind}.parquet"))) for kind in ("live", "benchmarks")
    )
    assert {"feature_0", "feature_1", "feature_2", "risk", "era"} <= set(live.columns)
    assert list(live.columns).count("feature_0") == 1
    assert "bench" in benchmarks.columns


def test_files_without_the_columns_of_the_steps_are_refused(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    index = pd.Index(["a", "b"], name="id")
    live = pd.DataFrame({f"feature_{number}": [1, 2] for number in range(3)}, index=index)
    live.to_parquet(project / "live.parquet")
    more = "validate: {data: {live: ../live.parquet}}\n"
    (project / "configs" / "small.yaml").write_text(CONFIG + STEPS + more)
    write_artifact(project, engine)
    read_output(capsys)
    assert call("validate", "configs/small.yaml") == 2
    err = read_output(capsys)[1]
    for text in (
        "1 of 4 columns that the pickle takes are missing: risk;",
        "era: is missing, and the post-processing uses it; add it, or use scope: frame",
        "the benchmark file is missing, and the pickle takes bench; set validate.data.benchmarks",
    ):
        assert text in err
    (project / "live.parquet").unlink()
    assert call("validate", "configs/small.yaml") == 2
    assert "live.parquet: does not exist; fetch it" in read_output(capsys)[1]


def test_unbounded_predictions_are_refused_for_steps_of_config_and_bundle(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "configs" / "small.yaml"
    explanation = (
        "which the tournament requires; add `- rank: {scope: era, ties: average}`, or `- clip: {low: 0, high: 1}`\n"
    )
    for text, problem in (
        ("post: []\n", f"{path}: post: no step limits the model's predictions to [0, 1], {explanation}"),
        (
            "post:\n  - blend: {benchmark: bench, transform: raw}\n",
            f"{path}: post: no step limits the model's predictions to [0, 1], {explanation}",
        ),
        (
            "post:\n  - rank: {}\n  - gaussianize: {}\n",
            f"configs/small.yaml:7: post[1]: no step after gaussianize limits the predictions to [0, 1], {explanation}",
        ),
    ):
        path.write_text(CONFIG + text)
        assert call("render", "configs/small.yaml") == 2
        assert read_output(capsys)[1] == f"error: {problem}"
    # The steps of the bundle apply if the config has none.
    bundle = dataclasses.replace(bundles.make_bundle(), post=(post.make_step("rank"), post.make_step("standardize")))
    write.write(project / "configs" / "bundles" / "small", bundle)
    path.write_text(CONFIG)
    assert call("render", "configs/small.yaml") == 2
    assert (
        f"{path}: post: no step after standardize limits the predictions to [0, 1], {explanation}"
        in read_output(capsys)[1]
    )


def test_a_bundle_keeps_its_steps_and_refuses_a_group(tmp_path: Path) -> None:
    steps = (
        post.make_step("neutralize", features=("risk",), proportion=0.5),
        post.make_step("blend", benchmark="bench"),
        post.make_step("rank"),
    )
    bundle = dataclasses.replace(bundles.make_bundle(), post=steps)
    assert read.read(bundles.write_bundle(tmp_path / "whole", bundle)).post == steps
    grouped = dataclasses.replace(bundle, post=(post.make_step("rank"), post.make_step("neutralize", group="medium")))
    problem = (
        'bundle.json: post.1.neutralize.group: "medium"; a bundle cannot refer to a feature group; '
        "list the features: features: [...]"
    )
    with pytest.raises(errors.BundleError, match="a bundle cannot refer to a feature group") as raised:
        bundles.write_bundle(tmp_path / "grouped", grouped)
    assert problem in str(raised.value)
    bundles.edit_json(
        tmp_path / "whole", lambda data: data.update(post=[{"rank": {}}, {"neutralize": {"group": "medium"}}])
    )
    with pytest.raises(errors.BundleError, match="a bundle cannot refer to a feature group") as raised:
        read.read(tmp_path / "whole")
    assert problem in str(raised.value)


def test_export_reads_steps_as_a_config_does() -> None:
    steps = export_run._resolve_steps(None, "era", {"features": ["a"], "proportion": 0.5})
    assert steps == (post.make_step("neutralize", features=("a",), proportion=0.5), post.make_step("rank"))
    with pytest.raises(errors.ExportError, match="export: neutralize: the features of group 'medium' are unknown here"):
        export_run._resolve_steps(None, "era", {"group": "medium"})
    with pytest.raises(errors.ExportError, match=r"export: post\.0\.neutralize: has no columns"):
        export_run._resolve_steps(None, "era", {"proportion": 0.5})
