"""The tournament's GraphQL API: one question, one answer, and the errors between.

Queries are asked again a few times when no answer comes; what changes something is sent once, and the error says
whether it may have been done (:class:`builder.errors.UnavailableError`). Failures come in two shapes, a list of
``errors`` and an object with a ``detail``; both are read. What the API answers to is in ``builder.tournament``.
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

from builder import errors
from builder.net import http, retry
from builder.text import escape
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.progress import Progress

_SCOPE_WORDS = r"(required|insufficient|missing|lacks?|not have) ([^.;]{0,60} )?(scope|permission)s?\b"
_UNKNOWN = re.compile(r"(?i)unauthenticated|not authenticated|must be authenticated|invalid (api )?(token|key)")
"""Of a token that nobody knows there, or of none."""
_TOKEN_WORDS = re.compile(rf"(?i)unauthori[sz]ed|not authori[sz]ed|{_UNKNOWN.pattern[4:]}|{_SCOPE_WORDS}")
"""Of a token that is refused; the words ``scope`` and ``permission`` alone are said of much else."""
_LONGEST = 400
"""Characters of the server's words that are shown."""
_MOST_BYTES = 1 << 26
"""Of an answer; real ones have some hundred kilobytes, a log perhaps more."""
_LOOK_FIRST = (
    "it may have been done all the same: look first (`python -m builder status`, `pickles`), before it is done again"
)


class _UnreadableError(errors.ApiError):
    """An answer that is no GraphQL: what became of a change that was sent, it does not say."""


@dataclass(frozen=True, kw_only=True)
class ApiPolicy(retry.RetryPolicy):
    """How often a query is asked.

    Attributes:
        silent: Seconds in which the server may be silent.
    """

    attempts: int = 5
    first: float = 0.5
    longest: float = 60.0
    silent: float = http.TIMEOUT_SECONDS


class ApiClient:
    """Talks to the API; one connection is kept open for all of a command's questions.

    Args:
        url: Where queries are posted to.
        token: Sent with every one of them, and to no other host; None asks without.
        progress: Told when something is asked again.
        policy: How often and how long.
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
        """Seconds by which this computer's clock is ahead of the server's, once it has answered."""
        self._answered: tuple[dt.datetime, float] | None = None
        """The server's time of its last answer, and when that came by a clock that nobody sets."""
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
        """The API's address, as a message may show it."""
        return http.redact_url(self._url).rstrip("/")

    def now(self) -> dt.datetime:
        """Return the time by the server's clock; by this computer's only if no answer named one yet."""
        if self._answered is None:
            return dt.datetime.now(dt.UTC)
        at, came = self._answered
        return at + dt.timedelta(seconds=time.monotonic() - came)

    @contextlib.contextmanager
    def shorten_timeouts(self, seconds: float) -> Iterator[None]:
        """Ask once only and wait no longer than so many seconds for each answer: a person wants this to end."""
        before = self._policy
        self.close()  # its connection waits longer, and an interrupted one may be in the middle of an answer
        self._policy = dataclasses.replace(before, attempts=1, silent=seconds)
        try:
            yield
        finally:
            self.close()
            self._policy = before

    def query(self, text: str, variables: Mapping[str, Any] | None = None, *, what: str) -> dict[str, Any]:
        """Ask; again where no answer comes.

        Args:
            text: A GraphQL query.
            variables: Of it.
            what: What is asked for, for messages: ``the account's slots``.

        Returns:
            The answer's ``data``.

        Raises:
            errors.TokenError: The token is not known there, or lacks a scope.
            errors.ApiError: The server says no, in its words.
            errors.NetworkError: No answer after all attempts, or one that is no GraphQL.
        """

        def tell(pause: float, _: object) -> None:
            self._progress.step(f"asking {self.display_url} again for {what} in {pause:.0f} s")

        try:
            return retry.retry(lambda: self._send(text, variables, what), self._policy, on_retry=tell)
        except errors.UnavailableError as error:
            raise self._told(error, f"{error.what} ({error.attempt} times)", error.remedy) from error

    def mutate(self, text: str, variables: Mapping[str, Any] | None = None, *, what: str) -> dict[str, Any]:
        """Send a change, once.

        Returns:
            The answer's ``data``.

        Raises:
            errors.UnavailableError: Nobody can say whether it was done, unless its ``sent`` is False: look before
                sending it again, and not before its ``after``.
            errors.TokenError: The token is not known there, or lacks a scope.
            errors.ApiError: The server says no, in its words.
        """
        try:
            return self._send(text, variables, what)
        except errors.UnavailableError as error:
            remedy = _LOOK_FIRST if error.sent else f"nothing was done: {error.remedy}"
            raise self._told(error, error.what, remedy) from error
        except (_UnreadableError, http.TooLargeError) as error:
            raise errors.UnavailableError(str(error), remedy=_LOOK_FIRST, sent=True) from error

    def _told(self, error: errors.UnavailableError, what: str, remedy: str) -> errors.UnavailableError:
        after = min(error.after, self._policy.longest)
        return errors.UnavailableError(what, remedy=remedy, sent=error.sent, after=after, unresolved=error.unresolved)

    def _send(self, text: str, variables: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
        at = f"{self.display_url}: {what}"
        if self._http is None:
            self._http = http.create_client(self._url, seconds=self._policy.silent)
        content = _encoded(text, variables or {}, what)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = self.token.header
        with http.translate_errors(at, seconds=self._policy.silent):
            answer = http.send(
                self._http, "POST", self._url, headers, content=content, max_bytes=_MOST_BYTES, subject=at
            )
        self._note_clock(http.parse_date(answer.headers.get("date", "")))
        return self._read(answer, at)

    def _read(self, answer: http.HttpResponse, at: str) -> dict[str, Any]:
        status = answer.status_code
        try:
            body = json.loads(answer.body)
        except (ValueError, RecursionError):
            body = None
        # A secret that is cut in two is none that could be found: it is hidden first.
        said = settings.hide_secrets(_words(body))[:_LONGEST]
        if status == 429:
            # Nothing was done: it was not even looked at.
            after = http.read_retry_after(answer.headers)
            again = f"run it again {f'in {after:.0f} s' if after else 'later'}"
            raise errors.UnavailableError(f"{at}: HTTP 429, asked too often", remedy=again, after=after, sent=False)
        if status >= 500:
            words = f" (it says: {said})" if said else ""
            raise errors.UnavailableError(
                f"{at}: HTTP {status}, the server failed{words}",
                remedy="run it again later",
                after=http.read_retry_after(answer.headers),
                sent=True,
            )
        if status == 401 or (said and (status == 403 or _TOKEN_WORDS.search(said))):
            raise errors.TokenError(self._token_text(at, said))
        if said:
            raise errors.ApiError(f"{at}: the API says: {said}")
        if status != 200:
            raise errors.ApiError(f"{at}: HTTP {status}; look at the address ({settings.API})")
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, dict):
            came = "no JSON" if body is None else f"no data, but {settings.hide_secrets(json.dumps(body))[:100]}"
            raise _UnreadableError(f"{at}: the answer has {came}; look at the address ({settings.API})")
        return data

    def _token_text(self, at: str, said: str) -> str:
        words = f" (it says: {said})" if said else ""
        if self.token is None:
            return f"{at}: takes a token, and none is set{words}; {settings.CREDENTIALS_HINT}"
        # One that nobody knows may do nothing, and whoever asks what it may do is told just this again.
        shows = "" if _UNKNOWN.search(said) else "`python -m builder credentials` shows what it may do; "
        return (
            f"{at}: the token {self.token.public_id} ({self.token.source}) is refused{words}; {shows}"
            f"{settings.CREDENTIALS_HINT}"
        )

    def _note_clock(self, theirs: dt.datetime | None) -> None:
        if theirs is not None:
            self.clock_ahead = (dt.datetime.now(dt.UTC) - theirs).total_seconds()
            # The header has whole seconds: one that is a part of a second behind says nothing new.
            if self._answered is None or not -1.0 <= (theirs - self.now()).total_seconds() <= 0.0:
                self._answered = theirs, time.monotonic()


def _encoded(text: str, variables: Mapping[str, Any], what: str) -> bytes:
    """Return a question as the bytes to send."""
    try:
        return json.dumps({"query": text, "variables": variables}, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise errors.UsageError(
            f"{what}: {escape(error.object[error.start : error.end])} in it is no character; write it in UTF-8"
        ) from error
    except ValueError as error:
        raise errors.UsageError(f"{what}: has a number that JSON does not have ({error})") from error


def _words(body: object) -> str:
    """Return what the server says is wrong, from either shape; nothing where all is well."""
    found = body.get("errors") if isinstance(body, dict) else None
    if not found:
        return ""
    if isinstance(found, dict):
        said = [found.get("detail") or json.dumps(found)]
    elif isinstance(found, list):
        said = [one.get("message") or json.dumps(one) if isinstance(one, dict) else one for one in found]
    else:
        said = [found]
    return "; ".join(map(str, said))
