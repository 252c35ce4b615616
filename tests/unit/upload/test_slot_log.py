"""A slot's log: writing, reading after a crash, locking, and what is derived from its lines."""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
import os
import resource
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import errors, locks
from builder.upload import old_records, receipt, slot_log
from builder.upload.slot_log import LogEntry, SlotLog
from tests.support import accounts

if TYPE_CHECKING:
    from collections.abc import Sequence

SHA = "ab" * 32
SLOT = accounts.make_slot("mine", id="s1", pickle=accounts.make_pickle("p3"))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_log_is_read_back_and_readable_by_its_user_only() -> None:
    log = slot_log.open_log(SLOT, sha256=SHA)
    log.write(slot_log.PLANNED, before=None, size=7)
    slot_log.open_log(SLOT).write(slot_log.ASSIGNING, pickle="p1")  # of another command
    log.write(slot_log.PUT, filename="a.pkl")
    assert [(entry.step, entry.facts) for entry in log.entries] == [
        ("planned", {"sha256": SHA, "before": None, "size": 7}),
        ("assigning", {"pickle": "p1"}),
        ("put", {"sha256": SHA, "filename": "a.pkl"}),
    ]
    assert [entry.step for entry in log.uploads] == ["planned", "put"]
    assert (log.entries[-1].get_text("filename"), log.entries[-1].get_text("nothing")) == ("a.pkl", "")
    assert [path for path, _ in slot_log.read_all()] == [log.path]
    assert (log.path.stat().st_mode & 0o777, log.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_unchanged_state_is_not_written_again() -> None:
    log = slot_log.open_log(SLOT, sha256=SHA)
    other = slot_log.open_log(SLOT, sha256="cd" * 32)
    for status in ("failed", "failed", "passed"):
        log.write_once(slot_log.VALIDATED if status == "passed" else slot_log.FAILED, pickle="p1", status=status)
        other.write_once(slot_log.VALIDATED, pickle="p2", status="passed")
    assert [entry.step for entry in log.uploads] == ["failed", "validated"]
    assert [entry.step for entry in other.uploads] == ["validated"]
    log.write_once(slot_log.CREATED, pickle="p1")
    log.write(slot_log.CREATE_SENT)
    log.write_once(slot_log.CREATED, pickle="p1")
    assert [entry.step for entry in log.uploads][-3:] == ["created", "create sent", "created"]


@given(cut=st.integers(min_value=0, max_value=200), noise=st.binary(max_size=30))
def test_log_with_an_incomplete_line_is_continued(
    tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes
) -> None:
    log = SlotLog(tmp_path_factory.mktemp("log") / "log.jsonl")
    complete, incomplete = (
        LogEntry(at="", step=step, facts={"filename": "a" * 100}).to_line() for step in ("planned", "put")
    )
    log.path.write_bytes(complete + b"\n" + incomplete[:cut] + noise)
    log.write(slot_log.CREATED, pickle="p1")
    steps = [entry.step for entry in log.entries]
    assert (steps[0], steps[-1]) == ("planned", "created")
    assert set(steps) <= {"planned", "put", "created"}


@given(content=st.binary(max_size=300))
def test_any_bytes_are_readable_as_a_log(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    path.write_bytes(content)
    for entry in slot_log.read(path):
        assert isinstance(entry.get_text("pickle"), str)


@given(cut=st.integers(min_value=0, max_value=2000))
def test_receipt_is_derived_from_a_truncated_log(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    facts = {"sha256": SHA, "before": "p1", "pickle": "p3", "trigger": "t1"}
    lines = [
        LogEntry(at="", step=step, facts=facts).to_line() for step in ("planned", "assigning", "read back", "triggered")
    ]
    path.write_bytes(b"\n".join(lines)[:cut])
    entries = slot_log.read(path)
    steps = [entry.step for entry in entries]
    assert steps == ["planned", "assigning", "read back", "triggered"][: len(steps)]
    derived = receipt.derive(entries, SHA)
    assert list(derived["times"]) == steps
    assert derived["known"] == ("assigning" in steps)
    assert derived["previous"] == ("p1" if "assigning" in steps else None)
    assert derived["trigger"] == ("t1" if "triggered" in steps else None)


def test_concurrently_written_lines_are_complete(tmp_path: Path) -> None:
    with futures.ThreadPoolExecutor(max_workers=8) as pool:
        for number in range(200):
            pool.submit(SlotLog(tmp_path / "log.jsonl").write, slot_log.PUT, filename=f"{number}" * 100)
    names = {entry.get_text("filename") for entry in slot_log.read(tmp_path / "log.jsonl")}
    assert names == {f"{number}" * 100 for number in range(200)}


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    log = SlotLog(tmp_path / "log.jsonl")
    log.write(slot_log.PLANNED)
    with log.path.open("ab") as file:
        file.truncate(slot_log._READ_BYTES)
    log.write(slot_log.ASSIGNING, pickle="p1")
    assert [entry.step for entry in log.entries] == ["assigning"]


def test_slot_name_cannot_lead_out_of_the_folder() -> None:
    assert slot_log.get_log_path("../../etc/passwd").parent == slot_log.ensure_folder()
    with slot_log.lock_slot("../../etc/passwd"):
        assert [path.name for path in slot_log.ensure_folder().iterdir()] == [".upload-______etc_passwd.lock"]


def test_full_disk_is_an_error(tmp_path: Path) -> None:
    log = SlotLog(tmp_path / "log.jsonl")
    _, max_bytes = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, max_bytes))
    try:
        with pytest.raises(errors.ArtifactError, match="free some space"):
            log.write(slot_log.PLANNED)
        with pytest.raises(errors.ArtifactError, match="nothing is done at the tournament"), slot_log.reserve_space():
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))


def test_reserved_space_is_per_process_and_freed_for_its_own_log() -> None:
    with slot_log.reserve_space() as first, slot_log.reserve_space() as second:
        full = slot_log.open_log(SLOT, reserve=first)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))  # four bytes can be written, then no more
        try:
            with pytest.raises(errors.ArtifactError, match="free some space"):
                full.write(slot_log.PLANNED)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (first.closed, second.closed) == (True, False)
        assert os.fstat(second.fileno()).st_size == 1 << 16
    assert list(slot_log.ensure_folder().iterdir()) == [full.path]


def test_log_that_is_a_link_or_a_fifo_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link.jsonl").symlink_to("precious")
    os.mkfifo(tmp_path / "fifo.jsonl")
    for name in ("link.jsonl", "fifo.jsonl"):
        log = SlotLog(tmp_path / name)
        assert log.entries == ()
        with pytest.raises(errors.ArtifactError, match=name):
            log.write(slot_log.PLANNED)
    assert (tmp_path / "precious").read_text() == "mine"


def _lock_slot(state: str, locked: Any, finished: Any) -> None:
    os.environ["XDG_STATE_HOME"] = state
    with slot_log.lock_slot("mine"):
        locked.set()
        finished.wait(60)


def test_lock_is_exclusive_and_freed_when_its_process_is_killed(state: Path) -> None:
    context = multiprocessing.get_context("spawn")
    locked, finished = context.Event(), context.Event()
    process = context.Process(target=_lock_slot, args=(str(state), locked, finished))
    process.start()
    assert locked.wait(60)
    with slot_log.lock_slot("another"):
        pass
    with pytest.raises(errors.RefusedError, match=rf"process {process.pid}, since "), slot_log.lock_slot("mine"):
        pass
    process.kill()
    process.join()
    with slot_log.lock_slot("mine"):
        pass


# ---- what is derived from it


def create_entries(*lines: tuple[str, str | None, str | None]) -> list[LogEntry]:
    """Create log entries from steps, previous pickles and pickles."""
    return [LogEntry(at="", step=step, facts={"before": before, "pickle": pickle}) for step, before, pickle in lines]


@pytest.mark.parametrize(
    ("lines", "before"),
    [
        pytest.param([], "unknown", id="nothing"),
        pytest.param([("assigning", "p1", "p2")], "unknown", id="another-pickle"),
        pytest.param([("assigning", "p1", "p3"), ("assigning", "p3", "p4")], "p1", id="later-change"),
        pytest.param([("assigning", "p1", "p3"), ("assigning", "p2", "p3")], "p2", id="twice"),
        pytest.param(
            [("assigning", "p1", "p3"), ("assigning", "p2", "p3"), ("given back", None, "p2")], "p1", id="given-back"
        ),
        pytest.param([("assigning", None, "p3")], None, id="no-pickle"),
    ],
)
def test_previous_pickle_of_a_slot(lines: list[tuple[str, str | None, str | None]], before: str | None) -> None:
    change = slot_log.find_last_change(create_entries(*lines), "p3")
    assert ("unknown" if change is None else change.get_text("before") or None) == before


def test_receipt_is_written_once_and_removed_only_with_its_pickle(tmp_path: Path) -> None:
    log = slot_log.open_log(SLOT, lambda: dt.datetime(2026, 3, 10, tzinfo=dt.UTC), sha256=SHA)
    log.write(slot_log.PLANNED, slot="mine", slot_id="s1", size=6, data_version="v5.3")
    log.write(slot_log.WEBHOOK_TAKEN, address="https://example.com/secret")
    log.write(slot_log.ASSIGNING, before=None, pickle="p3")
    log.write(slot_log.READ_BACK, pickle="p3", data_version="")
    log.write(slot_log.TRIGGERED, pickle="p3", trigger="t1")
    slot_log.open_log(SLOT, sha256="cd" * 32).write(slot_log.PLANNED, slot="mine", size=8)
    data = receipt.derive(log.entries, SHA)
    at = "2026-03-10T00:00:00.000+00:00"
    assert data == {
        "format": 1,
        "sha256": SHA,
        "slot": "mine",
        "slot_id": "s1",
        "size": 6,
        "data_version": "v5.3",
        "pickle": "p3",
        "previous": None,
        "known": True,
        "trigger": "t1",
        "times": dict.fromkeys(["planned", "assigning", "read back", "triggered"], at),
    }
    (tmp_path / "theirs.json").write_text("theirs")
    (tmp_path / receipt.NAME).symlink_to(tmp_path / "theirs.json")
    receipt.write(tmp_path, data)  # replaces a link instead of writing to its target
    assert (tmp_path / "theirs.json").read_text() == "theirs"
    before = (tmp_path / receipt.NAME).stat()
    receipt.write(tmp_path, data)
    after = (tmp_path / receipt.NAME).stat()
    # Not the whole result: reading the file to compare it may change its access time.
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    receipt.remove(tmp_path, "s1", "p4")
    assert json.loads((tmp_path / receipt.NAME).read_bytes()) == data
    receipt.remove(tmp_path, "s1", "p3")
    assert not (tmp_path / receipt.NAME).exists()


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"[]", b"7", b'{"pickle": "p3"}', b"\xff"])
def test_foreign_receipt_is_not_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / receipt.NAME).write_bytes(content)
    receipt.remove(tmp_path, "s1", "p3")
    assert (tmp_path / receipt.NAME).read_bytes() == content


# ---- records of version 0.1


times = st.integers(min_value=0, max_value=20).map(lambda seconds: f"2026-03-10T00:00:{seconds:02}.000+00:00")


def draw_entries(step: str) -> st.SearchStrategy[list[LogEntry]]:
    """Return a strategy for entries in the order of their times, all of them different."""
    sorted_times = st.lists(times, max_size=8).map(sorted)
    return sorted_times.map(
        lambda ats: [LogEntry(at=at, step=step, facts={"number": number}) for number, at in enumerate(ats)]
    )


@given(log=draw_entries("webhook gone"), lines=draw_entries("put"))
def test_journal_is_merged_by_time_and_only_once(log: list[LogEntry], lines: list[LogEntry]) -> None:
    merged = old_records._merge(log, lines)
    assert [entry for entry in merged if entry.step == "put"] == lines
    assert [entry for entry in merged if entry.step != "put"] == log
    assert [entry.at for entry in merged] == sorted(entry.at for entry in merged)
    assert old_records._merge(merged, lines) == merged


def test_foreign_journals_and_receipts_are_ignored_and_do_not_block(tmp_path: Path) -> None:
    folder = tmp_path / "dist" / "theirs"
    receipts = folder / "receipts"
    receipts.mkdir(parents=True)
    os.mkfifo(receipts / "fifo.json")
    os.mkfifo(folder / "journal-0-x.jsonl")
    os.mkfifo(folder / ".upload-0-x.lock")
    (folder / ".upload-1-x.lock").mkdir()
    (receipts / "link.json").symlink_to("/proc/self/environ")
    (receipts / "deep.json").write_text("[" * 100_000)
    facts = {"format": 1, "slot_id": "s1", "pickle": "p3", "sha256": SHA, "known": True}
    (receipts / "large.json").write_text(json.dumps({**facts, "times": {"assigning": "x" * 100_000}}))
    (receipts / "odd.json").write_text(json.dumps({**facts, "times": {"assigning": ["x"]}}))
    escapes = {"format": 1, "at": "1", "step": "assigning", "slot_id": "s1", "pickle": "p3", "before": "\x1b[2J"}
    webhook = {"format": 1, "at": "2", "step": "webhook taken", "slot_id": "s1", "address": "https://theirs.example"}
    (folder / "journal-1-x.jsonl").write_text(f"{json.dumps(escapes)}\n{json.dumps(webhook)}\n")
    (folder / "journal-2-x.jsonl").write_text(json.dumps({**escapes, "slot_id": "of another account", "slot": "mine"}))
    linked = tmp_path / "dist" / "link"
    linked.mkdir()
    (linked / "receipts").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "3-x.json").write_text(json.dumps({**facts, "times": {"assigning": "1"}}))
    old_records.migrate(tmp_path, [SLOT])
    entries: Sequence[LogEntry] = slot_log.open_log(SLOT).entries
    assert [(entry.step, entry.facts.get("before", "")) for entry in entries] == [("assigning", "")]
    assert sorted(path.name for path in folder.glob("journal-*")) == ["journal-0-x.jsonl", "journal-2-x.jsonl"]
    assert (tmp_path / "elsewhere" / "3-x.json").exists()
    assert sorted(path.name for path in receipts.iterdir()) == ["deep.json", "fifo.json", "large.json", "link.json"]


def test_journal_is_not_moved_while_version_0_1_is_uploading(tmp_path: Path) -> None:
    folder = tmp_path / "dist" / "mlp"
    folder.mkdir(parents=True)
    line = {"format": 1, "at": "1", "step": "planned", "slot_id": "s1", "sha256": SHA}
    (folder / "journal-0-x.jsonl").write_text(json.dumps(line))
    for name in (".upload-0-x.lock", ".register-0-x.lock"):
        with locks.acquire(folder / name, lambda _: None):
            old_records.migrate(tmp_path, [SLOT])
            assert slot_log.open_log(SLOT).entries == ()
    old_records.migrate(tmp_path, [SLOT])
    assert [entry.step for entry in slot_log.open_log(SLOT).entries] == ["planned"]
    assert list(folder.iterdir()) == []


def test_merging_a_journal_keeps_all_lines_of_a_large_log(tmp_path: Path) -> None:
    folder = tmp_path / "dist" / "mlp"
    folder.mkdir(parents=True)
    line = {"format": 1, "at": "1", "step": "planned", "slot_id": "s1", "sha256": SHA}
    (folder / "journal-0-x.jsonl").write_text(json.dumps(line))
    log = slot_log.open_log(SLOT)
    padding = LogEntry(at="2", step="unknown status", facts={"status": "x" * (1 << 20)})
    log.path.write_bytes(LogEntry(at="2", step="assigning", facts={}).to_line() + b"\n" + padding.to_line())
    old_records.migrate(tmp_path, [SLOT])
    steps = [entry.step for entry in slot_log.read(log.path, max_bytes=1 << 22)]
    assert steps == ["planned", "assigning", "unknown status"]
    assert log.path.stat().st_mode & 0o777 == 0o600
