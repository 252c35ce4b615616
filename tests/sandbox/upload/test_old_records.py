"""What version 0.1 wrote of an upload is read once and moved into the slot's log; half-done uploads resume by it.

``tests/data/uploads_0_1`` holds the files that version 0.1 wrote beside the pickle (``small/``) and in the state
folder (``slots/``) in six uploads that ended, or were killed with SIGKILL where the folder's name says. ``ids.json``
names the ids in them.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder import schema
from builder.bundle.storage import files
from builder.sandbox import faults, runs
from tests.support import bundles

if TYPE_CHECKING:
    from builder.sandbox.state import Image, Pickle
    from tests.support.uploads import Project

DATA = Path(__file__).resolve().parents[2] / "data" / "uploads_0_1"
CREATE, ASSIGN, TRIGGER = "createComputePickleUpload", "assignPickleToModel", "triggerComputePickleUpload"


def place_files(project: Project, case: str, **ids: str) -> None:
    """Write a case's files, with the recorded ids replaced with those of this sandbox and project and by ``ids``."""
    recorded: dict[str, str] = json.loads((DATA / case / "ids.json").read_text())
    state = project.sandbox.state
    (version,) = [version for version in state.data_versions if version.default]
    default = find_default_image(project)
    slots = {name: slot.id for slot in state.slots.values() if (name := slot.name) in recorded}
    bundle = project.read_manifest()["bundle"]["hash"]
    now = {"sha256": project.sha256, "bundle": bundle, "data_version": version.id, "image": default.id}
    now |= {**slots, **ids}
    for path in (DATA / case).glob("*/**/*"):
        if path.is_dir():
            continue
        text, name = re.sub(r"127\.0\.0\.1:\d+", project.registry, path.read_text()), path.name
        # These were the defaults then.
        text = text.replace("v5.2", version.name).replace("numerai_predict_py_3_11", default.image)
        for key, value in now.items():
            text, name = text.replace(recorded[key], value), name.replace(recorded[key], value)
        name = name.replace(recorded["sha256"][:12], project.sha256[:12])
        kind = path.relative_to(DATA / case)
        folder = project.folder if kind.parts[0] == "small" else project.logs_folder
        target = folder.joinpath(*kind.parts[1:-1], name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


def find_default_image(project: Project) -> Image:
    return next(image for image in project.sandbox.state.images if image.default)


def add_registered_pickle(project: Project, slot: str = "running", *, assign: bool = False) -> Pickle:
    """Add the record that a case's upload registered, with its bytes, to the sandbox."""
    record = project.sandbox.state.add_pickle(
        project.get_slot(slot), f"0f0f0f0f-small-{project.sha256[:12]}.pkl", assign=assign
    )
    stored = project.sandbox.storage.get_path(runs.get_key(record.filename))
    stored.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(project.folder / "model.pkl", stored)
    return record


def check_old_files_removed(project: Project) -> None:
    """Assert that no file of the old version is left beside the pickle."""
    remaining = {path.name for path in project.folder.rglob("*")}
    assert remaining <= {"model.pkl", "manifest.json", "validation.json", "report.html", "receipt.json"}


def test_an_upload_resumes_once_the_bundle_is_converted(project: Project) -> None:
    bundle = project.root / "configs" / "bundles" / "small"
    bundles.downgrade(bundle)
    path = project.folder / "manifest.json"
    recorded = json.loads(path.read_bytes())
    recorded["bundle"]["hash"] = files.hash_bundle(bundle, files.NAMES_1)
    path.write_bytes(schema.canonical_json(recorded))
    before, record = project.assign_earlier_pickle(), add_registered_pickle(project)
    place_files(project, "registered", before=before.id, record=record.id, stored=record.filename)
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 2
    assert "is a bundle of format 1" in err
    assert project.run("bundle", "convert", str(bundle))[0] == 0
    assert project.upload("--no-compare", slot="running")[0] == 0
    assert project.get_slot("running").pickle_id == record.id
    assert (project.sandbox.requests.count(CREATE), project.sandbox.requests.count("PUT")) == (0, 0)
    (bundle / files.JSON).write_bytes(
        (bundle / files.JSON).read_bytes().replace(b'"converted_from":"', b'"converted_from":"0')
    )
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 2
    assert "changed since it was built" in err


@pytest.mark.parametrize("slot", ["running", "fresh"])
def test_killed_after_a_registration_that_is_not_listed_yet(project: Project, slot: str) -> None:
    before, record = project.assign_earlier_pickle(), add_registered_pickle(project)
    place_files(project, "registered", before=before.id, record=record.id, stored=record.filename)
    hidden = faults.edit_response(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    code, _, err = project.upload("--no-compare", slot=slot)
    assert code == 0, err
    assert project.get_slot(slot).pickle_id == record.id
    assert (project.sandbox.requests.count(CREATE), project.sandbox.requests.count("PUT")) == (0, 0)
    check_old_files_removed(project)


def test_killed_after_a_registration_for_a_slot_whose_id_was_not_known(project: Project) -> None:
    assert project.run("create-model", "brand_new", "--yes")[0] == 0
    record = add_registered_pickle(project, "brand_new")
    place_files(project, "new_slot", record=record.id, stored=record.filename)
    hidden = faults.edit_response(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    assert project.upload("--create", slot="brand_new")[0] == 0
    assert project.get_slot("brand_new").pickle_id == record.id
    assert project.sandbox.requests.count(CREATE) == 0
    check_old_files_removed(project)


def test_killed_after_the_assignment(project: Project) -> None:
    before, record = project.assign_earlier_pickle(), add_registered_pickle(project, assign=True)
    place_files(project, "assigned", before=before.id, record=record.id, stored=record.filename)
    assert project.upload("--no-compare", slot="running")[0] == 0
    assert project.sandbox.requests.count(ASSIGN) == 0
    assert (project.read_receipt()["previous"], project.read_receipt()["known"]) == (before.id, True)
    check_old_files_removed(project)
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.get_slot("running").pickle_id == before.id


def test_killed_before_the_run_was_known(project: Project) -> None:
    before, record = project.assign_earlier_pickle(), add_registered_pickle(project, assign=True)
    place_files(project, "triggering", before=before.id, record=record.id, stored=record.filename)
    project.sandbox.runs.runner = runs.ScriptedRunner()
    assert project.run("trigger", record.id, "--yes")[0] == 0  # the trigger that the killed upload sent
    code, out, err = project.upload("--no-compare", "--trigger", slot="running")
    assert code == 0, err
    assert f"run {record.triggers[-1].id}" in out
    assert project.sandbox.requests.count(TRIGGER) == 1
    check_old_files_removed(project)


def test_killed_while_the_webhook_was_removed(project: Project) -> None:
    address = project.get_slot("hooked").webhook
    project.get_slot("hooked").webhook = None
    place_files(project, "webhook")
    project.sandbox.state.clock_offset = dt.timedelta(hours=2)  # what was stored has expired
    project.sandbox.runs.runner = runs.ScriptedRunner.failing("Out of memory.")
    assert project.upload(slot="hooked")[0] == 1
    assert project.get_slot("hooked").webhook == address == "https://example.com/hook"


@pytest.fixture
def finished(project: Project) -> tuple[Pickle, Pickle, Pickle]:
    """An upload that ended, then `assign` of another pickle, of the uploaded one, and of the first, undone."""
    before, record = project.assign_earlier_pickle(), add_registered_pickle(project, assign=True)
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "other-ffffffffffff.pkl")
    project.get_slot("fresh").pickle_id = record.id
    place_files(project, "finished", before=before.id, other=other.id, record=record.id, stored=record.filename)
    return before, other, record


def test_rollback_uses_the_order_of_the_changes_not_their_times(
    project: Project, finished: tuple[Pickle, Pickle, Pickle]
) -> None:
    """Times are recorded in whole seconds, and those of the three commands are in the wrong order."""
    _, other, _ = finished
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.get_slot("running").pickle_id == other.id
    check_old_files_removed(project)
    steps = [line["step"] for line in project.read_log("running")]
    assert (steps.count("planned"), steps.count("assigning")) == (1, 5)


@pytest.mark.parametrize("remaining", ["all", "receipts"])
def test_a_finished_upload_that_is_run_again_keeps_its_receipt(
    project: Project, finished: tuple[Pickle, Pickle, Pickle], remaining: str
) -> None:
    receipt = json.loads(next((project.folder / "receipts").glob("*-fresh.json")).read_bytes())
    if remaining == "receipts":
        project.remove_logs()
        for path in project.folder.glob("journal-*"):
            path.unlink()
    assert project.upload("--no-compare")[0] == 0
    again = project.read_receipt()
    if remaining == "receipts":  # what it does not say of the validation is written again
        again["times"]["validated"] = receipt["times"]["validated"]
    assert again == receipt
    check_old_files_removed(project)
