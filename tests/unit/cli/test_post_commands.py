"""Post-processing on its way: config, plan, data to validate on; what is refused where."""

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


def plan_of(project: Path) -> Any:
    return json.loads((project / "dist" / "small" / artifact.CONTEXT / "plan.json").read_bytes())


def test_the_plan_has_the_names_of_a_group(project: Path) -> None:
    assert call("render", "configs/small.yaml") == 0
    plan = plan_of(project)
    named = {"neutralize": {"features": ["feature_0", "risk"], "proportion": 1.0, "scope": "frame"}}
    assert plan["post"][0] == plan["config"]["post"][0] == named


def test_another_list_of_names_is_a_change(
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


def test_a_whole_pickle_is_made_with_every_step(project: Path, engine: FakeEngine) -> None:
    """By the same program as in an image; the fake engine runs the Dockerfile's own command."""
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


def test_data_to_validate_on_has_what_the_steps_read(project: Path, engine: FakeEngine, tmp_path: Path) -> None:
    write_artifact(project, engine)
    engine.programs["supervise.py"] = Program(files={})
    call("validate", "configs/small.yaml")
    live, benchmarks = (
        pd.read_parquet(next((tmp_path / "cache").rglob(f"*-{which}.parquet"))) for which in ("live", "benchmarks")
    )
    assert {"feature_0", "feature_1", "feature_2", "risk", "era"} <= set(live.columns)
    assert list(live.columns).count("feature_0") == 1
    assert "bench" in benchmarks.columns


def test_files_that_lack_what_the_steps_read_are_refused(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    index = pd.Index(["a", "b"], name="id")
    live = pd.DataFrame({f"feature_{position}": [1, 2] for position in range(3)}, index=index)
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


def test_what_nothing_bounds_is_refused_wherever_its_steps_stand(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "configs" / "small.yaml"
    ending = (
        "which the tournament requires; add `- rank: {scope: era, ties: average}`, or `- clip: {low: 0, high: 1}`\n"
    )
    for text, problem in (
        ("post: []\n", f"{path}: post: there is no step to limit the model's predictions to [0, 1], {ending}"),
        (
            "post:\n  - blend: {benchmark: bench, transform: raw}\n",
            f"{path}: post: no step limits the model's predictions to [0, 1], {ending}",
        ),
        (
            "post:\n  - rank: {}\n  - gaussianize: {}\n",
            f"configs/small.yaml:7: post[1]: no step after gaussianize limits the predictions to [0, 1], {ending}",
        ),
    ):
        path.write_text(CONFIG + text)
        assert call("render", "configs/small.yaml") == 2
        assert read_output(capsys)[1] == f"error: {problem}"
    # The bundle's own steps, where the config has none.
    built = dataclasses.replace(bundles.make_bundle(), post=(post.make_step("rank"), post.make_step("standardize")))
    write.write(project / "configs" / "bundles" / "small", built)
    path.write_text(CONFIG)
    assert call("render", "configs/small.yaml") == 2
    assert (
        f"{path}: post: no step after standardize limits the predictions to [0, 1], {ending}" in read_output(capsys)[1]
    )


def test_a_bundle_keeps_its_steps_and_refuses_a_group(tmp_path: Path) -> None:
    steps = (
        post.make_step("neutralize", features=("risk",), proportion=0.5),
        post.make_step("blend", benchmark="bench"),
        post.make_step("rank"),
    )
    built = dataclasses.replace(bundles.make_bundle(), post=steps)
    assert read.read(bundles.write_bundle(tmp_path / "whole", built)).post == steps
    grouped = dataclasses.replace(built, post=(post.make_step("rank"), post.make_step("neutralize", group="medium")))
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
