"""``credentials``: show the token's account and scopes."""

from __future__ import annotations

from builder import tournament
from builder.cli import api_session, terminal
from builder.cli.parameters import Json

_UPLOADS = ("upload", "rollback", "assign", "disable", "trigger", "label", "create-model")
_DOWNLOADS = ("download", "why", "comparing in upload")


def run(*, json_wanted: Json = False) -> int:
    """Print the account and the scopes of the token, without its secret key."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        info = api.get_token_info()
        descriptions = api.list_scopes()
        token = api.client.token
    missing = {
        scope: commands
        for scope, commands in ((tournament.UPLOAD_SCOPE, _UPLOADS), (tournament.DOWNLOAD_SCOPE, _DOWNLOADS))
        if scope not in info.scopes
    }
    source = token.source if token else ""
    if json_wanted:
        scopes = {name: descriptions.get(name, "") for name in info.scopes}
        answer = {"format": 1, "account": info.username, "name": info.name, "public_id": info.public_id}
        terminal.print_json({**answer, "source": source, "scopes": scopes, "lacking": missing})
        return 0
    rows = [
        ("account", info.username),
        ("token", f"{info.name or 'without a name'} ({info.public_id}), from {source}"),
    ]
    allowed = [f"{name}  {descriptions.get(name, '')}".rstrip() for name in sorted(info.scopes)]
    rows += [("may" if not index else "", text) for index, text in enumerate(allowed or ["nothing: it has no scope"])]
    rows += [("missing", f"{scope}, which {', '.join(commands)} need") for scope, commands in missing.items()]
    terminal.print_table(rows)
    if missing:
        terminal.print_lines('create a token with more scopes at numer.ai/account ("Create MCP Key")')
    return 0
