"""Publish a stand-in image in the registry of ``builder.sandbox``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.sandbox import registry
from builder.sandbox.registry import push, start
from tests.support import stand_ins

if TYPE_CHECKING:
    from builder.engine import protocol

__all__ = ["publish", "push", "start"]


def publish(engine: protocol.Engine, reference: str, *, release: int) -> str:
    """Push the default stand-in image as if it were the runner image; return the reference by digest.

    ``release`` is added as a label, so that two releases have different digests.
    """
    return registry.publish(stand_ins.get_default().tag, reference, release=str(release))
