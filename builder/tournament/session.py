"""Connect to the tournament's API with the settings of a project."""

from __future__ import annotations

import contextlib
import os
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from builder.net import address
from builder.registry import reference
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder import tournament
    from builder.progress import Progress
    from builder.tournament import client as api


def read_settings(root: Path | None = None) -> settings.Settings:
    """Read the settings from the environment and ``root/.env``; ``root`` defaults to the current folder."""
    return settings.read(os.environ, root or Path.cwd())


def read_registry(root: Path | None = None) -> str:
    """Read only the registry setting, which needs no valid token; see :func:`read_settings`."""
    return settings.read_registry(os.environ, root or Path.cwd())


def read_lock_file(root: Path) -> Path | None:
    """Read only the setting of the lock file, which needs no valid token; see :func:`read_settings`."""
    return settings.read_lock_file(os.environ, root)


def read_api_url(root: Path | None = None) -> str:
    """Read only the API's address, which needs no valid token; see :func:`read_settings`."""
    return settings.read_api_url(os.environ, root or Path.cwd())


def is_sandbox(root: Path | None = None) -> bool:
    """Return whether the API and the registry are both on this computer, as ``sandbox`` sets them."""
    host = reference.parse(f"{read_registry(root)}/name:tag").registry.rpartition(":")[0]
    return address.is_loopback(host) and address.is_loopback(urllib.parse.urlsplit(read_api_url(root)).hostname or "")


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
        progress: Shows retries.
        root: The folder that contains ``configs/`` and may contain ``.env``; default: the current one.
        ask_token: Called for a token if none is set; None if the requests need none.
        policy: Attempts and timeouts.

    Raises:
        errors.UsageError: A setting is invalid.
    """
    from builder import tournament  # noqa: PLC0415 - httpx
    from builder.tournament import client as api  # noqa: PLC0415 - httpx

    api_settings = read_settings(root)
    token = ask_token() if api_settings.token is None and ask_token else api_settings.token
    with api.ApiClient(api_settings.api_url, token, progress, policy=policy) as client:
        yield tournament.Tournament(client)
