"""``dist/NAME`` is always complete or marked as interrupted, and edited files are detected."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors, progress
from builder.build import artifact, manifest
from tests.support import manifests

ROOT = Path(__file__).resolve().parents[3]
OLD, NEW = b"the old pickle", b"the new pickle"


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def is_whole(folder: Path, pickle: bytes) -> bool:
    """Return whether all files in a folder belong to one pickle."""
    bundle = folder / artifact.CONTEXT / "bundle" / "bundle.json"
    return (
        (folder / artifact.PICKLE).read_bytes() == pickle
        and (folder / artifact.DOCKERFILE).read_bytes() == b"FROM " + pickle
        and bundle.read_bytes() == b"bundle of " + pickle
    )


def write_dependent_files(folder: Path) -> None:
    for name in artifact.DEPENDENT_FILES:
        artifact.write_report(folder, name, b"{}")


# ---- reading


def test_a_committed_artifact_is_loaded_again(tmp_path: Path) -> None:
    built = manifests.commit(tmp_path / "dist" / "mlp", OLD)
    assert artifact.load(built.folder) == built
    assert is_whole(built.folder, OLD)
    assert list_names(built.folder) == [".written", "Dockerfile", "context", "manifest.json", "model.pkl"]


def test_loading_fails_if_nothing_was_built(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(errors.ArtifactError, match="no pickle has been built here; run `make pickle CONFIG="):
            artifact.load(folder)


@given(at=st.integers(0, len(OLD) - 1), flip=st.integers(1, 255))
@settings(max_examples=20)
def test_an_edited_pickle_is_detected(tmp_path_factory: pytest.TempPathFactory, at: int, flip: int) -> None:
    built = manifests.commit(tmp_path_factory.mktemp("dist"), OLD)
    edited = bytearray(OLD)
    edited[at] ^= flip
    built.pickle.write_bytes(edited)
    with pytest.raises(errors.ArtifactError, match="edited or replaced after the build") as raised:
        artifact.load(built.folder)
    for text in (
        str(built.pickle),
        built.manifest.pickle.sha256,
        hashlib.sha256(edited).hexdigest(),
        "get the folder again",
    ):
        assert text in str(raised.value)


def test_a_pickle_of_another_size_is_not_hashed(tmp_path: Path) -> None:
    built = manifests.commit(tmp_path, OLD)
    with built.pickle.open("ab") as file:
        file.truncate(artifact.MAX_PICKLE_BYTES)  # sparse: to hash it would take a minute
    with pytest.raises(
        errors.ArtifactError, match=r"size is 17,179,869,184 bytes, but manifest\.json records 14: .*edited"
    ):
        artifact.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "manifest.json: is not a manifest of format 1 (line 1"),
        (b"{}", "name: "),
        (b"[]", "does not contain a JSON object"),
        (b'{"format": 2}', "format: "),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_an_invalid_manifest_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    built = manifests.commit(tmp_path, OLD)
    (built.folder / artifact.MANIFEST).write_bytes(content)
    with pytest.raises(errors.ArtifactError) as raised:
        artifact.load(built.folder)
    assert message in str(raised.value)
    assert "; get the folder again from where it came" in str(raised.value)


# ---- writing


@pytest.mark.parametrize(("pickle", "is_kept"), [(OLD, True), (NEW, False)])
def test_reports_are_removed_with_the_pickle_they_are_about(tmp_path: Path, pickle: bytes, *, is_kept: bool) -> None:
    manifests.commit(tmp_path, OLD)
    write_dependent_files(tmp_path)
    manifests.commit(tmp_path, pickle)
    assert {name for name in artifact.DEPENDENT_FILES if (tmp_path / name).exists()} == (
        set(artifact.DEPENDENT_FILES) if is_kept else set()
    )


def test_a_failed_build_changes_nothing(tmp_path: Path) -> None:
    manifests.commit(tmp_path, OLD)
    write_dependent_files(tmp_path)
    before = list_names(tmp_path)

    def fail() -> None:
        with artifact.lock_folder(tmp_path, progress.Silent()), artifact.create_staging_folder(tmp_path) as staging:
            manifests.stage(staging, NEW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list_names(tmp_path) == before
    assert artifact.load(tmp_path).manifest == manifests.create_manifest(OLD)
    assert is_whole(tmp_path, OLD)


# Kills a child at each of its calls that change the file system, one after the other. Python reports these calls to
# audit hooks: https://docs.python.org/3/library/audit_events.html
KILL_AT_EACH_STEP = """
import itertools, os, shutil, sys
from pathlib import Path
from builder import progress
from builder.build import artifact
from tests.support import manifests

base, old, new = Path(sys.argv[1]), sys.argv[2].encode(), sys.argv[3].encode()
for step in itertools.count():
    folder = base / str(step)
    manifests.commit(folder, old)
    for name in artifact.DEPENDENT_FILES:
        artifact.write_report(folder, name, b"{}")
    child = os.fork()
    if child == 0:
        remaining = [step]
        def hook(event, arguments):
            writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
            if armed and (writes or event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.utime")):
                if remaining[0] == 0:
                    os._exit(9)
                remaining[0] -= 1
        armed = False
        sys.addaudithook(hook)
        with artifact.lock_folder(folder, progress.Silent()), artifact.create_staging_folder(folder) as staging:
            new_manifest = manifests.stage(staging, new)
            armed = True
            artifact.commit(staging, folder, new_manifest)
            armed = False
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(step)
        break
"""


def test_a_build_killed_at_any_step_leaves_the_old_or_the_new_pickle_or_is_marked_as_interrupted(
    tmp_path: Path,
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILL_AT_EACH_STEP, str(tmp_path), OLD.decode(), NEW.decode()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    steps = int(result.stdout)
    assert steps >= 10
    outcomes = []
    for folder in (tmp_path / str(step) for step in range(steps + 1)):
        try:
            loaded = artifact.load(folder)
        except errors.ArtifactError as error:
            assert f"{folder}: the last build was interrupted; get the folder again from where it came" in str(error)  # noqa: PT017
            outcomes.append("interrupted")
        else:
            outcomes.append("old" if loaded.manifest == manifests.create_manifest(OLD) else "new")
            assert is_whole(folder, OLD if outcomes[-1] == "old" else NEW)
        manifests.commit(folder, NEW)
        assert artifact.load(folder).manifest == manifests.create_manifest(NEW)
        assert is_whole(folder, NEW)
        assert list_names(folder) == [".written", "Dockerfile", "context", "manifest.json", "model.pkl"]
    assert outcomes[0] == "old"
    assert outcomes[-1] == "new"
    assert "interrupted" in outcomes
    assert outcomes == sorted(outcomes, key=["old", "interrupted", "new"].index)


@pytest.mark.parametrize("name", [artifact.PICKLE, artifact.MANIFEST])
def test_a_full_disk_leaves_the_old_artifact(tmp_path: Path, name: str) -> None:
    manifests.commit(tmp_path, OLD)
    write_dependent_files(tmp_path)
    before = list_names(tmp_path)

    def build() -> None:
        with artifact.lock_folder(tmp_path, progress.Silent()), artifact.create_staging_folder(tmp_path) as staging:
            new_manifest = manifests.stage(staging, NEW)
            (staging / name).unlink(missing_ok=True)
            (staging / name).symlink_to("/dev/full")
            (staging / artifact.PICKLE).write_bytes(NEW)
            artifact.commit(staging, tmp_path, new_manifest)

    with pytest.raises(errors.ArtifactError, match=r"could not write to .*: No space left on device; free some space"):
        build()
    assert list_names(tmp_path) == before
    assert artifact.load(tmp_path).manifest == manifests.create_manifest(OLD)
    assert is_whole(tmp_path, OLD)


def test_a_report_is_written_atomically(tmp_path: Path) -> None:
    artifact.write_report(tmp_path, artifact.VALIDATION, b"the first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
    try:
        with pytest.raises(errors.ArtifactError, match=r"could not write .*validation\.json: File too large"):
            artifact.write_report(tmp_path, artifact.VALIDATION, b"the second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list_names(tmp_path) == [artifact.VALIDATION]
    assert (tmp_path / artifact.VALIDATION).read_bytes() == b"the first"


def test_a_report_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / f".{artifact.VALIDATION}.{os.getpid()}").symlink_to("precious")
    (tmp_path / artifact.VALIDATION).symlink_to("precious")
    artifact.write_report(tmp_path, artifact.VALIDATION, b"a report")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / artifact.VALIDATION).is_symlink()
    assert (tmp_path / artifact.VALIDATION).read_bytes() == b"a report"


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dist").touch()
    with (
        pytest.raises(errors.ArtifactError, match=r"could not write to .*dist/mlp: Not a directory; free some space"),
        artifact.lock_folder(tmp_path / "dist" / "mlp", progress.Silent()),
    ):
        pass


def test_a_rendering_replaces_the_previous_one(tmp_path: Path) -> None:
    for word in (OLD, NEW):
        with artifact.lock_folder(tmp_path, progress.Silent()), artifact.create_staging_folder(tmp_path) as staging:
            manifests.stage(staging, word)
            artifact.commit_rendering(staging, tmp_path)
    assert list_names(tmp_path) == ["Dockerfile", "context"]
    assert (tmp_path / artifact.DOCKERFILE).read_bytes() == b"FROM " + NEW


# ---- two processes at once


HOLD_LOCK = """
import sys
from pathlib import Path
from builder import progress
from builder.build import artifact
with artifact.lock_folder(Path(sys.argv[1]), progress.Silent()), artifact.create_staging_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


class KillingProgress(progress.Silent):
    """Records notes, and kills the process that holds the lock."""

    def __init__(self, other: subprocess.Popen[bytes]) -> None:
        self.other, self.notes = other, list[str]()

    def note(self, text: str, /) -> None:
        self.notes.append(text)
        self.other.kill()


def test_a_second_build_waits_for_the_first_and_continues_when_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        assert len(list_names(tmp_path)) == 1
        reporter = KillingProgress(first)
        with artifact.lock_folder(tmp_path, reporter):
            assert list_names(tmp_path) == [], "the staging folder of the killed process is removed"
        [note] = reporter.notes
        assert note.startswith(f"waiting for another command that uses {tmp_path} (process {first.pid}, since 20")


def test_the_manifest_of_an_artifact_is_that_on_disk(tmp_path: Path) -> None:
    built = manifests.commit(tmp_path, OLD)
    assert (tmp_path / artifact.MANIFEST).read_bytes() == manifest.to_bytes(built.manifest)
