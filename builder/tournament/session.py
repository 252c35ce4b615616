"""A connection to the tournament's API, as it is set for a project."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder import tournament
    from builder.progress import Progress
    from builder.tournament import client as api


def read_settings(root: Path | None = None) -> settings.Settings:
    """Return what is set, for the folder that holds ``configs/`` (default: the current one)."""
    return settings.read(os.environ, root or Path.cwd())


def read_registry(root: Path | None = None) -> str:
    """Return where the tournament's images are pulled from."""
    return settings.read_registry(os.environ, root or Path.cwd())


@contextlib.contextmanager
def connect(
    progress: Progress,
    *,
    root: Path | None = None,
    ask_token: Callable[[], settings.ApiToken] | None = None,
    policy: api.ApiPolicy | None = None,
) -> Iterator[tournament.Tournament]:
    """Yield the tournament's API.

    Args:
        progress: Told when a request is sent again.
        root: The folder that holds ``configs/`` and may hold ``.env``.
        ask_token: Returns a token where none is set; None where the requests need none.
        policy: How often a request is sent that nobody answers.

    Raises:
        errors.UsageError: A setting is invalid.
    """
    from builder import tournament  # noqa: PLC0415 - httpx
    from builder.tournament import client as api  # noqa: PLC0415 - httpx

    found = read_settings(root)
    token = ask_token() if found.token is None and ask_token else found.token
    with api.ApiClient(found.api_url, token, progress, policy=policy) as client:
        yield tournament.Tournament(client)
