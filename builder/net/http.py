"""Send HTTP requests; the only module that imports ``httpx``.

A caller combines three things: a client (:func:`create_client`), a request (:func:`send` for an answer of bounded size,
:func:`put` for an upload, ``client.stream`` for a download), and :func:`translate_errors` around both, which converts
the errors of httpx to :class:`builder.errors.NetworkError`, or to :class:`builder.errors.UnavailableError` if the
request may succeed later. httpx never follows a redirect by itself; :func:`follow_redirects` checks each one.

URLs may contain a token or a signature, so messages show only the host and the last part of the path. Certificates are
always checked. A proxy of the environment is used, except for this computer itself.
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
import weakref
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
"""Default time without data from the server before a request fails."""
MAX_SECONDS = 120.0
"""Time for a complete answer, and for the headers of a download: httpx limits the time between two bytes only."""
MAX_REDIRECTS = 5
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses with which the same request may succeed a little later."""
_MAX_ERROR_BODY = 1 << 16  # a storage explains an error in a few hundred bytes of XML
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy", "no_proxy")


class AnyResponse(Protocol):
    """What ``follow_redirects`` reads of a response: one of httpx, or a :class:`HttpResponse`."""

    @property
    def status_code(self) -> int: ...  # noqa: D102

    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102


ResponseT = TypeVar("ResponseT", bound=AnyResponse)
_sockets: weakref.WeakKeyDictionary[Client, list[socket.socket]] = weakref.WeakKeyDictionary()
"""The connections of each client, which it may use for several requests."""


class TooLargeError(errors.NetworkError):
    """A response or a file exceeds its size limit."""


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """A response with its body; the names of the headers are in lower case."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def create_client(url: str, *, seconds: float = TIMEOUT_SECONDS) -> Client:
    """Return a client for the host of a URL; it does not follow redirects.

    Args:
        url: Any URL of that host.
        seconds: Time without data from the server before a request fails.

    Raises:
        errors.UsageError: A variable of the environment is set to an invalid certificate file or proxy.
    """
    import httpx  # noqa: PLC0415 - takes a tenth of a second, and most commands do not use the network

    # httpx logs complete URLs, with the signature of a presigned one (https://github.com/encode/httpx/issues/2760), and
    # httpcore logs all headers, with the URL of a redirect.
    logging.getLogger("httpx").disabled = True
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    # A proxy cannot connect to the loopback of this computer, so `trust_env`, which enables it, is off for that.
    try:
        return httpx.Client(timeout=seconds, trust_env=not is_local(url), follow_redirects=False)
    except OSError as error:
        raise _create_settings_error(_CERTIFICATES, "a file with certificates in PEM", url) from error
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise _create_settings_error(_PROXIES, "http://host:port", url) from error


def _create_settings_error(names: Sequence[str], expected: str, url: str) -> errors.UsageError:
    """Return an error that lists the variables that are set, without their values, which may contain a password."""
    variables = ", ".join(name for name in names if os.environ.get(name)) or " or ".join(names[:2])
    return errors.UsageError(
        f"cannot connect to {redact_url(url)}: invalid setting in the environment; fix or unset {variables} "
        f"(expected {expected})"
    )


def put(
    url: str, chunks: Iterator[bytes], *, length: int, deadline: float, seconds: float = TIMEOUT_SECONDS
) -> HttpResponse:
    """Stream a body with PUT, with a Content-Length and no Content-Type; does not follow redirects.

    Args:
        url: The target.
        chunks: The body; an error that it raises ends the request and is raised unchanged.
        length: The number of bytes in ``chunks``.
        deadline: When to close the connection, by ``time.monotonic``, even while data is sent.
        seconds: Time limit for each chunk to be accepted, and for the response to start.

    Returns:
        The response, with the beginning of its body only.
    """
    # Without it, httpx would send the chunks with `Transfer-Encoding: chunked`, which S3 refuses (MissingContentLength,
    # NotImplemented: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
    headers = {"Content-Length": str(length)}
    with (
        create_client(url, seconds=seconds) as http_client,
        close_at(deadline, http_client) as trace,
        http_client.stream("PUT", url, content=chunks, headers=headers, extensions={"trace": trace}) as response,
    ):
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) >= _MAX_ERROR_BODY or time.monotonic() > deadline:
                break
        return _to_response(response, body[:_MAX_ERROR_BODY])


@contextlib.contextmanager
def close_at(deadline: float, client: Client) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """Close the connections of a client at a deadline, by ``time.monotonic``, unless the body ends before.

    httpx only limits the time between two bytes: a server that sends one now and then could keep a request open for
    hours.

    Yields:
        The function for httpcore's ``trace`` extension, through which it reports its connections.
    """
    sockets = _sockets.setdefault(client, [])

    def trace(event: str, info: Mapping[str, Any]) -> None:
        # With TLS, the first socket is replaced by an SSL socket and can no longer be closed.
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            sockets.append(info["return_value"].get_extra_info("socket"))

    def close() -> None:
        for connection in sockets:
            with contextlib.suppress(OSError):
                # Not `SSLSocket.shutdown`: it drops the TLS state first, and the thread that sends the request would
                # continue without encryption.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    # A thread, because the thread of the request is blocked in a system call: shutting down the socket ends that.
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), close)
    timer.daemon = True
    timer.start()
    try:
        yield trace
    finally:
        timer.cancel()
        timer.join()


def send(
    client: Client,
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    max_bytes: int,
    subject: str,
    content: bytes = b"",
    max_seconds: float = MAX_SECONDS,
) -> HttpResponse:
    """Send a request and return the complete response; does not follow redirects.

    After ``max_seconds``, the connection is closed, which raises an error of httpx.

    Raises:
        TooLargeError: The body has more than ``max_bytes`` bytes; the message starts with ``subject``.
    """
    # Streamed, because httpx would otherwise read a body of any size into memory.
    with (
        close_at(time.monotonic() + max_seconds, client) as trace,
        client.stream(method, url, headers=headers, content=content, extensions={"trace": trace}) as response,
    ):
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > max_bytes:
                raise TooLargeError(f"{subject}: the response is larger than {max_bytes:,} bytes; check the address")
        return _to_response(response, body)


def _to_response(response: Response, body: bytearray) -> HttpResponse:
    return HttpResponse(status_code=response.status_code, headers=dict(response.headers), body=bytes(body))


def follow_redirects(
    url: str,
    send: Callable[[str], ResponseT],
    *,
    refuse: Callable[[str, str], str],
    fix: str,
    subject: str = "",
    statuses: Collection[int] = REDIRECT_STATUSES,
) -> ResponseT:
    """Send a request and follow its redirects; return the final response.

    Args:
        url: The first URL.
        send: Sends the request to a URL once.
        refuse: Returns why one URL may not redirect to another, or an empty string if it may.
        fix: What to do next, as the end of a sentence.
        subject: The start of messages; the redacted URL by default.
        statuses: The statuses of redirects.

    Raises:
        errors.NetworkError: A redirect is refused, or there are too many.
    """
    for _ in range(MAX_REDIRECTS + 1):
        response = send(url)
        if response.status_code not in statuses:
            return response
        location = _read_location(url, response.headers)
        if reason := refuse(url, location):
            shown = redact_url(location) if location else "an invalid URL"
            raise errors.NetworkError(
                f"{subject or redact_url(url)}: HTTP {response.status_code}, redirects to {shown}; {reason}; {fix}"
            )
        url = location
    raise errors.NetworkError(f"{subject or redact_url(url)}: redirects more than {MAX_REDIRECTS} times; {fix}")


def _read_location(url: str, headers: Mapping[str, str]) -> str:
    """Return the absolute URL of a redirect; an empty string if it is invalid or missing."""
    with contextlib.suppress(ValueError):
        return urllib.parse.urljoin(url, headers.get("location", ""))
    return ""


def find_redirect_problem(url: str, location: str) -> str:
    """Return why a download from one URL must not be redirected to another, or an empty string.

    A redirect must go to https, or from this computer to this computer.
    """
    # `is_safe` also allows http on this computer, to which a server of somebody else must not redirect.
    is_https = urllib.parse.urlsplit(url).scheme == "https"
    is_allowed = address.is_safe(location) and not (is_https and urllib.parse.urlsplit(location).scheme != "https")
    return "" if is_allowed else "redirects are followed to https only"


@contextlib.contextmanager
def translate_errors(subject: str, *, remedy: str = "run it again", seconds: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """Convert errors of httpx.

    Args:
        subject: The start of messages: what was requested, without secrets.
        remedy: What to do next, as the end of a sentence.
        seconds: The timeout that was used, for messages.

    Raises:
        errors.UnavailableError: There is no complete response. ``sent`` is False if the request certainly did not
            arrive, so that even one that changes something may be repeated.
        errors.NetworkError: A retry cannot help, because of the certificate or the URL.
    """
    import httpx  # noqa: PLC0415

    try:
        yield
    except httpx.ConnectTimeout as error:
        raise errors.UnavailableError(
            f"{subject}: no answer for {seconds:g} s", remedy=f"check the network connection and {remedy}", sent=False
        ) from error
    except httpx.TimeoutException as error:
        raise errors.UnavailableError(
            f"{subject}: no answer for {seconds:g} s", remedy=f"check the network connection and {remedy}", sent=True
        ) from error
    except (httpx.ConnectError, httpx.ProxyError) as error:
        # Safe to show: the system's message contains the host at most, not the rest of the URL.
        detail = str(error)[:150] or "refused"
        if _is_certificate_error(error):
            raise errors.NetworkError(
                f"{subject}: its certificate is not trusted ({detail}), so nothing was sent; if a proxy intercepts the "
                "connection, set SSL_CERT_FILE to a file with the proxy's certificate authority"
            ) from error
        raise errors.UnavailableError(
            f"{subject}: could not connect ({detail})",
            remedy=f"check the network connection, the host's name and the proxy settings, and {remedy}",
            sent=False,
            unresolved=_has_cause(error, socket.gaierror),
        ) from error
    except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
        raise errors.UnavailableError(
            f"{subject}: the response is incomplete or not HTTP", remedy=remedy, sent=True
        ) from error
    except httpx.NetworkError as error:
        raise errors.UnavailableError(
            f"{subject}: the connection was lost ({type(error).__name__})", remedy=remedy, sent=True
        ) from error
    except (httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: an invalid host name (IDNA)
        raise errors.NetworkError(f"{subject}: invalid URL ({type(error).__name__}); check it") from error
    except (httpx.HTTPError, httpx.StreamError, httpx.CookieConflict) as error:
        raise errors.NetworkError(f"{subject}: the request failed ({type(error).__name__}); {remedy}") from error


def _is_certificate_error(error: BaseException) -> bool:
    return _has_cause(error, ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED")


def _has_cause(error: BaseException, kind: type[BaseException], text: str | None = None) -> bool:
    """Return whether an error or one of its causes is of a kind, or contains a text."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, kind) or (text and text in str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def read_retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of a Retry-After header, a number or a date by the server's clock; 0 if there is none."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,6}", text):
        return float(text)
    then, now = parse_date(text), parse_date(headers.get("date", ""))
    return max(0.0, (then - (now or dt.datetime.now(dt.UTC))).total_seconds()) if then else 0.0


def parse_date(text: str) -> dt.datetime | None:
    """Parse the date of a header, in UTC if it has no time zone (``-0000``); return None if it is invalid."""
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=dt.UTC)


def is_local(url: str) -> bool:
    """Return whether a URL is of this computer itself."""
    return address.is_loopback(urllib.parse.urlsplit(url).hostname or "")


def redact_url(url: str) -> str:
    """Return a URL for a message: with the host and the file's name, without user, folders and query."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        host = parts.hostname or ""
    except ValueError:
        return "an invalid URL"
    # Folders may name a bucket or a user; the query may have the signature.
    folder, _, name = parts.path.rpartition("/")
    text = f"{parts.scheme}://{host}{port}{'/...' if folder else ''}/{name}"
    return escape(text)[:200]
