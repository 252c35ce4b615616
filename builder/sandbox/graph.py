"""Execute GraphQL requests against the schema: parse, validate, execute, return errors in the API's shapes.

The official client declares variables as ``String`` where the schema expects ``ID``, and the real server accepts it,
so one validation rule is relaxed. Everything else is validated against the schema.
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
_NOT_AUTHORISED = "Invalid API token"


@dataclass(frozen=True, kw_only=True)
class GraphQLRequest:
    """A parsed request body, with the name and the root fields of its operation."""

    text: str
    variables: Mapping[str, Any]
    name: str | None
    fields: tuple[str, ...]


class StringsForIds(positions.VariablesInAllowedPositionRule):
    """Checks that variables match their arguments' types, but allows a ``String`` for an ``ID``.

    The rule without that exception: https://spec.graphql.org/draft/#sec-All-Variable-Usages-are-Allowed
    """

    def leave_operation_definition(self, operation: graphql.OperationDefinitionNode, *_args: Any) -> None:
        """Check the variables of an operation.

        Replaces the base method, which also checks OneOf input objects: this schema has none.
        """
        schema = self.context.schema
        for usage in self.context.get_recursive_variable_usages(operation):
            definition = self.var_def_map.get(usage.node.name.value)
            declared = graphql.type_from_ast(schema, definition.type) if definition else None
            if definition is None or declared is None or usage.type is None:
                continue
            if not any(
                positions.allowed_variable_usage(
                    schema, candidate, definition.default_value, usage.type, usage.default_value
                )
                for candidate in (declared, _replace_string_by_id(declared))
            ):
                name = usage.node.name.value
                text = f"Variable '${name}' of type '{declared}' used in position expecting type '{usage.type}'."
                self.report_error(graphql.GraphQLError(text, [definition, usage.node]))


def _replace_string_by_id(type_: Any) -> Any:
    if graphql.is_non_null_type(type_):
        return graphql.GraphQLNonNull(_replace_string_by_id(type_.of_type))
    return graphql.GraphQLID if type_ == graphql.GraphQLString else type_


_RULES = [
    StringsForIds if rule is positions.VariablesInAllowedPositionRule else rule for rule in graphql.specified_rules
]


def load_schema() -> graphql.GraphQLSchema:
    """Load ``schema.graphql`` with a resolver for each query and mutation.

    Raises:
        ValueError: A root field has no resolver, or a resolver no field.
    """
    schema = graphql.build_schema(_SCHEMA.read_text(encoding="utf-8"))
    for root, table in ((schema.query_type, resolvers.QUERIES), (schema.mutation_type, resolvers.MUTATIONS)):
        if root is None or root.fields.keys() != table.keys():
            raise ValueError("the root fields of schema.graphql differ from the resolvers")
        for name, resolve in table.items():
            root.fields[name].resolve = _wrap_resolver(resolve)
    return schema


def parse_request(body: Any) -> GraphQLRequest:
    """Parse the JSON body of a request; ``fields`` is empty if the query is not valid GraphQL.

    Raises:
        TypeError: The body has no query.
    """
    text = body.get("query") if isinstance(body, dict) else None
    if not isinstance(text, str):
        raise TypeError("the body has no query")
    operation = _find_operation(text, body.get("operationName"))
    name = body.get("operationName") or (operation.name.value if operation and operation.name else None)
    return GraphQLRequest(
        text=text, variables=body.get("variables") or {}, name=name, fields=_list_root_fields(operation)
    )


def execute(
    schema: graphql.GraphQLSchema, request: GraphQLRequest, context: resolvers.Context
) -> tuple[int, dict[str, Any]]:
    """Execute a request; return the HTTP status and the JSON of the response.

    An error of a resolver that is not a refusal is an internal error of the sandbox, and is raised.
    """
    try:
        document = graphql.parse(request.text)
    except graphql.GraphQLSyntaxError as syntax_error:
        return 200, {"errors": [_format_error(syntax_error)]}
    if problems := graphql.validate(schema, document, _RULES):
        return 200, {"errors": [_format_error(error) for error in problems]}
    with context.state.lock:
        result = graphql.execute_sync(
            schema,
            document,
            context_value=context,
            variable_values=dict(request.variables),
            operation_name=request.name,
        )
    if any(isinstance(error.original_error, resolvers.UnauthenticatedError) for error in result.errors or ()):
        return context.state.refusal_status, format_detail(_NOT_AUTHENTICATED)
    for error in result.errors or ():
        if error.original_error is not None and not isinstance(error.original_error, resolvers.RefusedError):
            raise error.original_error
    if result.errors:
        return 200, {"data": result.data, "errors": [_format_error(error) for error in result.errors]}
    return 200, {"data": result.data}


def refuse_token(status: int) -> tuple[int, dict[str, Any]]:
    """Return the response to an unknown or revoked token."""
    return status, format_detail(_NOT_AUTHORISED)


def format_detail(text: str) -> dict[str, Any]:
    """Format an error in the API's other shape, an object instead of a list."""
    return {"errors": {"detail": text}}


def _format_error(error: graphql.GraphQLError) -> dict[str, Any]:
    return {key: value for key, value in error.formatted.items() if value}


def _wrap_resolver(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def call(_root: Any, info: graphql.GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        return resolve(info.context, **{_to_python_name(key): value for key, value in arguments.items()})

    return call


def _to_python_name(argument: str) -> str:
    """Convert an argument's name to snake case; a name that would shadow a built-in function gets a ``_``."""
    name = re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", argument)
    return f"{name}_" if name in {"id", "round"} else name


def _find_operation(text: str, name: str | None) -> graphql.OperationDefinitionNode | None:
    """Return the operation to execute; None if the text has several and no name selects one, or is not valid."""
    try:
        return graphql.get_operation_ast(graphql.parse(text), name)
    except graphql.GraphQLSyntaxError:
        return None


def _list_root_fields(operation: graphql.OperationDefinitionNode | None) -> tuple[str, ...]:
    selections = operation.selection_set.selections if operation else ()
    return tuple(node.name.value for node in selections if isinstance(node, graphql.FieldNode))
