"""Publish a stand-in image in the registry of ``builder.sandbox``."""

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
    """Push the stand-in image of Python 3.11 as if it were the runner image; return the reference by digest.

    ``release`` is added as a label, so that two releases have different digests.
    """
    image = stand_in.find_or_build(engine, "3.11", progress.Silent())
    return registry.publish(image.tag, reference, release=str(release))
