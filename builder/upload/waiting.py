"""Wait until a validation or run has ended, showing each status, and explain a failure.

The API's statuses are undocumented. An unknown status is neither good nor bad: it is shown, and the waiting continues.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import commands, errors, tournament
from builder.build import artifact
from builder.net import download
from builder.text import sanitize
from builder.tournament import status as slot_status
from builder.validate import diagnose, known_causes, runner_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from builder.progress import Progress
    from builder.tournament import LogLine, Run, Tournament, UploadedPickle

_PRINTED_LINES = 40
_SHOWN_LINES = 12
_AGAIN = "run the same command again to resume"


def _ignore(subject: str, status: str) -> None:
    """Default for ``record``."""


@dataclass(frozen=True, kw_only=True)
class PollPolicy:
    """How often and how long the API is polled, in seconds.

    Attributes:
        first: Pause before the second request; each further pause is 1.5 times as long, up to ``longest``.
        total: Time after which the waiting ends; the validation or run continues at the tournament.
    """

    first: float = 2.0
    longest: float = 30.0
    total: float = 3_600.0


@dataclass(frozen=True, kw_only=True)
class ExplainedFailure:
    """Why a pickle failed at the tournament: the API's descriptions, the log, and the likely cause with its fix."""

    where: str
    status: str
    descriptions: tuple[str, ...]
    log: tuple[str, ...]
    cause: known_causes.Cause

    def rows(self) -> list[tuple[str, str]]:
        """Return labelled lines for a person: the descriptions, the end of the log, the cause and the fix."""
        rows = [("message", sanitize(text)) for text in self.descriptions]
        rows += [("log" if not index else "", line) for index, line in enumerate(self.log[-_SHOWN_LINES:])]
        return [*rows, ("cause", self.cause.text), ("fix", self.cause.fix)]

    def data(self) -> dict[str, Any]:
        """Return it as JSON data."""
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
    """Wait until a pickle's validation has ended; return the pickle, valid or not.

    Args:
        api: The tournament.
        identity: The pickle's id.
        progress: Shows each new status.
        policy: How often and how long to poll.
        record: Called with ``validation`` and each unknown status.

    Raises:
        errors.UnavailableError: It has not ended in time; it continues at the tournament, and running again resumes.
        errors.NetworkError: The API rejected a request.
    """
    return _watch(
        api,
        identity,
        progress,
        policy,
        subject="validation",
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
    """Wait until a run of a pickle has ended; a run that is not listed yet has not ended.

    Args:
        api: The tournament.
        identity: The pickle's id.
        trigger: The run's id.
        progress: Shows each new status.
        policy: How often and how long to poll.
        record: Called with ``run`` and each unknown status.
        resume: How to continue waiting, for the message if it has not ended in time.

    Raises:
        errors.UnavailableError: It has not ended in time.
        errors.NetworkError: The API rejected a request.
    """

    def find(pickle: UploadedPickle) -> Run | None:
        return next((run for run in pickle.triggers if run.id == trigger), None)

    def view(pickle: UploadedPickle) -> _View:
        run = find(pickle)
        return _View(run.status, [run], slot_status.judge_run(run)) if run else _View("", [], None, listed=False)

    pickle = _watch(api, identity, progress, policy, subject="run", view=view, record=record, resume=resume)
    ended = find(pickle)
    if ended is None:
        raise AssertionError  # only a listed run has ended
    return ended


def explain_failure(api: Tournament, pickle: UploadedPickle, folder: Path | None = None) -> ExplainedFailure:
    """Return why a pickle failed, with the log of the run that explains it.

    Args:
        api: The tournament.
        pickle: A pickle that failed.
        folder: Its ``dist/NAME``, for the commands in the fix; default: searched below the current folder.
    """
    failure = slot_status.find_failure(pickle)
    if failure is None:
        failure = slot_status.PickleFailure(where="validation", status=pickle.validation, descriptions=(), trigger=None)
    return _explain(api, pickle, failure, folder)


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
    api: Tournament, pickle: UploadedPickle, failure: slot_status.PickleFailure, folder: Path | None
) -> ExplainedFailure:
    lines = [line.message for line in read_log(api, pickle, failure)]
    cause = diagnose.explain_remote(failure.status, failure.descriptions, lines)
    if not cause.fix:
        cause = replace(cause, fix=f"`{commands.suggest_plain('why', pickle.id)}` runs it here, under the same limits")
    return ExplainedFailure(
        where=failure.where,
        status=sanitize(failure.status),
        descriptions=failure.descriptions,
        log=tuple(runner_log.format_excerpt(lines, _PRINTED_LINES)),
        cause=cause.with_config(folder or find_folder(pickle)),
    )


def find_folder(pickle: UploadedPickle) -> Path | None:
    """Return the folder below ``dist/`` of the current folder with the same pickle, by the hash in the stored name."""
    digits = download.find_hash_prefix(pickle.filename)
    manifests = artifact.read_manifests(Path.cwd()) if digits else ()
    return next((path.parent for path, data in manifests if data.pickle.sha256.startswith(digits or "")), None)


def read_log(api: Tournament, pickle: UploadedPickle, failure: slot_status.PickleFailure) -> tuple[LogLine, ...]:
    """Return the log of a failed run, empty if it cannot be read: that must not hide the failure itself."""
    try:
        if failure.trigger is not None:
            return api.get_run_log(failure.trigger.id)
        return api.get_diagnostics_log(pickle.id) if failure.where != "run" else ()
    except errors.NetworkError:
        return ()


@dataclass(frozen=True)
class _View:
    """The polled part of a pickle: its status, the run that describes it, and whether it is good (None: not ended)."""

    status: str
    runs: Sequence[Run]
    good: bool | None
    listed: bool = True

    def format(self, subject: str) -> str:
        """Return the status and the run's last description."""
        status = f"{subject}: {self.status or 'no status yet'}" if self.listed else f"{subject}: not listed"
        return "; ".join(sanitize(text) for text in (status, *(self.runs[0].descriptions[-1:] if self.runs else ())))


def _watch(
    api: Tournament,
    identity: str,
    progress: Progress,
    policy: PollPolicy,
    *,
    subject: str,
    view: Callable[[UploadedPickle], _View],
    record: Callable[[str, str], None],
    resume: str = _AGAIN,
) -> UploadedPickle:
    deadline, pause, last_text, unknown = time.monotonic() + policy.total, policy.first, "", ""
    with _add_note_on_interrupt(identity, resume):
        while True:
            pickle, problem = _read(api, identity)
            if pickle is not None:
                now = view(pickle)
                text = now.format(subject)
                if text != last_text:  # a line for each change, not for each request
                    progress.note(text)
                last_text = text
                # The API's status words are not documented. An unknown one is neither good nor bad: keep waiting, and
                # keep it for a report.
                if tournament.is_unknown(now.status) and now.status != unknown:
                    unknown = now.status
                    record(subject, unknown)
                if now.good is not None:
                    return pickle
            progress.step(f"waiting for the tournament: {problem or last_text}")
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                # `sent`, because the pickle is registered: this must not be reported as "nothing was done".
                raise errors.UnavailableError(
                    f"{identity}: did not end within {policy.total:.0f} s ({problem or last_text}); it continues at "
                    f"the tournament: {resume}; `{commands.suggest_plain('logs', identity)}` shows more",
                    sent=True,
                )
            time.sleep(min(pause, remaining))
            pause = min(1.5 * pause, policy.longest)


@contextlib.contextmanager
def _add_note_on_interrupt(identity: str, resume: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(f"{identity}: continues at the tournament; {resume}")
        raise


def _read(api: Tournament, identity: str) -> tuple[UploadedPickle | None, str]:
    """Return the pickle, or None and the problem: a network problem must not end the waiting."""
    try:
        pickle = api.get_pickle(identity)
    except errors.UnavailableError as error:
        return None, str(error)
    return pickle, "" if pickle else f"{identity} is not listed"
