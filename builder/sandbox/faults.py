"""Script faults: which request goes wrong, how, and how often.

    sandbox.faults.add("PUT", faults.respond_status(503), times=2)
    sandbox.faults.add("createComputePickleUpload", faults.apply_then(faults.respond_html(502)))
    sandbox.faults.add("PUT", faults.reset(after_bytes=100_000))
    sandbox.faults.add("account", faults.stall())            # until sandbox.faults.release(), or the end

The first argument selects requests: by a root field of the query (``assignPickleToModel``), the operation's name, the
method (``POST``, ``PUT``, ``GET``) or ``*`` for all. A fault is removed after ``times`` requests. Unless its action
applies the request, the request has no effect.
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
    from builder.sandbox.request_log import Record
    from builder.sandbox.state import State

HTML = b"<html><head><title>Bad gateway</title></head><body><h1>cloud error page</h1></body></html>"


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response that replaces the correct one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Action:
    """What the server does with a request that matches a fault.

    Attributes:
        applies: Whether the request takes effect, before anything else happens.
        response: Replaces the correct response.
        redirect: HTTP status and target host, None for this host; the target path accepts redirected uploads.
        reset: Whether to reset the connection instead of responding.
        stall: Whether to stop reading and sending until released; then the connection is reset.
        after_bytes: PUT only: how many bytes of the body to read before ``reset`` or ``stall``.
        reads_body: PUT only, if the request is not applied: whether to read the body before responding.
        stored_part: PUT only: how much of the body to store.
        etag: PUT only: the MD5 of what was ``sent``, of what is ``stored``, or a ``wrong`` one.
        edit: Edits the JSON of the response.
        callback: Called with the state and the query's variables once the request took effect.
    """

    applies: bool = False
    response: Response | None = None
    redirect: tuple[int, str | None] | None = None
    reset: bool = False
    stall: bool = False
    after_bytes: int = 0
    reads_body: bool = True
    stored_part: Literal["all", "half"] = "all"
    etag: Literal["sent", "stored", "wrong"] = "sent"
    edit: Callable[[dict[str, Any]], Any] | None = None
    callback: Callable[[State, Mapping[str, Any]], None] | None = None


def respond_status(code: int, body: bytes = b"", **headers: str) -> Action:
    """Respond with a status; ``Retry_After="3"`` sets the header ``Retry-After``."""
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    return Action(response=Response(status=code, body=body, headers=headers))


def respond_html(code: int) -> Action:
    """Respond with an HTML page, as a gateway does."""
    return Action(response=Response(status=code, body=HTML, headers={"Content-Type": "text/html"}))


def respond_too_many(retry_after: str) -> Action:
    """Respond 429 with a Retry-After header."""
    return respond_status(429, b"{}", Retry_After=retry_after)


def respond_errors(*messages: str) -> Action:
    """Respond 200 with a list of GraphQL errors."""
    return _respond_json({"errors": [{"message": message} for message in messages]})


def respond_error_detail(text: str, code: int = 200) -> Action:
    """Respond with errors in the API's other shape, an object with ``detail``."""
    return _respond_json({"errors": {"detail": text}}, code)


def respond_null_data() -> Action:
    """Respond 200 with neither data nor errors."""
    return _respond_json({"data": None})


def edit_response(edit: Callable[[dict[str, Any]], Any]) -> Action:
    """Apply the request and replace the JSON of the response by ``edit(json)``."""
    return Action(applies=True, edit=edit)


def drop_key(name: str, key: str) -> Action:
    """Apply the request and drop a key of a root field: ``drop_key("computePickleUploadAuth", "url")``."""

    def edit(response: dict[str, Any]) -> dict[str, Any]:
        response["data"][name].pop(key, None)
        return response

    return edit_response(edit)


def replace_field(name: str, value: Any) -> Action:
    """Apply the request and replace the value of a root field."""

    def edit(response: dict[str, Any]) -> dict[str, Any]:
        response["data"][name] = value
        return response

    return edit_response(edit)


def call_after(callback: Callable[[State, Mapping[str, Any]], None]) -> Action:
    """Apply the request, then call ``callback`` with the state and the query's variables."""
    return Action(applies=True, callback=callback)


def assign_other_pickle(pickle_id: str) -> Action:
    """Assign another pickle than the requested one."""

    def assign(state: State, variables: Mapping[str, Any]) -> None:
        for slot in state.slots.values():
            if slot.id in variables.values():
                slot.pickle_id = pickle_id

    return call_after(assign)


def show_other_pickle(pickle_id: str) -> Action:
    """Show another pickle in every slot that has one; for ``account``, which an assignment is read back from."""

    def edit(response: dict[str, Any]) -> dict[str, Any]:
        for model in response["data"]["account"]["models"]:
            if model.get("computePickleUpload"):
                model["computePickleUpload"]["id"] = pickle_id
        return response

    return edit_response(edit)


def reset(*, after_bytes: int = 0) -> Action:
    """Reset the connection without a response; for a PUT, after ``after_bytes`` of its body."""
    return Action(reset=True, after_bytes=after_bytes)


def stall(*, after_bytes: int = 0) -> Action:
    """Never respond; for a PUT, read only ``after_bytes`` of its body."""
    return Action(stall=True, after_bytes=after_bytes)


def apply_then(action: Action) -> Action:
    """Apply the request before the action: ``apply_then(respond_html(502))``, ``apply_then(reset())``."""
    return dataclasses.replace(action, applies=True)


def respond_early(action: Action) -> Action:
    """Respond before the body is read, and close the connection, as an overloaded storage does."""
    return dataclasses.replace(action, reads_body=False)


def refuse(refusal: storage.Refusal) -> Action:
    """Respond with a refusal of the storage: ``storage.EXPIRED``, ``BAD_SIGNATURE``, ``TIMED_OUT``."""
    return Action(
        response=Response(status=refusal.status, body=refusal.to_xml(), headers={"Content-Type": "application/xml"})
    )


def truncate(etag: Literal["sent", "stored"] = "stored") -> Action:
    """Store half of the body and respond 200, with the MD5 of what is stored or of what was sent."""
    return Action(applies=True, stored_part="half", etag=etag)


def respond_wrong_etag() -> Action:
    """Store the body and respond with an MD5 that is not the body's."""
    return Action(applies=True, etag="wrong")


def redirect(code: int, host: str | None = None) -> Action:
    """Redirect a PUT, on this host or to ``host`` (with its port)."""
    return Action(redirect=(code, host))


def _respond_json(value: Any, code: int = 200) -> Action:
    body = json.dumps(value).encode()
    return Action(response=Response(status=code, body=body, headers={"Content-Type": "application/json"}))


@dataclass(kw_only=True)
class _PlannedFault:
    match: str
    action: Action
    times: int | None
    after: int
    condition: Callable[[Record], bool] | None


class Faults:
    """The planned faults, in the order in which they were added; at most one is used for each request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[_PlannedFault] = []
        self._released = threading.Event()
        self._is_closed = False

    def add(
        self,
        match: str,
        action: Action,
        *,
        times: int | None = 1,
        after: int = 0,
        condition: Callable[[Record], bool] | None = None,
    ) -> None:
        """Plan a fault.

        Args:
            match: A root field, an operation's name, a method, or ``*``.
            action: What to do with a matching request.
            times: For how many requests; None for all.
            after: How many matching requests to let through first.
            condition: Must also be true of the request's record.
        """
        with self._lock:
            self._planned.append(
                _PlannedFault(match=match, action=action, times=times, after=after, condition=condition)
            )

    def clear(self) -> None:
        """Remove all planned faults."""
        with self._lock:
            self._planned.clear()

    def count_remaining(self) -> int:
        """Return how many planned faults are not used up."""
        with self._lock:
            return len(self._planned)

    def take(self, record: Record) -> Action | None:
        """Return the action for a request and use up one time of its fault; None without a matching fault."""
        with self._lock:
            for fault in self._planned:
                if not record.matches(fault.match) or (fault.condition is not None and not fault.condition(record)):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._planned.remove(fault)
                return fault.action
        return None

    def wait_for_release(self) -> None:
        """Block the calling thread until :meth:`release` or :meth:`close`."""
        with self._lock:
            released = self._released
        if not self._is_closed:
            released.wait()

    def release(self) -> None:
        """Release every request that is stalled now; later ones stall again."""
        with self._lock:
            self._released.set()
            self._released = threading.Event()

    def close(self) -> None:
        """Release every stalled request, and stall no more."""
        self._is_closed = True
        self.release()
