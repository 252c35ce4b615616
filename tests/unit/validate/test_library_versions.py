"""The note on packages that have another version in the image than where the model was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.validate import library_versions

if TYPE_CHECKING:
    from builder.bundle import model

IMAGE = {"lightgbm": "4.5.0", "numpy": "2.1.3", "scikit-learn": "1.6.1"}


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        ({"packages": ("lightgbm 4.6.0",)}, "lightgbm 4.6.0 at training, 4.5.0 in the image"),
        (
            {"packages": ("lightgbm 4.6.0", "numpy 2.1.3", "xgboost 3.0.0", "scikit-learn 1.7.0")},
            "lightgbm 4.6.0 at training, 4.5.0 in the image; scikit-learn 1.7.0 at training, 1.6.1 in the image",
        ),
        ({"framework": "lightgbm", "version": "4.6.0"}, "lightgbm 4.6.0 at training, 4.5.0 in the image"),
        # Untrusted: the same package many times, and a version with a control character.
        (
            {"packages": ("numpy 1",) * 9 + ("numpy \x1b[2J" + "9" * 99,)},
            f"numpy [2J{'9' * 37} at training, 2.1.3 in the",
        ),
    ],
)
def test_a_difference_is_a_note(trained: dict[str, model.Fact], expected: str) -> None:
    [note] = library_versions.note_differences(trained, IMAGE)
    assert (note.name, note.good) == ("library versions", None)
    assert note.detail.startswith(expected)
    assert note.detail.isprintable()


@pytest.mark.parametrize(
    "trained",
    [
        {},
        {"packages": ()},
        {"packages": "lightgbm 4.6.0"},
        {"packages": ("lightgbm 4.5.0", "lightgbm", "", "gone 1")},
        {"framework": "lightgbm", "version": "4.5.0"},
        {"framework": "scikit-learn", "version": "1.7.0", "packages": ()},
        {"framework": "scikit-learn", "version": "1.7.0"},
    ],
)
def test_there_is_no_note_without_a_difference(trained: dict[str, model.Fact]) -> None:
    assert library_versions.note_differences(trained, IMAGE) == []


def test_of_many_differences_the_first_are_shown() -> None:
    image = {f"package-{number}": "1" for number in range(25)}
    [note] = library_versions.note_differences({"packages": tuple(f"{name} 2" for name in image)}, image)
    assert note.detail.count("at training") == 10
    assert note.detail.endswith("package-9 2 at training, 1 in the image; and 15 more")
