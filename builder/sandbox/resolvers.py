"""Resolve the root fields of the GraphQL schema.

A resolver takes the context and the field's arguments. It raises :class:`RefusedError`, an entry in the response's
``errors``, or :class:`UnauthenticatedError`, which replaces the whole response.

Not documented, and chosen here: every mutation requires the scope ``upload_submission``; a stored name can be
registered only for the slot that it was authorised for; a deprecated image can be registered like any other.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from builder.sandbox import runs, views
from builder.sandbox import state as sandbox_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.sandbox.storage import Storage

_NAME = re.compile(r"[a-z0-9_]{3,20}")
_ASSIGNED, _DISABLED = "assigned", "disabled"


class RefusedError(Exception):
    """The API refuses a request; the message is part of the response."""


class UnauthenticatedError(Exception):
    """The request has no valid token."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The token of a request, and everything that resolvers use."""

    state: sandbox_state.State
    storage: Storage
    runs: runs.Runs
    token: sandbox_state.Token | None
    datasets: Callable[[], Mapping[str, Any]]

    @property
    def account(self) -> sandbox_state.SandboxAccount:
        """The account of the token; a resolver that uses it requires a token."""
        if self.token is None:
            raise UnauthenticatedError
        return self.token.account

    def require(self, scope: str) -> None:
        """Raise an error unless the token has a scope."""
        if self.token is None:
            raise UnauthenticatedError
        if scope not in self.token.scopes:
            raise RefusedError(f"Your API key does not have the required scope: {scope}")


def resolve_account(context: Context) -> Any:
    return views.serialize_account(context.state, context.account)


def resolve_api_token_info(context: Context) -> Any:
    owner, token = context.account, context.token
    if token is None:
        raise UnauthenticatedError
    return {
        "accountUsername": owner.username,
        "name": token.name,
        "publicId": token.public_id,
        "scopes": sorted(token.scopes),
    }


def resolve_api_token_scopes(context: Context) -> Any:
    return [{"name": name, "description": description} for name, description in sandbox_state.SCOPES.items()]


def resolve_data_versions(context: Context, *, deprecated: bool) -> Any:
    return [
        views.serialize_data_version(version)
        for version in context.state.data_versions
        if deprecated or not version.deprecated
    ]


def resolve_docker_images(context: Context, *, deprecated: bool | None) -> Any:
    return [views.serialize_image(image) for image in context.state.images if deprecated or not image.deprecated]


def resolve_upload_auth(context: Context, *, filename: str | None = None, model_id: str | None = None) -> Any:
    context.require(sandbox_state.UPLOAD_SCOPE)
    if model_id is not None:
        _require_no_webhook(_get_classic_slot(context, model_id))
    local = PurePath(filename or "model.pkl")
    if local.suffix != ".pkl":
        raise RefusedError("The model file must end in .pkl")
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", local.stem) if context.state.keeps_filenames else "model"
    stored = f"{secrets.token_hex(4)}-{stem}.pkl"  # like the tournament: a prefix makes the local name unique
    context.state.grants[stored] = sandbox_state.Grant(filename=stored, account=context.account, slot_id=model_id)
    return _serialize_url(stored, context.storage.sign("PUT", runs.get_key(stored)))


def resolve_download_auth(context: Context, *, model_id: str, pickle_id: str | None = None) -> Any:
    context.require(sandbox_state.DOWNLOAD_SCOPE)
    slot = _get_slot(context, model_id)
    pickle_id = pickle_id or slot.pickle_id
    if pickle_id is None:
        raise RefusedError("This model has no pickle")
    pickle = _get_pickle(context, pickle_id)
    if slot.id not in {pickle.slot_id, *(assigned.id for assigned in context.state.find_slots_with(pickle.id))}:
        raise RefusedError("This pickle does not belong to this model")
    return _serialize_url(pickle.filename, context.storage.sign("GET", runs.get_key(pickle.filename)))


def resolve_pickles(
    context: Context,
    *,
    id_: str | None = None,
    model_id: str | None = None,
    unassigned: bool,
) -> Any:
    results = []
    for pickle in reversed(context.state.list_pickles(context.account)):
        if (id_ and pickle.id != id_) or (model_id and pickle.slot_id != model_id):
            continue
        if unassigned and context.state.find_slots_with(pickle.id):
            continue
        # Only a query by id uses up an interim status: a poll goes by id, and a list must not change what it sees.
        word = pickle.interim.popleft() if id_ and pickle.interim else pickle.interim[0] if pickle.interim else None
        results.append(views.serialize_pickle(context.state, pickle, status=word))
    return results


def resolve_dataset(
    context: Context, *, filename: str, round_: int | None = None, tournament: int | None = None
) -> Any:
    if filename not in context.datasets():
        raise RefusedError(f"Unknown dataset: {filename}")
    return context.storage.sign("GET", f"datasets/{filename}")


def resolve_datasets(context: Context, *, round_: int | None = None, tournament: int | None = None) -> Any:
    return sorted(context.datasets())


def resolve_diagnostics(context: Context, *, id_: str | None = None, model_id: str | None = None) -> Any:
    return [
        {
            "id": pickle.diagnostics_id,
            "status": pickle.diagnostics,
            "updatedAt": views.format_time(pickle.updated_at),
            "validationCorrMean": None,
        }
        for pickle in context.state.list_pickles(context.account)
        if pickle.diagnostics_id
        and (not id_ or pickle.diagnostics_id == id_)
        and (not model_id or pickle.slot_id == model_id)
    ]


def resolve_diagnostics_logs(context: Context, *, pickle_id: str) -> Any:
    return views.serialize_logs(_get_pickle(context, pickle_id).diagnostics_logs)


def resolve_trigger_logs(context: Context, *, trigger_id: str) -> Any:
    for pickle in context.state.list_pickles(context.account):
        for trigger in pickle.triggers:
            if trigger.id == trigger_id:
                return views.serialize_logs(trigger.logs)
    raise RefusedError("Trigger not found")


def resolve_model(context: Context, *, model_id: str | None = None) -> Any:
    return views.serialize_slot(context.state, _get_slot(context, model_id or ""))


def resolve_performances(context: Context, *, model_id: str, tournament: int) -> Any:
    """Resolve the scores of any account: the official client requests them without a token."""
    slot = context.state.slots.get(model_id)
    if slot is None or slot.tournament != tournament:
        raise RefusedError("Model not found")
    return views.serialize_performances(slot)


def resolve_name_availability(context: Context, *, name: str, tournament: int) -> Any:
    return _is_free(context, name, tournament)


def resolve_rounds(
    context: Context, *, limit: int | None = None, number: int | None = None, tournament: int | None = None
) -> Any:
    tournament = tournament or sandbox_state.CLASSIC
    if number == 0:  # the API's number for the current round
        current = context.state.get_current_round(tournament)
        return [views.serialize_round(current)] if current else []
    matching = [
        round_ for round_ in context.state.rounds if round_.tournament == tournament and number in {None, round_.number}
    ]
    matching.sort(key=lambda round_: round_.number, reverse=True)
    return [views.serialize_round(round_) for round_ in matching[:limit]]


def add_model(context: Context, *, name: str, tournament: int) -> Any:
    context.require(sandbox_state.UPLOAD_SCOPE)
    if not _NAME.fullmatch(name):
        raise RefusedError("Model name must be 3 to 20 of a-z, 0-9 and _")
    if not _is_free(context, name, tournament):
        raise RefusedError("Model name has already been taken")
    count = sum(slot.account is context.account and not slot.archived for slot in context.state.slots.values())
    if count >= context.account.max_model_slots:
        raise RefusedError("You have no model slots left")
    slot = sandbox_state.SandboxSlot(name=name, account=context.account, tournament=tournament)
    return views.serialize_slot(context.state, context.state.add_slot(slot))


def create_upload(
    context: Context,
    *,
    filename: str,
    tournament: int,
    model_id: str | None = None,
    data_version_id: str | None = None,
    docker_image_id: str | None = None,
    source: str | None = None,
) -> Any:
    """Register a pickle by its stored name. Like the real API, do not check whether it was stored."""
    context.require(sandbox_state.UPLOAD_SCOPE)
    if tournament != sandbox_state.CLASSIC:
        raise RefusedError("Models can only be uploaded to the Classic tournament")
    if model_id is not None:
        _require_no_webhook(_get_classic_slot(context, model_id))
    grant = context.state.grants.get(filename)
    if grant is None or grant.account is not context.account:
        raise RefusedError("Invalid filename: it was not authorised for upload")
    if grant.slot_id != model_id:
        raise RefusedError("Invalid filename: it was authorised for another model")
    now = context.state.now()
    pickle = sandbox_state.Pickle(
        filename=filename,
        account=context.account,
        slot_id=model_id,
        image=_select("Docker image", context.state.images, docker_image_id),
        data_version=_select("Data version", context.state.data_versions, data_version_id),
        version=context.state.get_next_version(model_id),
        status=context.state.words.pending,
        inserted_at=now,
        updated_at=now,
    )
    context.state.pickles[pickle.id] = pickle
    context.runs.start(pickle, kind="upload", validates=True)
    # A scripted run has ended here, but the response must be that of an API which is still validating.
    return views.serialize_pickle(context.state, pickle, status=context.state.words.pending)


def assign_pickle(context: Context, *, model_id: str | None = None, pickle_id: str | None = None) -> Any:
    context.require(sandbox_state.UPLOAD_SCOPE)
    slot = _get_classic_slot(context, model_id or "")
    if pickle_id is None:
        slot.pickle_id = None
        return _DISABLED
    pickle = _get_pickle(context, pickle_id)
    if context.state.rejects_unvalidated and (not pickle.passed or pickle.interim):
        raise RefusedError("This pickle has not passed validation")
    _require_no_webhook(slot)
    slot.pickle_id = pickle.id
    return _ASSIGNED


def trigger_run(
    context: Context,
    *,
    model_id: str | None = None,
    pickle_id: str | None = None,
    trigger_validation: bool | None = None,
) -> Any:
    context.require(sandbox_state.UPLOAD_SCOPE)
    pickle_id = pickle_id or (_get_slot(context, model_id).pickle_id if model_id else None)
    if pickle_id is None:
        raise RefusedError("There is no pickle to run")
    pickle = _get_pickle(context, pickle_id)
    context.runs.start(pickle, kind="manual", validates=bool(trigger_validation))
    return views.serialize_pickle(context.state, pickle)


def update_label(context: Context, *, pickle_id: str, label: str | None = None) -> Any:
    context.require(sandbox_state.UPLOAD_SCOPE)
    pickle = _get_pickle(context, pickle_id)
    pickle.label, pickle.updated_at = label, context.state.now()
    return views.serialize_pickle(context.state, pickle)


def set_webhook(context: Context, *, model_id: str | None = None, new_submission_webhook: str | None = None) -> Any:
    context.require(sandbox_state.UPLOAD_SCOPE)
    slot = _get_slot(context, model_id or "")
    slot.webhook = new_submission_webhook or None
    return slot.webhook


QUERIES: Mapping[str, Callable[..., Any]] = {
    "account": resolve_account,
    "apiTokenInfo": resolve_api_token_info,
    "apiTokenScopes": resolve_api_token_scopes,
    "computePickleDataVersions": resolve_data_versions,
    "computePickleDockerImages": resolve_docker_images,
    "computePickleUploadAuth": resolve_upload_auth,
    "computePickleDownloadAuth": resolve_download_auth,
    "computePickles": resolve_pickles,
    "dataset": resolve_dataset,
    "listDatasets": resolve_datasets,
    "diagnostics": resolve_diagnostics,
    "diagnosticsTriggerLogs": resolve_diagnostics_logs,
    "triggerLogs": resolve_trigger_logs,
    "model": resolve_model,
    "modelNameAvailable": resolve_name_availability,
    "rounds": resolve_rounds,
    "v2RoundModelPerformances": resolve_performances,
}
MUTATIONS: Mapping[str, Callable[..., Any]] = {
    "addModel": add_model,
    "createComputePickleUpload": create_upload,
    "assignPickleToModel": assign_pickle,
    "triggerComputePickleUpload": trigger_run,
    "updatePickleLabel": update_label,
    "setSubmissionWebhook": set_webhook,
}


def _serialize_url(filename: str, url: str) -> dict[str, Any]:
    return {"filename": filename, "url": url, "accelerated": False, "countryCode": None}


def _get_slot(context: Context, slot_id: str) -> sandbox_state.SandboxSlot:
    slot = context.state.slots.get(slot_id)
    if slot is None or slot.account is not context.account:
        raise RefusedError("Model not found")
    return slot


def _get_classic_slot(context: Context, slot_id: str) -> sandbox_state.SandboxSlot:
    slot = _get_slot(context, slot_id)
    if slot.tournament != sandbox_state.CLASSIC:
        raise RefusedError("Models can only be uploaded to the Classic tournament")
    if slot.archived:
        raise RefusedError("This model is archived")
    return slot


def _require_no_webhook(slot: sandbox_state.SandboxSlot) -> None:
    if slot.webhook:
        raise RefusedError("This model has a submission webhook: remove it before uploading a model")


def _get_pickle(context: Context, pickle_id: str) -> sandbox_state.Pickle:
    pickle = context.state.pickles.get(pickle_id)
    if pickle is None or pickle.account is not context.account:
        raise RefusedError("Pickle not found")
    return pickle


def _select(kind: str, items: list[Any], item_id: str | None) -> Any:
    """Return the item with an id, or the default item if there is no id."""
    for item in items:
        if item.id == item_id if item_id is not None else item.default:
            return item
    raise RefusedError(f"{kind} not found")


def _is_free(context: Context, name: str, tournament: int) -> bool:
    return all((slot.name, slot.tournament) != (name, tournament) for slot in context.state.slots.values())
