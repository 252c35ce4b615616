"""Provide the two vocabularies of status words: no documentation says which one the tournament's API speaks.

The sandbox speaks the ones in ``sandbox.state.words``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class StatusWords:
    """A vocabulary: of validations, of runs, of the diagnostics. Those of public logs, unless changed."""

    pending: str = "validating"
    running: str = "validating"
    good: str = "validated"
    bad: str = "invalid"
    run_pending: str = "queued"
    run_running: str = "queued"
    run_good: str = "submission_succeeded"
    run_bad: str = "model_failed"
    run_no_round: str = "model_failed"
    diagnostics: str = "succeeded"
    diagnostics_bad: str = "failed"


def seen() -> StatusWords:
    """Return the words seen in public logs."""
    return StatusWords()


def others() -> StatusWords:
    """Return the words of other projects' code and of the documentation, in either case."""
    return StatusWords(
        pending="PENDING",
        running="running",
        good="passed",
        bad="failed",
        run_pending="pending",
        run_running="RUNNING",
        run_good="SUCCESS",
        run_bad="FAILED",
        run_no_round="failed",
        diagnostics="completed",
        diagnostics_bad="error",
    )


VOCABULARIES = {"seen": seen, "others": others}
