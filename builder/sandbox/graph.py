"""The schema with its resolvers, and one request answered: parsed, validated, executed, errors in the API's shapes.

The official client declares ``String`` for ``ID`` and the real server takes it, so that one rule is relaxed by just
that. Everything else is validated as the schema says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import graphql
from graphql.validation.rules import variables_in_allowed_position as positions

from builder.sandbox import resolvers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SCHEMA = Path(__file__).with_name("schema.graphql")
_NOT_AUTHENTICATED = "You must be authenticated to perform this action"
_INVALID = "Invalid API token"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What was asked: the parsed body, the root fields of the operation, its name."""

    text: str
    variables: Mapping[str, Any]
    name: str | None
    fields: tuple[str, ...]


class StringsForIds(positions.VariablesInAllowedPositionRule):
    """A variable has to fit the argument it is given to; one of type ``String`` fits where an ``ID`` does."""

    def leave_operation_definition(self, operation: graphql.OperationDefinitionNode, *_args: Any) -> None:
        """See the base, whose only other rule is about inputs that this schema has none of."""
        schema = self.context.schema
        for usage in self.context.get_recursive_variable_usages(operation):
            defined = self.var_def_map.get(usage.node.name.value)
            declared = graphql.type_from_ast(schema, defined.type) if defined else None
            if defined is None or declared is None or usage.type is None:
                continue
            if not any(
                positions.allowed_variable_usage(schema, item, defined.default_value, usage.type, usage.default_value)
                for item in (declared, _as_id(declared))
            ):
                name = usage.node.name.value
                text = f"Variable '${name}' of type '{declared}' used in position expecting type '{usage.type}'."
                self.report_error(graphql.GraphQLError(text, [defined, usage.node]))


def _as_id(declared: Any) -> Any:
    if graphql.is_non_null_type(declared):
        return graphql.GraphQLNonNull(_as_id(declared.of_type))
    return graphql.GraphQLID if declared == graphql.GraphQLString else declared


_RULES = [
    StringsForIds if item is positions.VariablesInAllowedPositionRule else item for item in graphql.specified_rules
]


def load_schema() -> graphql.GraphQLSchema:
    """Return the schema of ``schema.graphql``, with a resolver for each field of its two roots."""
    schema = graphql.build_schema(_SCHEMA.read_text(encoding="utf-8"))
    for root, table in ((schema.query_type, resolvers.QUERIES), (schema.mutation_type, resolvers.MUTATIONS)):
        if root is None or root.fields.keys() != table.keys():
            raise ValueError("the schema and the resolvers disagree")
        for name, resolve in table.items():
            root.fields[name].resolve = _resolver(resolve)
    return schema


def read(body: Any) -> Question:
    """Read the JSON of a request; what does not parse as GraphQL has no fields."""
    text = body.get("query") if isinstance(body, dict) else None
    if not isinstance(text, str):
        raise TypeError("no query")
    operation = _operation(text, body.get("operationName"))
    name = body.get("operationName") or (operation.name.value if operation and operation.name else None)
    return Question(text=text, variables=body.get("variables") or {}, name=name, fields=_root_fields(operation))


def answer(schema: graphql.GraphQLSchema, question: Question, request: resolvers.Request) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the JSON that answer a question."""
    try:
        document = graphql.parse(question.text)
    except graphql.GraphQLSyntaxError as error:
        return 200, {"errors": [_shown(error)]}
    if problems := graphql.validate(schema, document, _RULES):
        return 200, {"errors": [_shown(item) for item in problems]}
    with request.state.lock:
        result = graphql.execute_sync(
            schema,
            document,
            context_value=request,
            variable_values=dict(question.variables),
            operation_name=question.name,
        )
    if any(isinstance(item.original_error, resolvers.Unauthenticated) for item in result.errors or ()):
        return request.state.refusal_status, detail(_NOT_AUTHENTICATED)
    for item in result.errors or ():
        if item.original_error is not None and not isinstance(item.original_error, resolvers.Refused):
            raise item.original_error  # a fault of this sandbox, not of who asks
    if result.errors:
        return 200, {"data": result.data, "errors": [_shown(item) for item in result.errors]}
    return 200, {"data": result.data}


def bad_token(status: int) -> tuple[int, dict[str, Any]]:
    """Return the answer to a token that is not known, or revoked."""
    return status, detail(_INVALID)


def detail(text: str) -> dict[str, Any]:
    """Return errors in the API's other shape: an object."""
    return {"errors": {"detail": text}}


def _shown(error: graphql.GraphQLError) -> dict[str, Any]:
    return {key: value for key, value in error.formatted.items() if value}


def _resolver(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def call(_root: Any, info: graphql.GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        return resolve(info.context, **{_own_name(key): value for key, value in arguments.items()})

    return call


def _own_name(argument: str) -> str:
    """Return what a resolver calls an argument: in lower case, and not as a built-in function."""
    name = re.sub(r"[A-Z]", lambda item: f"_{item[0].lower()}", argument)
    return f"{name}_" if name in {"id", "round"} else name


def _operation(text: str, name: str | None) -> graphql.OperationDefinitionNode | None:
    """Return the operation that is asked for; None where the text has several, or does not parse."""
    try:
        return graphql.get_operation_ast(graphql.parse(text), name)
    except graphql.GraphQLSyntaxError:
        return None


def _root_fields(operation: graphql.OperationDefinitionNode | None) -> tuple[str, ...]:
    selected = operation.selection_set.selections if operation else ()
    return tuple(item.name.value for item in selected if isinstance(item, graphql.FieldNode))
