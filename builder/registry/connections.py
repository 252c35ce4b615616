"""The registries that a command asks, each by its own connection, with what ``docker login`` keeps."""

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

_SECONDS = 10.0


class Registries(Protocol):
    """What a command asks of registries."""

    def resolve(self, ref: str, /) -> registry.RemoteImage:
        """Return what a reference means now."""

    def has_digest(self, ref: str, digest: str, /) -> bool:
        """Tell whether the repository of a reference has a digest."""


class _Connected:
    def __init__(self, progress: Progress, undo: contextlib.ExitStack) -> None:
        self._progress, self._undo = progress, undo
        self._known: dict[str, registry.Registry] = {}

    def resolve(self, ref: str, /) -> registry.RemoteImage:
        parsed = reference.parse(ref)
        return self._at(parsed.registry).resolve(parsed)

    def has_digest(self, ref: str, digest: str, /) -> bool:
        parsed = reference.parse(ref)
        return self._at(parsed.registry).has_digest(parsed, digest)

    def _at(self, host: str) -> registry.Registry:
        from builder.registry import client as registry_client  # noqa: PLC0415 - only where the network is used
        from builder.registry import resolve as registry  # noqa: PLC0415 - only where the network is used

        if host not in self._known:
            client = registry_client.RegistryClient(
                host, lambda: docker_config.find_login(host, os.environ), self._progress, seconds=_SECONDS
            )
            self._known[host] = registry.Registry(self._undo.enter_context(client))
        return self._known[host]


@contextlib.contextmanager
def connect(progress: Progress) -> Iterator[Registries]:
    """Yield the registries; nothing is connected to before it is asked."""
    with contextlib.ExitStack() as undo:
        yield _Connected(progress, undo)
