"""Injected failures 19 to 23 and 27: one pickle is registered even if answers are lost."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from builder.sandbox import faults, runs
from tests.support.upload_outcomes import ASSIGN, CREATE, SEGMENTATION, WAITING, check_deployed

if TYPE_CHECKING:
    from tests.support.uploads import Project


def test_row_21_a_refusal_after_an_unclear_answer_is_checked_against_the_list(project: Project) -> None:
    """The first request is applied but listed late; the second is refused, and the list is read again."""
    project.sandbox.faults.add(CREATE, faults.apply_then(faults.respond_html(502)))
    project.sandbox.faults.add(CREATE, faults.respond_too_many("1"))
    hidden = faults.edit_response(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=4, after=2)
    assert project.upload()[0] == 0
    check_deployed(project)


@pytest.mark.parametrize(
    ("action", "request_count"),
    [
        pytest.param(faults.apply_then(faults.respond_html(502)), 1, id="row-19-applied-502"),
        pytest.param(faults.apply_then(faults.reset()), 1, id="row-20-applied-reset"),
        pytest.param(faults.replace_field(CREATE, None), 1, id="row-20-applied-without-an-id"),
        pytest.param(faults.apply_then(faults.respond_null_data()), 1, id="row-20-applied-without-data"),
        pytest.param(faults.edit_response(lambda _: {"data": {}}), 1, id="row-20-applied-without-the-field"),
        pytest.param(faults.apply_then(faults.respond_html(200)), 1, id="row-20-applied-and-no-json"),
        pytest.param(faults.respond_html(502), 2, id="row-21-502"),
        pytest.param(faults.reset(), 2, id="row-21-reset"),
    ],
)
def test_a_registration_whose_answer_is_lost(project: Project, action: faults.Action, request_count: int) -> None:
    project.sandbox.faults.add(CREATE, action)
    code, _, err = project.upload()
    assert code == 0, err
    check_deployed(project)
    assert project.sandbox.requests.count(CREATE) == request_count
    assert project.sandbox.requests.count("PUT") == 1


def test_row_21_a_failed_registration_is_an_error_and_can_be_resumed(project: Project) -> None:
    project.sandbox.faults.add(CREATE, faults.respond_html(502), times=3)
    code, _, err = project.upload()
    assert code == 4
    assert "the pickle is not in the account (checked 3 times); run it again later" in err
    assert project.list_records() == []
    assert project.upload()[0] == 0
    check_deployed(project)
    assert project.sandbox.requests.count("PUT") == 1  # what is stored is not sent again


def test_row_23_the_second_upload_reports_who_has_the_lock(project: Project) -> None:
    """The lock is per slot: it also stops another copy of the project and another pickle."""
    other = dataclasses.replace(project, root=project.root.with_name("copy"))
    shutil.copytree(project.root, other.root)
    other.replace_pickle(b"another pickle")
    project.sandbox.faults.add("PUT", faults.stall())
    with project.start("upload", "configs/small.yaml", "--model", "fresh", "--yes") as process:
        project.sandbox.requests.wait_for("PUT")
        code, out, err = other.upload()
        project.sandbox.faults.release()
        _, first = process.communicate(timeout=60)
    assert (code, out) == (5, "")
    assert f"process {process.pid}, since " in err
    assert process.returncode == 0, first
    check_deployed(project)


def test_row_23_another_slot_waits_and_shares_the_record(project: Project) -> None:
    project.sandbox.faults.add("PUT", faults.stall())
    command = ("upload", "configs/small.yaml", "--yes", "--model")
    with project.start(*command, "fresh") as first:
        project.sandbox.requests.wait_for("PUT")
        with project.start(*command, "running") as second:
            assert second.stderr is not None
            assert any(line.startswith(WAITING) for line in second.stderr)
            project.sandbox.faults.release()
            _, err = second.communicate(timeout=60)
        first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), err
    check_deployed(project, "running")
    assert project.get_slot("fresh").pickle_id == project.get_slot("running").pickle_id
    assert project.sandbox.requests.count(CREATE) == 1


def test_row_23_another_slot_uses_a_registration_that_is_not_listed_yet(project: Project) -> None:
    assert project.upload()[0] == 0
    hidden = faults.edit_response(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    code, _, err = project.upload(slot="running")
    assert code == 0, err
    assert project.sandbox.faults.count_remaining() == 0
    assert "which another upload registered" in err
    check_deployed(project, "running")


def test_again_does_not_reuse_the_record_that_failed(project: Project) -> None:
    """The storage returns the same name again, and the new registration fails without being applied."""
    project.sandbox.runs.runner = runs.ScriptedRunner.failing(SEGMENTATION)
    assert project.upload()[0] == 1
    (failed,) = project.list_records()
    project.sandbox.runs.runner = runs.ScriptedRunner()
    project.sandbox.faults.add("computePickleUploadAuth", _answer_with_filename(failed.filename))
    project.sandbox.faults.add(CREATE, faults.respond_html(502))
    code, _, err = project.upload("--again")
    assert code == 0, err
    first, second = project.list_records()
    assert project.get_slot().pickle_id == second.id != first.id


def _answer_with_filename(filename: str) -> faults.Action:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"]["computePickleUploadAuth"]["filename"] = filename
        return answer

    return faults.edit_response(change)


def test_again_uses_no_record_of_another_slot_that_failed(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner.failing(SEGMENTATION)
    assert project.upload()[0] == 1
    project.sandbox.runs.runner = runs.ScriptedRunner()
    assert project.upload("--again", slot="running")[0] == 0
    first, second = project.list_records()
    assert project.get_slot("running").pickle_id == second.id != first.id


@pytest.mark.parametrize("difference", ["image", "data version", "file"])
def test_a_record_that_differs_from_the_plan_is_not_assigned(project: Project, difference: str) -> None:
    """The record is checked even if the API itself returned its id, as here."""
    state = project.sandbox.state
    digits = "ffffffffffff" if difference == "file" else project.sha256[:12]
    other = state.add_pickle(project.get_slot(), f"small-{digits}.pkl")
    if difference == "image":
        other.image = next(image for image in state.images if not image.default)
    if difference == "data version":
        other.data_version = next(version for version in state.data_versions if not version.default)
    project.sandbox.faults.add(CREATE, faults.replace_field(CREATE, {"id": other.id}))
    code, _, err = project.upload()
    assert code == 4
    assert f"{other.id}: is registered as {other.filename}" in err
    assert "fresh was not changed" in err
    assert project.sandbox.requests.count(ASSIGN) == 0
    assert project.upload()[0] == 0
    assert project.get_slot().pickle_id not in {None, other.id}


def test_a_stored_name_without_the_hash_is_recognised_by_the_log(project: Project) -> None:
    project.sandbox.state.keeps_filenames = False
    for _ in range(2):
        code, _, err = project.upload()
        assert code == 0, err
        (record,) = project.sandbox.state.list_pickles()
        assert project.sha256[:12] not in record.filename
        assert project.get_slot().pickle_id == record.id == project.read_receipt()["pickle"]


@pytest.mark.parametrize("slot", ["fresh", "running"], ids=["this-slot", "another-slot"])
def test_row_27_the_same_hash_is_already_registered(project: Project, slot: str) -> None:
    assert project.upload()[0] == 0
    project.remove_logs()
    code, out, err = project.upload(slot=slot)
    assert code == 0, err
    assert len(project.list_records()) == 1
    assert project.sandbox.requests.count("PUT") == project.sandbox.requests.count(CREATE) == 1
    assert project.get_slot(slot).pickle_id == project.list_records()[0].id
    assert ("(unchanged)" in out) == (slot == "fresh")
    assert project.sandbox.requests.count(ASSIGN) == (1 if slot == "fresh" else 2)


def test_a_registration_whose_answer_cannot_be_read_is_found(project: Project) -> None:
    project.sandbox.faults.add(CREATE, faults.replace_field(CREATE, "text"))
    assert project.upload()[0] == 0
    check_deployed(project)
