"""Write ``validation.json`` after a validation, and read it before an upload."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from builder import errors, paths, schema
from builder.build import artifact, untrusted_files
from builder.validate import headroom

if TYPE_CHECKING:
    from pathlib import Path

    from builder.config import model as config
    from builder.validate.container_run import Usage
    from builder.validate.run import Validation

FORMAT = 2
"""Reports of format 1 were judged from figures that the pickle could change."""
_MAX_BYTES = 1 << 24  # of a report, which contains the log of the run


def find_data_version(folder: Path) -> str:
    """Return the data version of the last validation; empty if unknown."""
    return data_version_from_report(read(folder / artifact.VALIDATION) or {})


def data_version_from_report(report: dict[str, Any]) -> str:
    """Return the data version in a report; empty if there is none."""
    data = report.get("data")
    version = data.get("version") if isinstance(data, dict) else None
    return version if isinstance(version, str) and len(version) <= 40 and version.isprintable() else ""


def read(path: Path) -> dict[str, Any] | None:
    """Return a report; None if there is none, or if it is not a report. It is untrusted: others may have written it.

    Raises:
        errors.ArtifactError: It cannot be read, is not a regular file, or is too large.
    """
    try:
        data = schema.read_json(untrusted_files.read_bytes(path, max_bytes=_MAX_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.ArtifactError(f"{path}: cannot be read ({error.strerror}); fix its permissions") from error
    return data if isinstance(data, dict) else None


def to_bytes(validation: Validation) -> bytes:
    """Return ``validation.json``."""
    task = validation.task
    report = {
        "format": FORMAT,
        "good": validation.good,
        "name": task.artifact.manifest.name,
        "pickle": task.artifact.manifest.pickle.sha256,
        "image": {
            "kind": task.image.kind,
            "identity": task.image.identity,
            "ref": task.image.ref,
            "python": task.python,
        },
        "data": {"source": task.source, "rows": task.files.rows, "version": task.data_version},
        "limits": dataclasses.asdict(task.limits),
        "exempt": dict(task.exempt),
        "usage": usage_to_data(validation.usage, task.limits),
        "scenarios": {"seconds": validation.scenario_seconds},
        "checks": [dataclasses.asdict(check) for check in validation.checks],
        "log": validation.log,
    }
    return (json.dumps(report, indent=2, sort_keys=True) + "\n").encode()


def usage_to_data(usage: Usage, limits: config.LimitsConfig) -> dict[str, Any]:
    """Return what a run used; the pickle can change the figures that are reported from inside its container."""
    inside = {"peak_bytes": usage.peak_bytes, "cpu_seconds": usage.cpu_seconds}
    parts = dataclasses.asdict(headroom.compute_headroom(usage, limits))
    engine = {"seconds": usage.seconds, "seen_bytes": usage.seen_bytes}
    return {**engine, "reported_from_inside": inside, "part_of_limits": parts}


def mark_local(content: bytes) -> None:
    """Record that a report was written on this machine: one that came with a copied folder proves nothing."""
    with contextlib.suppress(OSError):  # without the mark, an upload without a config asks to validate again
        mark = _mark_path(content)
        mark.parent.mkdir(exist_ok=True, mode=0o700)
        mark.touch()


def is_local(path: Path) -> bool:
    """Return whether a report was written on this machine."""
    return _mark_path(untrusted_files.read_bytes(path, max_bytes=_MAX_BYTES)).is_file()


def _mark_path(content: bytes) -> Path:
    return paths.state_folder() / "validated" / hashlib.sha256(content).hexdigest()
