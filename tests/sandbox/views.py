"""What the API shows of each thing in the state, by the schema's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from tests.sandbox import state as world


def time(at: datetime) -> str:
    """Return a time as the API writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def account(state: world.State, one: world.Account) -> dict[str, Any]:
    """Show an account with its slots."""
    slots = [slot(state, each) for each in state.slots.values() if each.account is one]
    return {"id": one.id, "username": one.username, "maxModelSlots": one.max_model_slots, "models": slots}


def slot(state: world.State, one: world.Slot) -> dict[str, Any]:
    """Show a slot with what is assigned to it."""
    assigned = state.pickles.get(one.pickle_id or "")
    return {
        "id": one.id,
        "name": one.name,
        "username": one.name,
        "tournament": one.tournament,
        "archived": one.archived,
        "computeEnabled": assigned is not None,
        "submissionWebhook": one.webhook,
        "v2Stake": {"status": "active", "latestValue": one.stake} if one.stake is not None else None,
        "latestSubmissionV2": submission(one.latest_submission) if one.latest_submission else None,
        "computePickleUpload": pickle(state, assigned) if assigned else None,
    }


def submission(one: world.Submission) -> dict[str, Any]:
    """Show a submission."""
    return {"id": one.id, "filename": one.filename, "status": one.status, "insertedAt": time(one.inserted_at)}


def pickle(state: world.State, one: world.Pickle, *, status: str | None = None) -> dict[str, Any]:
    """Show a registered pickle; ``status`` is shown in place of its validation's word."""
    last = one.triggers[-1] if one.triggers else None
    return {
        "id": one.id,
        "filename": one.filename,
        "label": one.label,
        "version": one.version,
        "modelId": one.slot_id,
        "assignedModelSlots": [each.id for each in state.slots_with(one.id)],
        "dockerImageId": one.image.id,
        "dockerImage": f"{one.image.image}:{one.image.tag}",
        "dockerImageName": one.image.name,
        "dataVersionId": one.data_version.id,
        "dataVersion": one.data_version.name,
        "runtime": one.image.name,
        "validationStatus": one.status if status is None else status,
        "triggerStatus": last.statuses[-1].status if last else None,
        "diagnosticsStatus": one.diagnostics,
        "diagnosticsStatusDescription": None,
        "diagnosticsId": one.diagnostics_id,
        "triggers": [trigger(one, each) for each in reversed(one.triggers)],
        "insertedAt": time(one.inserted_at),
        "updatedAt": time(one.updated_at),
    }


def trigger(of: world.Pickle, one: world.Trigger) -> dict[str, Any]:
    """Show a run of a pickle."""
    return {
        "id": one.id,
        "computePickleUploadId": of.id,
        "roundId": str(one.round_number) if one.round_number is not None else None,
        "submissionId": one.submission_id,
        "type": one.kind,
        "status": one.statuses[-1].status,
        "statuses": [
            {
                "id": each.id,
                "computePickleTriggerId": one.id,
                "status": each.status,
                "description": each.description,
                "insertedAt": time(each.at),
                "updatedAt": time(each.at),
            }
            for each in one.statuses
        ],
        "insertedAt": time(one.statuses[0].at),
        "updatedAt": time(one.statuses[-1].at),
    }


def image(one: world.Image) -> dict[str, Any]:
    """Show a runtime."""
    return {
        "id": one.id,
        "name": one.name,
        "image": one.image,
        "tag": one.tag,
        "insertedAt": time(one.inserted_at),
        "default": one.default,
        "deprecated": one.deprecated,
        "experimental": one.experimental,
    }


def data_version(one: world.DataVersion) -> dict[str, Any]:
    """Show a version of the data."""
    return {
        "id": one.id,
        "name": one.name,
        "version": one.name,
        "type": "classic",
        "default": one.default,
        "deprecated": one.deprecated,
        "experimental": one.experimental,
    }


def logs(lines: list[world.Log]) -> list[dict[str, Any]]:
    """Show what a run printed."""
    return [{"timestamp": one.timestamp, "message": one.message} for one in lines]


def round_(one: world.Round) -> dict[str, Any]:
    """Show a round; stakes close with it here, and it resolves when its time has long passed."""
    return {
        "number": one.number,
        "tournament": one.tournament,
        "openTime": time(one.open_time),
        "closeTime": time(one.close_time),
        "closeStakingTime": time(one.close_time),
        "resolveTime": None,
    }
