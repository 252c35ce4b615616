"""Post-processing steps as values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.bundle import post
from builder.schema import parse


def test_steps_are_written_with_all_defaults() -> None:
    steps = parse.parse(tuple[post.Step, ...], [{"rank": {}}, {"rank": {"scope": "frame", "ties": "first"}}])
    assert steps == (post.Rank(), post.Rank(scope="frame", ties="first"))
    assert isinstance(steps, tuple)
    assert post.as_data(steps) == [
        {"rank": {"scope": "era", "ties": "average"}},
        {"rank": {"scope": "frame", "ties": "first"}},
    ]


def test_every_step_is_written_and_read_back() -> None:
    steps = (
        post.Rank(scope="frame", ties="first"),
        post.Gaussianize(),
        post.Standardize(scope="frame"),
        post.Neutralize(features=("a", "b"), proportion=0.25),
        post.Neutralize(group="medium"),
        post.Neutralize(benchmarks=("c",), scope="frame"),
        post.Blend(benchmark="c", weight=0.1, transform="raw"),
        post.Clip(low=-1, high=2),
    )
    written = json.loads(json.dumps(post.as_data(steps)))
    assert parse.parse(post.Steps, {"post": written}) == post.Steps(post=steps)
    assert {post.name_of(step) for step in steps} == set(post.KINDS)


def test_what_steps_read() -> None:
    steps = (
        post.Neutralize(features=("a", "b"), scope="frame"),
        post.Neutralize(features=("b", "c"), scope="frame"),
        post.Neutralize(benchmarks=("x",), scope="frame"),
        post.Blend(benchmark="y", scope="frame"),
        post.Blend(benchmark="x", scope="frame"),
        post.Clip(),
    )
    assert post.needs(steps) == post.Needs(features=("a", "b", "c"), benchmarks=("x", "y"), era=False)
    for step in (post.Rank(), post.Gaussianize(), post.Standardize(), post.Blend(benchmark="x")):
        assert post.needs((*steps, step)).era
    assert post.needs(()) == post.Needs(features=(), benchmarks=(), era=False)


def test_groups_become_names() -> None:
    steps = (post.Neutralize(group="small", proportion=0.5), post.Rank(), post.Neutralize(group="tiny", scope="frame"))
    assert post.groups(steps) == {0: "small", 2: "tiny"}
    named = post.with_groups(steps, {"small": ("a", "b"), "tiny": ("c",)})
    assert named == (
        post.Neutralize(features=("a", "b"), proportion=0.5),
        post.Rank(),
        post.Neutralize(features=("c",), scope="frame"),
    )
    assert post.groups(named) == {}


@pytest.mark.parametrize(
    ("steps", "bounded_model", "place"),
    [
        ((), True, None),
        ((), False, -1),
        ((post.Clip(low=-1, high=2),), False, -1),
        ((post.Clip(low=-1, high=2),), True, None),
        ((post.Clip(low=0.1, high=0.9),), False, None),
        ((post.Clip(low=1.5, high=2),), True, 0),
        ((post.Rank(), post.Gaussianize()), True, 1),
        ((post.Gaussianize(), post.Rank()), False, None),
        ((post.Rank(), post.Standardize()), False, 1),
        ((post.Rank(), post.Neutralize(features=("a",)), post.Clip(low=-1, high=1)), False, 1),
        ((post.Blend(benchmark="x"),), False, None),
        ((post.Blend(benchmark="x", transform="raw"),), False, -1),
        ((post.Blend(benchmark="x", transform="raw"),), True, None),
        ((post.Rank(), post.Blend(benchmark="x", transform="gaussian")), True, 1),
    ],
)
def test_where_predictions_leave_the_range(steps: tuple[post.Step, ...], bounded_model: Any, place: int | None) -> None:
    assert post.unbounded(steps, model_bounded=bounded_model) == place
    fault = post.unbounded_fault(steps, model_bounded=bounded_model)
    assert (fault is None) == (place is None)
    assert fault is None or "[0, 1]" in fault


def test_unknown_steps_and_words_are_refused() -> None:
    faults = parse.parse(tuple[post.Step, ...], [{"rank": {"scope": "row"}}, {"rnak": {}}, {"rank": None}])
    assert isinstance(faults, list)
    assert [(fault.path, fault.text) for fault in faults] == [
        ((0, "rank", "scope"), '"row" will not do; "era" or "frame" is needed'),
        ((1, "rnak"), "unknown key; did you mean rank?"),
        ((2, "rank"), "nothing stands here; a mapping with the keys scope, ties is needed"),
    ]


def test_keys_that_contradict_one_another_are_refused_in_python_too() -> None:
    with pytest.raises(ValueError, match="low has to be below high"):
        post.Clip(low=0.5, high=0.5)
    with pytest.raises(ValueError, match="features and benchmarks stand here"):
        post.Neutralize(features=("a",), benchmarks=("b",))
