"""Presigned URLs of the sandbox's storage: which requests they accept and how they refuse others."""

from __future__ import annotations

import datetime as dt
import hashlib
import http.client
import socket
import urllib.parse
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import server
from tests.sandbox import client

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stored_file_can_be_read_and_its_etag_is_its_md5(sandbox: server.Sandbox, ask: client.Client) -> None:
    content = bytes(range(256)) * 20_000  # more than one chunk, and not a whole number of them
    stored, url = ask.authorise()
    answer = client.send("PUT", url, content)
    assert answer.status == 200
    assert answer.headers["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    assert sandbox.read_pickle(stored) == content
    [record] = sandbox.requests.find_all("PUT")
    assert (record.bytes_read, record.status, record.had_token) == (len(content), 200, False)
    assert "X-Amz" not in record.path


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": "Token a$b"}, 400, "InvalidArgument"),
        ({"content-type": "application/octet-stream"}, 403, "SignatureDoesNotMatch"),
    ],
)
def test_an_unsigned_header_is_refused(
    sandbox: server.Sandbox, ask: client.Client, headers: dict[str, str], status: int, code: str
) -> None:
    stored, url = ask.authorise()
    answer = client.send("PUT", url, b"x" * 3_000_000, headers)
    assert answer.status == status
    assert f"<Code>{code}</Code>".encode() in answer.body
    assert not sandbox.storage.get_path(f"pickles/{stored}").exists()


def test_a_url_is_valid_for_one_key_and_method_until_it_expires(sandbox: server.Sandbox, ask: client.Client) -> None:
    stored, url = ask.authorise()
    other = ask.authorise()[0]
    assert b"SignatureDoesNotMatch" in client.send("PUT", url.replace(stored, other), b"x").body
    assert b"SignatureDoesNotMatch" in client.send("GET", url).body
    assert b"SignatureDoesNotMatch" in client.send("PUT", url.partition("?")[0], b"x").body
    sandbox.state.clock_offset = dt.timedelta(minutes=11)
    expired = client.send("PUT", url, b"x")
    assert expired.status == 403
    assert b"<Code>AccessDenied</Code><Message>Request has expired</Message>" in expired.body
    later = urllib.parse.urlsplit(url).query.partition("X-Amz-Expires=")[2].partition("&")[0]
    assert b"SignatureDoesNotMatch" in client.send("PUT", url.replace(later, str(int(later) + 3600)), b"x").body
    sandbox.state.clock_offset, sandbox.state.signing_offset = dt.timedelta(), dt.timedelta(minutes=-15)
    assert b"Request has expired" in client.send("PUT", ask.authorise()[1], b"x").body


def test_a_body_without_its_length_is_refused(sandbox: server.Sandbox, ask: client.Client) -> None:
    parts = urllib.parse.urlsplit(ask.authorise()[1])
    target = f"{parts.path}?{parts.query}"
    for headers, status in (({"Transfer-Encoding": "chunked"}, 501), ({}, 411), ({"Content-Length": "-1"}, 411)):
        connection = http.client.HTTPConnection(sandbox.address, timeout=client.SECONDS)
        connection.putrequest("PUT", target)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_a_body_that_ends_early_is_not_stored(sandbox: server.Sandbox, ask: client.Client) -> None:
    stored, url = ask.authorise()
    parts = urllib.parse.urlsplit(url)
    with socket.create_connection(("127.0.0.1", parts.port or 0), timeout=client.SECONDS) as plain:
        plain.sendall(f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf".encode())
        plain.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: plain.recv(4096), b""))
    assert b"IncompleteBody" in answer
    assert not sandbox.storage.get_path(f"pickles/{stored}").exists()


def test_connections_are_kept_alive(sandbox: server.Sandbox, ask: client.Client) -> None:
    connection = http.client.HTTPConnection(sandbox.address, timeout=client.SECONDS)
    addresses = set()
    for _ in range(3):
        parts = urllib.parse.urlsplit(ask.authorise()[1])
        connection.request("PUT", f"{parts.path}?{parts.query}", b"x")
        assert connection.getresponse().read() == b""
        assert connection.sock is not None
        addresses.add(connection.sock.getsockname())
    connection.close()
    assert len(addresses) == 1


def test_stored_files_are_removed_with_the_sandbox(tmp_path: Path) -> None:
    with server.start() as sandbox:
        record = client.Client(sandbox).upload()
        path = sandbox.storage.get_path(f"pickles/{record['filename']}")
        assert path.exists()
    assert not path.exists()
