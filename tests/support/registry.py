"""The loopback registry of ``builder.sandbox``, with the look-alike that the tool's own tests publish in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import progress
from builder.image import stand_in
from builder.sandbox import registry
from builder.sandbox.registry import push, start

if TYPE_CHECKING:
    from builder.engine import protocol as engine

__all__ = ["publish", "push", "start"]


def publish(on: engine.Engine, reference: str, *, release: int) -> str:
    """Push the 3.11 look-alike as if it were the runner: its labels emptied. Returns its reference by digest."""
    look_alike = stand_in.find_or_build(on, "3.11", progress.Silent())
    return registry.publish(look_alike.tag, reference, release=str(release))
