"""Connect to registries when they are first used, with the logins that ``docker login`` stored."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol

from builder.engine import docker_config
from builder.registry import reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.progress import Progress
    from builder.registry import resolve as registry

_TIMEOUT_SECONDS = 10.0


class Registries(Protocol):
    """All registries; each method chooses the registry by the reference."""

    def resolve(self, ref: str, /) -> registry.RemoteImage:
        """Return the image that a reference resolves to now; see :meth:`builder.registry.resolve.Registry.resolve`."""

    def has_digest(self, ref: str, digest: str, /) -> bool:
        """Return whether the reference's repository contains a digest."""


class _Connections:
    def __init__(self, progress: Progress, stack: contextlib.ExitStack) -> None:
        self._progress, self._stack = progress, stack
        self._registries: dict[str, registry.Registry] = {}

    def resolve(self, ref: str, /) -> registry.RemoteImage:
        parsed = reference.parse(ref)
        return self._get_registry(parsed.registry).resolve(parsed)

    def has_digest(self, ref: str, digest: str, /) -> bool:
        parsed = reference.parse(ref)
        return self._get_registry(parsed.registry).has_digest(parsed, digest)

    def _get_registry(self, host: str) -> registry.Registry:
        from builder.registry import client as registry_client  # noqa: PLC0415 - most commands do not use a registry
        from builder.registry import resolve as registry  # noqa: PLC0415 - most commands do not use a registry

        if host not in self._registries:
            client = registry_client.RegistryClient(
                host, lambda: docker_config.find_login(host, os.environ), self._progress, seconds=_TIMEOUT_SECONDS
            )
            self._registries[host] = registry.Registry(self._stack.enter_context(client))
        return self._registries[host]


@contextlib.contextmanager
def connect(progress: Progress) -> Iterator[Registries]:
    """Yield the registries; a connection is opened when a registry is first used."""
    with contextlib.ExitStack() as stack:
        yield _Connections(progress, stack)
