"""Connects a command to the tournament: asks for a token if none is set."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors
from builder.cli import terminal
from builder.tournament import session, settings

if TYPE_CHECKING:
    from builder import tournament
    from builder.progress import Progress


def connect(
    progress: Progress, *, root: Path | None = None
) -> contextlib.AbstractContextManager[tournament.Tournament]:
    """Connect to the tournament's API with a token: the configured one, or one typed at the terminal.

    Args:
        progress: Shows each retry of a request.
        root: The folder of ``configs/`` and of ``.env``, if there is one.

    Raises:
        errors.TokenError: No token is configured, and none was typed.
        errors.UsageError: A setting is invalid.
    """
    return session.connect(progress, root=root, ask_token=_ask_for_token)


def _ask_for_token() -> settings.ApiToken:
    if not terminal.is_interactive():
        raise errors.TokenError(f"the API token is missing; {settings.CREDENTIALS_HINT}")
    terminal.tell(f"The API token is missing: {settings.CREDENTIALS_HINT}; or enter one for this command only.")
    public_id, secret = terminal.ask("public id:"), ""
    with contextlib.suppress(EOFError):
        secret = terminal.ask_hidden("secret key (not shown):") if public_id else ""
    if not public_id or not secret:
        raise errors.TokenError(f"no API token was entered; {settings.CREDENTIALS_HINT}")
    return settings.parse_typed_token(public_id, secret)
