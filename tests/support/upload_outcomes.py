"""Check the outcome of an upload during injected faults: one registered pickle and assignment, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.uploads import Project

MB = 1 << 20
WAITING = "waiting for another upload of this pickle to register it ("
CREATE, ASSIGN = "createComputePickleUpload", "assignPickleToModel"
SEGMENTATION = "Segmentation fault! Ensure python and library versions match our environment."


def check_deployed(project: Project, slot: str = "fresh") -> None:
    """Check that one pickle is registered, stored completely and assigned."""
    (record,) = project.list_records()
    assert project.get_slot(slot).pickle_id == record.id
    assert project.sandbox.read_pickle(record.filename) == (project.folder / "model.pkl").read_bytes()
    assert project.read_receipt()["pickle"] == record.id


def check_nothing_registered(project: Project) -> None:
    assert project.list_records() == []
    assert project.sandbox.requests.count(CREATE) == 0
    assert project.get_slot().pickle_id is None


def big(project: Project, size: int = 8 * MB) -> None:
    """Replace the pickle with one that is larger than the buffers of a connection."""
    project.replace_pickle(bytes(range(251)) * (size // 251 + 1))
