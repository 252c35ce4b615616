"""Parse image references by Docker's rules: ``[registry/]repository[:tag][@sha256:digest]``.

The grammar is that of https://github.com/distribution/reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")
_MAX_NAME_LENGTH = 255
_EXPECTED = "expected registry/repository:tag or registry/repository@sha256:..."


@dataclass(frozen=True, kw_only=True)
class ImageRef:
    """A parsed reference; ``str`` returns its full form.

    Attributes:
        registry: Host with an optional port; ``docker.io`` if the reference has no registry.
        repository: Path in the registry, such as ``library/python`` for Docker Hub's ``python``.
        tag: The text after the colon, or None.
        digest: ``sha256:`` and 64 hexadecimal digits, or None; tag and digest are never both None.
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
    """Parse a reference.

    Raises:
        ValueError: It is invalid, has neither tag nor digest, or is an image id, which is valid on one engine only. The
            message has the form ``what is wrong; what is expected``.
    """
    shown = text if text.isprintable() and len(text) <= 200 else f"this text of {len(text)} characters"
    if not text:
        raise ValueError(f"empty; {_EXPECTED}")
    # Before anything else: an id would also be valid as a repository of Docker Hub.
    if _ID.fullmatch(text):
        raise ValueError(
            f"{shown} is an image id or a digest without a repository, which cannot be looked up; {_EXPECTED}, "
            "with the repository digest that `docker image inspect` lists under RepoDigests"
        )
    if "://" in text:
        raise ValueError(f"{shown} is a URL; leave out what comes before the registry; {_EXPECTED}")
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{shown} has an invalid digest after the @; expected sha256: and 64 digits 0-9 a-f")
    name, tag = _split_tag(name)
    if tag is not None and not _TAG.fullmatch(tag):
        raise ValueError(f"{shown} has an invalid tag after the colon; expected 1 to 128 of A-Z a-z 0-9 _ . -")
    registry, repository = _split_registry(name)
    if not _DOMAIN.fullmatch(registry):
        raise ValueError(f"{shown} does not start with a registry's host name; {_EXPECTED}")
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _MAX_NAME_LENGTH:
        problem = "upper case in its repository" if repository != repository.lower() else "an invalid repository"
        raise ValueError(f"{shown} has {problem}; expected lower case, digits, and single . _ - / between them")
    if tag is None and not digest:
        raise ValueError(f"{shown} has neither a tag nor a digest; {_EXPECTED}")
    return ImageRef(registry=registry, repository=repository, tag=tag, digest=digest or None)


def _split_tag(name: str) -> tuple[str, str | None]:
    """Split at the colon after the last slash; a colon before it belongs to the registry's port."""
    before, colon, after = name.rpartition(":")
    return (before, after) if colon and "/" not in after else (name, None)


def _split_registry(name: str) -> tuple[str, str]:
    """Split by Docker's rule: the first part is a host only if it is localhost or contains a dot, colon or capital."""
    # splitDockerDomain in https://github.com/distribution/reference/blob/main/normalize.go
    first, slash, rest = name.partition("/")
    is_host = slash and (first == "localhost" or re.search(r"[.:A-Z]", first))
    if not is_host:
        first, rest = "docker.io", name
    if first in {"docker.io", "index.docker.io"}:
        return "docker.io", rest if "/" in rest else f"library/{rest}"
    return first, rest
