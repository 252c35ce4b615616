"""Check that a pickle may be uploaded, by ``dist/NAME`` alone: before a token is read or a request is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from builder import commands, errors
from builder.build.artifact import VALIDATION, Artifact
from builder.text import escape
from builder.validate import report

_CPUS, _MEMORY, _SECONDS = 1, 4 << 30, 600
"""Limits of a run at the tournament (``docs/upload.md``)."""


@dataclass(frozen=True, kw_only=True)
class ValidationFacts:
    """The data version that a pickle was validated for, and notes about the validation for a person."""

    data_version: str
    notes: tuple[str, ...]


def check_artifact(artifact: Artifact, *, wanted: str | None) -> ValidationFacts:
    """Check that a pickle was validated in the exact image that it was built in.

    Args:
        artifact: The pickle and its manifest.
        wanted: The data version of its config; None if there is no config.

    Raises:
        errors.RefusedError: All problems, each with the command that fixes it.
    """
    problems = _find_image_problems(artifact)
    # A validation in a stand-in or local image is of no use, so do not ask for one.
    validation = None if problems else report.read(artifact.folder / VALIDATION)
    if not problems:
        problems = _find_validation_problems(artifact, validation, wanted)
    if not problems and wanted is None:
        problems = _find_origin_problems(artifact)
    if problems:
        raise errors.RefusedError("\n".join(f"{artifact.pickle}: {problem}" for problem in problems))
    notes = _find_notes(validation or {})
    if artifact.manifest.is_adopted:
        notes.append("it was adopted, not built here: its predictions were not compared with those of its model")
    return ValidationFacts(data_version=report.data_version_from_report(validation or {}), notes=tuple(notes))


def _find_origin_problems(artifact: Artifact) -> list[str]:
    # Without a config there is nothing to compare a received folder with, and its validation.json may be forged.
    if report.is_local(artifact.folder / VALIDATION):
        return []
    validate = commands.suggest_for_folder("validate", artifact.folder)
    return [f"was not validated on this machine, and there is no config for it; run `{validate}` first"]


def _find_image_problems(artifact: Artifact) -> list[str]:
    image = artifact.manifest.image
    fix = f"{_suggest(artifact, 'pickle', '--pull')}, then {_suggest(artifact, 'validate')}"
    origin = "adopted for" if artifact.manifest.is_adopted else "built in"
    if image.kind == "stand_in":
        problem = f"was {origin} a stand-in image for {image.ref} and cannot be uploaded"
        return [f"{problem}; when the real image can be pulled: {fix}"]
    if image.kind == "local":
        problem = f"was {origin} a local image, without a digest of the registry of {image.ref}"
        return [f"{problem}; pull the tournament's image: {fix}"]
    return []


def _find_validation_problems(artifact: Artifact, validation: dict[str, Any] | None, wanted: str | None) -> list[str]:
    validate = _suggest(artifact, "validate")
    if validation is None:
        return [f"was not validated after it was built; run {validate}"]
    if validation.get("format") != report.FORMAT:
        return [f"{VALIDATION} was written by another version of this tool; run {validate} again"]
    if validation.get("pickle") != artifact.manifest.pickle.sha256:
        return [f"{VALIDATION} belongs to another pickle ({_format(validation, 'pickle')[:12]}...); run {validate}"]
    return _find_condition_problems(artifact, validation, wanted, validate)


def _find_condition_problems(
    artifact: Artifact, validation: dict[str, Any], wanted: str | None, validate: str
) -> list[str]:
    built_in, image = artifact.manifest.image, validation.get("image")
    validated_in = image if isinstance(image, dict) else {}
    if (validated_in.get("kind"), validated_in.get("identity")) != (built_in.kind, built_in.identity):
        other = f"{_format(validated_in, 'kind')} {_format(validated_in, 'identity')[:19]}..."
        built = f"{built_in.kind} {built_in.identity[:19]}..."
        return [f"was validated in another image ({other}) than it was built in ({built}); run {validate}"]
    version = report.data_version_from_report(validation)
    if not version or version != (wanted or version):
        versions = f"data version {version}, but the config has {wanted}" if version else "no data version"
        return [f"was validated for {versions}; run {validate}"]
    if validation.get("good") is not True:
        return [f"is not valid: {_format_failed_checks(validation)}; when that is fixed, run {validate} again"]
    return []


def _suggest(artifact: Artifact, command: str, *options: str) -> str:
    return f"`{commands.suggest(command, artifact.folder, *options)}`"


def _format_failed_checks(validation: dict[str, Any]) -> str:
    checks = validation.get("checks")
    failed = [
        f"{_format(check, 'name')}: {_format(check, 'detail')}"
        + (f"; {_format(check, 'fix')}" if check.get("fix") else "")
        for check in (checks if isinstance(checks, list) else ())
        if isinstance(check, dict) and check.get("good") is False
    ]
    return "; ".join(failed)[:400] or f"{VALIDATION} does not contain a good result"


def _find_notes(validation: dict[str, Any]) -> list[str]:
    data = validation.get("limits")
    limits = data if isinstance(data, dict) else {}
    exceeded = [
        f"{min(limits[key], 1e15):g} {unit}"  # formatting an integer beyond a float's range would raise
        for key, most, unit in (("cpus", _CPUS, "CPUs"), ("memory", _MEMORY, "bytes"), ("seconds", _SECONDS, "seconds"))
        if isinstance(limits.get(key), int | float) and limits[key] > most
    ]
    if not exceeded:
        return []
    return [
        f"it was validated with {', '.join(exceeded)}, more than a run gets at the tournament (1 CPU, 4 GiB, 600 s)"
    ]


def _format(data: dict[str, Any], key: str) -> str:
    """Return a value of an untrusted file for a message."""
    return escape(str(data.get(key) or "nothing")[:1_000])
