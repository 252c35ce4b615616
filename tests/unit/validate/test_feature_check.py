"""Test the comparison of a bundle's features with the data version's feature sets."""

from __future__ import annotations

import pytest

from builder.validate import feature_check

SETS = {"small": ["a", "b"], "medium": ["a", "b", "c"], "all": ["a", "b", "c", "d"]}


@pytest.mark.parametrize(
    ("features", "good", "detail"),
    [
        (["b", "a"], True, "2 of 4 of v5.3, the feature set small"),
        (["a", "d"], True, "2 of 4 of v5.3, not exactly those of a feature set"),
        (["a", "x", "y"], False, "2 of 3 are not features of v5.3: x, y; set data_version to the version that"),
    ],
)
def test_features_are_compared_with_the_feature_sets(*, features: list[str], good: bool, detail: str) -> None:
    check = feature_check.judge_features(features, SETS, "v5.3", is_note=False)
    assert (check.name, check.good) == ("features", good)
    assert check.text.startswith(detail)


def test_missing_features_are_a_note_in_a_stand_in_image() -> None:
    assert feature_check.judge_features(["x"], SETS, "v5.3", is_note=True).good is None
