"""The image that a pickle was built in, as recorded in the pickle's manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from builder import schema
from builder.config import values as config_values
from builder.image import stand_in
from builder.registry import reference

_MAX_PACKAGES = 10_000
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
    """The image that a pickle was built in.

    A manifest is not trusted, so ``base``, which is pulled and run, must match ``ref``, ``kind`` and ``identity``.

    Attributes:
        kind: See :mod:`builder.image.resolve`.
        ref: The reference in the config.
        base: The reference in the Dockerfile's FROM.
        identity: The repository digest, the hash of the layers, or the spec hash, depending on the kind.
        platform: Operating system and architecture.
        python: The Python version, such as ``3.11.2``.
        packages: The versions of all installed distributions.
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
            raise ValueError("base is not an image reference; expected the reference in FROM")
        base = reference.parse(self.base)
        has_same_repository = self.ref != config_values.DEFAULT_IMAGE and base.name == reference.parse(self.ref).name
        is_stand_in = self.kind == "stand_in" and self.base.startswith(f"{stand_in.REPOSITORY}:")
        if not (has_same_repository or is_stand_in):
            raise ValueError(f"base {self.base} is not an image of {self.ref}; expected the same repository")
        if self.kind == "exact" and base.digest != self.identity:
            raise ValueError(f"base {self.base} has another digest than {self.identity}; expected the same")
        if len(self.packages) > _MAX_PACKAGES or not all(_is_valid_name(name) for name in self.packages):
            raise ValueError(f"invalid packages; expected at most {_MAX_PACKAGES:,} names of distributions")
        missing = [name for name in REQUIRED_PACKAGES if name not in self.packages]
        if missing:
            raise ValueError(f"packages: {', '.join(missing)} missing; expected numpy, pandas and cloudpickle")


def _is_valid_name(name: str) -> bool:
    return 0 < len(name) <= 200 and name.isprintable()
