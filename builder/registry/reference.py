"""References to images, by Docker's rules: ``[registry/]repository[:tag][@sha256:digest]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_REPOSITORY = re.compile(
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
)  # folders and a name, in lower case
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")
_LONGEST_NAME = 255
_RIGHT = "write registry/repository:tag or registry/repository@sha256:..."


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """A parsed reference; ``str`` gives it in full.

    Attributes:
        registry: Host, with the port if there is one: ``docker.io`` where the text names none.
        repository: Path in the registry: ``library/python`` for Docker Hub's ``python``.
        tag: Text after the colon, or None.
        digest: ``sha256:`` and 64 hexadecimal digits, or None; at least one of the two is there.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return self.name + tag + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> ImageRef:
    """Read a reference.

    Raises:
        ValueError: ``what is wrong; what would be right``: it does not parse, names neither tag nor digest, or is an
            image id, which means something on one engine only.
    """
    shown = text if text.isprintable() and len(text) <= 200 else f"this text of {len(text)} characters"
    if not text:
        raise ValueError(f"empty; {_RIGHT}")
    if _ID.fullmatch(text):
        raise ValueError(
            f"{shown} is an image id or a digest without its repository, which no registry can look up; {_RIGHT}, "
            "with the repository digest that `docker image inspect` lists under RepoDigests"
        )
    if "://" in text:
        raise ValueError(f"{shown} is an address; leave out what comes before the registry: {_RIGHT}")
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{shown} has no digest after the @; expected sha256: and 64 digits 0-9 a-f")
    name, tag = _split_tag(name)
    if tag is not None and not _TAG.fullmatch(tag):
        raise ValueError(f"{shown} has no tag after the colon; expected 1 to 128 of A-Z a-z 0-9 _ . -")
    registry, repository = _split_registry(name)
    if not _DOMAIN.fullmatch(registry):
        raise ValueError(f"{shown} does not start with a registry's host name; {_RIGHT}")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _LONGEST_NAME:
        why = "upper case in its repository" if repository != repository.lower() else "no valid repository"
        raise ValueError(f"{shown} has {why}; expected lower case, digits, and single . _ - / between them")
    if tag is None and not digest:
        raise ValueError(f"{shown} names neither a tag nor a digest; {_RIGHT}")
    return ImageRef(registry=registry, repository=repository, tag=tag, digest=digest or None)


def _split_tag(name: str) -> tuple[str, str | None]:
    """Split at the colon after the last slash; one before it belongs to a port."""
    before, colon, after = name.rpartition(":")
    return (before, after) if colon and "/" not in after else (name, None)


def _split_registry(name: str) -> tuple[str, str]:
    """Split by Docker's rule: what comes first is a host only if it looks like one."""
    first, slash, rest = name.partition("/")
    is_host = slash and (first == "localhost" or re.search(r"[.:A-Z]", first))
    if not is_host:
        first, rest = "docker.io", name
    if first in {"docker.io", "index.docker.io"}:
        return "docker.io", rest if "/" in rest else f"library/{rest}"
    return first, rest
