"""The versions of scikit-learn that the estimators in a pickle were fitted with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import published_pins
from builder.text import format_list, sanitize
from builder.validate.reading.file_types import Problem
from builder.validate.reading.values import Call, get_items

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_VERSIONS = 5


def find_difference(calls: Iterable[Call], image_pythons: Sequence[str]) -> Problem | None:
    """Return a note if estimators were fitted with another scikit-learn than the images of these Pythons have.

    An estimator adds ``_sklearn_version`` as the last item of its state and warns if it is loaded by another version:
    https://scikit-learn.org/stable/model_persistence.html#security-maintainability-limitations
    """
    fitted: dict[str, None] = {}
    for call in calls:
        for state in call.states:
            match get_items(state)[-2:]:
                case ["_sklearn_version", str(version)]:
                    fitted[version] = None
    present = dict.fromkeys(published_pins.get_versions(python)["scikit-learn"] for python in image_pythons)
    different = [sanitize(version)[:40] for version in fitted if version not in present][:_MAX_VERSIONS]
    if not different:
        return None
    image = (
        f"the image has {next(iter(present))}" if len(present) == 1 else f"the images have {format_list(list(present))}"
    )
    text = f"estimators of scikit-learn {format_list(different)}, but {image}: they may fail or predict differently"
    return Problem(text=text, fix="fit them with the image's version, or export the model (docs/export)")
