"""Test reading, writing and updating the lock file, and the problems reported for an invalid one."""

from __future__ import annotations

import datetime as dt
import threading
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors
from builder.image import lockfile

if TYPE_CHECKING:
    from pathlib import Path

REF = "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd"
OTHER = "ghcr.io/numerai/numerai_predict_py_3_13:03624a6"
DIGEST = f"sha256:{'1' * 64}"
DAY = "2026-11-24"

hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)
digests = hexadecimal.map(lambda text: f"sha256:{text}")
words = st.text(min_size=1, max_size=30)
made_pins = st.builds(
    lambda digest, python, labels: lockfile.create_pin(digest, day=DAY, python=python, labels=labels),
    digests,
    st.sampled_from(["", "3.12.8", "3.10", "no version"]),
    st.dictionaries(words, words, max_size=30),
)
models = st.builds(
    lambda image, bundle, pickle: lockfile.LockedModel(image=image, bundle=bundle, pickle=pickle),
    digests,
    hexadecimal,
    st.none() | hexadecimal,
)
locks = st.builds(
    lambda images, models: lockfile.LockFile(images=images, models=models),
    st.dictionaries(st.sampled_from([REF, OTHER, "docker.io/library/python:3.11"]), made_pins),
    st.dictionaries(st.from_regex(r"[a-z0-9_-]{1,40}", fullmatch=True), models, max_size=4),
)


def find_problems(text: str) -> list[str]:
    with pytest.raises(errors.ConfigError) as raised:
        lockfile.parse(text.encode(), "LOCK")
    *problems, last = raised.value.problems
    assert last == "LOCK is written by `make pin`: fix it, or remove it and run `make pin`"
    return problems


@settings(max_examples=40)
@given(locks)
def test_a_written_lock_file_is_read_back(lock: lockfile.LockFile) -> None:
    text = lockfile.to_bytes(lock)
    assert lockfile.parse(text, "LOCK") == lock
    assert lockfile.to_bytes(lockfile.parse(text, "LOCK")) == text


@settings(max_examples=40)
@given(locks)
def test_pyyaml_reads_the_same_values(lock: lockfile.LockFile) -> None:
    read = yaml.safe_load(lockfile.to_bytes(lock))
    assert {key: item["digest"] for key, item in read.get("images", {}).items()} == {
        key: item.digest for key, item in lock.images.items()
    }
    assert {key: item["bundle"] for key, item in read.get("models", {}).items()} == {
        key: item.bundle for key, item in lock.models.items()
    }


@settings(max_examples=40)
@given(st.binary(max_size=200) | locks.map(lockfile.to_bytes).map(lambda text: text[: len(text) // 2]))
def test_any_bytes_are_a_lock_file_or_a_list_of_problems(text: bytes) -> None:
    try:
        read = lockfile.parse(text, "LOCK")
    except errors.ConfigError as error:
        problems = error.problems
    else:
        problems = ("LOCK",)
        assert lockfile.parse(lockfile.to_bytes(read), "LOCK") == read
    assert all(problem.startswith("LOCK") for problem in problems)


@pytest.mark.parametrize("day", ["2026-13-45", "2026-02-29", "0000-01-01", "20261124", "2026-W48-2", "2026-11-2"])
def test_the_date_of_a_pin_must_exist(day: str) -> None:
    text = lockfile.to_bytes(lockfile.LockFile().with_pin(REF, lockfile.create_pin(DIGEST, day=DAY))).decode()
    (problem,) = find_problems(text.replace(DAY, day))
    assert f"{day!s} is invalid" in problem.replace('"', "")
    assert 'expected text like "2026-11-24"' in problem


@given(st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", fullmatch=True))
def test_a_date_that_is_read_can_be_parsed(day: str) -> None:
    text = (
        lockfile.to_bytes(lockfile.LockFile().with_pin(REF, lockfile.create_pin(DIGEST, day=DAY)))
        .decode()
        .replace(DAY, day)
    )
    try:
        read = lockfile.parse(text.encode(), "LOCK").images[REF].pinned
    except errors.ConfigError:
        with pytest.raises(ValueError, match=r"."):
            dt.date.fromisoformat(day)
    else:
        assert dt.date.fromisoformat(read).isoformat() == day


def test_entries_are_written_in_sorted_order() -> None:
    item, other = lockfile.create_pin(DIGEST, day=DAY), lockfile.create_pin(DIGEST, day=DAY, ref=REF)
    text = lockfile.to_bytes(lockfile.LockFile().with_pin(REF, item).with_pin("default", other))
    assert text == lockfile.to_bytes(lockfile.LockFile().with_pin("default", other).with_pin(REF, item))
    assert text.decode().splitlines()[2:] == [
        "format: 1",
        "images:",
        "  default:",
        f'    digest: "{DIGEST}"',
        f'    pinned: "{DAY}"',
        f'    ref: "{REF}"',
        f'  "{REF}":',
        f'    digest: "{DIGEST}"',
        f'    pinned: "{DAY}"',
    ]


def test_empty_long_and_unprintable_labels_are_left_out() -> None:
    labels = {"empty": "", "long": "x" * 1000, "breaks": "a\nb", "good": "yes"}
    assert lockfile.create_pin(DIGEST, day=DAY, labels=labels).labels == {"good": "yes"}


def test_all_problems_are_reported_with_their_lines() -> None:
    problems = find_problems(f"""\
format: 2
images:
  {OTHER}: {{digest: "{DIGEST}", pined: "{DAY}"}}
  default: {{digest: sha256:1, pinned: "{DAY}"}}
  runner:1: {{digest: "{DIGEST}", pinned: "{DAY}"}}
modles: {{}}
""")
    assert problems == [
        "LOCK:1: format: 2 is invalid; expected an integer equal to 1",
        f'LOCK:3: images."{OTHER}".pinned: missing; expected text like "2026-11-24"',
        f'LOCK:3: images."{OTHER}".pined: unknown key; did you mean pinned?',
        'LOCK:4: images.default.digest: "sha256:1" is invalid; expected text that is sha256: and 64 hexadecimal digits',
        "LOCK:6: modles: unknown key; did you mean models?",
    ]


def test_invalid_keys_are_reported() -> None:
    entry = f'digest: "{DIGEST}", pinned: "{DAY}"'
    text = f"format: 1\nimages:\n  runner:1: {{{entry}}}\n  default: {{{entry}}}\n  {REF}: {{{entry}, ref: {OTHER}}}\n"
    assert find_problems(text) == [
        'LOCK:3: images."runner:1": is not a full reference; expected docker.io/library/runner:1',
        "LOCK:4: images.default: ref is missing; expected the reference that default resolved to",
        f'LOCK:5: images."{REF}".ref: only allowed for default; remove it',
    ]


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nformat: 1\n", "", "- a\n", "images: {}\n", "format: 1\nformat: 1\n"])
def test_merge_conflict_markers_are_an_error(text: str) -> None:
    assert find_problems(text)


def test_a_missing_file_is_an_empty_lock_file(tmp_path: Path) -> None:
    assert lockfile.read(tmp_path) == lockfile.LockFile()


def change(root: Path, key: str, digest: str) -> tuple[lockfile.LockFile, lockfile.LockFile]:
    return lockfile.update(root, lambda lock: lock.with_pin(key, lockfile.create_pin(digest, day=DAY)), on_wait=print)


def test_an_update_keeps_other_entries(tmp_path: Path) -> None:
    change(tmp_path, REF, DIGEST)
    before, after = change(tmp_path, OTHER, DIGEST)
    assert (set(before.images), set(after.images)) == ({REF}, {REF, OTHER})
    assert lockfile.read(tmp_path) == after
    assert sorted(path.name for path in tmp_path.iterdir()) == ["builder.lock.yaml", "dist"]


def test_an_update_without_changes_writes_nothing(tmp_path: Path) -> None:
    change(tmp_path, REF, DIGEST)
    file = tmp_path / lockfile.NAME
    file.write_text(file.read_text() + "# mine\n")
    change(tmp_path, REF, DIGEST)
    assert file.read_text().endswith("# mine\n")


def test_an_invalid_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / lockfile.NAME).write_text("format: 7\n")
    with pytest.raises(errors.ConfigError, match=f"{tmp_path / lockfile.NAME}:1: format"):
        change(tmp_path, REF, DIGEST)
    assert (tmp_path / lockfile.NAME).read_text() == "format: 7\n"


def test_concurrent_updates_are_all_kept(tmp_path: Path) -> None:
    keys = [f"ghcr.io/numerai/one:{number}" for number in range(12)]
    threads = [threading.Thread(target=change, args=(tmp_path, key, DIGEST)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(lockfile.read(tmp_path).images) == sorted(keys)
