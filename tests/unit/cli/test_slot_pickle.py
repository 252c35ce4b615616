"""The pickle that a slot runs now is found without network: by the slot's log, in the cache or in ``dist``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from builder.cli import remote_files, slot_pickle
from builder.upload import slot_log
from tests.support import manifests

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = (hashlib.sha256(content).hexdigest() for content in (b"old", b"new"))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    log = slot_log.SlotLog(slot_log.get_log_path("s1"), sha256=OLD)
    log.write(slot_log.PLANNED, ref="ghcr.io/a/b:c")
    log.write(slot_log.READ_BACK, pickle="p1", filename="old.pkl")
    log = slot_log.SlotLog(slot_log.get_log_path("s1"))
    log.write(slot_log.ASSIGNING, slot="my_slot", slot_id="s1", before=None, pickle="p1")


def test_it_is_found_by_its_hash_in_the_cache_or_in_dist(tmp_path: Path) -> None:
    assert slot_pickle.find("my_slot", tmp_path, new=NEW) is None
    built = manifests.commit(tmp_path / "dist" / "a", b"old")
    current = slot_pickle.find("s1", tmp_path, new=NEW)
    assert current
    assert (current.path, current.filename, current.ref) == (built.pickle, "old.pkl", "ghcr.io/a/b:c")
    remote_files.keep("p1", built.pickle)
    built.pickle.unlink()
    current = slot_pickle.find("my_slot", tmp_path, new=NEW)
    assert current
    assert current.path.read_bytes() == b"old"
    current.path.write_bytes(b"changed")
    assert slot_pickle.find("my_slot", tmp_path, new=NEW) is None


def test_there_is_none_if_the_slot_runs_the_same_or_no_pickle(tmp_path: Path) -> None:
    manifests.commit(tmp_path / "dist" / "a", b"old")
    assert slot_pickle.find("my_slot", tmp_path, new=OLD) is None
    assert slot_pickle.find("other_slot", tmp_path, new=NEW) is None
    log = slot_log.SlotLog(slot_log.get_log_path("s1"))
    log.write(slot_log.ASSIGNING, slot="my_slot", slot_id="s1", before="p1", pickle=None)
    assert slot_pickle.find("my_slot", tmp_path, new=NEW) is None


def test_only_the_newest_uploads_are_kept(tmp_path: Path) -> None:
    for number in range(12):
        source = tmp_path / f"{number}.pkl"
        source.write_bytes(b"old")
        remote_files.keep(f"p{number}", source)
    kept = [number for number in range(12) if remote_files.get_cached_path(f"p{number}").exists()]
    assert kept[-1] == 11
    assert len(kept) == 10
