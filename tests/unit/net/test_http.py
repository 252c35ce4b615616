"""Test Retry-After headers, redacted URLs, allowed redirects and the deadline of an answer."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler

import pytest
import pytest_socket

from builder import errors
from builder.net import http
from tests.support import http_server

_DATE = "Tue, 10 Mar 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("Tue, 10 Mar 2026 12:00:30 GMT", 30.0),
        ("Tue, 10 Mar 2026 12:00:30 -0000", 30.0),
        ("Tue, 10 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", 0.0),
        ("", 0.0),
    ],
)
def test_a_retry_date_is_relative_to_the_servers_clock(value: str, seconds: float) -> None:
    assert http.read_retry_after({"retry-after": value, "date": _DATE}) == seconds


@pytest.mark.parametrize("date", ["", "soon", "Wed, 21 Oct 2015 07:28:00 +99999999999999999999"])
def test_a_past_retry_date_means_no_wait(date: str) -> None:
    assert http.read_retry_after({"retry-after": _DATE, "date": date}) == 0.0


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\na: ", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"])
def test_a_server_that_drips_its_answer_is_left_at_the_deadline(start: bytes) -> None:
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/good":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
                return
            with contextlib.suppress(OSError):
                self.wfile.write(start)
                while not is_over.wait(0.02):
                    self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    pytest_socket.enable_socket()
    with http_server.serve(Handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with http.create_client(url) as client:
            good = http.send(client, "GET", f"{url}/good", {}, max_bytes=400, subject="x")
            assert good.body == b"good"
            try:  # on the same connection
                with pytest.raises(errors.UnavailableError) as raised, http.translate_errors("x"):
                    http.send(client, "GET", f"{url}/slow", {}, max_bytes=400, subject="x", max_seconds=0.5)
            finally:
                is_over.set()
    assert raised.value.sent


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        (
            "https://user:sesame@example.org:8443/a/b/mine.bundle.zip?token=x#y",
            "https://example.org:8443/.../mine.bundle.zip",
        ),
        ("https://example.org/mine.bundle.zip", "https://example.org/mine.bundle.zip"),
        ("https://example.org", "https://example.org/"),
        ("https://[", "an invalid URL"),
        ("https://example.org:port/x", "an invalid URL"),
    ],
)
def test_a_url_is_redacted(url: str, redacted: str) -> None:
    assert http.redact_url(url) == redacted


@pytest.mark.parametrize(
    ("url", "location", "is_allowed"),
    [
        ("https://example.org/x", "https://elsewhere.example/y", True),
        ("http://127.0.0.1/x", "https://example.org/y", True),
        ("http://127.0.0.1/x", "http://localhost:8080/y", True),
        ("https://example.org/x", "http://127.0.0.1/y", False),
        ("HTTPS://example.org/x", "http://127.0.0.1/y", False),
        ("http://127.0.0.1/x", "http://example.org/y", False),
        ("https://example.org/x", "https://user@example.org/y", False),
        ("https://example.org/x", "https://example.org/a b", False),
        ("https://example.org/x", "https://[bad/", False),
        ("https://example.org/x", "https:///y", False),
        ("https://example.org/x", "", False),
    ],
)
def test_downloads_are_redirected_to_https_only(url: str, location: str, *, is_allowed: bool) -> None:
    assert (http.find_redirect_problem(url, location) == "") is is_allowed
