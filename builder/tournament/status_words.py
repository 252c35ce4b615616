"""Classify the API's statuses as good, bad, in progress or unknown.

The vocabulary is undocumented. Public logs contain statuses such as ``submission_succeeded`` and ``model_failed``,
other projects' code has ``SUCCESS`` and ``failed``. So a status is classified by its last word, ignoring case and
comparing whole words: ``invalidated`` is neither ``invalid`` nor ``validated``. An unknown status is neither good
nor bad.
"""

from __future__ import annotations

import re

_GOOD = frozenset({"succeeded", "success", "passed", "validated", "completed"})
_SERVER_ERROR = "error"
_BAD = frozenset({"failed", "invalid", _SERVER_ERROR})
_IN_PROGRESS = frozenset({"queued", "pending", "running", "validating"})
_WORD = re.compile(r"[^_\-\s]+")


def judge_status(status: str) -> bool | None:
    """Return True for a good status, False for a bad one, None if it is in progress, unknown or empty."""
    word = _get_last_word(status)
    return True if word in _GOOD else False if word in _BAD else None


def is_in_progress(status: str) -> bool:
    """Return whether a run or validation with this status has not ended."""
    return _get_last_word(status) in _IN_PROGRESS


def is_unknown(status: str) -> bool:
    """Return whether a status is not empty and its last word is in no list above."""
    word = _get_last_word(status)
    return bool(word) and word not in _GOOD | _BAD | _IN_PROGRESS


def is_server_error(status: str) -> bool:
    """Return whether a bad status means an error of the tournament (``error``), not of the model (``failed``)."""
    return _get_last_word(status) == _SERVER_ERROR


def _get_last_word(status: str) -> str:
    words = _WORD.findall(status.lower())
    return words[-1] if words else ""
