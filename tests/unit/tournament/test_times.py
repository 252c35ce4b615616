"""Formatting of times."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.tournament import times

NOW = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-10T12:00:00Z", "just now"),
        ("2026-03-10T11:59:01Z", "just now"),
        ("2026-03-10T11:59:00Z", "1 minute ago"),
        ("2026-03-10T09:00:00+00:00", "3 hours ago"),
        ("2026-03-10T13:30:00+02:00", "30 minutes ago"),
        ("2026-03-08T11:00:00", "2 days ago"),
        ("2026-03-10T12:00:30Z", "in less than a minute"),
        ("2026-03-11T12:00:00Z", "in 1 day"),
        ("soon", "soon"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
        ("", ""),
    ],
)
def test_relative_time(text: str, expected: str) -> None:
    assert times.format_relative(text, NOW) == expected


def test_times_are_shown_in_utc() -> None:
    assert times.format_utc("2026-03-10T13:30:00+02:00") == "2026-03-10 11:30 UTC"
    assert times.format_time("2026-03-10T11:00:00Z", NOW) == "2026-03-10 11:00 UTC (1 hour ago)"
    assert times.format_time("", NOW) == ""


@given(st.text(max_size=30) | st.datetimes().map(dt.datetime.isoformat))
def test_any_text_is_formatted(text: str) -> None:
    assert isinstance(times.format_time(text, NOW), str)
