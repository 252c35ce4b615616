"""The two sets of status words that the sandbox can use: the tournament's API documents none.

The sandbox uses those in ``sandbox.state.words``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class StatusWords:
    """The status words of validations, runs (``run_...``) and diagnostics; the defaults are those in public logs."""

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


def create_words_of_public_logs() -> StatusWords:
    """Return the words seen in public logs."""
    return StatusWords()


def create_words_of_other_clients() -> StatusWords:
    """Return the words used by other projects' code and by the documentation."""
    # Upper and lower case are mixed on purpose: nothing says which one the API uses, so clients must accept both.
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


VOCABULARIES = {"seen": create_words_of_public_logs, "others": create_words_of_other_clients}
