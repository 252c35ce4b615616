"""``query``: ask the tournament's API anything."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from builder import errors
from builder.cli import terminal
from builder.cli.parameters import Json
from builder.tournament import session


def run(
    *,
    query: Annotated[
        str,
        Argument(metavar="TEXT|@FILE|-", help="the query in GraphQL, a file that contains it, or - for standard input"),
    ],
    variables: Annotated[
        str | None, Option("--variables", metavar="JSON|@FILE", help="the query's variables, as a JSON object")
    ] = None,
    write: Annotated[bool, Option("--write", help="allow a mutation")] = False,
    json_wanted: Json = False,
) -> int:
    """Send a GraphQL document."""
    from builder.tournament import query_check  # noqa: PLC0415 - a GraphQL parser

    text = _read_argument(query)
    changes = query_check.is_mutation(text)
    values = query_check.read_variables(_read_argument(variables)) if variables else {}
    if changes and not write:
        raise errors.RefusedError("this query is a mutation; pass --write to send it")
    with terminal.progress() as progress, session.connect(progress) as api:
        send = api.client.mutate if changes else api.client.query
        data = send(text, values, subject="the query")
    if json_wanted:
        terminal.print_json({"format": 1, "data": data})
    else:
        terminal.print_lines(*json.dumps(data, indent=2, ensure_ascii=False).split("\n"))
    return 0


def _read_argument(text: str) -> str:
    """Return the content of the file for ``@FILE``, of standard input for ``-``, else the argument itself."""
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise errors.UsageError(
            f"{text[1:]}: cannot read the file ({reason}); pass @FILE with a UTF-8 text file"
        ) from error
