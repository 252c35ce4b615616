"""The GraphQL texts that this tool sends, by name, and the fields of the answer that each asks for."""

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
    """A text with one operation; ``roots`` are the fields of its answer."""

    name: str
    roots: tuple[str, ...]
    text: str


def _query(name: str, root: str, fields: str = "", /, *, kind: str = "query", **variables: str) -> Query:
    """Return the query of one field, whose arguments are variables of the same names."""
    types = f"({', '.join(f'${key}: {value}' for key, value in variables.items())})" if variables else ""
    arguments = f"({', '.join(f'{key}: ${key}' for key in variables)})" if variables else ""
    selection = f" {{ {fields} }}" if fields else ""
    return Query(name=name, roots=(root,), text=f"{kind} {name}{types} {{ {root}{arguments}{selection} }}")


def _mutation(name: str, root: str, fields: str = "", /, **variables: str) -> Query:
    return _query(name, root, fields, kind="mutation", **variables)


def _offered(name: str, root: str, fields: str) -> Query:
    """Return the query of what is offered and of what no longer is."""
    parts = (f"{key}: {root}(deprecated: {value}) {{ {fields} }}" for key, value in _OFFERED.items())
    return Query(name=name, roots=tuple(_OFFERED), text=f"query {name} {{ {' '.join(parts)} }}")


QUERIES = {
    query.name: query
    for query in (
        _query("token_info", "apiTokenInfo", "accountUsername name publicId scopes"),
        _query("scopes", "apiTokenScopes", "name description"),
        _query("account", "account", _ACCOUNT % "latestValue"),
        _query("account_without_stakes", "account", _ACCOUNT % ""),
        _offered("images", "computePickleDockerImages", _IMAGE),
        _offered("data_versions", "computePickleDataVersions", _DATA),
        _query("pickle", "computePickles", _PICKLE, id="ID"),
        _query("pickles", "computePickles", _PICKLE, modelId="ID", unassigned="Boolean! = false"),
        _query("upload_auth", "computePickleUploadAuth", "filename url", filename="String", modelId="ID"),
        _query("download_auth", "computePickleDownloadAuth", "filename url", modelId="ID!", pickleId="ID"),
        _query("trigger_logs", "triggerLogs", "timestamp message", triggerId="ID!"),
        _query("diagnostics_logs", "diagnosticsTriggerLogs", "timestamp message", pickleId="ID!"),
        _query("rounds", "rounds", "number openTime closeTime closeStakingTime", number="Int", tournament="Int"),
        _query("name_available", "modelNameAvailable", name="String!", tournament="Int!"),
        _query("datasets", "listDatasets", tournament="Int"),
        _query("dataset", "dataset", filename="String!", tournament="Int"),
        _mutation(
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
        _mutation("assign", "assignPickleToModel", modelId="String", pickleId="ID"),
        _mutation(
            "trigger", "triggerComputePickleUpload", _PICKLE, modelId="ID", pickleId="ID", triggerValidation="Boolean"
        ),
        _mutation("label", "updatePickleLabel", "id", pickleId="ID!", label="String"),
        _mutation("set_webhook", "setSubmissionWebhook", modelId="String", newSubmissionWebhook="String"),
        _mutation("add_model", "addModel", _SLOT % "", name="String!", tournament="Int!"),
    )
}
