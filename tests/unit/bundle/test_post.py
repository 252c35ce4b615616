"""Post-processing steps as values."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from builder import schema
from builder.bundle import post
from builder.inside import source

if TYPE_CHECKING:
    from pathlib import Path


def test_steps_are_written_with_all_defaults() -> None:
    steps = schema.parse(tuple[post.Step, ...], [{"rank": {}}, {"rank": {"scope": "frame", "ties": "first"}}])
    assert steps == (post.make_step("rank"), post.make_step("rank", scope="frame", ties="first"))
    assert isinstance(steps, tuple)
    assert post.as_data(steps) == [
        {"rank": {"scope": "era", "ties": "average"}},
        {"rank": {"scope": "frame", "ties": "first"}},
    ]


def test_every_step_is_written_and_read_back() -> None:
    steps = (
        post.make_step("rank", scope="frame", ties="first"),
        post.make_step("gaussianize"),
        post.make_step("standardize", scope="frame"),
        post.make_step("neutralize", features=("a", "b"), proportion=0.25),
        post.make_step("neutralize", group="medium"),
        post.make_step("neutralize", benchmarks=("c",), scope="frame"),
        post.make_step("blend", benchmark="c", weight=0.1, transform="raw"),
        post.make_step("clip", low=-1, high=2),
    )
    write_small = json.loads(json.dumps(post.as_data(steps)))
    assert schema.parse(post.Steps, {"post": write_small}) == post.Steps(post=steps)
    assert {post.get_step_name(step) for step in steps} == set(post.KINDS)


def test_required_columns_of_steps() -> None:
    steps = (
        post.make_step("neutralize", features=("a", "b"), scope="frame"),
        post.make_step("neutralize", features=("b", "c"), scope="frame"),
        post.make_step("neutralize", benchmarks=("x",), scope="frame"),
        post.make_step("blend", benchmark="y", scope="frame"),
        post.make_step("blend", benchmark="x", scope="frame"),
        post.make_step("clip"),
    )
    assert post.find_required_columns(steps) == post.RequiredColumns(
        features=("a", "b", "c"), benchmarks=("x", "y"), era=False
    )
    for step in (
        post.make_step("rank"),
        post.make_step("gaussianize"),
        post.make_step("standardize"),
        post.make_step("blend", benchmark="x"),
    ):
        assert post.find_required_columns((*steps, step)).era
    assert post.find_required_columns(()) == post.RequiredColumns(features=(), benchmarks=(), era=False)


def test_groups_become_names() -> None:
    steps = (
        post.make_step("neutralize", group="small", proportion=0.5),
        post.make_step("rank"),
        post.make_step("neutralize", group="tiny", scope="frame"),
    )
    assert post.find_groups(steps) == {0: "small", 2: "tiny"}
    named = post.replace_groups(steps, {"small": ("a", "b"), "tiny": ("c",)})
    assert named == (
        post.make_step("neutralize", features=("a", "b"), proportion=0.5),
        post.make_step("rank"),
        post.make_step("neutralize", features=("c",), scope="frame"),
    )
    assert post.find_groups(named) == {}


@pytest.mark.parametrize(
    ("steps", "bounded_model", "index"),
    [
        ((), True, None),
        ((), False, -1),
        ((post.make_step("clip", low=-1, high=2),), False, -1),
        ((post.make_step("clip", low=-1, high=2),), True, None),
        ((post.make_step("clip", low=0.1, high=0.9),), False, None),
        ((post.make_step("clip", low=1.5, high=2),), True, 0),
        ((post.make_step("rank"), post.make_step("gaussianize")), True, 1),
        ((post.make_step("gaussianize"), post.make_step("rank")), False, None),
        ((post.make_step("rank"), post.make_step("standardize")), False, 1),
        (
            (
                post.make_step("rank"),
                post.make_step("neutralize", features=("a",)),
                post.make_step("clip", low=-1, high=1),
            ),
            False,
            1,
        ),
        ((post.make_step("blend", benchmark="x"),), False, None),
        ((post.make_step("blend", benchmark="x", transform="raw"),), False, -1),
        ((post.make_step("blend", benchmark="x", transform="raw"),), True, None),
        ((post.make_step("rank"), post.make_step("blend", benchmark="x", transform="gaussian")), True, 1),
    ],
)
def test_find_unbounded_step(steps: tuple[post.Step, ...], bounded_model: Any, index: int | None) -> None:
    assert post.find_unbounded_step(steps, model_bounded=bounded_model) == index
    problem = post.find_range_problem(steps, model_bounded=bounded_model)
    assert (problem is None) == (index is None)
    assert problem is None or "[0, 1]" in problem


def test_unknown_steps_and_words_are_refused() -> None:
    problems = schema.parse(tuple[post.Step, ...], [{"rank": {"scope": "row"}}, {"rnak": {}}, {"rank": None}])
    assert isinstance(problems, list)
    assert [(problem.path, problem.text) for problem in problems] == [
        ((0, "rank", "scope"), "\"row\" is invalid; expected 'era' or 'frame'"),
        ((1, "rnak"), "unknown key; did you mean rank?"),
        ((2, "rank"), "null is invalid; expected a mapping with the keys scope, ties"),
    ]


def test_invalid_steps_are_refused_in_python_too() -> None:
    with pytest.raises(ValueError, match="rnak: unknown key; did you mean rank"):
        post.make_step("rnak")
    with pytest.raises(ValueError, match=r"clip\.low: "):
        post.make_step("clip", low="0")
    with pytest.raises(ValueError, match="expected low to be below high"):
        post.make_step("clip", low=0.5, high=0.5)
    with pytest.raises(ValueError, match="has features and benchmarks; expected one of"):
        post.make_step("neutralize", features=("a",), benchmarks=("b",))


NEW_STEP = """
import numpy as np

from .rank import compute_ranks
from .runners import STEPS

SHIFT_STEP = {
    "text": "Add to the ranks, and to a benchmark.",
    "range": ["low", "high"],
    "one_of": ["benchmark", "names"],
    "options": {
        "benchmark": {"type": "benchmark", "text": "One."},
        "names": {"type": "benchmarks", "text": "Some."},
        "low": {"type": "number", "minimum": -1, "maximum": 1, "default": 0.0, "text": "What is added."},
        "high": {"type": "number", "minimum": -1, "maximum": 2, "default": 1.0, "text": "What is not."},
        "scope": {"type": "scope", "text": "Within what."},
    },
}


def shift_step(values, options, live_features, live_benchmark_models):
    return compute_ranks(values, live_features, options["scope"], "average") + options["low"]


STEPS["shift"] = shift_step
"""


def test_new_step_needs_only_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(source.PREDICT, tmp_path / "predict")
    (folder / "shift.py").write_text(NEW_STEP)
    monkeypatch.setattr(source, "PREDICT", folder)
    monkeypatch.setattr(source, "read_steps", source.read_steps.__wrapped__)
    spec = importlib.util.spec_from_file_location("post_with_shift", str(post.__file__))
    assert spec is not None
    assert spec.loader is not None
    again: Any = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, again)
    spec.loader.exec_module(again)
    problems = schema.parse(again.Steps, {"post": [{"shift": {"low": 5}}, {"shift": {}}, {"shfit": {}}]})
    assert isinstance(problems, list)
    assert [problem.path[1:] for problem in problems] == [(0, "shift", "low"), (1, "shift"), (2, "shfit")]
    built = again.make_step("shift", benchmark="bench", low=0.5)
    assert again.as_data([built]) == [{"shift": {"benchmark": "bench", "low": 0.5, "high": 1.0, "scope": "era"}}]
    assert again.find_required_columns([built]) == again.RequiredColumns(features=(), benchmarks=("bench",), era=True)
    assert again.find_unbounded_step([built], model_bounded=False) is None
    keys = schema.build_json_schema(again.Steps, title="")["$defs"]["Shift"]
    assert keys["properties"]["low"] == {
        "type": "number",
        "minimum": -1,
        "maximum": 1,
        "default": 0.0,
        "description": "What is added.",
    }
    files = source.resolve_files(["shift.py"], folder)
    assert files.index("rank.py") < files.index("shift.py")
    run = source.load_module(files, folder).STEPS["shift"]
    live = pd.DataFrame({"era": ["1", "1"]})
    assert run(np.array([0.1, 0.2]), again.as_data([built])[0]["shift"], live, None).tolist() == [1.0, 1.5]
