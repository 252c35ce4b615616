"""The GraphQL queries and mutations that this tool sends, by name."""

from __future__ import annotations

from dataclasses import dataclass

_TRIGGER = "id type status roundId submissionId insertedAt statuses { status description insertedAt }"
_PICKLE = f"""
    id filename label modelId assignedModelSlots dockerImageId dockerImage dockerImageName dataVersionId dataVersion
    runtime validationStatus triggerStatus diagnosticsStatus diagnosticsStatusDescription insertedAt updatedAt
    triggers {{ {_TRIGGER} }}
"""
_SLOT = f"""
    id name username tournament archived computeEnabled submissionWebhook v2Stake {{ status %s }}
    latestSubmissionV2 {{ id filename status insertedAt }} computePickleUpload {{ {_PICKLE} }}
"""
_ACCOUNT = f"id username maxModelSlots models {{ {_SLOT} }}"
_IMAGE = "id name image tag insertedAt default deprecated experimental"
_DATA = "id name version type default deprecated experimental"
_OFFERED = {"offered": "false", "deprecated": "true"}


@dataclass(frozen=True, kw_only=True)
class Query:
    """A GraphQL document with one operation; ``roots`` are the top-level fields of its response."""

    name: str
    roots: tuple[str, ...]
    text: str


def _build_query(name: str, root: str, fields: str = "", /, *, kind: str = "query", **variables: str) -> Query:
    """Return a query of one field; its arguments are variables of the same names."""
    types = f"({', '.join(f'${key}: {value}' for key, value in variables.items())})" if variables else ""
    arguments = f"({', '.join(f'{key}: ${key}' for key in variables)})" if variables else ""
    selection = f" {{ {fields} }}" if fields else ""
    return Query(name=name, roots=(root,), text=f"{kind} {name}{types} {{ {root}{arguments}{selection} }}")


def _build_mutation(name: str, root: str, fields: str = "", /, **variables: str) -> Query:
    return _build_query(name, root, fields, kind="mutation", **variables)


def _build_listing(name: str, root: str, fields: str) -> Query:
    """Return a query that lists current and deprecated items: the API returns only one kind at a time."""
    parts = (f"{key}: {root}(deprecated: {value}) {{ {fields} }}" for key, value in _OFFERED.items())
    return Query(name=name, roots=tuple(_OFFERED), text=f"query {name} {{ {' '.join(parts)} }}")


QUERIES = {
    query.name: query
    for query in (
        _build_query("token_info", "apiTokenInfo", "accountUsername name publicId scopes"),
        _build_query("scopes", "apiTokenScopes", "name description"),
        _build_query("account", "account", _ACCOUNT % "latestValue"),
        _build_query("account_without_stakes", "account", _ACCOUNT % ""),
        _build_listing("images", "computePickleDockerImages", _IMAGE),
        _build_listing("data_versions", "computePickleDataVersions", _DATA),
        _build_query("pickle", "computePickles", _PICKLE, id="ID"),
        _build_query("pickles", "computePickles", _PICKLE, modelId="ID", unassigned="Boolean! = false"),
        _build_query("upload_auth", "computePickleUploadAuth", "filename url", filename="String", modelId="ID"),
        _build_query("download_auth", "computePickleDownloadAuth", "filename url", modelId="ID!", pickleId="ID"),
        _build_query("trigger_logs", "triggerLogs", "timestamp message", triggerId="ID!"),
        _build_query("diagnostics_logs", "diagnosticsTriggerLogs", "timestamp message", pickleId="ID!"),
        _build_query("rounds", "rounds", "number openTime closeTime closeStakingTime", number="Int", tournament="Int"),
        _build_query("name_available", "modelNameAvailable", name="String!", tournament="Int!"),
        _build_query("datasets", "listDatasets", tournament="Int"),
        _build_query("dataset", "dataset", filename="String!", tournament="Int"),
        _build_mutation(
            "create_pickle",
            "createComputePickleUpload",
            "id",
            filename="String!",
            tournament="Int!",
            modelId="ID",
            dockerImageId="ID",
            dataVersionId="ID",
            source="String",
        ),
        _build_mutation("assign", "assignPickleToModel", modelId="String", pickleId="ID"),
        _build_mutation(
            "trigger", "triggerComputePickleUpload", _PICKLE, modelId="ID", pickleId="ID", triggerValidation="Boolean"
        ),
        _build_mutation("label", "updatePickleLabel", "id", pickleId="ID!", label="String"),
        _build_mutation("set_webhook", "setSubmissionWebhook", modelId="String", newSubmissionWebhook="String"),
        _build_mutation("add_model", "addModel", _SLOT % "", name="String!", tournament="Int!"),
    )
}
