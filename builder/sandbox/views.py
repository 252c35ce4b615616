"""Serialize the sandbox's data as the API returns it, with the field names of the schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from builder.sandbox import state as sandbox_state


def format_time(time: datetime) -> str:
    """Format a UTC time as the API does."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def serialize_account(state: sandbox_state.State, account: sandbox_state.SandboxAccount) -> dict[str, Any]:
    """Serialize an account with its slots and tokens."""
    slots = [serialize_slot(state, slot) for slot in state.slots.values() if slot.account is account]
    tokens = [token for token in state.tokens if token.account is account and not token.revoked]
    return {
        "id": account.id,
        "username": account.username,
        "maxModelSlots": account.max_model_slots,
        "models": slots,
        "email": f"{account.username}@example.com",
        "status": "VERIFIED",
        "mfaEnabled": False,
        "walletAddress": None,
        "availableNmr": "0",
        "insertedAt": format_time(account.inserted_at),
        "apiTokens": [
            {"name": token.name, "public_id": token.public_id, "scopes": sorted(token.scopes)} for token in tokens
        ],
    }


def serialize_slot(state: sandbox_state.State, slot: sandbox_state.SandboxSlot) -> dict[str, Any]:
    """Serialize a slot with the assigned pickle."""
    pickle = state.pickles.get(slot.pickle_id or "")
    latest = slot.latest_submission
    return {
        "id": slot.id,
        "name": slot.name,
        "username": slot.name,
        "tournament": slot.tournament,
        "archived": slot.archived,
        "computeEnabled": pickle is not None,
        "submissionWebhook": slot.webhook,
        "v2Stake": {"status": "active", "latestValue": slot.stake, "txHash": None} if slot.stake is not None else None,
        "latestSubmissionV2": serialize_submission(latest) if latest else None,
        "submissions": [
            {
                "id": submission.id,
                "filename": submission.filename,
                "selected": True,
                "round": serialize_round(submission.round),
            }
            for submission in slot.submissions
        ],
        "computePickleUpload": serialize_pickle(state, pickle) if pickle else None,
    }


def serialize_performances(slot: sandbox_state.SandboxSlot) -> list[dict[str, Any]]:
    """Serialize the scores of a slot by round."""
    return [
        {
            "roundNumber": submission.round.number,
            "intraRoundSubmissionScores": [serialize_score(score) for score in submission.scores] or None,
        }
        for submission in slot.submissions
    ]


def serialize_score(score: sandbox_state.Score) -> dict[str, Any]:
    """Serialize a score."""
    return {
        "date": format_time(score.at),
        "day": score.day,
        "displayName": score.name,
        "payoutPending": score.payout,
        "payoutSettled": None,
        "percentile": score.percentile,
        "value": score.value,
    }


def serialize_submission(submission: sandbox_state.SandboxSubmission) -> dict[str, Any]:
    """Serialize a submission."""
    return {
        "id": submission.id,
        "filename": submission.filename,
        "status": submission.status,
        "insertedAt": format_time(submission.inserted_at),
    }


def serialize_pickle(
    state: sandbox_state.State, pickle: sandbox_state.Pickle, *, status: str | None = None
) -> dict[str, Any]:
    """Serialize a registered pickle; ``status`` replaces its validation status."""
    last = pickle.triggers[-1] if pickle.triggers else None
    return {
        "id": pickle.id,
        "filename": pickle.filename,
        "label": pickle.label,
        "version": pickle.version,
        "modelId": pickle.slot_id,
        "assignedModelSlots": [slot.id for slot in state.find_slots_with(pickle.id)],
        "dockerImageId": pickle.image.id,
        "dockerImage": f"{pickle.image.image}:{pickle.image.tag}",
        "dockerImageName": pickle.image.name,
        "dataVersionId": pickle.data_version.id,
        "dataVersion": pickle.data_version.name,
        "runtime": pickle.image.name,
        "validationStatus": pickle.status if status is None else status,
        "triggerStatus": last.statuses[-1].status if last else None,
        "diagnosticsStatus": pickle.diagnostics,
        "diagnosticsStatusDescription": None,
        "diagnosticsId": pickle.diagnostics_id,
        "triggers": [serialize_trigger(state, pickle, trigger) for trigger in reversed(pickle.triggers)],
        "insertedAt": format_time(pickle.inserted_at),
        "updatedAt": format_time(pickle.updated_at),
    }


def serialize_trigger(
    state: sandbox_state.State, pickle: sandbox_state.Pickle, trigger: sandbox_state.Trigger
) -> dict[str, Any]:
    """Serialize a run of a pickle."""
    statuses = trigger.statuses if state.runs_have_statuses else []
    return {
        "id": trigger.id,
        "computePickleUploadId": pickle.id,
        "roundId": str(trigger.round.number) if trigger.round else None,
        "submissionId": trigger.submission_id,
        "type": trigger.kind,
        "status": statuses[-1].status if statuses else None,
        "statuses": [
            {
                "id": status.id,
                "computePickleTriggerId": trigger.id,
                "status": status.status,
                "description": status.description,
                "insertedAt": format_time(status.at),
                "updatedAt": format_time(status.at),
            }
            for status in statuses
        ],
        "insertedAt": format_time(trigger.statuses[0].at),
        "updatedAt": format_time(trigger.statuses[-1].at),
    }


def serialize_image(image: sandbox_state.Image) -> dict[str, Any]:
    """Serialize a runner image."""
    return {
        "id": image.id,
        "name": image.name,
        "image": image.image,
        "tag": image.tag,
        "insertedAt": format_time(image.inserted_at),
        "default": image.default,
        "deprecated": image.deprecated,
        "experimental": image.experimental,
    }


def serialize_data_version(version: sandbox_state.SandboxDataVersion) -> dict[str, Any]:
    """Serialize a data version."""
    return {
        "id": version.id,
        "name": version.name,
        "version": version.name,
        "type": "classic",
        "default": version.default,
        "deprecated": version.deprecated,
        "experimental": version.experimental,
    }


def serialize_logs(lines: list[sandbox_state.Log]) -> list[dict[str, Any]]:
    """Serialize the lines of a log."""
    return [{"timestamp": line.timestamp, "message": line.message} for line in lines]


def serialize_round(round_: sandbox_state.SandboxRound) -> dict[str, Any]:
    """Serialize a round; staking closes with it, and it never resolves."""
    return {
        "number": round_.number,
        "tournament": round_.tournament,
        "openTime": format_time(round_.open_time),
        "closeTime": format_time(round_.close_time),
        "closeStakingTime": format_time(round_.close_time),
        "resolveTime": None,
    }
