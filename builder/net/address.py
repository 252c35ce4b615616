"""Check URLs: those from which bundles are downloaded, and those to which data is sent."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

from builder.text import describe

_MAX_LENGTH = 4_000


_EXPECTED = "expected an https URL of a NAME.bundle.zip, or the path of one relative to this file"


def check_address(text: str) -> str:
    """Return a URL or path of a bundle unchanged if a bundle can be fetched from it.

    Raises:
        ValueError: It cannot; the message does not contain a part of the text that may be a secret.
    """
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname, parts.port  # reading the port raises ValueError if it is invalid
    except ValueError as error:
        raise ValueError(f"not a valid URL; {_EXPECTED}") from error
    if not text or len(text) > _MAX_LENGTH or not text.isprintable():
        raise ValueError(f"not a valid URL; {_EXPECTED}")
    if parts.scheme in {"", "file"}:
        path_from_address(text)
        return text
    if "\\" in text or " " in text:
        raise ValueError(f"a URL must not contain spaces or backslashes; {_EXPECTED}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "a URL with a user name or password is a secret and must not be in a config; put the bundle where it can "
            "be downloaded without a login, or download it first and set its path"
        )
    if parts.scheme not in {"https", "http"} or not host:
        scheme = describe(parts.scheme[:20])
        raise ValueError(f"unsupported scheme {scheme} or missing host; {_EXPECTED}")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"http is not allowed, because it does not protect the download from changes; {_EXPECTED}")
    return text


def path_from_address(address: str) -> Path | None:
    """Return the path of a local address, relative or absolute; None for an ``http`` or ``https`` URL.

    Raises:
        ValueError: It is a file of another computer, or has no path.
    """
    scheme, _, rest = address.partition(":")
    if scheme.lower() in {"http", "https"}:
        return None
    if scheme.lower() != "file" or not address.lower().startswith("file:"):
        return Path(address)
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        if host.lower() not in {"", "localhost"} or not slash:
            raise ValueError(f"a file: URL must be a file of this computer, file:///folder/name; {_EXPECTED}")
        rest = f"/{rest}"
    path = urllib.parse.unquote(rest)
    if not path or "\0" in path:
        raise ValueError(f"the URL has no path; {_EXPECTED}")
    return Path(path)


def is_safe(url: str) -> bool:
    """Return whether no third party can read or change what is sent to a URL: it is https, or this computer itself."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def get_origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Return scheme, host and port of a URL, which are the same for all URLs of one server; None if it is invalid."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return parts.scheme, parts.hostname, port


def is_loopback(host: str) -> bool:
    """Return whether a host is this computer itself."""
    import ipaddress  # noqa: PLC0415 - most configs contain no URL

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
