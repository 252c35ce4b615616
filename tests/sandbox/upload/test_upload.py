"""The whole way, and what is asked and refused before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.uploads import Project


def test_a_pickle_ends_assigned_and_read_back(project: Project) -> None:
    code, out, err = project.upload()
    assert (code, out.partition(" ")[0]) == (0, "fresh"), err
    (record,) = project.records()
    assert project.slot().pickle_id == record.id
    assert project.sandbox.stored(record.filename) == (project.folder / "model.pkl").read_bytes()
    assert [one["step"] for one in project.journal()] == [
        "planned",
        "authorised",
        "put",
        "create sent",
        "created",
        "validated",
        "assigning",
        "assigned",
        "read back",
    ]
    receipt = project.receipt()
    assert (receipt["pickle"], receipt["slot"], receipt["previous"]) == (record.id, "fresh", None)
