"""Compare the features of a bundle with the data version's list of features, ``features.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.text import format_list
from builder.validate import checks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def judge_features(
    features: Sequence[str], sets: Mapping[str, Sequence[str]], version: str, *, is_note: bool
) -> checks.Check:
    """Return the check that a data version has the features of a bundle.

    Args:
        features: The features of the bundle.
        sets: The features of every feature set.
        version: The data version.
        is_note: Whether missing features are a note: in a stand-in, whose pickles are never uploaded, and of an adopted
            pickle, in which more features may occur as names than it reads.
    """
    known = {name for names in sets.values() for name in names}
    missing = [name for name in features if name not in known]
    if missing:
        detail = f"{len(missing)} of {len(features)} are not features of {version}: {format_list(missing)}"
        fix = "set data_version to the version that the model was trained on"
        return checks.Check(name="features", good=None if is_note else False, detail=detail, fix=fix)
    wanted = set(features)
    matching = [name for name, names in sets.items() if set(names) == wanted]
    described = f"the feature set {format_list(matching)}" if matching else "not exactly those of a feature set"
    return checks.Check(name="features", good=True, detail=f"{len(features)} of {len(known)} of {version}, {described}")
