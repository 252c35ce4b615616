"""The door to the network: the one file that imports ``httpx``.

Whatever it raises leaves as :class:`builder.errors.NetworkError`; where nobody can know whether a request was carried
out, as :class:`builder.errors.UnavailableError`. Addresses may hold a token or a signature: a message shows the host and
the last part of the path, never a query. Certificates are always checked, and a proxy of the environment is used for
everything but this computer itself.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import logging
import os
import re
import socket
import ssl
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from builder import errors
from builder.net import address
from builder.text import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import httpx

    Client: TypeAlias = httpx.Client
    Response: TypeAlias = httpx.Response

TIMEOUT_SECONDS = 30.0
"""How long the other side may be silent."""
MAX_REDIRECTS = 5
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of a server that may answer the same request well a little later."""
_MOST_SAID = 1 << 16
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy", "no_proxy")


class Answer(Protocol):
    """What every response says before its body is read."""

    @property
    def status_code(self) -> int: ...  # noqa: D102

    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102


A = TypeVar("A", bound=Answer)


class TooLargeError(errors.NetworkError):
    """An answer or a file has more bytes than are taken."""


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """What came back; the names of the headers in lower case."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def create_client(url: str, *, seconds: float = TIMEOUT_SECONDS) -> Client:
    """Return a client for the host of an address; redirects are the caller's business.

    Args:
        url: Any address of that host.
        seconds: How long the other side may be silent.

    Raises:
        errors.UsageError: The environment names a certificate file or a proxy that cannot be used.
    """
    import httpx  # noqa: PLC0415 - a tenth of a second, and only where the network is used

    # It logs whole addresses, a presigned one's signature with it, into whatever log a program keeps.
    logging.getLogger("httpx").disabled = True
    logging.getLogger("httpcore").setLevel(logging.WARNING)  # and this one every header: where a redirect goes to
    # A proxy of the environment has no way to this computer itself.
    try:
        return httpx.Client(timeout=seconds, trust_env=not is_local(url), follow_redirects=False)
    except OSError as error:
        raise _unusable(_CERTIFICATES, "a file with certificates in PEM", url) from error
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise _unusable(_PROXIES, "http://host:port", url) from error


def _unusable(names: Sequence[str], usable: str, url: str) -> errors.UsageError:
    """Say which settings of the environment keep a host from being talked to; their values may hold a password."""
    named = ", ".join(name for name in names if os.environ.get(name)) or " or ".join(names[:2])
    return errors.UsageError(
        f"{redact_url(url)}: cannot be reached with the settings of this environment: fix or unset {named} (expected "
        f"{usable})"
    )


def put(
    url: str, chunks: Iterator[bytes], *, length: int, deadline: float, seconds: float = TIMEOUT_SECONDS
) -> HttpResponse:
    """Send a body as it comes, with its length and without any Content-Type; redirects are the caller's business.

    Args:
        url: Where to.
        chunks: The body; what it raises comes out as it is, and the body is cut short.
        length: Its bytes.
        deadline: When the connection is cut, by ``time.monotonic``, whatever comes over it.
        seconds: How long the other side may take none of it, and how long it may be silent afterwards.

    Returns:
        The answer, with no more than the beginning of its body.
    """
    headers = {"Content-Length": str(length)}
    with (
        create_client(url, seconds=seconds) as http,
        _cut_at(deadline) as trace,
        http.stream("PUT", url, content=chunks, headers=headers, extensions={"trace": trace}) as answer,
    ):
        body = bytearray()
        for piece in answer.iter_raw():
            body += piece
            if len(body) >= _MOST_SAID or time.monotonic() > deadline:
                break
        return _response(answer, body[:_MOST_SAID])


def send(
    client: Client,
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    max_bytes: int,
    subject: str,
    content: bytes = b"",
) -> HttpResponse:
    """Send a request and return the whole answer; redirects are the caller's business.

    Raises:
        TooLargeError: It has more than ``most`` bytes; ``at`` is what was asked for.
    """
    with client.stream(method, url, headers=headers, content=content) as answer:
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > max_bytes:
                raise TooLargeError(f"{subject}: the answer goes on after {max_bytes:,} bytes; look at it")
        return _response(answer, body)


def _response(answer: Response, body: bytearray) -> HttpResponse:
    return HttpResponse(status_code=answer.status_code, headers=dict(answer.headers), body=bytes(body))


def follow_redirects(
    url: str,
    send: Callable[[str], A],
    *,
    refuse: Callable[[str, str], str],
    fix: str,
    subject: str = "",
    statuses: Collection[int] = REDIRECT_STATUSES,
) -> A:
    """Send a request to where it goes after redirects.

    Args:
        url: Where to at first.
        send: Sends it to an address once.
        refuse: Says why an answer from one address may not redirect to another; nothing where it may.
        fix: What to do next, as the end of a sentence.
        subject: What is asked for, as a message may show it; the address by default.
        statuses: Of redirects.

    Raises:
        errors.NetworkError: It is redirected to where it may not go, or too often.
    """
    for _ in range(MAX_REDIRECTS + 1):
        answer = send(url)
        if answer.status_code not in statuses:
            return answer
        there = _location(url, answer.headers)
        if reason := refuse(url, there):
            where = redact_url(there) if there else "no address"
            raise errors.NetworkError(
                f"{subject or redact_url(url)}: HTTP {answer.status_code}, redirects to {where}; {reason}; {fix}"
            )
        url = there
    raise errors.NetworkError(f"{subject or redact_url(url)}: redirects more than {MAX_REDIRECTS} times; {fix}")


def find_redirect_problem(url: str, there: str) -> str:
    """Say why what is fetched from one address may not be fetched from another; nothing where it may.

    Never from https to anything else, and to this computer itself only from there.
    """
    is_https = urllib.parse.urlsplit(url).scheme == "https"
    may = address.is_safe(there) and not (is_https and urllib.parse.urlsplit(there).scheme != "https")
    return "" if may else "only https is followed"


@contextlib.contextmanager
def _cut_at(deadline: float) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """Cut a request's connection at a time: a limit on silence alone is none for who sends a byte now and then.

    Yields:
        What httpcore tells of its connections: its ``trace`` extension.
    """
    sockets: list[socket.socket] = []

    def trace(event: str, info: Mapping[str, Any]) -> None:
        # Over TLS it has another socket from then on, and the first one is good for nothing.
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            sockets.append(info["return_value"].get_extra_info("socket"))

    def cut() -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                # Not an SSL socket's own, which would have the other thread go on in the clear.
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield trace
    finally:
        timer.cancel()
        timer.join()


def read_retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to wait, by a number or a date of its own clock; 0 if it does not ask."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,6}", text):
        return float(text)
    then, now = parse_date(text), parse_date(headers.get("date", ""))
    return max(0.0, (then - (now or dt.datetime.now(dt.UTC))).total_seconds()) if then else 0.0


def parse_date(text: str) -> dt.datetime | None:
    """Return the time that a header holds, UTC if it names no zone (``-0000``); None if it is not a time."""
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=dt.UTC)


def _location(url: str, headers: Mapping[str, str]) -> str:
    """Return where an answer redirects to, as a whole address; nothing if it names none that parses."""
    with contextlib.suppress(ValueError):
        return urllib.parse.urljoin(url, headers.get("location", ""))
    return ""


def is_local(url: str) -> bool:
    """Tell whether an address is of this computer itself."""
    return address.is_loopback(urllib.parse.urlsplit(url).hostname or "")


def redact_url(url: str) -> str:
    """Return an address as a message may show it: the host and the file's name, no user, folder or query."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = parts.hostname or ""
    except ValueError:
        return "an address that does not parse"
    folder, _, name = parts.path.rpartition("/")
    text = f"{parts.scheme}://{host}{port}{'/...' if folder else ''}/{name}"
    return escape(text)[:200]


@contextlib.contextmanager
def translate_errors(subject: str, *, remedy: str = "run it again", seconds: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """Turn what goes wrong on the network into an error of ours.

    Args:
        subject: What is talked to, as a message may show it.
        remedy: What to do next, as the end of a sentence.
        seconds: How long the other side was waited for.

    Raises:
        errors.UnavailableError: No answer, or half of one; ``sent`` says whether the request may have arrived.
        errors.NetworkError: It cannot work, however often it is tried: a certificate, an address.
    """
    import httpx  # noqa: PLC0415

    try:
        yield
    except httpx.ConnectTimeout as error:
        raise errors.UnavailableError(
            f"{subject}: no answer for {seconds:g} s", remedy=f"look at the connection and {remedy}", sent=False
        ) from error
    except httpx.TimeoutException as error:
        raise errors.UnavailableError(
            f"{subject}: no answer for {seconds:g} s", remedy=f"look at the connection and {remedy}", sent=True
        ) from error
    except (httpx.ConnectError, httpx.ProxyError) as error:
        # What the system says of a connection holds no more of the address than the host.
        said = str(error)[:150] or "refused"
        if _is_certificate(error):
            raise errors.NetworkError(
                f"{subject}: its certificate is not trusted ({said}); nothing is sent to a host that cannot be told from "
                "another: if a proxy stands between, name its authority in SSL_CERT_FILE"
            ) from error
        raise errors.UnavailableError(
            f"{subject}: no connection ({said})",
            remedy=f"look at the connection, the host's name and any proxy, and {remedy}",
            sent=False,
            unresolved=_has_cause(error, socket.gaierror),
        ) from error
    except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
        raise errors.UnavailableError(
            f"{subject}: the answer was cut short or is no HTTP", remedy=remedy, sent=True
        ) from error
    except httpx.NetworkError as error:
        raise errors.UnavailableError(
            f"{subject}: the connection was cut ({type(error).__name__})", remedy=remedy, sent=True
        ) from error
    except (httpx.InvalidURL, UnicodeError) as error:  # the second where the host's name cannot be encoded (IDNA)
        raise errors.NetworkError(f"{subject}: not a valid address ({type(error).__name__}); check it") from error
    except (httpx.HTTPError, httpx.StreamError, httpx.CookieConflict) as error:
        raise errors.NetworkError(f"{subject}: cannot be reached ({type(error).__name__}); {remedy}") from error


def _is_certificate(error: BaseException) -> bool:
    return _has_cause(error, ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED")


def _has_cause(error: BaseException, kind: type[BaseException], words: str | None = None) -> bool:
    """Tell whether an error, or what led to it, is of a kind or has these words."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, kind) or (words and words in str(found)):
            return True
        found = found.__cause__ or found.__context__
    return False
