"""Describe how much of its limits a run used.

A run above a limit has already failed by what the engine reports (:func:`builder.validate.run.judge_entry`). A run that
came close to one gets a note: the tournament's machine may be slower, and its live data may have more rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import filesize

from builder.validate import known_causes

if TYPE_CHECKING:
    from builder.config import model as config
    from builder.validate.container_run import Usage

_WARN_ABOVE = 0.7


@dataclass(frozen=True, kw_only=True)
class Headroom:
    """The parts of its limits that a run used, from 0 to 1 or more; None if it was not reported.

    Attributes:
        seconds: Of the time limit, as the engine reports it.
        memory: Of the memory limit, by what the engine saw, or by what is reported from inside if that is more.
        cpu: Of the CPU that it could use in its seconds.
    """

    seconds: float
    memory: float | None
    cpu: float | None


def compute_headroom(usage: Usage, limits: config.LimitsConfig) -> Headroom:
    """Return the used part of each limit."""
    available = usage.seconds * limits.cpus
    return Headroom(
        seconds=usage.seconds / limits.seconds,
        memory=None if usage.memory is None else usage.memory / limits.memory,
        cpu=None if usage.cpu_seconds is None or not available else usage.cpu_seconds / available,
    )


def describe_usage(usage: Usage, limits: config.LimitsConfig) -> str:
    """Return what a run used, in figures and as parts of its limits."""
    headroom = compute_headroom(usage, limits)
    texts = [f"{usage.seconds:.2f} s ({headroom.seconds:.1%} of {limits.seconds:g} s)"]
    inside: list[str] = []
    if usage.memory is not None:
        part = f"{headroom.memory:.1%} of {filesize.decimal(limits.memory)}"
        known = texts if usage.memory == usage.seen_bytes else inside
        known.append(f"{filesize.decimal(usage.memory)} of memory ({part})")
    if usage.cpu_seconds is not None:
        part = "" if headroom.cpu is None else f" ({headroom.cpu:.0%} of {limits.cpus:g} CPU)"
        inside.append(f"{usage.cpu_seconds:.2f} s of CPU{part}")
    return "; reported from inside: ".join(", ".join(items) for items in (texts, inside) if items)


def find_notes(usage: Usage, limits: config.LimitsConfig) -> list[str]:
    """Return a note for each limit of which a run used more than 70 %."""
    headroom = compute_headroom(usage, limits)
    notes = []
    if headroom.seconds > _WARN_ABOVE:
        text = f"{usage.seconds:.0f} s are {headroom.seconds:.0%} of the limit of {limits.seconds:g} s"
        notes.append(f"{text}; the tournament's machine may be slower: {known_causes.FASTER}")
    if headroom.memory is not None and headroom.memory > _WARN_ABOVE:
        peak, limit = (filesize.decimal(size) for size in (usage.memory or 0, limits.memory))
        source = "seen by the engine" if usage.memory == usage.seen_bytes else "as reported from inside"
        text = f"{peak} of memory, {source}, are {headroom.memory:.0%} of the limit of {limit}"
        notes.append(f"{text}; live data may have more rows: {known_causes.SMALLER}")
    return notes
