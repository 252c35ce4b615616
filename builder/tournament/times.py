"""Format times of the API for people: in UTC, and relative to now."""

from __future__ import annotations

import datetime as dt

from builder import tournament

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def format_relative(text: str, now: dt.datetime) -> str:
    """Format a time relative to ``now``: ``3 hours ago``, ``in 2 days``; return text that is not a time unchanged."""
    time = tournament.read_time(text)
    if time is None:
        return text
    seconds = (time - now).total_seconds()
    for unit, size in _UNITS:
        count = int(abs(seconds) // size)
        if count:
            amount = f"{count} {unit}{'s' if count > 1 else ''}"
            return f"in {amount}" if seconds > 0 else f"{amount} ago"
    return "in less than a minute" if seconds > 0 else "just now"


def format_utc(text: str) -> str:
    """Format a time as ``2026-03-10 12:00 UTC``; return text that is not a time unchanged."""
    time = tournament.read_time(text)
    return time.strftime("%Y-%m-%d %H:%M UTC") if time else text


def format_time(text: str, now: dt.datetime) -> str:
    """Format a time in UTC and relative to ``now``; return text that is not a time unchanged."""
    if tournament.read_time(text) is None:
        return text
    return f"{format_utc(text)} ({format_relative(text, now)})"


def describe_round(current: tournament.Round | None, now: dt.datetime) -> str:
    """Describe whether a round is open, until when, or when the next one opens."""
    if current is None:
        return "no round is open, and the API lists no next one"
    if current.is_open(now):
        return f"round {current.number} is open until {format_time(current.close_time, now)}"
    opens = tournament.read_time(current.open_time)
    if opens is not None and opens > now:
        closes = format_utc(current.close_time)
        return f"no round is open; round {current.number} opens {format_time(current.open_time, now)}, until {closes}"
    return f"no round is open; round {current.number} closed {format_time(current.close_time, now)}"
