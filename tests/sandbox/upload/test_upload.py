"""A whole upload to the sandbox, with the questions and refusals before it, and `rollback` after it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from builder.build import artifact
from builder.config import model as config
from builder.image import lockfile
from builder.sandbox import faults, runs
from tests.support import registry_images, uploads, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.sandbox.state import State
    from tests.support.uploads import Project


@words.each_vocabulary
def test_a_pickle_ends_assigned_and_read_back(project: Project) -> None:
    code, out, err = project.upload()
    assert (code, out.partition(" ")[0]) == (0, "fresh"), err
    (record,) = project.list_records()
    assert project.get_slot().pickle_id == record.id
    assert project.sandbox.read_pickle(record.filename) == (project.folder / "model.pkl").read_bytes()
    assert [entry["step"] for entry in project.read_log()] == [
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
    receipt = project.read_receipt()
    assert (receipt["pickle"], receipt["slot"], receipt["previous"]) == (record.id, "fresh", None)


def test_recorded_times_come_from_the_apis_clock(project: Project) -> None:
    """These times decide which of two changes was the last, on this computer and on others."""
    project.sandbox.state.clock_offset = dt.timedelta(days=-40)
    assert project.upload()[0] == 0
    at = [entry["at"] for entry in project.read_log()] + list(project.read_receipt()["times"].values())
    assert {time[:10] for time in at} == {f"{project.sandbox.state.now():%Y-%m-%d}"}


# ---- questions before an upload


def test_a_dry_run_reads_everything_and_changes_nothing(project: Project) -> None:
    before = project.assign_earlier_pickle()
    listed = sorted(path.name for path in project.folder.iterdir())
    code, out, _ = project.run(
        "upload", "configs/small.yaml", "--model", "running", "--dry-run", "--no-compare", "--trigger"
    )
    assert code == 0
    assert f"running (existing model), account {project.sandbox.state.accounts[0].username}" in out
    assert f"runs now {before.filename} ({before.id})" in out
    assert "nothing was changed" in out
    assert not any(request.method == "PUT" for request in project.sandbox.requests)
    assert not mutations(project)
    assert sorted(path.name for path in project.folder.iterdir()) == listed


def mutations(project: Project) -> list[str]:
    names = {
        "addModel",
        "createComputePickleUpload",
        "assignPickleToModel",
        "triggerComputePickleUpload",
        "setSubmissionWebhook",
        "computePickleUploadAuth",
    }
    return [name for request in project.sandbox.requests for name in request.fields if name in names]


def test_a_plan_for_programs(project: Project) -> None:
    code, out, _ = project.run("upload", "configs/small.yaml", "--model", "staked", "--dry-run", "--json")
    assert code == 0
    plan = json.loads(out)["plan"]
    assert json.loads(out)["format"] == 1
    assert plan["slot"]["stake"] == "12.5"
    assert (plan["round"]["number"], plan["round"]["open"]) == (1000, True)
    assert plan["pickle"]["filename"] == f"small-{project.sha256[:12]}.pkl"
    assert plan["image"]["digest"] == project.read_manifest()["image"]["identity"]


def test_without_a_terminal_or_yes_nothing_is_changed(project: Project) -> None:
    code, _, err = project.run("upload", "configs/small.yaml", "--model", "fresh")
    assert code == 5
    assert "--yes" in err
    assert not mutations(project)


def test_without_a_terminal_or_yes_nothing_is_compared(project: Project) -> None:
    project.assign_earlier_pickle()
    code, _, err = project.run("upload", "configs/small.yaml", "--model", "running")
    assert code == 5
    assert "alike" not in err


def test_without_a_slot_the_slots_are_listed(project: Project) -> None:
    code, _, err = project.run("upload", "configs/small.yaml", "--yes")
    assert code == 2
    assert "--model" in err
    assert "fresh, running, hooked" in err


def test_the_slot_of_the_config_is_the_default(project: Project) -> None:
    path = project.root / "configs" / "small.yaml"
    path.write_text(path.read_text() + "upload: {model: fresh}\n")
    assert project.run("upload", "configs/small.yaml", "--yes")[0] == 0
    assert project.get_slot().pickle_id == project.list_records()[0].id


@pytest.mark.parametrize("sure", ["", "n\n", "\n"], ids=["end", "no", "enter-only"])
def test_at_a_terminal_a_stake_needs_a_separate_yes(project: Project, sure: str) -> None:
    command = ("upload", "configs/small.yaml", "--model", "staked")
    code, output = project.run_in_terminal(*command, typed="y\n" + sure)
    assert code == 5, output
    assert "has a stake of 12.5: run its pickle for round 1000, which is open" in output
    assert "a staked submission, which a rollback does not undo" in " ".join(output.split())
    assert not mutations(project)
    code, output = project.run_in_terminal(*command, typed="y\nyes\n")
    assert code == 0, output
    assert project.get_slot("staked").pickle_id == project.list_records()[0].id


def test_at_a_terminal_a_stake_without_an_open_round_is_asked_about_too(project: Project) -> None:
    project.sandbox.state.close_round()
    command = ("upload", "configs/small.yaml", "--model", "staked")
    code, output = project.run_in_terminal(*command, typed="y\n\n")
    assert code == 5, output
    assert "has a stake of 12.5: run its next rounds with this pickle?" in output
    assert not mutations(project)
    assert project.run_in_terminal(*command, typed="y\nyes\n")[0] == 0


def test_at_a_terminal_a_round_that_opens_in_the_meantime_is_asked_about(project: Project) -> None:
    project.sandbox.state.close_round()

    def open_it(state: State, variables: Mapping[str, Any]) -> None:
        state.open_round()

    # Two reads for the plan, two after the comparison; later reads come after the confirmation.
    project.sandbox.faults.add("rounds", faults.call_after(open_it), after=3)
    code, output = project.run_in_terminal(
        "upload", "configs/small.yaml", "--model", "staked", "--no-compare", typed="y\nyes\ny\n\n"
    )
    assert code == 5, output
    assert "in the meantime a round opened" in output
    assert "run its pickle for round 1000, which is open?" in output
    assert not mutations(project)


def test_at_a_terminal_no_means_no(project: Project) -> None:
    code, output = project.run_in_terminal("upload", "configs/small.yaml", "--model", "fresh", typed="n\n")
    assert code == 5
    assert "nothing was changed" in output
    assert not mutations(project)


def test_at_a_terminal_the_slot_is_asked_for_and_may_be_new(project: Project) -> None:
    code, output = project.run_in_terminal("upload", "configs/small.yaml", typed="brand_new\ny\n")
    assert code == 0, output
    assert "brand_new (NEW model, number 6 of 10)" in output
    assert project.get_slot("brand_new").pickle_id == project.list_records()[0].id


def test_no_token_at_a_terminal_is_asked_for_and_not_shown(project: Project) -> None:
    token = project.sandbox.state.get_token("full")
    code, output = project.run_in_terminal(
        "upload",
        "configs/small.yaml",
        "--model",
        "fresh",
        "--yes",
        typed=f"{token.public_id}\n{token.secret_key}\n",
        NUMERAI_PUBLIC_ID="",
        NUMERAI_SECRET_KEY="",
    )
    assert code == 0, output
    assert "numer.ai/account" in output
    assert token.secret_key not in output


# ---- refusals


@pytest.mark.parametrize(
    ("slot", "code", "message"),
    [
        ("frsh", 2, "did you mean fresh?"),
        ("theirs", 2, "CREATE=1"),
        ("old_one", 5, "is archived"),
        ("signals_one", 5, "belongs to tournament 11"),
        ("hooked", 5, "CLEAR_WEBHOOK=1"),
    ],
)
def test_a_slot_that_is_invalid(project: Project, slot: str, code: int, message: str) -> None:
    actual, _, err = project.upload(slot=slot)
    assert (actual, message in err) == (code, True), err
    assert not mutations(project)


def test_a_new_slot(project: Project) -> None:
    assert project.upload("--create", slot="brand_new")[0] == 0
    assert project.get_slot("brand_new").pickle_id == project.list_records()[0].id


def test_a_new_slot_whose_answer_is_lost_is_created_once(project: Project) -> None:
    project.sandbox.faults.add("addModel", faults.apply_then(faults.reset()))
    assert project.upload("--create", slot="brand_new")[0] == 0
    assert sum(slot.name == "brand_new" for slot in project.sandbox.state.slots.values()) == 1


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [("theirs", 2, "the name is taken"), ("x" * 21, 2, "at most 20"), ("no spaces", 2, "lower-case letters")],
)
def test_a_new_name_that_is_invalid(project: Project, name: str, code: int, message: str) -> None:
    actual, _, err = project.upload("--create", slot=name)
    assert (actual, message in err) == (code, True), err
    assert not mutations(project)


def test_no_slots_left(project: Project) -> None:
    project.sandbox.state.accounts[0].max_model_slots = 3
    code, _, err = project.upload("--create", slot="brand_new")
    assert code == 5
    assert "its limit is 3" in err


def test_an_unknown_number_of_slots_refuses_nothing(project: Project) -> None:
    def hide_slot_count(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"]["account"]["maxModelSlots"] = None
        return answer

    project.sandbox.faults.add("account", faults.edit_response(hide_slot_count), times=None)
    code, _, err = project.upload("--create", slot="brand_new")
    assert code == 0, err
    assert "brand_new (NEW model, number 6), account" in err
    assert project.get_slot("brand_new").pickle_id == project.list_records()[0].id


def test_a_webhook_is_removed_on_request(project: Project) -> None:
    code, _, err = project.upload("--clear-webhook", slot="hooked")
    assert code == 0
    assert "removes the slot's webhook" in err
    assert not project.get_slot("hooked").webhook


def test_a_webhook_is_restored_after_a_failure(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner.failing("It broke.")
    address = project.get_slot("hooked").webhook
    assert project.upload("--clear-webhook", slot="hooked")[0] == 1
    assert project.get_slot("hooked").webhook == address


@pytest.mark.parametrize("state", ["deprecated", "gone", "moved"])
def test_an_image_that_is_not_the_tournaments(project: Project, state: str) -> None:
    image = project.sandbox.state.get_image(uploads.IMAGE)
    messages = {
        "deprecated": "is deprecated",
        "gone": "not among the tournament's images",
        "moved": "the tag has moved",
    }
    if state == "deprecated":
        image.deprecated = True
    elif state == "gone":
        image.tag = "other"
    else:
        registry_images.push_image(
            project.registry, f"numerai/{uploads.IMAGE}", uploads.TAG, config={"Labels": {"a": "b"}}
        )
    code, _, err = project.upload()
    assert code == 5
    assert messages[state] in err
    assert "make pickle" in err
    assert not mutations(project)


@pytest.mark.parametrize(("version", "code", "message"), [("v9.9", 2, "offered: v5.3"), ("v4.3", 5, "is deprecated")])
def test_a_data_version_that_is_invalid(project: Project, version: str, code: int, message: str) -> None:
    path = project.root / "configs" / "small.yaml"
    path.write_text(path.read_text() + f"data_version: {version}\n")
    actual, _, err = project.upload()
    assert (actual, "make validate" in err) == (5, True)
    project.use_data_version(version)
    actual, _, err = project.upload()
    assert (actual, message in err) == (code, True), err
    assert not mutations(project)


def test_an_old_data_version_is_noted_once(project: Project) -> None:
    project.use_data_version("v5.2")
    code, out, err = project.run("upload", "configs/small.yaml", "--model", "running", "--dry-run", "--no-compare")
    assert code == 0, err
    note = "note     data version v5.2 is older than the default, v5.3: train new models on v5.3"
    assert [line for line in (out + err).splitlines() if "older than" in line] == [note]


def test_an_unvalidated_pickle_makes_no_request(project: Project) -> None:
    (project.folder / "validation.json").unlink()
    code, _, err = project.upload()
    assert code == 5
    assert "make validate" in err
    assert len(project.sandbox.requests) == 0


# ---- rounds and runs


@words.each_vocabulary
def test_no_open_round_is_a_success_that_shows_when_the_next_opens(project: Project) -> None:
    opens = project.sandbox.state.close_round().open_time
    project.sandbox.state.no_round_fails = True
    code, out, err = project.upload("--trigger")
    assert code == 0, err
    assert '"No currently open rounds!" means success' in out
    assert f"round 1001 opens {opens:%Y-%m-%d %H:%M} UTC" in out
    assert project.get_slot().pickle_id == project.list_records()[0].id


def test_a_round_that_closed_in_the_meantime_is_not_reported_as_open(project: Project) -> None:
    project.sandbox.state.no_round_fails = True

    def close(state: State, variables: Mapping[str, Any]) -> None:
        state.close_round()

    project.sandbox.faults.add("computePickleUploadAuth", faults.call_after(close))
    code, out, err = project.upload()
    assert code == 0, err
    assert (
        '"No currently open rounds!" means success: the model is valid, and no round is open; round 1001 opens' in out
    )


def test_a_run_is_triggered_once_and_its_log_shown(project: Project) -> None:
    code, out, _ = project.upload("--trigger")
    assert code == 0
    assert "the model was run" in out
    (record,) = project.list_records()
    assert project.read_receipt()["trigger"] == record.triggers[-1].id
    assert project.upload("--trigger")[0] == 0
    assert project.sandbox.requests.count("triggerComputePickleUpload") == 1


@words.each_vocabulary
def test_a_run_that_fails_restores_the_slot(project: Project) -> None:
    before = project.assign_earlier_pickle()

    def fail(state: State, variables: Mapping[str, Any]) -> None:
        project.sandbox.runs.runner = runs.ScriptedRunner.failing("Out of memory.", "the last line")

    project.sandbox.faults.add("assignPickleToModel", faults.call_after(fail))
    code, out, _ = project.upload("--trigger", "--no-compare", slot="running")
    assert code == 1
    assert "Out of memory." in out
    assert project.get_slot("running").pickle_id == before.id


@words.each_vocabulary
@pytest.mark.parametrize("good", [True, False])
def test_a_run_without_a_status_ends_by_the_pickles_trigger_status(project: Project, *, good: bool) -> None:
    project.sandbox.state.runs_have_statuses = False

    def judge(state: State, variables: Mapping[str, Any]) -> None:
        project.sandbox.runs.runner = runs.ScriptedRunner() if good else runs.ScriptedRunner.failing("Out of memory.")

    project.sandbox.faults.add("assignPickleToModel", faults.call_after(judge))
    code, out, err = project.upload("--trigger")
    assert code == (0 if good else 1), err
    spoken = project.sandbox.state.words
    assert (spoken.run_good if good else f"run {spoken.run_bad}") in out
    assert (project.get_slot().pickle_id is not None) is good


def test_an_unknown_status_of_a_run_is_shown_recorded_and_waited_on(project: Project) -> None:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        for pickle in answer["data"]["computePickles"]:
            pickle["triggers"][0]["status"] = "un_succeeded_yet"
        return answer

    def then(state: State, variables: Mapping[str, Any]) -> None:
        project.sandbox.faults.add("pickle", faults.edit_response(change), times=3)

    project.sandbox.faults.add("triggerComputePickleUpload", faults.call_after(then))
    code, _, err = project.upload("--trigger")
    assert (code, "run: un_succeeded_yet" in err) == (0, True), err
    assert [entry["status"] for entry in project.read_log() if entry["step"] == "unknown status"] == [
        "un_succeeded_yet"
    ]


# ---- and back


def test_rollback_by_the_log(project: Project) -> None:
    before = project.assign_earlier_pickle()
    assert project.upload("--no-compare", slot="running")[0] == 0
    code, out, err = project.run("rollback", "running", "--yes")
    assert code == 0, err
    assert before.filename in out
    assert project.get_slot("running").pickle_id == before.id


def test_assign_and_rollback_describe_a_change_alike(project: Project) -> None:
    before = project.assign_earlier_pickle("staked")
    assert project.upload("--no-compare", slot="staked")[0] == 0
    assigned = project.run("assign", "staked", before.id)[2].splitlines()
    rolled = project.run("rollback", "staked")[2].splitlines()
    follows = "  effects  the tournament runs this pickle in every round, starting with the next run, with the stake"
    assert follows in assigned
    assert [line.partition(", according to ")[0] for line in rolled[: len(assigned) - 1]] == assigned[:-1]
    assert "           submissions already made are not undone" in rolled


def test_a_slot_from_the_config_is_reported_with_the_config(project: Project) -> None:
    file = project.root / "configs" / "small.yaml"
    file.write_text(file.read_text() + "upload: {model: nowhere}\n")
    for name in ("rollback", "upload"):
        code, _, err = project.run(name, "configs/small.yaml")
        assert code == 2
        assert re.search(r"error: nowhere \(upload.model of .*configs/small.yaml\): no slot of ", err), err


def test_the_plan_of_an_upload_that_is_known_to_be_bad_promises_nothing(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner.failing(runs.SEGMENTATION_FAULT)
    assert project.upload()[0] == 1
    code, out, _ = project.upload("--dry-run")
    assert code == 0
    assert "does not assign it, because its validation failed; `--again` (make: AGAIN=1) sends it again" in out
    assert "effects  the slot continues to run no pickle" in out
    assert "to submit for each round" not in out
    assert "to submit for each round" in project.upload("--dry-run", "--again")[1]


def test_rollback_after_another_pickle_was_built(project: Project) -> None:
    before = project.assign_earlier_pickle()
    assert project.upload("--no-compare", slot="running")[0] == 0
    project.replace_pickle(b"another pickle, made since")
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.get_slot("running").pickle_id == before.id


def test_the_receipt_is_derived_from_the_log(project: Project) -> None:
    before = project.assign_earlier_pickle()
    assert project.upload("--no-compare", slot="running")[0] == 0
    receipt = project.read_receipt()
    assert (receipt["previous"], receipt["known"]) == (before.id, True)
    (project.folder / "receipt.json").unlink()
    assert project.upload("--no-compare", slot="running")[0] == 0
    assert project.read_receipt() == receipt


def test_a_download_is_compared_with_the_log(project: Project) -> None:
    assert project.upload()[0] == 0
    (record,) = project.list_records()
    shutil.rmtree(project.folder)
    code, out, err = project.run("download", "fresh", "--to", "got.pkl")
    assert (code, re.findall(r"ok +the upload log .*jsonl: (\w+)", out)) == (0, [_sha256(project, "got.pkl")]), err
    project.sandbox.storage.get_path(runs.get_key(record.filename)).write_bytes(b"something else")
    code, out, _ = project.run("download", "fresh", "--to", "other.pkl")
    assert (code, "DIFFERS  the upload log " in out) == (1, True)


def _sha256(project: Project, name: str) -> str:
    return hashlib.sha256((project.root / name).read_bytes()).hexdigest()


def test_a_change_that_cannot_be_recorded_is_undone(project: Project) -> None:
    before = project.assign_earlier_pickle()
    (project.folder / "receipt.json").mkdir()
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 2
    assert "running still runs " in err
    assert project.get_slot("running").pickle_id == before.id


def test_a_slot_that_somebody_changes_in_the_meantime_is_left_alone(project: Project) -> None:
    project.assign_earlier_pickle()
    theirs = project.sandbox.state.add_pickle(project.get_slot("running"), "theirs-ffffffffffff.pkl")

    def change(state: State, variables: Mapping[str, Any]) -> None:
        state.get_slot("running").pickle_id = theirs.id

    change_it = faults.call_after(change)
    project.sandbox.faults.add("createComputePickleUpload", change_it)
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 5
    assert "somebody else changed it" in err
    assert project.get_slot("running").pickle_id == theirs.id


def test_rollback_of_an_empty_slot_empties_it(project: Project) -> None:
    assert project.upload()[0] == 0
    assert project.run("rollback", "fresh", "--yes")[0] == 0
    assert project.get_slot().pickle_id is None


def test_rollback_of_a_rollback_restores_the_newer_pickle(project: Project) -> None:
    project.assign_earlier_pickle()
    assert project.upload("--no-compare", slot="running")[0] == 0
    ours = project.get_slot("running").pickle_id
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.get_slot("running").pickle_id == ours


def test_rollback_without_a_source_asks(project: Project) -> None:
    now, slot = project.assign_earlier_pickle(), project.get_slot("running")
    earlier = project.sandbox.state.add_pickle(slot, "earlier-aaaaaaaaaaaa.pkl")
    project.sandbox.state.add_pickle(slot, "bad-bbbbbbbbbbbb.pkl", passed=False)
    code, _, err = project.run("rollback", "running", "--yes")
    assert code == 5
    assert earlier.id in err
    assert "bad-" not in err
    assert slot.pickle_id == now.id
    code, output = project.run_in_terminal("rollback", "running", typed="1\ny\n")
    assert code == 0, output
    assert slot.pickle_id == earlier.id
    assert project.run("rollback", "running", "--yes", "--to", now.id)[0] == 0
    assert slot.pickle_id == now.id


def test_at_a_terminal_rollback_of_a_slot_with_a_stake_needs_yes_typed_in_full(project: Project) -> None:
    before = project.assign_earlier_pickle("staked")
    assert project.upload("--no-compare", slot="staked")[0] == 0
    code, output = project.run_in_terminal("rollback", "staked", typed="\n")
    assert (code, "[type yes]" in output) == (5, True)
    assert project.get_slot("staked").pickle_id != before.id
    assert project.run_in_terminal("rollback", "staked", typed="yes\n")[0] == 0
    assert project.get_slot("staked").pickle_id == before.id


def test_rollback_reads_back_too(project: Project) -> None:
    project.assign_earlier_pickle()
    assert project.upload("--no-compare", slot="running")[0] == 0
    ours = project.get_slot("running").pickle_id
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "another-ffffffffffff.pkl")
    project.sandbox.faults.add("assignPickleToModel", faults.assign_other_pickle(other.id))
    code, _, err = project.run("rollback", "running", "--yes")
    assert code == 4
    assert "running still runs " in err
    assert project.get_slot("running").pickle_id == ours


def test_json_contains_what_a_failed_pickle_printed(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner.failing("Out of memory.", "the last line")
    code, out, _ = project.upload("--json")
    report = json.loads(out)
    assert (code, report["good"], report["receipt"]) == (1, False, None)
    assert report["log"][-1] == "the last line"


def test_locked_uploads_what_the_lock_file_names_and_nothing_else(project: Project) -> None:
    manifest = artifact.load(project.folder).manifest
    key = config.normalize_reference(manifest.image.ref)
    lock = lockfile.LockFile(images={key: lockfile.create_pin(manifest.image.identity, day="2026-11-24")})
    model = lockfile.LockedModel(
        image=manifest.image.identity, bundle=manifest.bundle.hash, pickle=manifest.pickle.sha256
    )
    for written, text in (
        (None, "not found, and LOCKED=1 (--locked) allows only what it contains"),
        (lock, "the model (it has no entry small)"),
        (lock.with_model("small", dataclasses.replace(model, pickle="0" * 64)), "the pickle ("),
        (lock.with_model("small", dataclasses.replace(model, bundle="0" * 64)), "the bundle ("),
    ):
        if written:
            (project.root / lockfile.NAME).write_bytes(lockfile.to_bytes(written))
        code, out, err = project.upload("--locked", "--json")
        assert (code, text in err) == (5, True), err
        assert json.loads(out)["error"]["code"] == 5
    assert len(project.sandbox.requests) == 0
    (project.root / lockfile.NAME).write_bytes(lockfile.to_bytes(lock.with_model("small", model)))
    assert project.upload("--locked")[0] == 0
    assert project.get_slot("fresh").pickle_id == project.list_records()[0].id
