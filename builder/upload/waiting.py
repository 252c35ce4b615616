"""A validation, or a run, watched until it is settled: its words and descriptions are said as they come.

The words of the API are not documented. One that nobody knows is neither good nor bad: it is shown, and waited on.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import errors, tournament
from builder.build import artifact
from builder.net import download
from builder.text import sanitize
from builder.tournament import status as slot_status
from builder.validate import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from builder.progress import Progress
    from builder.tournament import LogLine, Run, Tournament, UploadedPickle

_PRINTED_LINES = 40
_SHOWN_LINES = 12
_AGAIN = "run the same command again, which goes on from there"


def _ignore(what: str, status: str) -> None:
    """Keep no record."""


@dataclass(frozen=True, kw_only=True)
class PollPolicy:
    """How often the API is asked, and for how long; in seconds.

    Attributes:
        first: Before the second look; each further wait is half as long again, up to ``longest``.
        total: After this it is given up; what is waited for goes on at the tournament.
    """

    first: float = 2.0
    longest: float = 30.0
    total: float = 3_600.0


@dataclass(frozen=True, kw_only=True)
class ExplainedFailure:
    """Why a pickle failed at the tournament: its own words, what it printed, and what that means."""

    where: str
    status: str
    descriptions: tuple[str, ...]
    log: tuple[str, ...]
    cause: diagnose.Cause

    def rows(self) -> list[tuple[str, str]]:
        """Return it for a person: what it says, the end of its log, the cause and the fix."""
        rows = [("it says", sanitize(text)) for text in self.descriptions]
        rows += [("its log" if not place else "", line) for place, line in enumerate(self.log[-_SHOWN_LINES:])]
        return [*rows, ("cause", self.cause.text), ("fix", self.cause.fix)]

    def data(self) -> dict[str, Any]:
        """Return it for a program."""
        return {
            "where": self.where,
            "status": self.status,
            "descriptions": list(self.descriptions),
            "log": list(self.log),
            "cause": self.cause.text,
            "fix": self.cause.fix,
        }


def wait_for_validation(
    api: Tournament,
    identity: str,
    progress: Progress,
    policy: PollPolicy,
    *,
    record: Callable[[str, str], None] = _ignore,
) -> UploadedPickle:
    """Wait until a pickle's validation is settled; return it, good or bad.

    Args:
        api: The tournament.
        identity: The pickle's id.
        progress: Shows each status as it comes.
        policy: How often is asked, and for how long.
        record: Given each unknown status as it comes, and what it is of.

    Raises:
        errors.UnavailableError: It is not settled in time; it goes on, and running again goes on from there.
        errors.NetworkError: It cannot be asked for.
    """
    return _watch(
        api,
        identity,
        progress,
        policy,
        what="validation",
        view=lambda pickle: _View(pickle.validation, pickle.runs[:1], slot_status.judge_validation(pickle)),
        record=record,
    )


def wait_for_run(
    api: Tournament,
    identity: str,
    trigger: str,
    progress: Progress,
    policy: PollPolicy,
    *,
    record: Callable[[str, str], None] = _ignore,
    resume: str = _AGAIN,
) -> Run:
    """Wait until a run of a pickle is settled; one that is not listed, perhaps not yet, is not.

    Args:
        api: The tournament.
        identity: The pickle's id.
        trigger: The run's id.
        progress: Shows each status as it comes.
        policy: How often is asked, and for how long.
        record: Given each unknown status as it comes, and what it is of.
        resume: How to go on to watch it, for the message of one that is not settled in time.

    Raises:
        errors.UnavailableError: It is not settled in time.
        errors.NetworkError: It cannot be asked for.
    """

    def find(pickle: UploadedPickle) -> Run | None:
        return next((one for one in pickle.triggers if one.id == trigger), None)

    def view(pickle: UploadedPickle) -> _View:
        found = find(pickle)
        return (
            _View(found.status, [found], slot_status.judge_run(found)) if found else _View("", [], None, listed=False)
        )

    settled = _watch(api, identity, progress, policy, what="run", view=view, record=record, resume=resume)
    found = find(settled)
    if found is None:
        raise AssertionError  # it is settled
    return found


def explain_failure(api: Tournament, pickle: UploadedPickle, folder: Path | None = None) -> ExplainedFailure:
    """Return why a pickle failed, with the log of the run that says so.

    Args:
        api: The tournament.
        pickle: Which.
        folder: Its ``dist/NAME``; looked for below the current folder if none is named.
    """
    fault = slot_status.find_failure(pickle)
    if fault is None:
        fault = slot_status.PickleFailure(where="validation", status=pickle.validation, descriptions=(), trigger=None)
    return _explain(api, pickle, fault, folder)


def explain_run_failure(
    api: Tournament, pickle: UploadedPickle, trigger: Run, folder: Path | None = None
) -> ExplainedFailure:
    """Return why a run failed, with its log; see :func:`explain_failure`."""
    return _explain(
        api,
        pickle,
        slot_status.PickleFailure(
            where="run", status=trigger.status, descriptions=trigger.descriptions, trigger=trigger
        ),
        folder,
    )


def _explain(
    api: Tournament, pickle: UploadedPickle, fault: slot_status.PickleFailure, folder: Path | None
) -> ExplainedFailure:
    status = sanitize(fault.status)
    printed = [line.message for line in read_log(api, pickle, fault)]
    cause = diagnose.explain_remote(fault.status, fault.descriptions, printed)
    if not cause.fix:
        cause = replace(cause, fix=f"`python -m builder why {pickle.id}` runs it here, under the same limits")
    log = tuple(diagnose.format_excerpt(printed, _PRINTED_LINES))
    cause = cause.with_config(folder or find_folder(pickle))
    return ExplainedFailure(where=fault.where, status=status, descriptions=fault.descriptions, log=log, cause=cause)


def find_folder(pickle: UploadedPickle) -> Path | None:
    """Return the ``dist/NAME`` of the current folder that holds an uploaded pickle, by the hash in its name."""
    digits = download.find_hash_prefix(pickle.filename)
    made = artifact.read_manifests(Path.cwd()) if digits else ()
    return next((path.parent for path, found in made if found.pickle.sha256.startswith(digits or "")), None)


def read_log(api: Tournament, pickle: UploadedPickle, fault: slot_status.PickleFailure) -> tuple[LogLine, ...]:
    """Return what a failed run printed; a log that cannot be read must not hide the failure itself."""
    try:
        if fault.trigger is not None:
            return api.get_run_log(fault.trigger.id)
        return api.get_diagnostics_log(pickle.id) if fault.where != "run" else ()
    except errors.NetworkError:
        return ()


@dataclass(frozen=True)
class _View:
    """What is watched of a pickle: its status, the run that says more, and whether it is good (None: not settled)."""

    status: str
    runs: Sequence[Run]
    good: bool | None
    listed: bool = True

    def text(self, what: str) -> str:
        """Return the status, with what the run said last."""
        status = f"{what}: {self.status or 'no word yet'}" if self.listed else f"{what}: not listed"
        return "; ".join(sanitize(text) for text in (status, *(self.runs[0].descriptions[-1:] if self.runs else ())))


def _watch(
    api: Tournament,
    identity: str,
    progress: Progress,
    policy: PollPolicy,
    *,
    what: str,
    view: Callable[[UploadedPickle], _View],
    record: Callable[[str, str], None],
    resume: str = _AGAIN,
) -> UploadedPickle:
    ends, wait, said, unknown = time.monotonic() + policy.total, policy.first, "", ""
    with _noted(identity, resume):
        while True:
            pickle, trouble = _look(api, identity)
            if pickle is not None:
                now = view(pickle)
                text = now.text(what)
                if text != said:
                    progress.note(text)
                said = text
                if tournament.is_unknown(now.status) and now.status != unknown:
                    unknown = now.status
                    record(what, unknown)
                if now.good is not None:
                    return pickle
            progress.step(f"waiting for the tournament: {trouble or said}")
            left = ends - time.monotonic()
            if left <= 0:
                raise errors.UnavailableError(
                    f"{identity}: not settled after {policy.total:.0f} s ({trouble or said}); it goes on at the "
                    f"tournament: {resume}; `python -m builder logs {identity}` shows more",
                    sent=True,
                )
            time.sleep(min(wait, left))
            wait = min(1.5 * wait, policy.longest)


@contextlib.contextmanager
def _noted(identity: str, resume: str) -> Iterator[None]:
    """Say of an interrupt that what is waited for goes on without."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stopped.add_note(f"{identity}: goes on at the tournament; {resume}")
        raise


def _look(api: Tournament, identity: str) -> tuple[UploadedPickle | None, str]:
    """Return the pickle as it is now; a network that fails for a while ends no waiting."""
    try:
        pickle = api.get_pickle(identity)
    except errors.UnavailableError as error:
        return None, str(error)
    return pickle, "" if pickle else f"{identity} is not listed"
