"""What every verb that talks to the tournament does first."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors
from builder.cli import terminal
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    progress: Progress, *, root: Path | None = None, needs_token: bool = True, patience: api.ApiPolicy | None = None
) -> Iterator[tournament.Tournament]:
    """Yield the tournament's API.

    Args:
        progress: Told when a question is asked again.
        root: The folder that holds ``configs/`` and may hold ``.env``.
        needs_token: Ask a person at the terminal for a token where none is set; without one, refuse.
        patience: How often a question is asked that nobody answers.

    Raises:
        errors.TokenError: A token is needed, and there is none.
        errors.UsageError: Something is set to what cannot be.
    """
    from builder import tournament  # noqa: PLC0415 - httpx
    from builder.tournament import client as api  # noqa: PLC0415 - httpx

    found = read_settings(root)
    token = found.token
    if token is None and needs_token:
        token = _ask_for_token()
    with api.ApiClient(found.api_url, token, progress, patience=patience) as client:
        yield tournament.Tournament(client)


def _ask_for_token() -> settings.Token:
    if not terminal.watched():
        raise errors.TokenError(f"a token is needed, and none is set; {settings.WHERE_TO_MAKE}")
    terminal.tell(f"A token is needed, and none is set: {settings.WHERE_TO_MAKE}; or type one in, for this once.")
    public_id, secret = terminal.ask("public id:"), ""
    with contextlib.suppress(EOFError):
        secret = terminal.ask_hidden("secret key (not shown):") if public_id else ""
    if not public_id or not secret:
        raise errors.TokenError(f"a token is needed, and none was typed in; {settings.WHERE_TO_MAKE}")
    return settings.typed_in(public_id, secret)
