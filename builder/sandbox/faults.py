"""Scripted faults: what goes wrong, at which request, how often.

    sandbox.faults.add("PUT", faults.status(503), times=2)
    sandbox.faults.add("createComputePickleUpload", faults.applied(faults.html(502)))
    sandbox.faults.add("PUT", faults.reset(after_bytes=100_000))
    sandbox.faults.add("account", faults.stall())            # released by sandbox.faults.release(), or at the end

The first name is what a request has to match: a root field of the query (``assignPickleToModel``), the operation's
name, the method (``POST``, ``PUT``, ``GET``) or ``*``. A fault that was used as often as it says is gone. Unless an
action says that it applies, the request has no effect.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.sandbox import storage
    from builder.sandbox.requests_log import Record
    from builder.sandbox.state import State

HTML = b"<html><head><title>Bad gateway</title></head><body><h1>cloud error page</h1></body></html>"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is sent in place of the right answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Action:
    """What is done with a request that a fault matches.

    Attributes:
        applies: The request takes effect all the same, before any of the rest.
        answer: Sent in place of the right answer.
        redirect: HTTP status, and the host to name or None for this one: to the place that takes what was redirected.
        reset: The connection is reset in place of an answer.
        stall: Nothing more is read or sent until it is released; then the connection is reset.
        after_bytes: Of a body that is stored: how much is read before ``reset`` or ``stall``.
        drains: Of a body that is refused: whether it is read before the answer.
        keeps: Of a body that is stored: ``half`` of it.
        etag: Of a body that is stored: the MD5 of what was ``sent``, of what is ``stored``, or ``wrong``.
        change: Alters the JSON of an answer.
        then: Alters the state once the request took effect; it is handed the variables too.
    """

    applies: bool = False
    answer: Answer | None = None
    redirect: tuple[int, str | None] | None = None
    reset: bool = False
    stall: bool = False
    after_bytes: int = 0
    drains: bool = True
    keeps: Literal["all", "half"] = "all"
    etag: Literal["sent", "stored", "wrong"] = "sent"
    change: Callable[[dict[str, Any]], Any] | None = None
    then: Callable[[State, Mapping[str, Any]], None] | None = None


def status(code: int, body: bytes = b"", **headers: str) -> Action:
    """Answer with a status; ``Retry_After="3"`` becomes the header ``Retry-After``."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Action(answer=Answer(status=code, body=body, headers=named))


def html(code: int) -> Action:
    """Answer as a gateway does: with a page for people."""
    return Action(answer=Answer(status=code, body=HTML, headers={"Content-Type": "text/html"}))


def too_many(retry_after: str) -> Action:
    """Answer 429 with a Retry-After."""
    return status(429, b"{}", Retry_After=retry_after)


def errors(*messages: str) -> Action:
    """Answer 200 with a list of errors."""
    return _json({"errors": [{"message": item} for item in messages]})


def errors_detail(text: str, code: int = 200) -> Action:
    """Answer with errors in their other shape, an object with ``detail``."""
    return _json({"errors": {"detail": text}}, code)


def data_null() -> Action:
    """Answer 200 with no data and no errors."""
    return _json({"data": None})


def changed(change: Callable[[dict[str, Any]], Any]) -> Action:
    """Apply, and alter what is answered: ``change`` is handed the JSON."""
    return Action(applies=True, change=change)


def without(name: str, key: str) -> Action:
    """Apply, and leave a key out of a root field's answer: ``without("computePickleUploadAuth", "url")``."""

    def change(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"][name].pop(key, None)
        return answer

    return changed(change)


def answers(name: str, value: Any) -> Action:
    """Apply, and answer a root field with something else."""

    def change(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"][name] = value
        return answer

    return changed(change)


def assigns_another(pickle_id: str) -> Action:
    """Assign another pickle than the one that was asked for."""

    def then(state: State, variables: Mapping[str, Any]) -> None:
        for slot in state.slots.values():
            if slot.id in variables.values():
                slot.pickle_id = pickle_id

    return Action(applies=True, then=then)


def shows_another(pickle_id: str) -> Action:
    """Show another pickle in every slot that has one, for reading an assignment back; for ``account``."""

    def change(answer: dict[str, Any]) -> dict[str, Any]:
        for model in answer["data"]["account"]["models"]:
            if model.get("computePickleUpload"):
                model["computePickleUpload"]["id"] = pickle_id
        return answer

    return changed(change)


def reset(*, after_bytes: int = 0) -> Action:
    """Reset the connection without an answer; of a PUT, after so many bytes of its body."""
    return Action(reset=True, after_bytes=after_bytes)


def stall(*, after_bytes: int = 0) -> Action:
    """Never answer; of a PUT, read so many bytes of its body and no more."""
    return Action(stall=True, after_bytes=after_bytes)


def applied(action: Action) -> Action:
    """Let the request take effect first: ``applied(html(502))``, ``applied(reset())``."""
    return dataclasses.replace(action, applies=True)


def early(action: Action) -> Action:
    """Answer before the body was read, and hang up, as storage in a hurry does."""
    return dataclasses.replace(action, drains=False)


def refused(refusal: storage.Refusal) -> Action:
    """Answer with one of the storage's own refusals: ``storage.EXPIRED``, ``BAD_SIGNATURE``, ``TIMED_OUT``."""
    return Action(
        answer=Answer(status=refusal.status, body=refusal.body(), headers={"Content-Type": "application/xml"})
    )


def truncated(etag: Literal["sent", "stored"] = "stored") -> Action:
    """Store half of the body and answer 200, with the MD5 of what is stored or of what was sent."""
    return Action(applies=True, keeps="half", etag=etag)


def wrong_etag() -> Action:
    """Store the body and answer with an MD5 that is not its own."""
    return Action(applies=True, etag="wrong")


def redirect(code: int, host: str | None = None) -> Action:
    """Send a PUT elsewhere: on this host, or to ``host``, which is given with its port."""
    return Action(redirect=(code, host))


def _json(value: Any, code: int = 200) -> Action:
    body = json.dumps(value).encode()
    return Action(answer=Answer(status=code, body=body, headers={"Content-Type": "application/json"}))


@dataclass(kw_only=True)
class _Planned:
    match: str
    action: Action
    times: int | None
    after: int
    when: Callable[[Record], bool] | None


class Faults:
    """The faults to come, in the order in which they were added; each request takes at most one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[_Planned] = []
        self._released = threading.Event()
        self._ended = False

    def add(
        self,
        match: str,
        action: Action,
        *,
        times: int | None = 1,
        after: int = 0,
        when: Callable[[Record], bool] | None = None,
    ) -> None:
        """Plan a fault.

        Args:
            match: A root field, an operation's name, a method, or ``*``.
            action: What is done.
            times: How often; None for ever.
            after: How many requests that match are let through first.
            when: Judges the request further.
        """
        with self._lock:
            self._planned.append(_Planned(match=match, action=action, times=times, after=after, when=when))

    def clear(self) -> None:
        """Forget all faults that are still to come."""
        with self._lock:
            self._planned.clear()

    def left(self) -> int:
        """Return how many of the planned faults have not been used up."""
        with self._lock:
            return len(self._planned)

    def take(self, record: Record) -> Action | None:
        """Return what is to be done with a request, if anything."""
        names = {"*", record.method, record.operation, *record.fields}
        with self._lock:
            for item in self._planned:
                if item.match not in names or (item.when is not None and not item.when(record)):
                    continue
                if item.after > 0:
                    item.after -= 1
                    continue
                if item.times is not None:
                    item.times -= 1
                    if item.times == 0:
                        self._planned.remove(item)
                return item.action
        return None

    def hold(self) -> None:
        """Stall the calling thread until it is released."""
        with self._lock:
            released = self._released
        if not self._ended:
            released.wait()

    def release(self) -> None:
        """Let go of all that is stalled now."""
        with self._lock:
            self._released.set()
            self._released = threading.Event()

    def close(self) -> None:
        """Let go of all that is stalled, or will be."""
        self._ended = True
        self.release()
