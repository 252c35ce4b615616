"""Test Retry-After headers, redacted URLs and allowed redirects."""

from __future__ import annotations

import pytest

from builder.net import http

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
