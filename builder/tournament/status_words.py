"""Classify the API's status words: good, bad, in progress, or unknown.

The vocabulary is not documented. Public logs have words such as ``submission_succeeded`` and ``model_failed``, other
projects' code has ``SUCCESS`` and ``failed``. So a status is classified by its last word, compared whole and in any
case: ``invalidated`` is neither ``invalid`` nor ``validated``. An unknown word is neither good nor bad.
"""

from __future__ import annotations

import re

_GOOD = frozenset({"succeeded", "success", "passed", "validated", "completed"})
_THEIRS = "error"
_BAD = frozenset({"failed", "invalid", _THEIRS})
_IN_PROGRESS = frozenset({"queued", "pending", "running", "validating"})
_WORD = re.compile(r"[^_\-\s]+")


def judge_status(status: str) -> bool | None:
    """Return True for a good status, False for a bad one, None for one that is in progress, unknown or empty."""
    word = _last_word(status)
    return True if word in _GOOD else False if word in _BAD else None


def is_in_progress(status: str) -> bool:
    """Return whether the status says that something is still going on."""
    return _last_word(status) in _IN_PROGRESS


def is_unknown(status: str) -> bool:
    """Return whether the status has a word that is not known here; an empty status has none."""
    word = _last_word(status)
    return bool(word) and word not in _GOOD | _BAD | _IN_PROGRESS


def is_server_error(status: str) -> bool:
    """Return whether a bad status blames the tournament (``error``) and not the model (``failed``)."""
    return _last_word(status) == _THEIRS


def _last_word(status: str) -> str:
    words = _WORD.findall(status.lower())
    return words[-1] if words else ""
