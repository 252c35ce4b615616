"""The API's answers read into values. Every field may be null there: what is absent is empty here."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from builder.tournament.types import (
    DataVersion,
    DockerImage,
    LogLine,
    Round,
    Slot,
    Status,
    Submission,
    Trigger,
    UploadedPickle,
    newest,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def text(data: Mapping[str, Any], key: str) -> str:
    """Return a value as text; nothing for null."""
    value = data.get(key)
    return "" if value is None else str(value)


def number(data: Mapping[str, Any], key: str) -> int | None:
    """Return a value as a whole number; None for null, which is not nothing: it is not told."""
    value = data.get(key)
    return None if value is None else int(value)


def slot(data: Mapping[str, Any]) -> Slot:
    """Read a ``Model``."""
    stake, latest = data.get("v2Stake") or {}, data.get("latestSubmissionV2")
    assigned = data.get("computePickleUpload")
    submission = None
    if latest:
        submission = Submission(
            id=text(latest, "id"),
            filename=text(latest, "filename"),
            status=text(latest, "status"),
            inserted_at=text(latest, "insertedAt"),
        )
    return Slot(
        id=text(data, "id"),
        name=text(data, "name"),
        username=text(data, "username"),
        tournament=int(data.get("tournament") or 0),
        archived=bool(data.get("archived")),
        compute=bool(data.get("computeEnabled")),
        webhook=text(data, "submissionWebhook"),
        stake=_stake(stake),
        submission=submission,
        pickle=pickle(assigned) if assigned else None,
    )


def _stake(stake: Mapping[str, Any]) -> str:
    """Return what is at stake; nothing for zero."""
    value = text(stake, "latestValue")
    try:
        return value if float(value) != 0 else ""
    except ValueError:
        # Without a figure, a stake that has a status may be one.
        return value or text(stake, "status")


def pickle(data: Mapping[str, Any]) -> UploadedPickle:
    """Read a ``ComputePickleUpload``."""
    return UploadedPickle(
        id=text(data, "id"),
        filename=text(data, "filename"),
        label=text(data, "label"),
        owner=text(data, "modelId"),
        slots=tuple(map(str, data.get("assignedModelSlots") or ())),
        image_id=text(data, "dockerImageId"),
        image=text(data, "dockerImage"),
        image_name=text(data, "dockerImageName"),
        data_version_id=text(data, "dataVersionId"),
        data_version=text(data, "dataVersion"),
        runtime=text(data, "runtime"),
        validation=text(data, "validationStatus"),
        trigger=text(data, "triggerStatus"),
        diagnostics=text(data, "diagnosticsStatus"),
        diagnostics_description=text(data, "diagnosticsStatusDescription"),
        triggers=_triggers(data),
        inserted_at=text(data, "insertedAt"),
        updated_at=text(data, "updatedAt"),
    )


def _triggers(data: Mapping[str, Any]) -> tuple[Trigger, ...]:
    """Read a pickle's runs; the newest one has the pickle's ``triggerStatus`` where it has no status of its own."""
    runs = [trigger(one) for one in data.get("triggers") or () if one]
    last = next(iter(newest(runs)), None)
    return tuple(
        dataclasses.replace(run, status=text(data, "triggerStatus")) if run is last and not run.status else run
        for run in runs
    )


def trigger(data: Mapping[str, Any]) -> Trigger:
    """Read a ``ComputePickleTrigger``; without a status of its own it has that of its last step."""
    statuses = tuple(
        Status(
            status=text(one, "status"),
            description=text(one, "description"),
            inserted_at=text(one, "insertedAt"),
        )
        for one in data.get("statuses") or ()
        if one
    )
    return Trigger(
        id=text(data, "id"),
        type=text(data, "type"),
        status=text(data, "status") or (statuses[-1].status if statuses else ""),
        round_id=text(data, "roundId"),
        submission_id=text(data, "submissionId"),
        inserted_at=text(data, "insertedAt"),
        statuses=statuses,
    )


def round_of(data: Mapping[str, Any]) -> Round:
    """Read a ``Round``."""
    return Round(
        number=int(data.get("number") or 0),
        open_time=text(data, "openTime"),
        close_time=text(data, "closeTime"),
        close_staking_time=text(data, "closeStakingTime"),
    )


def lines(found: Any) -> tuple[LogLine, ...]:
    """Read a list of ``InvocationLog``."""
    return tuple(
        LogLine(timestamp=int(one.get("timestamp") or 0), message=text(one, "message")) for one in found or () if one
    )


def docker_image(data: Mapping[str, Any]) -> DockerImage:
    """Read a ``ComputePickleDockerImage``."""
    texts = {"id": "id", "name": "name", "image": "image", "tag": "tag", "inserted_at": "insertedAt"}
    return DockerImage(**_texts(data, texts), **_standing(data))


def data_version(data: Mapping[str, Any]) -> DataVersion:
    """Read a ``ComputePickleDataVersion``."""
    return DataVersion(**_texts(data, {key: key for key in ("id", "name", "version", "type")}), **_standing(data))


def _texts(data: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    return {name: text(data, key) for name, key in keys.items()}


def _standing(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: bool(data.get(key)) for key in ("default", "deprecated", "experimental")}
