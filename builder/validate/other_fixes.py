"""Reword what to do about a pickle that another program made: there is no bundle to build it from again."""

from __future__ import annotations

import re

_PHRASES = (
    (r"end the model's `post` with a rank", "end it with a rank, such as `.rank(pct=True)`"),
    (
        r",? then (?:run|build it again:) `make pickle CONFIG=\.\.\.`(?: and `make validate CONFIG=\.\.\.`)?",
        ", then dump it again",
    ),
    (r"build it again: `make pickle CONFIG=\.\.\.`", "dump it again with cloudpickle"),
    (
        r"build it from a bundle with `make pickle CONFIG=\.\.\.`",
        "pickle that module with it: `cloudpickle.register_pickle_by_value`",
    ),
    (
        r"build it in the image that runs it: `make pickle CONFIG=\.\.\.`",
        "dump it with the image's Python and packages, or export the model and build it here (docs/export)",
    ),
)


def reword(text: str) -> str:
    """Return a message for a pickle that was made by another program."""
    for phrase, other in _PHRASES:
        text = re.sub(phrase, other, text)
    return text
