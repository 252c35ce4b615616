"""HTTP client of the tournament's GraphQL API: sends one request and returns its data or raises an error.

Queries are retried when there is no response. Mutations are sent once; if the outcome is unknown, the error says that
the request may have taken effect (:class:`builder.errors.UnavailableError`). The server reports errors in two shapes, a
list of ``errors`` or an object with a ``detail``; both are supported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from builder import commands, errors
from builder.net import http, retry
from builder.text import escape
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.progress import Progress

_SCOPE_WORDS = r"(required|insufficient|missing|lacks?|not have) ([^.;]{0,60} )?(scope|permission)s?\b"
_UNKNOWN = re.compile(r"(?i)unauthenticated|not authenticated|must be authenticated|invalid (api )?(token|key)")
"""Messages about an unknown or missing token."""
_TOKEN_WORDS = re.compile(rf"(?i)unauthori[sz]ed|not authori[sz]ed|{_UNKNOWN.pattern[4:]}|{_SCOPE_WORDS}")
"""Messages about a rejected token; ``scope`` and ``permission`` alone also occur in unrelated errors."""
_MAX_MESSAGE = 400
"""Characters of the server's message that are shown."""
_MAX_BYTES = 1 << 26
"""Limit for a response; real ones have a few hundred kilobytes, logs can have more."""


class _UnreadableError(errors.ApiError):
    """The response is not GraphQL, so the outcome of a mutation is unknown."""


@dataclass(frozen=True, kw_only=True)
class ApiPolicy(retry.RetryPolicy):
    """How often a query is sent, and how long each response may take.

    Attributes:
        silent: Seconds without any data after which the connection times out.
    """

    attempts: int = 5
    first: float = 0.5
    longest: float = 60.0
    silent: float = http.TIMEOUT_SECONDS


def _say_check_first() -> str:
    status = commands.suggest_plain("status")
    return f"it may have taken effect: check with `{status}` or `pickles` before you repeat it"


class ApiClient:
    """Sends requests to the API over one connection that stays open for the whole command.

    Args:
        url: The GraphQL endpoint.
        token: Sent with every request to this host and to no other; None sends requests without a token.
        progress: Shows retries.
        policy: Attempts and timeouts.
    """

    def __init__(
        self,
        url: str,
        token: settings.ApiToken | None,
        progress: Progress,
        *,
        policy: ApiPolicy | None = None,
    ) -> None:
        self.token = token
        self.clock_ahead: float | None = None
        """Seconds by which this computer's clock is ahead of the server's; None before the first response."""
        self._server_time: tuple[dt.datetime, float] | None = None
        """The server's time of a response, and the monotonic time at which it arrived."""
        self._url, self._progress = url, progress
        self._policy = policy or ApiPolicy()
        self._http: http.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            self._http.close()
            self._http = None

    @property
    def display_url(self) -> str:
        """The endpoint without its query, for messages."""
        return http.redact_url(self._url).rstrip("/")

    def now(self) -> dt.datetime:
        """Return the server's time, or this computer's before the first response with a ``Date`` header."""
        if self._server_time is None:
            return dt.datetime.now(dt.UTC)
        server_time, arrived = self._server_time
        return server_time + dt.timedelta(seconds=time.monotonic() - arrived)

    @contextlib.contextmanager
    def shorten_timeouts(self, seconds: float) -> Iterator[None]:
        """Send each request once with this timeout: for use after Ctrl-C, when a person wants the command to end."""
        before = self._policy
        self.close()  # the open connection has a longer timeout, and an unread response if it was interrupted
        self._policy = dataclasses.replace(before, attempts=1, silent=seconds)
        try:
            yield
        finally:
            self.close()
            self._policy = before

    def query(self, text: str, variables: Mapping[str, Any] | None = None, *, subject: str) -> dict[str, Any]:
        """Send a query, and retry if there is no response.

        Args:
            text: A GraphQL query.
            variables: The values of its variables.
            subject: Name of the result for messages, such as ``the account's slots``.

        Returns:
            The response's ``data``.

        Raises:
            errors.TokenError: The server does not know the token, or it does not have the required scope.
            errors.ApiError: The server reports an error.
            errors.NetworkError: There was no response after all attempts, or it is not GraphQL.
        """

        def show_retry(pause: float, _: object) -> None:
            self._progress.step(f"asking {self.display_url} again for {subject} in {pause:.0f} s")

        try:
            return retry.retry(lambda: self._send(text, variables, subject), self._policy, on_retry=show_retry)
        except errors.UnavailableError as error:
            raise self._copy_error(error, f"{error.what} (tried {error.attempt} times)", error.remedy) from error

    def mutate(self, text: str, variables: Mapping[str, Any] | None = None, *, subject: str) -> dict[str, Any]:
        """Send a mutation once, without retrying.

        Returns:
            The response's ``data``.

        Raises:
            errors.UnavailableError: The outcome is unknown, unless ``sent`` is False: read the current state before
                sending it again, and wait for ``after`` seconds.
            errors.TokenError: The server does not know the token, or it does not have the required scope.
            errors.ApiError: The server reports an error.
        """
        try:
            return self._send(text, variables, subject)
        except errors.UnavailableError as error:
            remedy = _say_check_first() if error.sent else f"nothing was done: {error.remedy}"
            raise self._copy_error(error, error.what, remedy) from error
        except (_UnreadableError, http.TooLargeError) as error:
            raise errors.UnavailableError(str(error), remedy=_say_check_first(), sent=True) from error

    def _copy_error(self, error: errors.UnavailableError, text: str, remedy: str) -> errors.UnavailableError:
        after = min(error.after, self._policy.longest)
        return errors.UnavailableError(text, remedy=remedy, sent=error.sent, after=after, unresolved=error.unresolved)

    def _send(self, text: str, variables: Mapping[str, Any] | None, subject: str) -> dict[str, Any]:
        location = f"{self.display_url}: {subject}"
        if self._http is None:
            self._http = http.create_client(self._url, seconds=self._policy.silent)
        content = _encode(text, variables or {}, subject)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = self.token.header
        with http.translate_errors(location, seconds=self._policy.silent):
            response = http.send(
                self._http, "POST", self._url, headers, content=content, max_bytes=_MAX_BYTES, subject=location
            )
        # Also of an error: every response shows the server's time.
        self._update_clock(http.parse_date(response.headers.get("date", "")))
        return self._parse(response, location)

    def _parse(self, response: http.HttpResponse, location: str) -> dict[str, Any]:
        status = response.status_code
        try:
            body = json.loads(response.body)
        except (ValueError, RecursionError):  # a proxy's HTML, or JSON that is nested a thousand times
            body = None
        # Hide secrets before truncating: half a secret would not be recognized.
        message = settings.hide_secrets(_extract_errors(body))[:_MAX_MESSAGE]
        if status == 429:
            # The server rejected the request unprocessed, so that even a mutation may be sent again.
            after = http.read_retry_after(response.headers)
            again = f"run it again {f'in {after:.0f} s' if after else 'later'}"
            raise errors.UnavailableError(
                f"{location}: HTTP 429, too many requests", remedy=again, after=after, sent=False
            )
        # Not certain that nothing was done: a gateway also answers 502 or 504 while the server still works on it.
        if status >= 500:
            detail = f" (it reports: {message})" if message else ""
            raise errors.UnavailableError(
                f"{location}: HTTP {status}, the server failed{detail}",
                remedy="run it again later",
                after=http.read_retry_after(response.headers),
                sent=True,
            )
        # The server also answers HTTP 200 with an error about the token.
        if status == 401 or (message and (status == 403 or _TOKEN_WORDS.search(message))):
            raise errors.TokenError(self._describe_token_error(location, message))
        if message:
            raise errors.ApiError(f"{location}: the API reports: {message}")
        if status != 200:
            raise errors.ApiError(f"{location}: HTTP {status}; check the address ({settings.API})")
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, dict):
            content = settings.hide_secrets(json.dumps(body))[:100]
            problem = "is not JSON" if body is None else f"has no data: {content}"
            raise _UnreadableError(f"{location}: the response {problem}; check the address ({settings.API})")
        return data

    def _describe_token_error(self, location: str, message: str) -> str:
        detail = f" (it reports: {message})" if message else ""
        if self.token is None:
            return f"{location}: a token is required and none is set{detail}; {settings.CREDENTIALS_HINT}"
        # For an unknown token, `credentials` would only fail with this same error.
        scopes = (
            "" if _UNKNOWN.search(message) else f"check its scopes with `{commands.suggest_plain('credentials')}`; "
        )
        return (
            f"{location}: the token {self.token.public_id} ({self.token.source}) was rejected{detail}; {scopes}"
            f"{settings.CREDENTIALS_HINT}"
        )

    def _update_clock(self, server_time: dt.datetime | None) -> None:
        if server_time is not None:
            self.clock_ahead = (dt.datetime.now(dt.UTC) - server_time).total_seconds()
            # The header has whole seconds, so a time up to one second behind does not correct the clock.
            if self._server_time is None or not -1.0 <= (server_time - self.now()).total_seconds() <= 0.0:
                self._server_time = server_time, time.monotonic()


def _encode(text: str, variables: Mapping[str, Any], subject: str) -> bytes:
    try:
        return json.dumps({"query": text, "variables": variables}, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        invalid = escape(error.object[error.start : error.end])
        raise errors.UsageError(f"{subject}: {invalid} is not a valid character; write it in UTF-8") from error
    except ValueError as error:
        raise errors.UsageError(f"{subject}: a number is not valid in JSON ({error})") from error


def _extract_errors(body: object) -> str:
    """Return the server's error messages from either shape; empty if there are no errors."""
    content = body.get("errors") if isinstance(body, dict) else None
    if not content:
        return ""
    if isinstance(content, dict):
        messages = [content.get("detail") or json.dumps(content)]
    elif isinstance(content, list):
        messages = [item.get("message") or json.dumps(item) if isinstance(item, dict) else item for item in content]
    else:
        messages = [content]
    return "; ".join(map(str, messages))
