"""The tournament's default data version, for code that does not ask the API; what is offered is in the API's list.

v5.3, "Quantum", has been the default of the official notebooks since July 2026. It has 3,555 features, 807 more than
v5.2.
"""

from __future__ import annotations

import re

DEFAULT = "v5.3"
DEFAULT_BENCHMARK = f"{DEFAULT.replace('.', '')}_lgbm_ender20"
"""A benchmark model of the default version: the names begin with the version, without its dot."""


PATTERN = r"v[0-9]+(\.[0-9]+)?"
"""What the name of a version matches in full."""


def is_older(version: str, other: str = DEFAULT) -> bool:
    """Return whether a version, such as ``v5.2``, is older than another one."""
    return _parse(version) < _parse(other)


def format_age_note(version: str, default: str = DEFAULT) -> str:
    """Return a note for a person if a version is older than the default one, else an empty text."""
    if not is_older(version, default):
        return ""
    return f"data version {version} is older than the default, {default}: train new models on {default}"


def is_known(version: str) -> bool:
    """Return whether a version is not newer than the default one: newer ones may exist, or be a typing error."""
    return not is_older(DEFAULT, version)


def _parse(version: str) -> tuple[int, ...]:
    # By number: v5.10 is newer than v5.9.
    return tuple(map(int, re.findall(r"[0-9]+", version)))
