"""What the API shows of each thing in the state, by the schema's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from builder.sandbox import state as sandbox_state


def time(at: datetime) -> str:
    """Return a time as the API writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def account(state: sandbox_state.State, item: sandbox_state.SandboxAccount) -> dict[str, Any]:
    """Show an account with its slots."""
    slots = [slot(state, each) for each in state.slots.values() if each.account is item]
    tokens = [each for each in state.tokens if each.account is item and not each.revoked]
    return {
        "id": item.id,
        "username": item.username,
        "maxModelSlots": item.max_model_slots,
        "models": slots,
        "email": f"{item.username}@example.com",
        "status": "VERIFIED",
        "mfaEnabled": False,
        "walletAddress": None,
        "availableNmr": "0",
        "insertedAt": time(item.inserted_at),
        "apiTokens": [
            {"name": each.name, "public_id": each.public_id, "scopes": sorted(each.scopes)} for each in tokens
        ],
    }


def slot(state: sandbox_state.State, item: sandbox_state.SandboxSlot) -> dict[str, Any]:
    """Show a slot with what is assigned to it."""
    assigned = state.pickles.get(item.pickle_id or "")
    return {
        "id": item.id,
        "name": item.name,
        "username": item.name,
        "tournament": item.tournament,
        "archived": item.archived,
        "computeEnabled": assigned is not None,
        "submissionWebhook": item.webhook,
        "v2Stake": {"status": "active", "latestValue": item.stake, "txHash": None} if item.stake is not None else None,
        "latestSubmissionV2": submission(item.latest_submission) if item.latest_submission else None,
        "submissions": [
            {"id": each.id, "filename": each.filename, "selected": True, "round": round_(each.round)}
            for each in item.submissions
        ],
        "computePickleUpload": pickle(state, assigned) if assigned else None,
    }


def performances(item: sandbox_state.SandboxSlot) -> list[dict[str, Any]]:
    """Show the scores of a slot by round."""
    return [
        {
            "roundNumber": each.round.number,
            "intraRoundSubmissionScores": [score(result) for result in each.scores] or None,
        }
        for each in item.submissions
    ]


def score(item: sandbox_state.Score) -> dict[str, Any]:
    """Show a score."""
    return {
        "date": time(item.at),
        "day": item.day,
        "displayName": item.name,
        "payoutPending": item.payout,
        "payoutSettled": None,
        "percentile": item.percentile,
        "value": item.value,
    }


def submission(item: sandbox_state.SandboxSubmission) -> dict[str, Any]:
    """Show a submission."""
    return {"id": item.id, "filename": item.filename, "status": item.status, "insertedAt": time(item.inserted_at)}


def pickle(state: sandbox_state.State, item: sandbox_state.Pickle, *, status: str | None = None) -> dict[str, Any]:
    """Show a registered pickle; ``status`` is shown in place of its validation's word."""
    last = item.triggers[-1] if item.triggers else None
    return {
        "id": item.id,
        "filename": item.filename,
        "label": item.label,
        "version": item.version,
        "modelId": item.slot_id,
        "assignedModelSlots": [each.id for each in state.slots_with(item.id)],
        "dockerImageId": item.image.id,
        "dockerImage": f"{item.image.image}:{item.image.tag}",
        "dockerImageName": item.image.name,
        "dataVersionId": item.data_version.id,
        "dataVersion": item.data_version.name,
        "runtime": item.image.name,
        "validationStatus": item.status if status is None else status,
        "triggerStatus": last.statuses[-1].status if last else None,
        "diagnosticsStatus": item.diagnostics,
        "diagnosticsStatusDescription": None,
        "diagnosticsId": item.diagnostics_id,
        "triggers": [trigger(state, item, each) for each in reversed(item.triggers)],
        "insertedAt": time(item.inserted_at),
        "updatedAt": time(item.updated_at),
    }


def trigger(state: sandbox_state.State, of: sandbox_state.Pickle, item: sandbox_state.Trigger) -> dict[str, Any]:
    """Show a run of a pickle."""
    steps = item.statuses if state.runs_have_statuses else []
    return {
        "id": item.id,
        "computePickleUploadId": of.id,
        "roundId": str(item.round.number) if item.round else None,
        "submissionId": item.submission_id,
        "type": item.kind,
        "status": steps[-1].status if steps else None,
        "statuses": [
            {
                "id": each.id,
                "computePickleTriggerId": item.id,
                "status": each.status,
                "description": each.description,
                "insertedAt": time(each.at),
                "updatedAt": time(each.at),
            }
            for each in steps
        ],
        "insertedAt": time(item.statuses[0].at),
        "updatedAt": time(item.statuses[-1].at),
    }


def image(item: sandbox_state.Image) -> dict[str, Any]:
    """Show a runtime."""
    return {
        "id": item.id,
        "name": item.name,
        "image": item.image,
        "tag": item.tag,
        "insertedAt": time(item.inserted_at),
        "default": item.default,
        "deprecated": item.deprecated,
        "experimental": item.experimental,
    }


def data_version(item: sandbox_state.SandboxDataVersion) -> dict[str, Any]:
    """Show a version of the data."""
    return {
        "id": item.id,
        "name": item.name,
        "version": item.name,
        "type": "classic",
        "default": item.default,
        "deprecated": item.deprecated,
        "experimental": item.experimental,
    }


def logs(lines: list[sandbox_state.Log]) -> list[dict[str, Any]]:
    """Show what a run printed."""
    return [{"timestamp": item.timestamp, "message": item.message} for item in lines]


def round_(item: sandbox_state.SandboxRound) -> dict[str, Any]:
    """Show a round; stakes close with it here, and it resolves when its time has long passed."""
    return {
        "number": item.number,
        "tournament": item.tournament,
        "openTime": time(item.open_time),
        "closeTime": time(item.close_time),
        "closeStakingTime": time(item.close_time),
        "resolveTime": None,
    }
