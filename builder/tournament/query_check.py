"""Check a custom GraphQL query before it is sent: syntax, number of operations, and whether it is a mutation."""

from __future__ import annotations

import json
from typing import Any

from builder import errors

_WRITES = frozenset({"mutation", "subscription"})


def is_mutation(text: str) -> bool:
    """Return whether a query may change something: a mutation or a subscription.

    Raises:
        errors.UsageError: The text is not GraphQL, or does not have exactly one operation.
    """
    from graphql import language  # noqa: PLC0415 - takes 0.2 s to import, and only this command needs it
    from graphql.error import GraphQLSyntaxError  # noqa: PLC0415

    try:
        document = language.parse(text, no_location=True, max_tokens=20_000)
    except GraphQLSyntaxError as error:
        position = f"line {error.locations[0].line}, column {error.locations[0].column}: " if error.locations else ""
        reason = error.message.removeprefix("Syntax Error: ")[:200].rstrip(".")
        raise errors.UsageError(
            f"the query: {position}{reason}; write it like `query {{ account {{ username }} }}`"
        ) from error
    except RecursionError as error:
        raise errors.UsageError("the query: nested too deeply; ask for less at once") from error
    operations = [node for node in document.definitions if isinstance(node, language.OperationDefinitionNode)]
    has_types = any(
        not isinstance(node, language.OperationDefinitionNode | language.FragmentDefinitionNode)
        for node in document.definitions
    )
    if has_types or len(operations) != 1:
        content = "a type definition" if has_types else f"{len(operations)} operations"
        raise errors.UsageError(f"the query: contains {content}; send exactly one operation")
    return operations[0].operation.value in _WRITES


def read_variables(text: str) -> dict[str, Any]:
    """Parse the JSON object of a query's variables.

    Raises:
        errors.UsageError: The text is not a JSON object.
    """
    try:
        variables = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.UsageError(
            f'--variables: not valid JSON ({str(error)[:100]}); write {{"name": "value"}}'
        ) from error
    if not isinstance(variables, dict):
        raise errors.UsageError('--variables: not a JSON object; write {"name": "value"}')
    return variables
