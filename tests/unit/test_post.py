"""Post-processing steps as values."""

from __future__ import annotations

from builder import post, typed


def test_steps_are_written_with_all_defaults() -> None:
    steps = typed.parse(tuple[post.Step, ...], [{"rank": {}}, {"rank": {"scope": "frame", "ties": "first"}}])
    assert steps == (post.Rank(), post.Rank(scope="frame", ties="first"))
    assert isinstance(steps, tuple)
    assert post.as_data(steps) == [
        {"rank": {"scope": "era", "ties": "average"}},
        {"rank": {"scope": "frame", "ties": "first"}},
    ]


def test_only_ranks_by_era_need_the_era() -> None:
    assert post.needs_era((post.Rank(scope="frame"), post.Rank()))
    assert not post.needs_era((post.Rank(scope="frame"),))
    assert not post.needs_era(())


def test_unknown_steps_and_words_are_refused() -> None:
    faults = typed.parse(tuple[post.Step, ...], [{"rank": {"scope": "row"}}, {"rnak": {}}, {"rank": None}])
    assert isinstance(faults, list)
    assert [(fault.path, fault.text) for fault in faults] == [
        ((0, "rank", "scope"), '"row" will not do; "era" or "frame" is needed'),
        ((1, "rnak"), "unknown key; did you mean rank?"),
        ((2, "rank"), "nothing stands here; a mapping with the keys scope, ties is needed"),
    ]
