"""What is never uploaded, told from ``dist/NAME`` alone: before a token is read or a network is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from builder import commands, errors
from builder.build import artifact
from builder.text import escape
from builder.validate import report

_CPUS, _MEMORY, _SECONDS = 1, 4 << 30, 600
"""What the tournament gives a run."""


@dataclass(frozen=True, kw_only=True)
class ValidationFacts:
    """What holds of a validated pickle: the data version it is for, and what a person should know though it holds."""

    data_version: str
    notes: tuple[str, ...]


def check_artifact(made: artifact.Artifact, *, wanted: str | None) -> ValidationFacts:
    """Refuse what is not proved in the very image that would run it.

    Args:
        made: The pickle.
        wanted: The data version that its config names; None: there is no config.

    Raises:
        errors.RefusedError: Everything that speaks against it, each with the command that fixes it.
    """
    faults = [*_image_faults(made)]
    # A look-alike's validation is worth nothing here, so it is not asked for.
    found = None if faults else report.read(made.folder / artifact.VALIDATION)
    if not faults:
        faults += _validation_faults(made, found, wanted)
    if not faults and wanted is None:
        faults += _elsewhere_faults(made)
    if faults:
        raise errors.RefusedError("\n".join(f"{made.pickle}: {fault}" for fault in faults))
    return ValidationFacts(data_version=report.data_version_from_report(found or {}), notes=tuple(_notes(found or {})))


def _elsewhere_faults(made: artifact.Artifact) -> list[str]:
    if report.is_local(made.folder / artifact.VALIDATION):
        return []
    validate = commands.suggest_for_folder("validate", made.folder)
    return [f"was not validated on this machine, and has no config here; run `{validate}` first"]


def _image_faults(made: artifact.Artifact) -> list[str]:
    image = made.manifest.image
    again = f"{_run(made, 'pickle', '--pull')}, then {_run(made, 'validate')}"
    if image.kind == "stand_in":
        return [
            (
                f"was built in a stand-in, a look-alike of {image.ref}, and is never uploaded; where that image can be "
                f"pulled: {again}"
            )
        ]
    if image.kind == "local":
        return [
            (
                f"was built in a local image, without a digest of the registry that {image.ref} names; pull the "
                f"tournament's own: {again}"
            )
        ]
    return []


def _validation_faults(made: artifact.Artifact, found: dict[str, Any] | None, wanted: str | None) -> list[str]:
    validate = _run(made, "validate")
    if found is None:
        return [f"was not validated since it was made; run {validate}"]
    if found.get("pickle") != made.manifest.pickle.sha256:
        return [f"{artifact.VALIDATION} is of another pickle ({_text(found, 'pickle')[:12]}...); run {validate}"]
    image, ours = found.get("image"), made.manifest.image
    where = image if isinstance(image, dict) else {}
    if (where.get("kind"), where.get("identity")) != (ours.kind, ours.identity):
        return [
            (
                f"was validated in another image ({_text(where, 'kind')} {_text(where, 'identity')[:19]}...) than it "
                f"was made in ({ours.kind} {ours.identity[:19]}...); run {validate}"
            )
        ]
    version = report.data_version_from_report(found)
    if not version or version != (wanted or version):
        which = f"data version {version}, and the config names {wanted}" if version else "no data version"
        return [f"was validated for {which}; run {validate}"]
    if found.get("good") is not True:
        return [f"is not valid: {_failed(found)}; when that is fixed, run {validate} again"]
    return []


def _run(made: artifact.Artifact, name: str, *options: str) -> str:
    return f"`{commands.suggest(name, made.folder, *options)}`"


def _failed(found: dict[str, Any]) -> str:
    checks = found.get("checks")
    named = [one for one in checks if isinstance(one, dict)] if isinstance(checks, list) else []
    failed = [f"{_text(one, 'name')}: {_text(one, 'detail')}" for one in named if one.get("good") is False]
    return "; ".join(failed)[:400] or "validation.json does not say that it is good"


def _notes(found: dict[str, Any]) -> list[str]:
    limits = found.get("limits")
    given = limits if isinstance(limits, dict) else {}
    above = [
        f"{min(given[key], 1e15):g} {unit}"  # a whole number may be too large for a float
        for key, most, unit in (("cpus", _CPUS, "CPUs"), ("memory", _MEMORY, "bytes"), ("seconds", _SECONDS, "seconds"))
        if isinstance(given.get(key), int | float) and given[key] > most
    ]
    if not above:
        return []
    return [f"it was validated with {', '.join(above)}: more than the tournament gives (1 CPU, 4 GiB, 600 seconds)"]


def _text(data: dict[str, Any], key: str) -> str:
    return escape(str(data.get(key) or "nothing")[:1_000])
