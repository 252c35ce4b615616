"""Imitate image registries in memory, for unit tests."""

# ruff: noqa: ARG002 - the methods have the parameters of the real class

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from builder import errors
from builder.registry import reference
from builder.registry import resolve as registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.progress import Progress


class FakeRegistries:
    """An implementation of :class:`builder.registry.connections.Registries`.

    Attributes:
        digests: The digest of each full reference.
        untagged: Digests that exist without a tag.
        down: Whether no registry responds.
        login_required: The references and digests for which the registry requires a login.
        size: The size of every image, in bytes.
    """

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.untagged: set[str] = set()
        self.down = False
        self.login_required: set[str] = set()
        self.size = 1_000_000

    def resolve(self, ref: str, /) -> registry.RemoteImage:
        if self.down:
            raise errors.UnavailableError(f"{ref}: could not connect; check the connection", sent=False)
        full_reference = reference.parse(ref)
        self._check_login(str(full_reference))
        digest = full_reference.digest or self.digests.get(str(full_reference))
        if digest is None or not self.has_digest(ref, digest):
            raise errors.ImageNotFoundError(f"{ref}: tag not found in the registry")
        return registry.RemoteImage(
            digest=digest, platforms=("linux/amd64",), size=self.size, python="3.12.8", labels={"a": "b"}, created=""
        )

    def has_digest(self, ref: str, digest: str, /) -> bool:
        self._check_login(digest)
        return digest in self.untagged or digest in self.digests.values()

    def _check_login(self, name: str) -> None:
        if name in self.login_required:
            raise errors.NetworkError(f"{name}: the registry requires a login: run `docker login ghcr.io`")

    @contextlib.contextmanager
    def connect(self, progress: Progress) -> Iterator[FakeRegistries]:
        """Replace :func:`builder.registry.connections.connect`."""
        yield self
