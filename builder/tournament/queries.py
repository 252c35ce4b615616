"""The GraphQL texts that this tool sends, by name, and what each must bring back."""

from __future__ import annotations

_TRIGGER = "id type status roundId submissionId insertedAt statuses { status description insertedAt }"
_PICKLE = f"""
    id filename label modelId assignedModelSlots dockerImageId dockerImage dockerImageName dataVersionId dataVersion
    runtime validationStatus triggerStatus diagnosticsStatus diagnosticsStatusDescription insertedAt updatedAt
    triggers {{ {_TRIGGER} }}
"""
_SLOT = """
    id name username tournament archived computeEnabled submissionWebhook %s
    latestSubmissionV2 { id filename status insertedAt }
"""
_STAKES, _NO_STAKES = "v2Stake { status latestValue }", "v2Stake { status }"
_IMAGE = "id name image tag insertedAt default deprecated experimental"
_DATA = "id name version type default deprecated experimental"
_AUTH = "filename url"


def _account(name: str, stakes: str) -> str:
    return (
        f"query {name} {{ account {{ id username maxModelSlots models {{ {_SLOT % stakes} "
        f"computePickleUpload {{ {_PICKLE} }} }} }} }}"
    )


TEXTS = {
    "token_info": "query token_info { apiTokenInfo { accountUsername name publicId scopes } }",
    "scopes": "query scopes { apiTokenScopes { name description } }",
    "account": _account("account", _STAKES),
    "account_without_stakes": _account("account_without_stakes", _NO_STAKES),
    "images": f"""query images {{
        offered: computePickleDockerImages(deprecated: false) {{ {_IMAGE} }}
        deprecated: computePickleDockerImages(deprecated: true) {{ {_IMAGE} }} }}""",
    "data_versions": f"""query data_versions {{
        offered: computePickleDataVersions(deprecated: false) {{ {_DATA} }}
        deprecated: computePickleDataVersions(deprecated: true) {{ {_DATA} }} }}""",
    "pickle": f"query pickle($id: ID) {{ computePickles(id: $id) {{ {_PICKLE} }} }}",
    "pickles": f"""query pickles($modelId: ID, $unassigned: Boolean! = false) {{
        computePickles(modelId: $modelId, unassigned: $unassigned) {{ {_PICKLE} }} }}""",
    "upload_auth": f"""query upload_auth($filename: String, $modelId: ID) {{
        computePickleUploadAuth(filename: $filename, modelId: $modelId) {{ {_AUTH} }} }}""",
    "download_auth": f"""query download_auth($modelId: ID!, $pickleId: ID) {{
        computePickleDownloadAuth(modelId: $modelId, pickleId: $pickleId) {{ {_AUTH} }} }}""",
    "trigger_logs": "query trigger_logs($triggerId: ID!) { triggerLogs(triggerId: $triggerId) { timestamp message } }",
    "diagnostics_logs": """query diagnostics_logs($pickleId: ID!) {
        diagnosticsTriggerLogs(pickleId: $pickleId) { timestamp message } }""",
    "rounds": """query rounds($number: Int, $tournament: Int) {
        rounds(number: $number, tournament: $tournament) { number openTime closeTime closeStakingTime } }""",
    "name_available": """query name_available($name: String!, $tournament: Int!) {
        modelNameAvailable(name: $name, tournament: $tournament) }""",
    "datasets": "query datasets($tournament: Int) { listDatasets(tournament: $tournament) }",
    "dataset": """query dataset($filename: String!, $tournament: Int) {
        dataset(filename: $filename, tournament: $tournament) }""",
    "create_pickle": """mutation create_pickle($filename: String!, $tournament: Int!, $modelId: ID, $dockerImageId: ID,
            $dataVersionId: ID, $source: String) {
        createComputePickleUpload(filename: $filename, tournament: $tournament, modelId: $modelId,
            dockerImageId: $dockerImageId, dataVersionId: $dataVersionId, source: $source) { id } }""",
    "assign": """mutation assign($modelId: String, $pickleId: ID) {
        assignPickleToModel(modelId: $modelId, pickleId: $pickleId) }""",
    "trigger": f"""mutation trigger($modelId: ID, $pickleId: ID, $triggerValidation: Boolean) {{
        triggerComputePickleUpload(modelId: $modelId, pickleId: $pickleId, triggerValidation: $triggerValidation) {{
            {_PICKLE} }} }}""",
    "label": """mutation label($pickleId: ID!, $label: String) {
        updatePickleLabel(pickleId: $pickleId, label: $label) { id label } }""",
    "set_webhook": """mutation set_webhook($modelId: String, $newSubmissionWebhook: String) {
        setSubmissionWebhook(modelId: $modelId, newSubmissionWebhook: $newSubmissionWebhook) }""",
    "add_model": f"""mutation add_model($name: String!, $tournament: Int!) {{
        addModel(name: $name, tournament: $tournament) {{ {_SLOT % _NO_STAKES} }} }}""",
}

ROOTS = {
    "token_info": ("apiTokenInfo",),
    "scopes": ("apiTokenScopes",),
    "account": ("account",),
    "account_without_stakes": ("account",),
    "images": ("offered", "deprecated"),
    "data_versions": ("offered", "deprecated"),
    "pickle": ("computePickles",),
    "pickles": ("computePickles",),
    "upload_auth": ("computePickleUploadAuth",),
    "download_auth": ("computePickleDownloadAuth",),
    "trigger_logs": ("triggerLogs",),
    "diagnostics_logs": ("diagnosticsTriggerLogs",),
    "rounds": ("rounds",),
    "name_available": ("modelNameAvailable",),
    "datasets": ("listDatasets",),
    "dataset": ("dataset",),
    "create_pickle": ("createComputePickleUpload",),
    "assign": ("assignPickleToModel",),
    "trigger": ("triggerComputePickleUpload",),
    "label": ("updatePickleLabel",),
    "set_webhook": ("setSubmissionWebhook",),
    "add_model": ("addModel",),
}
