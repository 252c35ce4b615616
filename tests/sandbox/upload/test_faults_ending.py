"""Injected failures 24 to 26, 28, 29 and 31: validation or assignment fails, and no secret is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder.sandbox import faults, runs, storage
from tests.support import runner_logs, uploads, words
from tests.support.upload_outcomes import (
    ASSIGN,
    CREATE,
    MB,
    SEGMENTATION,
    big,
    check_deployed,
    check_nothing_registered,
)

if TYPE_CHECKING:
    import subprocess

    from tests.support.uploads import Project


@words.each_vocabulary
def test_row_24_a_validation_that_fails(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner.failing(
        SEGMENTATION, "loading", "the last line", interim=("pending",)
    )
    before = project.assign_earlier_pickle()
    code, out, _ = project.upload("--no-compare", slot="running")
    assert code == 1
    assert SEGMENTATION in out
    assert "the last line" in out
    assert "make pickle CONFIG=configs/small.yaml" in out  # the likely cause, and its fix
    _, shown, _ = project.run("status", "fresh", "--json")
    assert "CONFIG=..." not in shown + out
    code, why, _ = project.run("why", project.list_records()[0].id, "--no-run", "--json")
    assert (code, "make pickle CONFIG=configs/small.yaml" in json.loads(why)["fix"]) == (1, True)
    assert f"validation {project.sandbox.state.words.bad}" in out
    assert project.get_slot("running").pickle_id == before.id
    assert project.sandbox.requests.count(ASSIGN) == 0
    assert project.read_log("running")[-1]["step"] == "failed"


def test_row_24_the_reason_is_above_the_help_box(project: Project) -> None:
    log = runner_logs.make_refusal("Pickle function returned at least 1 NaN prediction")
    project.sandbox.runs.runner = runs.ScriptedRunner.failing("Model failed", *log.splitlines())
    code, out, _ = project.upload()
    assert code == 1
    assert "cause    the function returned NaN in its predictions; fill missing values" in out
    assert "    ERROR:root:Pickle function returned at least 1 NaN prediction\n" in out
    assert "this line is help too" not in out
    project.sandbox.runs.runner = runs.ScriptedRunner.failing("odd", "odder")
    _, out, _ = project.upload("--again")
    (_, record) = project.list_records()
    assert f"cause    the tournament reports: odd; `make why SLOT={record.id}` runs it here" in out


def test_row_24_a_failed_pickle_is_not_uploaded_again_by_default(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner.failing(SEGMENTATION)
    assert project.upload()[0] == 1
    assert project.upload()[0] == 1
    assert len(project.list_records()) == 1
    project.sandbox.runs.runner = runs.ScriptedRunner()
    assert project.upload("--again")[0] == 0
    assert len(project.list_records()) == 2


@words.each_vocabulary
def test_row_25_a_timeout_can_be_resumed(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner(interim=("pending", "simmering"), settles=False)
    code, _, err = project.upload("--wait", "0")
    (record,) = project.list_records()
    assert code == 4
    assert record.id in err
    assert "run the same command again" in err
    assert project.get_slot().pickle_id is None
    record.interim.clear()
    record.status, record.passed = project.sandbox.state.words.good, True
    assert project.upload()[0] == 0
    check_deployed(project)


def test_row_25_an_unknown_status_is_shown_and_polled_again(project: Project) -> None:
    project.sandbox.runs.runner = runs.ScriptedRunner(interim=("pending", "un\x1b[31mvalidated", "invalidated"))
    code, _, err = project.upload()
    assert code == 0
    assert [line for line in err.splitlines() if line.startswith("validation:")] == [
        "validation: pending",
        "validation: un [31mvalidated",
        "validation: invalidated",
        f"validation: {project.sandbox.state.words.good}",
    ]
    recorded = [(record["of"], record["status"]) for record in project.read_log() if record["step"] == "unknown status"]
    assert recorded == [("validation", "un [31mvalidated"), ("validation", "invalidated")]


_LOOKS_BEFORE = 4
"""Number of reads of the slots before one is changed: to plan, after comparing, to register, and just before."""

_LOOKS_AFTER = 5
"""Number of reads of a slot before its pickle is accepted as assigned."""


def _wrong_answer(kind: str, other: str) -> tuple[str, faults.Action, int]:
    if kind == "answer":
        return ASSIGN, faults.replace_field(ASSIGN, other), 0
    if kind == "failure":
        return ASSIGN, faults.replace_field(ASSIGN, "error"), 0
    if kind == "assigned":
        return ASSIGN, faults.assign_other_pickle(other), 0
    return "account", faults.show_other_pickle(other), _LOOKS_BEFORE


@pytest.mark.parametrize("kind", ["answer", "failure", "assigned", "shown"])
def test_row_26_the_previous_pickle_is_restored(project: Project, kind: str) -> None:
    before = project.assign_earlier_pickle()
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "another-ffffffffffff.pkl")
    match, action, after = _wrong_answer(kind, other.id)
    project.sandbox.faults.add(match, action, after=after, times=_LOOKS_AFTER if kind == "shown" else 1)
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 4
    assert "running still runs 11112222-before-0123456789ab.pkl" in err
    assert project.sandbox.faults.count_remaining() == 0
    assert project.get_slot("running").pickle_id == before.id
    assert not (project.folder / "receipt.json").exists()


def test_row_26_an_empty_slot_is_empty_again(project: Project) -> None:
    other = project.sandbox.state.add_pickle(project.get_slot(), "another-ffffffffffff.pkl")
    project.sandbox.faults.add(ASSIGN, faults.assign_other_pickle(other.id))
    assert project.upload()[0] == 4
    assert project.get_slot().pickle_id is None


def test_row_26_a_failed_restore_is_reported(project: Project) -> None:
    before = project.assign_earlier_pickle()
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "another-ffffffffffff.pkl")
    project.sandbox.faults.add(ASSIGN, faults.assign_other_pickle(other.id), times=None)
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 4
    assert "could NOT be restored" in err
    assert f"python -m builder assign running {before.id}" in err
    assert [line["step"] for line in project.read_log("running")][-1] == "assigning"


def test_row_26_rollback_can_repeat_a_failed_restore(project: Project) -> None:
    """The upload log suffices: ``dist`` is removed before."""
    before = project.assign_earlier_pickle()
    project.sandbox.faults.add(ASSIGN, faults.respond_html(502), times=None, after=1)
    other = project.sandbox.state.add_pickle(project.get_slot("running"), "another-ffffffffffff.pkl")
    project.sandbox.faults.add("account", faults.show_other_pickle(other.id), after=_LOOKS_BEFORE, times=_LOOKS_AFTER)
    code, _, err = project.upload("--no-compare", slot="running")
    assert (code, "could NOT be restored" in err) == (4, True)
    assert project.get_slot("running").pickle_id == project.list_records()[0].id
    project.sandbox.faults.clear()
    shutil.rmtree(project.folder)
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.get_slot("running").pickle_id == before.id


def test_row_26_an_assignment_whose_answer_is_lost(project: Project) -> None:
    project.sandbox.faults.add(ASSIGN, faults.apply_then(faults.reset()))
    assert project.upload()[0] == 0
    check_deployed(project)


def test_row_26_an_assignment_that_may_still_take_effect_is_undone(project: Project) -> None:
    before = project.assign_earlier_pickle()
    project.sandbox.faults.add(ASSIGN, faults.respond_html(502), times=3)
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 4
    assert "running still runs 11112222-before-0123456789ab.pkl" in err
    assert project.sandbox.requests.count(ASSIGN) == 4
    assert project.get_slot("running").pickle_id == before.id


LITTLE_SPACE = """
import resource, sys
from builder.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, resource.RLIM_INFINITY))
sys.exit(main.main(["upload", "configs/small.yaml", "--model", "fresh", "--yes"]))
"""


def test_row_28_no_space_for_the_log(project: Project) -> None:
    result = uploads.run_python(LITTLE_SPACE, project.root, **project.environment())
    assert result.returncode == 2
    assert "free some space" in result.stderr
    assert len(project.sandbox.requests) == 0


def _size_of_open_files(project: Project, process: subprocess.Popen[str]) -> int:
    """Return the total size of the unlinked files in the log folder that a process has open."""
    opened = [
        path for path in Path(f"/proc/{process.pid}/fd").iterdir() if path.is_file() and path.stat().st_nlink == 0
    ]
    nameless = [path for path in opened if str(path.readlink()).startswith(f"{project.logs_folder}/")]
    return sum(path.stat().st_size for path in nameless)


def test_row_28_a_refused_upload_reserves_no_space(project: Project) -> None:
    project.sandbox.faults.add("PUT", faults.stall())
    with project.start("upload", "configs/small.yaml", "--model", "fresh", "--yes") as process:
        project.sandbox.requests.wait_for("PUT")
        size = _size_of_open_files(project, process)
        assert size > 0
        assert project.upload()[0] == 5
        assert project.run("upload", "configs/small.yaml", "--model", "fresh", "--yes", token="revoked")[0] == 4
        assert _size_of_open_files(project, process) == size
        project.sandbox.faults.release()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [path.name for path in project.logs_folder.iterdir() if not path.name.startswith(".")] == [
        project.log_path().name
    ]


@pytest.mark.parametrize("kind", ["signature", "expired"])
def test_row_29_a_wrong_clock_is_mentioned(project: Project, kind: str) -> None:
    refusal = storage.BAD_SIGNATURE if kind == "signature" else storage.EXPIRED
    project.sandbox.state.clock_offset = -uploads.QUARTER_OF_AN_HOUR
    project.sandbox.faults.add("PUT", faults.refuse(refusal), times=None)
    code, _, err = project.upload()
    assert code == 4
    assert "clock is 15 minutes ahead" in err
    check_nothing_registered(project)


def test_row_31_no_token_and_no_presigned_query_anywhere(project: Project, tmp_path: Path) -> None:
    big(project)
    project.sandbox.faults.add("PUT", faults.stall(after_bytes=MB))
    project.sandbox.faults.add("PUT", faults.respond_status(503))
    project.sandbox.faults.add(CREATE, faults.apply_then(faults.respond_html(502)))
    texts: list[bytes] = []
    with project.start("upload", "configs/small.yaml", "--model", "fresh", "--yes", TMPDIR=str(tmp_path)) as process:
        project.sandbox.requests.wait_for("PUT", bytes_read=MB)
        texts.append(uploads.command_line(process))
        project.sandbox.faults.release()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    texts += [out.encode(), err.encode()]
    texts += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    secret = project.sandbox.state.get_token("full").secret_key.encode()
    assert not [text for text in texts if secret in text or b"X-Signature" in text or b"ignature=" in text]


def test_row_31_no_secret_in_the_log_of_the_http_library(project: Project) -> None:
    program = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from builder.cli import main
sys.exit(main.main(["upload", "configs/small.yaml", "--model", "fresh", "--yes"]))
"""
    project.sandbox.faults.add("PUT", faults.redirect(307))
    result = uploads.run_python(program, project.root, **project.environment())
    assert result.returncode == 0, result.stderr
    check_deployed(project)
    output = result.stdout + result.stderr
    assert project.sandbox.state.get_token("full").secret_key not in output
    assert "ignature" not in output


def test_row_31_no_secret_in_a_traceback(project: Project, tmp_path: Path) -> None:
    program = """
import sys
from builder.upload import storage
from builder.cli import main
def broken(*_, **__):
    raise RuntimeError("a bug")
storage._check_response = broken
sys.exit(main.main(["upload", "configs/small.yaml", "--model", "fresh", "--yes"]))
"""
    result = uploads.run_python(program, project.root, **{**project.environment(), "TMPDIR": str(tmp_path)})
    assert result.returncode == 70
    (report,) = tmp_path.glob("numerai-builder-*.txt")
    output = result.stdout + result.stderr + report.read_text()
    assert "a bug" in output
    assert project.sandbox.state.get_token("full").secret_key not in output
    assert "ignature" not in output
