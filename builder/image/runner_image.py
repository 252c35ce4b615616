"""What a manifest records of the image that a pickle was built in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from builder import schema
from builder.config import values as config_values
from builder.image import stand_in
from builder.registry import reference

_MOST_PACKAGES = 10_000
REQUIRED_PACKAGES = ("numpy", "pandas", "cloudpickle")
"""Packages without which an image cannot run a pickle."""


Line = Annotated[str, schema.require_line(500)]


def _is_reference(text: str) -> bool:
    try:
        config_values.parse_reference(text)
    except ValueError:
        return False
    return True


Reference = Annotated[str, schema.Constraint(text="that is an image reference", holds=_is_reference)]


@dataclass(frozen=True, kw_only=True)
class RunnerImage:
    """The image it was made in.

    A manifest may come from a stranger, so ``base`` is held to what ``ref``, ``kind`` and ``identity`` say.

    Attributes:
        kind: Whether it is the exact runner, somebody's local build, or a look-alike.
        ref: The reference that the config names.
        base: What the Dockerfile's FROM names.
        identity: The repository digest, the hash of the layers, or the spec hash, by kind.
        platform: Operating system and architecture.
        python: Its Python, to the patch release.
        packages: Every installed distribution and its version.
    """

    kind: Literal["exact", "local", "stand_in"]
    ref: Reference
    base: Reference
    identity: schema.Digest
    platform: Annotated[str, schema.require_pattern(r"[a-z0-9]{1,20}(/[a-z0-9_]{1,20}){1,2}", "like linux/amd64")]
    python: Annotated[str, schema.require_pattern(r"3\.[0-9]{1,2}\.[0-9]{1,3}[0-9A-Za-z.+]{0,20}", "like 3.11.2")]
    packages: dict[str, Line]

    def __post_init__(self) -> None:
        if self.base == config_values.DEFAULT_IMAGE:
            raise ValueError("base is no image reference; expected what FROM names")
        base = reference.parse(self.base)
        is_refs = self.ref != config_values.DEFAULT_IMAGE and base.name == reference.parse(self.ref).name
        is_look_alike = self.kind == "stand_in" and self.base.startswith(f"{stand_in.REPOSITORY}:")
        if not (is_refs or is_look_alike):
            raise ValueError(f"base {self.base} is not an image of {self.ref}; expected the same repository")
        if self.kind == "exact" and base.digest != self.identity:
            raise ValueError(f"base {self.base} has another digest than {self.identity}; expected the same")
        if len(self.packages) > _MOST_PACKAGES or not all(_is_package(name) for name in self.packages):
            raise ValueError(f"packages are not names of distributions; expected at most {_MOST_PACKAGES:,} of those")
        lacking = [name for name in REQUIRED_PACKAGES if name not in self.packages]
        if lacking:
            raise ValueError(f"packages lack {', '.join(lacking)}; expected what making a pickle takes")


def _is_package(name: str) -> bool:
    return 0 < len(name) <= 200 and name.isprintable()
