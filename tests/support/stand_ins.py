"""The stand-in image that most tests run in: that of the tournament's default Python, or what replaces it here."""

from __future__ import annotations

import functools

from builder import progress
from builder.engine import docker_engine
from builder.image import stand_in


@functools.cache
def get_default() -> stand_in.StandIn:
    """Return it; it is built if necessary."""
    return stand_in.find_or_build(docker_engine.connect(), "3.12", progress.Silent(), fallback=True)
