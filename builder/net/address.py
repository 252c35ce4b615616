"""Addresses that bundles are fetched from."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

from builder.text import describe

_LONGEST_ADDRESS = 4_000


_EXPECTED = "expected an https address of a NAME.bundle.zip, or the path of one relative to this file"


def check_address(text: str) -> str:
    """Return where a bundle is fetched from, as written, once it can be.

    Raises:
        ValueError: It is no address that this tool fetches from; what could be a secret in it is not shown.
    """
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"this is not an address; {_EXPECTED}") from error
    if not text or len(text) > _LONGEST_ADDRESS or not text.isprintable():
        raise ValueError(f"this is not an address; {_EXPECTED}")
    if parts.scheme in {"", "file"}:
        path_from_address(text)
        return text
    if "\\" in text or " " in text:
        raise ValueError(f"an address has no spaces and no backslashes; {_EXPECTED}")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "an address with a user or a password in it is a secret, which does not belong in a config; put the bundle "
            "where it can be fetched without, or fetch it beforehand and name the file"
        )
    if parts.scheme not in {"https", "http"} or not host:
        scheme = describe(parts.scheme[:20])
        raise ValueError(f"nothing is fetched by {scheme}; {_EXPECTED}")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"http is not safe from changes on the way; {_EXPECTED}")
    return text


def path_from_address(address: str) -> Path | None:
    """Return the path that an address names, relative or absolute; None for one of the network.

    Raises:
        ValueError: It is a file of another computer, or names none.
    """
    scheme, _, rest = address.partition(":")
    if scheme.lower() in {"http", "https"}:
        return None
    if scheme.lower() != "file" or not address.lower().startswith("file:"):
        return Path(address)
    if rest.startswith("//"):
        host, slash, rest = rest[2:].partition("/")
        if host.lower() not in {"", "localhost"} or not slash:
            raise ValueError(f"a file: address names a file of this computer, file:///folder/name; {_EXPECTED}")
        rest = f"/{rest}"
    path = urllib.parse.unquote(rest)
    if not path or "\0" in path:
        raise ValueError(f"this names no file; {_EXPECTED}")
    return Path(path)


def is_safe(url: str) -> bool:
    """Tell whether nobody on the way can read or change what goes there: https, or this computer itself."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def get_origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Return what two addresses of one server have in common; None for what is no address."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return parts.scheme, parts.hostname, port


def is_loopback(host: str) -> bool:
    """Tell whether a host is this computer itself."""
    import ipaddress  # noqa: PLC0415 - most configs have no address

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
