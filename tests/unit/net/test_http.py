"""How long a server asks to wait."""

from __future__ import annotations

import pytest

from builder.net import http

_DATE = "Tue, 10 Mar 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        ("Tue, 10 Mar 2026 12:00:30 GMT", 30.0),
        ("Tue, 10 Mar 2026 12:00:30 -0000", 30.0),
        ("Tue, 10 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("", 0.0),
    ],
)
def test_a_date_is_one_of_the_servers_own_clock(asked: str, seconds: float) -> None:
    assert http.retry_after({"retry-after": asked, "date": _DATE}) == seconds


def test_without_the_servers_time_a_date_that_has_passed_asks_for_no_wait() -> None:
    assert http.retry_after({"retry-after": _DATE}) == 0.0
