"""What of an upload needs no network: journal, refusals, plan, likeness, history."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import multiprocessing
import os
import resource
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from builder import errors, tournament
from builder.build import artifact, manifest
from builder.upload import compare, history, journal, plan, receipt, refusals, slot_log
from builder.validate import report
from tests.support import manifests, seats, uploads

if TYPE_CHECKING:
    from pathlib import Path

SHA = "ab" * 32


# ---- the journal


def test_a_journal_is_read_back(tmp_path: Path) -> None:
    path = journal.path_of(tmp_path, SHA, "my_slot")
    written = journal.Journal(path)
    written.write(journal.PLANNED, before=None, image="i1")
    written.write(journal.PUT, filename="a.pkl")
    again = journal.Journal(path)
    assert again.entries == written.entries
    assert [one.step for one in again.entries] == ["planned", "put"]
    found = again.last(journal.PUT, journal.CREATED)
    assert found is not None
    assert (found.text("filename"), found.text("nothing")) == ("a.pkl", "")
    assert path.name == f"journal-{SHA[:12]}-my_slot.jsonl"


@given(cut=st.integers(min_value=0, max_value=200), noise=st.binary(max_size=30))
def test_a_journal_that_a_killed_writer_left(tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal.Journal(path).write(journal.PLANNED, image="i1")
    whole = len(path.read_bytes())
    journal.Journal(path).write(journal.PUT, filename="a" * 100)
    path.write_bytes(path.read_bytes()[: whole + cut] + noise)
    journal.Journal(path).write(journal.CREATED, pickle="p1")
    steps = [one.step for one in journal.Journal(path).entries]
    assert (steps[0], steps[-1]) == ("planned", "created")
    assert set(steps) <= {"planned", "put", "created"}


@given(content=st.binary(max_size=300))
def test_any_bytes_are_some_journal(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    path.write_bytes(content)
    for entry in journal.read(path):
        assert isinstance(entry.text("pickle"), str)


def test_a_slots_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    assert journal.path_of(tmp_path, SHA, "../../etc/passwd").parent == tmp_path


def test_a_full_disk_stops_it(tmp_path: Path) -> None:
    written = journal.Journal(tmp_path / "journal.jsonl")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, most))
    try:
        with pytest.raises(errors.ArtifactError, match="free some space"):
            written.write(journal.PLANNED)
        with (
            pytest.raises(errors.ArtifactError, match="nothing is done at the tournament"),
            journal.reserved(tmp_path),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_each_has_its_own_space_and_gives_it_up_for_its_own_journal(tmp_path: Path) -> None:
    with journal.reserved(tmp_path) as one, journal.reserved(tmp_path) as other:
        full = journal.Journal(tmp_path / "journal.jsonl", one)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))  # takes four bytes, then no more
        try:
            with pytest.raises(errors.ArtifactError, match="free some space"):
                full.write(journal.PLANNED)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (one.closed, other.closed) == (True, False)
        assert os.fstat(other.fileno()).st_size == 1 << 16
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]


def test_a_journal_that_is_a_link_or_a_fifo_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link.jsonl").symlink_to("precious")
    os.mkfifo(tmp_path / "fifo.jsonl")
    for name in ("link.jsonl", "fifo.jsonl"):
        written = journal.Journal(tmp_path / name)
        assert written.entries == []
        with pytest.raises(errors.ArtifactError, match=name):
            written.write(journal.PLANNED)
    assert (tmp_path / "precious").read_text() == "mine"


def test_receipts_are_not_written_to_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / receipt.KEPT).symlink_to("elsewhere")
    with pytest.raises(errors.ArtifactError, match="receipts: is a link; expected a folder"):
        journal.make_folder(tmp_path / receipt.KEPT)


def test_receipts_and_journals_of_a_stranger_are_left_out_and_block_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "dist" / "theirs" / receipt.KEPT
    folder.mkdir(parents=True)
    os.mkfifo(folder / "fifo.json")
    (folder / "link.json").symlink_to("/proc/self/environ")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "large.json").write_text(json.dumps({"format": 1, "pickle": "x" * 100_000}))
    (folder / "paints.json").write_text(json.dumps({"format": 1, "pickle": "\x1b[2J"}))
    (folder / "good.json").write_text(json.dumps({"format": 1, "pickle": "p1"}))
    os.mkfifo(folder.parent / "journal-0-x.jsonl")
    assert [data["pickle"] for _, data in receipt.read_all(tmp_path)] == ["p1"]
    assert journal.read(folder.parent / "journal-0-x.jsonl") == ()


@pytest.mark.parametrize("sort", ["fifo", "link", "large"])
def test_a_report_of_a_stranger_is_refused_and_blocks_nothing(tmp_path: Path, sort: str) -> None:
    made = exact(tmp_path)
    path = tmp_path / artifact.VALIDATION
    path.unlink(missing_ok=True)
    if sort == "fifo":
        os.mkfifo(path)
    elif sort == "link":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(errors.ArtifactError, match=artifact.VALIDATION):
        refusals.check(made, wanted=None)


def test_a_limit_that_no_float_holds_is_a_note_too(tmp_path: Path) -> None:
    made = exact(tmp_path)
    uploads.write_validation(tmp_path, made.manifest, limits={"cpus": 1, "memory": 10**399, "seconds": 600})
    [note] = refusals.check(made, wanted="v5.2").notes
    assert "1e+15 bytes" in note


def _hold(folder: Path, held: Any, done: Any) -> None:
    with journal.locked(folder, SHA, "slot"):
        held.set()
        done.wait(60)


def test_a_lock_is_one_processs_and_free_when_that_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, done))
    process.start()
    assert held.wait(60)
    with (
        pytest.raises(errors.RefusedError, match=rf"process {process.pid}, since "),
        journal.locked(tmp_path, SHA, "slot"),
    ):
        pass
    process.kill()
    process.join()
    with journal.locked(tmp_path, SHA, "slot"):
        pass


# ---- refusals


def exact(folder: Path, **image: Any) -> artifact.Artifact:
    """Put an artifact of an exact image in place, validated."""
    plain = manifests.of(b"pickle")
    base = f"ghcr.io/a/b@{plain.image.identity}"
    changed = {"kind": "exact", "base": base, **image}
    made = dataclasses.replace(plain, image=dataclasses.replace(plain.image, **changed))
    folder.mkdir(exist_ok=True)
    (folder / artifact.PICKLE).write_bytes(b"pickle")
    (folder / artifact.MANIFEST).write_bytes(manifest.to_bytes(made))
    uploads.write_validation(folder, made)
    return artifact.load(folder)


def test_what_is_proved_is_not_refused(tmp_path: Path) -> None:
    assert refusals.check(exact(tmp_path), wanted="v5.2") == refusals.Proof(data_version="v5.2", notes=())


def test_a_validation_that_came_with_a_folder_without_a_config_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = exact(tmp_path / "theirs")
    with pytest.raises(errors.RefusedError, match="was not validated on this machine") as caught:
        refusals.check(made, wanted=None)
    assert f"`python -m builder validate {made.folder}`" in caught.value.fix
    report.remember((made.folder / artifact.VALIDATION).read_bytes())
    assert refusals.check(made, wanted=None).data_version == "v5.2"
    uploads.write_validation(made.folder, made.manifest, limits={"cpus": 1, "memory": 4 << 30, "seconds": 601})
    with pytest.raises(errors.RefusedError, match="was not validated on this machine"):
        refusals.check(made, wanted=None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"good": False, "checks": [{"name": "index", "good": False, "detail": "ids"}]}, "is not valid: index: ids"),
        ({"good": "yes"}, "is not valid"),
        ({"pickle": "cd" * 32}, "is of another pickle"),
        ({"image": {"kind": "exact", "identity": f"sha256:{'9' * 64}"}}, "in another image"),
        ({"image": {"kind": "stand_in", "identity": f"sha256:{'2' * 64}"}}, "in another image"),
        ({"image": None}, "in another image"),
        ({"data": {"version": "v5.1"}}, "for data version v5.1, and the config names v5.2"),
        ({"data": {}}, "for no data version"),
        ({"data": None}, "for no data version"),
    ],
)
def test_a_validation_that_proves_nothing(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    made = exact(tmp_path)
    uploads.write_validation(tmp_path, made.manifest, **changed)
    with pytest.raises(errors.RefusedError, match=said) as caught:
        refusals.check(made, wanted="v5.2")
    assert "`make validate CONFIG=" in str(caught.value)
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{", b"\xff"])
def test_no_validation(tmp_path: Path, content: bytes | None) -> None:
    made = exact(tmp_path)
    (tmp_path / artifact.VALIDATION).unlink()
    if content is not None:
        (tmp_path / artifact.VALIDATION).write_bytes(content)
    with pytest.raises(errors.RefusedError, match="run `make validate CONFIG="):
        refusals.check(made, wanted="v5.2")


@pytest.mark.parametrize(("kind", "said"), [("stand_in", "stand-in"), ("local", "local image")])
def test_an_image_that_is_not_the_tournaments(tmp_path: Path, kind: str, said: str) -> None:
    with pytest.raises(errors.RefusedError, match=said) as caught:
        refusals.check(exact(tmp_path, kind=kind), wanted="v5.2")
    assert "`make pickle CONFIG=... PULL=1`, then `make validate CONFIG=...`" in str(caught.value)


def test_larger_limits_than_the_tournaments_are_said(tmp_path: Path) -> None:
    made = exact(tmp_path)
    uploads.write_validation(tmp_path, made.manifest, limits={"cpus": 4, "memory": 4 << 30, "seconds": 600})
    (note,) = refusals.check(made, wanted="v5.2").notes
    assert "4 CPUs" in note


# ---- the plan


def planned(folder: Path, **changes: Any) -> plan.UploadPlan:
    """Return a plan for an empty slot, while a round is open."""
    now = dt.datetime(2026, 3, 10, 12, 30, tzinfo=dt.UTC)
    current = tournament.Round(
        number=900,
        open_time="2026-03-10T12:00:00Z",
        close_time="2026-03-10T13:00:00Z",
        close_staking_time="2026-03-10T13:00:00Z",
    )
    version = tournament.DataVersion(
        id="d1", name="v5.2", version="v5.2", type="", default=True, deprecated=False, experimental=False
    )
    plain = plan.UploadPlan(
        wish=plan.UploadRequest(made=exact(folder), slot="mine", data_version="v5.2"),
        account="me",
        slot=seats.slot("mine"),
        name="mine",
        slots=(1, 5),
        image=seats.docker_image(),
        ref="ghcr.io/numerai/numerai_predict_py_3_12:abc",
        data_version=version,
        existing=None,
        round=current,
        now=now,
        notes=(),
    )
    return dataclasses.replace(plain, **changes)


def shown(made: plan.UploadPlan) -> str:
    """Return the plan's lines as one text."""
    return " ".join(" ".join(made.lines()).split())


def test_a_plan_says_what_follows_from_yes(tmp_path: Path) -> None:
    text = shown(planned(tmp_path))
    assert "it is run for round 900, which is open until 2026-03-10 13:00 UTC (in 30 minutes)" in text
    assert "takes no submissions over the API any more" in text
    assert "Numerai can unpickle and read the model" in text
    assert "stake" not in text


def test_a_plan_with_a_stake_says_what_cannot_be_taken_back(tmp_path: Path) -> None:
    text = shown(planned(tmp_path, slot=seats.slot("mine", stake="12.5")))
    assert "with the slot's stake of 12.5: a staked submission, which no rollback takes back" in text


def test_a_plan_while_no_round_is_open(tmp_path: Path) -> None:
    later = dt.datetime(2026, 3, 10, 11, 0, tzinfo=dt.UTC)
    text = shown(planned(tmp_path, now=later, slot=seats.slot("mine", stake="12.5")))
    assert "no round is open; round 900 opens 2026-03-10 12:00 UTC (in 1 hour)" in text
    assert "which no rollback takes back" not in text
    assert "no round is open, and the API names none" in shown(planned(tmp_path, round=None))


def test_a_plan_of_what_is_done_already(tmp_path: Path) -> None:
    there = seats.pickle("p9")
    text = shown(planned(tmp_path, existing=there, slot=seats.slot("mine", pickle=there)))
    assert "finds it assigned already" in text
    assert "sends" not in text


def test_what_the_api_says_cannot_paint_the_terminal(tmp_path: Path) -> None:
    odd = seats.pickle("p9", filename="a\x1b[2Jb\n  to  elsewhere")
    text = "\n".join(planned(tmp_path, account="me\x1b]0;x\x07", slot=seats.slot("mine", pickle=odd)).lines())
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\n  to  elsewhere" not in text


# ---- likeness


numbers = st.floats(min_value=-1e3, max_value=1e3, allow_nan=False).map(lambda value: round(value, 3))


@given(rows=st.lists(st.tuples(numbers, numbers), min_size=3, max_size=40))
def test_correlations_are_those_of_scipy(rows: list[tuple[float, float]]) -> None:
    first, second = (np.array(column) for column in zip(*rows, strict=True))
    found = compare.compare(*({str(i): float(v) for i, v in enumerate(one)} for one in (first, second)))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert (found.pearson, found.spearman) == (None, None)
        return
    # scipy loses the digits of what is nearly constant.
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(first, second).statistic, abs=1e-9)
    assert found.pearson == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-6)


def test_only_what_both_predicted_counts() -> None:
    found = compare.compare({"a": 0.1, "b": 0.2, "c": 0.3, "x": 9.0}, {"c": 0.9, "b": 0.5, "a": 0.1, "y": 1.0})
    assert found.rows == 3
    assert found.spearman == pytest.approx(1.0)
    assert str(found).startswith("correlation ")
    assert "they have 0 rows in common" in str(compare.compare({"a": 1.0}, {"b": 1.0}))


def test_a_csv_of_predictions() -> None:
    assert compare.read_csv(b"id,prediction\nn1,0.5\nn2,\nn3,nan\n007,0.25\n") == {"n1": 0.5, "007": 0.25}


@given(content=st.binary(max_size=200))
def test_any_bytes_are_predictions_or_an_error(content: bytes) -> None:
    try:
        found = compare.read_csv(content)
    except errors.DataError:
        return
    assert found
    assert all(np.isfinite(value) for value in found.values())


# ---- history


def test_the_newest_word_on_what_a_slot_ran_counts(tmp_path: Path) -> None:
    slot = seats.slot("mine", id="s1", pickle=seats.pickle("p3"))
    folder = tmp_path / "dist" / "mlp"
    folder.mkdir(parents=True)
    written = journal.Journal(journal.path_of(folder, SHA, "mine"))
    assert history.find(tmp_path, slot) is None
    written.write(journal.ASSIGNING, slot_id="s1", before="p1", pickle="p2")
    assert history.find(tmp_path, slot) is None
    written.write(journal.ASSIGNING, slot_id="s1", before="p2", pickle="p3")
    written.write(journal.ASSIGNING, slot_id="s2", before="p7", pickle="p3")
    found = history.find(tmp_path, slot)
    assert found is not None
    assert found.pickle == "p2"


def test_of_two_files_within_a_second_the_slots_own_log_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commands read the API's clock, which counts whole seconds, apart: their times may be out of order."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    slot = seats.slot("mine", id="s1", pickle=seats.pickle("p3"))
    folder = tmp_path / "dist" / "mlp"
    folder.mkdir(parents=True)
    at = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
    for path, previous, seconds in (
        (slot_log.path_of(slot), "p2", 0),
        (journal.path_of(folder, SHA, "mine"), "p1", 1),
    ):
        clock = at + dt.timedelta(seconds=seconds)
        journal.Journal(path, clock=lambda clock=clock: clock).write(  # type: ignore[misc]
            journal.ASSIGNING, slot_id="s1", before=previous, pickle="p3"
        )
    found = history.find(tmp_path, slot)
    assert found is not None
    assert found.pickle == "p2"
    later = at + dt.timedelta(minutes=1)
    journal.Journal(journal.path_of(folder, SHA, "mine"), clock=lambda: later).write(
        journal.ASSIGNING, slot_id="s1", before="p4", pickle="p3"
    )
    found = history.find(tmp_path, slot)
    assert found is not None
    assert found.pickle == "p4"


def test_a_receipt_says_it_where_the_journal_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "dist" / "mlp"
    folder.mkdir(parents=True)
    made = receipt.Receipt(
        name="mlp",
        bundle="3" * 64,
        sha256=SHA,
        size=6,
        image=f"sha256:{'2' * 64}",
        ref="ghcr.io/numerai/a:b",
        image_id="i1",
        data_version="v5.2",
        data_version_id="d1",
        pickle="p3",
        filename="x.pkl",
        slot="mine",
        slot_id="s1",
        account="me",
        previous=None,
        known=True,
        trigger=None,
        times={},
    )
    receipt.write(folder, made)
    slot = seats.slot("mine", id="s1", pickle=seats.pickle("p3"))
    found = history.find(tmp_path, slot)
    assert found is not None
    assert found.pickle is None
    receipt.write(folder, dataclasses.replace(made, known=False))
    assert history.find(tmp_path, slot) is None

    own = (folder / receipt.NAME).read_bytes()
    (tmp_path / "theirs.json").write_bytes(own)
    (folder / receipt.NAME).unlink()
    (folder / receipt.NAME).symlink_to(tmp_path / "theirs.json")
    receipt.write(folder, dataclasses.replace(made, known=False))
    assert not (folder / receipt.NAME).is_symlink(), "what a link leads to is not taken for the receipt"
    assert (folder / receipt.NAME).read_bytes() == own
