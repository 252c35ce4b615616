"""``validation.json``: written after a validation, read before an upload."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from builder import errors, paths, schema
from builder.build import artifact, untrusted_files

if TYPE_CHECKING:
    from pathlib import Path

    from builder.validate.run import Validation

FORMAT = 1
_MOST_BYTES = 1 << 24
"""Of a report on a pickle; the log of its run is in it."""


def data_version(folder: Path) -> str:
    """Return the data version that the last validation was for; nothing where none says so."""
    return data_version_from_report(read(folder / artifact.VALIDATION) or {})


def data_version_from_report(found: dict[str, Any]) -> str:
    """Return the data version that a report names; nothing where it names none."""
    data = found.get("data")
    version = data.get("version") if isinstance(data, dict) else None
    return version if isinstance(version, str) and len(version) <= 40 and version.isprintable() else ""


def read(path: Path) -> dict[str, Any] | None:
    """Return a report, which a stranger may have written; None if there is none, or it is not a report.

    Raises:
        errors.ArtifactError: It cannot be read, or is not a plain file of a size that this tool writes.
    """
    try:
        data = schema.read_json(untrusted_files.read_bytes(path, max_bytes=_MOST_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.ArtifactError(f"{path}: cannot be read ({error.strerror}); fix its permissions") from error
    return data if isinstance(data, dict) else None


def to_bytes(validation: Validation) -> bytes:
    """Return ``validation.json``, format 1."""
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
        "usage": dataclasses.asdict(validation.usage) if validation.usage else None,
        "checks": [dataclasses.asdict(check) for check in validation.checks],
        "log": validation.log,
    }
    return (json.dumps(report, indent=2, sort_keys=True) + "\n").encode()


def mark_local(content: bytes) -> None:
    """Record that a validation was made on this machine: one that came with a folder proves nothing."""
    with contextlib.suppress(OSError):  # then it is made again before an upload without a config
        mark = _mark(content)
        mark.parent.mkdir(exist_ok=True, mode=0o700)
        mark.touch()


def is_local(path: Path) -> bool:
    """Tell whether a report was made on this machine."""
    return _mark(untrusted_files.read_bytes(path, max_bytes=_MOST_BYTES)).is_file()


def _mark(content: bytes) -> Path:
    return paths.state_folder() / "validated" / hashlib.sha256(content).hexdigest()
