"""The loopback registry of ``builder.sandbox``, with the stand-in image that the tests publish in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import progress
from builder.image import stand_in
from builder.sandbox import registry
from builder.sandbox.registry import push, start

if TYPE_CHECKING:
    from builder.engine import protocol

__all__ = ["publish", "push", "start"]


def publish(engine: protocol.Engine, reference: str, *, release: int) -> str:
    """Push the 3.11 stand-in image as if it were the runner, without its labels; return its reference by digest."""
    image = stand_in.find_or_build(engine, "3.11", progress.Silent())
    return registry.publish(image.tag, reference, release=str(release))
