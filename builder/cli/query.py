"""``query``: ask the tournament's API anything."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors
from builder.cli import terminal
from builder.tournament import session

if TYPE_CHECKING:
    import argparse


def run(options: argparse.Namespace) -> int:
    """Send a GraphQL text of the user's own."""
    from builder.tournament import query_check  # noqa: PLC0415 - a GraphQL parser

    text = _given(options.text)
    changes = query_check.writes(text)
    variables = query_check.read_variables(_given(options.variables)) if options.variables else {}
    if changes and not options.write:
        raise errors.RefusedError("the query is a mutation, which may change something; pass --write to send it")
    with terminal.progress() as progress, session.connect(progress) as api:
        send = api.client.mutate if changes else api.client.query
        data = send(text, variables, what="the query")
    print(json.dumps({"format": 1, "data": data}) if options.json else json.dumps(data, indent=2, ensure_ascii=False))
    return 0


def _given(text: str) -> str:
    """Return what an argument names: itself, ``@FILE``, or ``-`` for standard input."""
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"{text[1:]}: cannot be read as text; look at the file's name") from error
