"""What the API shows of each thing in the state, by the schema's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from builder.sandbox import state as sandbox_state


def time(at: datetime) -> str:
    """Return a time as the API writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def account(state: sandbox_state.State, one: sandbox_state.SandboxAccount) -> dict[str, Any]:
    """Show an account with its slots."""
    slots = [slot(state, each) for each in state.slots.values() if each.account is one]
    tokens = [each for each in state.tokens if each.account is one and not each.revoked]
    return {
        "id": one.id,
        "username": one.username,
        "maxModelSlots": one.max_model_slots,
        "models": slots,
        "email": f"{one.username}@example.com",
        "status": "VERIFIED",
        "mfaEnabled": False,
        "walletAddress": None,
        "availableNmr": "0",
        "insertedAt": time(one.inserted_at),
        "apiTokens": [
            {"name": each.name, "public_id": each.public_id, "scopes": sorted(each.scopes)} for each in tokens
        ],
    }


def slot(state: sandbox_state.State, one: sandbox_state.SandboxSlot) -> dict[str, Any]:
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
        "v2Stake": {"status": "active", "latestValue": one.stake, "txHash": None} if one.stake is not None else None,
        "latestSubmissionV2": submission(one.latest_submission) if one.latest_submission else None,
        "submissions": [
            {"id": each.id, "filename": each.filename, "selected": True, "round": round_(each.round)}
            for each in one.submissions
        ],
        "computePickleUpload": pickle(state, assigned) if assigned else None,
    }


def performances(one: sandbox_state.SandboxSlot) -> list[dict[str, Any]]:
    """Show the scores of a slot by round."""
    return [
        {
            "roundNumber": each.round.number,
            "intraRoundSubmissionScores": [score(found) for found in each.scores] or None,
        }
        for each in one.submissions
    ]


def score(one: sandbox_state.Score) -> dict[str, Any]:
    """Show a score."""
    return {
        "date": time(one.at),
        "day": one.day,
        "displayName": one.name,
        "payoutPending": one.payout,
        "payoutSettled": None,
        "percentile": one.percentile,
        "value": one.value,
    }


def submission(one: sandbox_state.SandboxSubmission) -> dict[str, Any]:
    """Show a submission."""
    return {"id": one.id, "filename": one.filename, "status": one.status, "insertedAt": time(one.inserted_at)}


def pickle(state: sandbox_state.State, one: sandbox_state.Pickle, *, status: str | None = None) -> dict[str, Any]:
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
        "triggers": [trigger(state, one, each) for each in reversed(one.triggers)],
        "insertedAt": time(one.inserted_at),
        "updatedAt": time(one.updated_at),
    }


def trigger(state: sandbox_state.State, of: sandbox_state.Pickle, one: sandbox_state.Trigger) -> dict[str, Any]:
    """Show a run of a pickle."""
    steps = one.statuses if state.runs_have_statuses else []
    return {
        "id": one.id,
        "computePickleUploadId": of.id,
        "roundId": str(one.round.number) if one.round else None,
        "submissionId": one.submission_id,
        "type": one.kind,
        "status": steps[-1].status if steps else None,
        "statuses": [
            {
                "id": each.id,
                "computePickleTriggerId": one.id,
                "status": each.status,
                "description": each.description,
                "insertedAt": time(each.at),
                "updatedAt": time(each.at),
            }
            for each in steps
        ],
        "insertedAt": time(one.statuses[0].at),
        "updatedAt": time(one.statuses[-1].at),
    }


def image(one: sandbox_state.Image) -> dict[str, Any]:
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


def data_version(one: sandbox_state.SandboxDataVersion) -> dict[str, Any]:
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


def logs(lines: list[sandbox_state.Log]) -> list[dict[str, Any]]:
    """Show what a run printed."""
    return [{"timestamp": one.timestamp, "message": one.message} for one in lines]


def round_(one: sandbox_state.SandboxRound) -> dict[str, Any]:
    """Show a round; stakes close with it here, and it resolves when its time has long passed."""
    return {
        "number": one.number,
        "tournament": one.tournament,
        "openTime": time(one.open_time),
        "closeTime": time(one.close_time),
        "closeStakingTime": time(one.close_time),
        "resolveTime": None,
    }
