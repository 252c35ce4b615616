"""A GraphQL text of the user's own: whether it is one, and whether it changes anything, told by a parser."""

from __future__ import annotations

import json
from typing import Any

from builder import errors

_WRITES = frozenset({"mutation", "subscription"})


def is_mutation(text: str) -> bool:
    """Tell whether a text changes something.

    Raises:
        errors.UsageError: It is no GraphQL, or has not exactly one operation.
    """
    from graphql import language  # noqa: PLC0415 - a fifth of a second, for this command alone
    from graphql.error import GraphQLSyntaxError  # noqa: PLC0415

    try:
        document = language.parse(text, no_location=True, max_tokens=20_000)
    except GraphQLSyntaxError as error:
        where = f"line {error.locations[0].line}, column {error.locations[0].column}: " if error.locations else ""
        said = error.message.removeprefix("Syntax Error: ")[:200].rstrip(".")
        raise errors.UsageError(
            f"the query: {where}{said}; write it like `query {{ account {{ username }} }}`"
        ) from error
    except RecursionError as error:
        raise errors.UsageError("the query: is nested too deep; ask for less at once") from error
    found = [one for one in document.definitions if isinstance(one, language.OperationDefinitionNode)]
    others = [
        one
        for one in document.definitions
        if not isinstance(one, language.OperationDefinitionNode | language.FragmentDefinitionNode)
    ]
    if others or len(found) != 1:
        raise errors.UsageError(
            f"the query: has {len(found)} operations{' and a type' if others else ''}; one operation is sent at a time"
        )
    return found[0].operation.value in _WRITES


def read_variables(text: str) -> dict[str, Any]:
    """Read the variables.

    Raises:
        errors.UsageError: They are no JSON object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.UsageError(f'--variables: is no JSON ({str(error)[:100]}); write {{"name": "value"}}') from error
    if not isinstance(found, dict):
        raise errors.UsageError('--variables: is no JSON object; write {"name": "value"}')
    return found
