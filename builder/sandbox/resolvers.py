"""What each field of the schema answers, and the rules by which it refuses.

A resolver takes the request and the field's arguments. What it refuses leaves as :class:`Refused`, an entry of the
answer's ``errors``; a missing or bad token as :class:`Unauthenticated`, which takes the whole answer.

Said in no documentation, and chosen here: every mutation takes the scope ``upload_submission``; a stored name may be
registered for the slot alone that it was handed out for; a deprecated image is registered like any other.
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


class Refused(Exception):  # noqa: N818 - it is an answer
    """The API says no, in these words."""


class Unauthenticated(Exception):  # noqa: N818 - it is an answer
    """There is no token, or no good one."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Who asks, and all that answering takes."""

    state: sandbox_state.State
    storage: Storage
    runs: runs.Runs
    token: sandbox_state.Token | None
    datasets: Callable[[], Mapping[str, Any]]

    @property
    def account(self) -> sandbox_state.SandboxAccount:
        """The account of the token, which has to be there."""
        if self.token is None:
            raise Unauthenticated
        return self.token.account

    def require(self, scope: str) -> None:
        """Refuse a token that may not do this."""
        if self.token is None:
            raise Unauthenticated
        if scope not in self.token.scopes:
            raise Refused(f"Your API key does not have the required scope: {scope}")


def account(request: Request) -> Any:
    return views.account(request.state, request.account)


def api_token_info(request: Request) -> Any:
    owner, token = request.account, request.token
    if token is None:
        raise Unauthenticated
    return {
        "accountUsername": owner.username,
        "name": token.name,
        "publicId": token.public_id,
        "scopes": sorted(token.scopes),
    }


def api_token_scopes(request: Request) -> Any:
    return [{"name": name, "description": description} for name, description in sandbox_state.SCOPES.items()]


def data_versions(request: Request, *, deprecated: bool) -> Any:
    return [views.data_version(item) for item in request.state.data_versions if deprecated or not item.deprecated]


def docker_images(request: Request, *, deprecated: bool | None) -> Any:
    return [views.image(item) for item in request.state.images if deprecated or not item.deprecated]


def upload_auth(request: Request, *, filename: str | None = None, model_id: str | None = None) -> Any:
    request.require(sandbox_state.UPLOAD_SCOPE)
    if model_id is not None:
        _require_empty_webhook(_classic_slot(request, model_id))
    local = PurePath(filename or "model.pkl")
    if local.suffix != ".pkl":
        raise Refused("The model file must end in .pkl")
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", local.stem) if request.state.keeps_names else "model"
    stored = f"{secrets.token_hex(4)}-{stem}.pkl"  # another name than the local one, which it holds
    request.state.grants[stored] = sandbox_state.Grant(filename=stored, account=request.account, slot_id=model_id)
    return _address(stored, request.storage.sign("PUT", runs.key(stored)))


def download_auth(request: Request, *, model_id: str, pickle_id: str | None = None) -> Any:
    request.require(sandbox_state.DOWNLOAD_SCOPE)
    slot = _own_slot(request, model_id)
    identity = pickle_id or slot.pickle_id
    if identity is None:
        raise Refused("This model has no pickle")
    pickle = _own_pickle(request, identity)
    if slot.id not in {pickle.slot_id, *(item.id for item in request.state.slots_with(pickle.id))}:
        raise Refused("This pickle does not belong to this model")
    return _address(pickle.filename, request.storage.sign("GET", runs.key(pickle.filename)))


def pickles(
    request: Request,
    *,
    id_: str | None = None,
    model_id: str | None = None,
    unassigned: bool,
) -> Any:
    result = request.state.list_pickles(request.account)
    shown = []
    for item in reversed(result):
        if (id_ and item.id != id_) or (model_id and item.slot_id != model_id):
            continue
        if unassigned and request.state.slots_with(item.id):
            continue
        word = item.interim.popleft() if id_ and item.interim else item.interim[0] if item.interim else None
        shown.append(views.pickle(request.state, item, status=word))
    return shown


def dataset(request: Request, *, filename: str, round_: int | None = None, tournament: int | None = None) -> Any:
    if filename not in request.datasets():
        raise Refused(f"Unknown dataset: {filename}")
    return request.storage.sign("GET", f"datasets/{filename}")


def list_datasets(request: Request, *, round_: int | None = None, tournament: int | None = None) -> Any:
    return sorted(request.datasets())


def diagnostics(request: Request, *, id_: str | None = None, model_id: str | None = None) -> Any:
    return [
        {
            "id": item.diagnostics_id,
            "status": item.diagnostics,
            "updatedAt": views.time(item.updated_at),
            "validationCorrMean": None,
        }
        for item in request.state.list_pickles(request.account)
        if item.diagnostics_id
        and (not id_ or item.diagnostics_id == id_)
        and (not model_id or item.slot_id == model_id)
    ]


def diagnostics_logs(request: Request, *, pickle_id: str) -> Any:
    return views.logs(_own_pickle(request, pickle_id).diagnostics_logs)


def trigger_logs(request: Request, *, trigger_id: str) -> Any:
    for pickle in request.state.list_pickles(request.account):
        for item in pickle.triggers:
            if item.id == trigger_id:
                return views.logs(item.logs)
    raise Refused("Trigger not found")


def model(request: Request, *, model_id: str | None = None) -> Any:
    return views.slot(request.state, _own_slot(request, model_id or ""))


def performances(request: Request, *, model_id: str, tournament: int) -> Any:
    """Show anybody's scores: the official client asks for them without a token."""
    slot = request.state.slots.get(model_id)
    if slot is None or slot.tournament != tournament:
        raise Refused("Model not found")
    return views.performances(slot)


def name_available(request: Request, *, name: str, tournament: int) -> Any:
    return _is_free(request, name, tournament)


def rounds(
    request: Request, *, limit: int | None = None, number: int | None = None, tournament: int | None = None
) -> Any:
    tournament_number = tournament or sandbox_state.CLASSIC
    if number == 0:
        current = request.state.current_round(tournament_number)
        return [views.round_(current)] if current else []
    every = [
        item for item in request.state.rounds if item.tournament == tournament_number and number in {None, item.number}
    ]
    return [views.round_(item) for item in sorted(every, key=lambda item: -item.number)[:limit]]


def add_model(request: Request, *, name: str, tournament: int) -> Any:
    request.require(sandbox_state.UPLOAD_SCOPE)
    if not _NAME.fullmatch(name):
        raise Refused("Model name must be 3 to 20 of a-z, 0-9 and _")
    if not _is_free(request, name, tournament):
        raise Refused("Model name has already been taken")
    taken = sum(item.account is request.account and not item.archived for item in request.state.slots.values())
    if taken >= request.account.max_model_slots:
        raise Refused("You have no model slots left")
    slot = sandbox_state.SandboxSlot(name=name, account=request.account, tournament=tournament)
    return views.slot(request.state, request.state.add_slot(slot))


def create_upload(
    request: Request,
    *,
    filename: str,
    tournament: int,
    model_id: str | None = None,
    data_version_id: str | None = None,
    docker_image_id: str | None = None,
    source: str | None = None,
) -> Any:
    """Register: by the stored name alone. As the real one, it does not look whether there are any bytes."""
    request.require(sandbox_state.UPLOAD_SCOPE)
    if tournament != sandbox_state.CLASSIC:
        raise Refused("Models can only be uploaded to the Classic tournament")
    if model_id is not None:
        _require_empty_webhook(_classic_slot(request, model_id))
    grant = request.state.grants.get(filename)
    if grant is None or grant.account is not request.account:
        raise Refused("Invalid filename: it was not authorised for upload")
    if grant.slot_id != model_id:
        raise Refused("Invalid filename: it was authorised for another model")
    now = request.state.now()
    result = sandbox_state.Pickle(
        filename=filename,
        account=request.account,
        slot_id=model_id,
        image=_chosen("Docker image", request.state.images, docker_image_id),
        data_version=_chosen("Data version", request.state.data_versions, data_version_id),
        version=request.state.next_version(model_id),
        status=request.state.words.pending,
        inserted_at=now,
        updated_at=now,
    )
    request.state.pickles[result.id] = result
    request.runs.begin(result, kind="upload", validates=True)
    return views.pickle(request.state, result, status=request.state.words.pending)


def assign(request: Request, *, model_id: str | None = None, pickle_id: str | None = None) -> Any:
    request.require(sandbox_state.UPLOAD_SCOPE)
    slot = _classic_slot(request, model_id or "")
    if pickle_id is None:
        slot.pickle_id = None
        return _DISABLED
    pickle = _own_pickle(request, pickle_id)
    if request.state.checks_assigned and (not pickle.passed or pickle.interim):
        raise Refused("This pickle has not passed validation")
    _require_empty_webhook(slot)
    slot.pickle_id = pickle.id
    return _ASSIGNED


def trigger(
    request: Request,
    *,
    model_id: str | None = None,
    pickle_id: str | None = None,
    trigger_validation: bool | None = None,
) -> Any:
    request.require(sandbox_state.UPLOAD_SCOPE)
    identity = pickle_id or (_own_slot(request, model_id).pickle_id if model_id else None)
    if identity is None:
        raise Refused("There is no pickle to run")
    pickle = _own_pickle(request, identity)
    request.runs.begin(pickle, kind="manual", validates=bool(trigger_validation))
    return views.pickle(request.state, pickle)


def update_label(request: Request, *, pickle_id: str, label: str | None = None) -> Any:
    request.require(sandbox_state.UPLOAD_SCOPE)
    pickle = _own_pickle(request, pickle_id)
    pickle.label, pickle.updated_at = label, request.state.now()
    return views.pickle(request.state, pickle)


def set_webhook(request: Request, *, model_id: str | None = None, new_submission_webhook: str | None = None) -> Any:
    request.require(sandbox_state.UPLOAD_SCOPE)
    slot = _own_slot(request, model_id or "")
    slot.webhook = new_submission_webhook or None
    return slot.webhook


QUERIES: Mapping[str, Callable[..., Any]] = {
    "account": account,
    "apiTokenInfo": api_token_info,
    "apiTokenScopes": api_token_scopes,
    "computePickleDataVersions": data_versions,
    "computePickleDockerImages": docker_images,
    "computePickleUploadAuth": upload_auth,
    "computePickleDownloadAuth": download_auth,
    "computePickles": pickles,
    "dataset": dataset,
    "listDatasets": list_datasets,
    "diagnostics": diagnostics,
    "diagnosticsTriggerLogs": diagnostics_logs,
    "triggerLogs": trigger_logs,
    "model": model,
    "modelNameAvailable": name_available,
    "rounds": rounds,
    "v2RoundModelPerformances": performances,
}
MUTATIONS: Mapping[str, Callable[..., Any]] = {
    "addModel": add_model,
    "createComputePickleUpload": create_upload,
    "assignPickleToModel": assign,
    "triggerComputePickleUpload": trigger,
    "updatePickleLabel": update_label,
    "setSubmissionWebhook": set_webhook,
}


def _address(filename: str, url: str) -> dict[str, Any]:
    return {"filename": filename, "url": url, "accelerated": False, "countryCode": None}


def _own_slot(request: Request, slot_id: str) -> sandbox_state.SandboxSlot:
    slot = request.state.slots.get(slot_id)
    if slot is None or slot.account is not request.account:
        raise Refused("Model not found")
    return slot


def _classic_slot(request: Request, slot_id: str) -> sandbox_state.SandboxSlot:
    slot = _own_slot(request, slot_id)
    if slot.tournament != sandbox_state.CLASSIC:
        raise Refused("Models can only be uploaded to the Classic tournament")
    if slot.archived:
        raise Refused("This model is archived")
    return slot


def _require_empty_webhook(slot: sandbox_state.SandboxSlot) -> None:
    if slot.webhook:
        raise Refused("This model has a submission webhook: remove it before uploading a model")


def _own_pickle(request: Request, pickle_id: str) -> sandbox_state.Pickle:
    pickle = request.state.pickles.get(pickle_id)
    if pickle is None or pickle.account is not request.account:
        raise Refused("Pickle not found")
    return pickle


def _chosen(what: str, among: list[Any], identity: str | None) -> Any:
    """Return the one with an id, or the default."""
    for item in among:
        if item.id == identity if identity is not None else item.default:
            return item
    raise Refused(f"{what} not found")


def _is_free(request: Request, name: str, tournament: int) -> bool:
    return all((item.name, item.tournament) != (name, tournament) for item in request.state.slots.values())
