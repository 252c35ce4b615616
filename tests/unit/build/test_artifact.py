"""``dist/NAME``: whole or not at all, whoever is killed when; what was edited is told from what was cut short."""

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


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def is_whole(folder: Path, pickle: bytes) -> bool:
    """Tell whether everything in a folder is of one pickle."""
    bundle = folder / artifact.CONTEXT / "bundle" / "bundle.json"
    return (
        (folder / artifact.PICKLE).read_bytes() == pickle
        and (folder / artifact.DOCKERFILE).read_bytes() == b"FROM " + pickle
        and bundle.read_bytes() == b"bundle of " + pickle
    )


def write_dependent(folder: Path) -> None:
    for name in artifact.DEPENDENT:
        artifact.write_report(folder, name, b"{}")


# ---- reading


def test_what_was_put_in_place_is_read_back(tmp_path: Path) -> None:
    made = manifests.commit(tmp_path / "dist" / "mlp", OLD)
    assert artifact.load(made.folder) == made
    assert is_whole(made.folder, OLD)
    assert listed(made.folder) == [".written", "Dockerfile", "context", "manifest.json", "model.pkl"]


def test_where_nothing_was_built_the_error_says_so(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(errors.ArtifactError, match="nothing was built there yet; run `make pickle CONFIG="):
            artifact.load(folder)


@given(at=st.integers(0, len(OLD) - 1), flip=st.integers(1, 255))
@settings(max_examples=20)
def test_a_pickle_that_was_edited_is_told(tmp_path_factory: pytest.TempPathFactory, at: int, flip: int) -> None:
    made = manifests.commit(tmp_path_factory.mktemp("dist"), OLD)
    edited = bytearray(OLD)
    edited[at] ^= flip
    made.pickle.write_bytes(edited)
    with pytest.raises(errors.ArtifactError, match="edited or replaced after the build") as raised:
        artifact.load(made.folder)
    for said in (
        str(made.pickle),
        made.manifest.pickle.sha256,
        hashlib.sha256(edited).hexdigest(),
        "get the folder again",
    ):
        assert said in str(raised.value)


def test_a_pickle_of_another_size_is_not_read_at_all(tmp_path: Path) -> None:
    made = manifests.commit(tmp_path, OLD)
    with made.pickle.open("ab") as file:
        file.truncate(artifact.MAX_PICKLE_BYTES)  # sparse: to hash it would take a minute
    with pytest.raises(errors.ArtifactError, match=r"has 17,179,869,184 bytes, and manifest\.json says 14: .*edited"):
        artifact.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "manifest.json: is not a manifest of format 1 (line 1"),
        (b"{}", "name: "),
        (b"[]", "does not hold an object"),
        (b'{"format": 2}', "format: "),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_a_manifest_that_is_none_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    made = manifests.commit(tmp_path, OLD)
    (made.folder / artifact.MANIFEST).write_bytes(content)
    with pytest.raises(errors.ArtifactError) as raised:
        artifact.load(made.folder)
    assert said in str(raised.value)
    assert "; get the folder again from where it came" in str(raised.value)


# ---- writing


@pytest.mark.parametrize(("pickle", "kept"), [(OLD, True), (NEW, False)])
def test_what_was_said_of_a_pickle_goes_with_it(tmp_path: Path, pickle: bytes, *, kept: bool) -> None:
    manifests.commit(tmp_path, OLD)
    write_dependent(tmp_path)
    manifests.commit(tmp_path, pickle)
    assert {name for name in artifact.DEPENDENT if (tmp_path / name).exists()} == (
        set(artifact.DEPENDENT) if kept else set()
    )


def test_a_build_that_fails_changes_nothing(tmp_path: Path) -> None:
    manifests.commit(tmp_path, OLD)
    write_dependent(tmp_path)
    before = listed(tmp_path)

    def fail() -> None:
        with artifact.lock_folder(tmp_path, progress.Silent()), artifact.staging(tmp_path) as staged:
            manifests.stage(staged, NEW)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert listed(tmp_path) == before
    assert artifact.load(tmp_path).manifest == manifests.create_manifest(OLD)
    assert is_whole(tmp_path, OLD)


# Kills itself at each step in turn that changes the file system: every such call is announced to audit hooks.
KILLED = """
import itertools, os, shutil, sys
from pathlib import Path
from builder import progress
from builder.build import artifact
from tests.support import manifests

base, old, new = Path(sys.argv[1]), sys.argv[2].encode(), sys.argv[3].encode()
for step in itertools.count():
    folder = base / str(step)
    manifests.commit(folder, old)
    for name in artifact.DEPENDENT:
        artifact.write_report(folder, name, b"{}")
    child = os.fork()
    if child == 0:
        left = [step]
        def hook(event, arguments):
            writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
            if armed and (writes or event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.utime")):
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
        armed = False
        sys.addaudithook(hook)
        with artifact.lock_folder(folder, progress.Silent()), artifact.staging(folder) as staged:
            made = manifests.stage(staged, new)
            armed = True
            artifact.commit(staged, folder, made)
            armed = False
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(step)
        break
"""


def test_a_build_killed_at_any_step_leaves_the_old_or_the_new_or_says_that_it_was_cut_short(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), OLD.decode(), NEW.decode()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    steps = int(done.stdout)
    assert steps >= 10
    seen = []
    for folder in (tmp_path / str(step) for step in range(steps + 1)):
        try:
            found = artifact.load(folder)
        except errors.ArtifactError as error:
            assert f"{folder}: a build was cut short there; get the folder again from where it came" in str(error)  # noqa: PT017
            seen.append("cut short")
        else:
            seen.append("old" if found.manifest == manifests.create_manifest(OLD) else "new")
            assert is_whole(folder, OLD if seen[-1] == "old" else NEW)
        manifests.commit(folder, NEW)
        assert artifact.load(folder).manifest == manifests.create_manifest(NEW)
        assert is_whole(folder, NEW)
        assert listed(folder) == [".written", "Dockerfile", "context", "manifest.json", "model.pkl"]
    assert seen[0] == "old"
    assert seen[-1] == "new"
    assert "cut short" in seen
    assert seen == sorted(seen, key=["old", "cut short", "new"].index)


@pytest.mark.parametrize("name", [artifact.PICKLE, artifact.MANIFEST])
def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    manifests.commit(tmp_path, OLD)
    write_dependent(tmp_path)
    before = listed(tmp_path)

    def build() -> None:
        with artifact.lock_folder(tmp_path, progress.Silent()), artifact.staging(tmp_path) as staged:
            made = manifests.stage(staged, NEW)
            (staged / name).unlink(missing_ok=True)
            (staged / name).symlink_to("/dev/full")
            (staged / artifact.PICKLE).write_bytes(NEW)
            artifact.commit(staged, tmp_path, made)

    with pytest.raises(errors.ArtifactError, match=r"could not write to .*: No space left on device; free some space"):
        build()
    assert listed(tmp_path) == before
    assert artifact.load(tmp_path).manifest == manifests.create_manifest(OLD)
    assert is_whole(tmp_path, OLD)


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    artifact.write_report(tmp_path, artifact.VALIDATION, b"the first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
    try:
        with pytest.raises(errors.ArtifactError, match=r"could not write .*validation\.json: File too large"):
            artifact.write_report(tmp_path, artifact.VALIDATION, b"the second")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert listed(tmp_path) == [artifact.VALIDATION]
    assert (tmp_path / artifact.VALIDATION).read_bytes() == b"the first"


def test_a_report_is_not_written_through_a_link_that_lies_in_wait(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / f".{artifact.VALIDATION}.{os.getpid()}").symlink_to("precious")
    (tmp_path / artifact.VALIDATION).symlink_to("precious")
    artifact.write_report(tmp_path, artifact.VALIDATION, b"a report")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / artifact.VALIDATION).is_symlink()
    assert (tmp_path / artifact.VALIDATION).read_bytes() == b"a report"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "dist").touch()
    with (
        pytest.raises(errors.ArtifactError, match=r"could not write to .*dist/mlp: Not a directory; free some space"),
        artifact.lock_folder(tmp_path / "dist" / "mlp", progress.Silent()),
    ):
        pass


def test_a_rendering_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    for word in (OLD, NEW):
        with artifact.lock_folder(tmp_path, progress.Silent()), artifact.staging(tmp_path) as staged:
            manifests.stage(staged, word)
            artifact.put_rendering(staged, tmp_path)
    assert listed(tmp_path) == ["Dockerfile", "context"]
    assert (tmp_path / artifact.DOCKERFILE).read_bytes() == b"FROM " + NEW


# ---- two at once


HOLDING = """
import sys
from pathlib import Path
from builder import progress
from builder.build import artifact
with artifact.lock_folder(Path(sys.argv[1]), progress.Silent()), artifact.staging(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


class Ends(progress.Silent):
    """Notes what is said, and ends the process that is waited for."""

    def __init__(self, other: subprocess.Popen[bytes]) -> None:
        self.other, self.notes = other, list[str]()

    def note(self, text: str, /) -> None:
        self.notes.append(text)
        self.other.kill()


def test_a_second_build_says_whom_it_waits_for_and_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        assert len(listed(tmp_path)) == 1
        told = Ends(first)
        with artifact.lock_folder(tmp_path, told):
            assert listed(tmp_path) == [], "what the killed one was gathering is gone"
        [note] = told.notes
        assert note.startswith(f"waiting for another command that uses {tmp_path} (process {first.pid}, since 20")


def test_the_manifest_of_an_artifact_is_the_one_on_disk(tmp_path: Path) -> None:
    made = manifests.commit(tmp_path, OLD)
    assert (tmp_path / artifact.MANIFEST).read_bytes() == manifest.to_bytes(made.manifest)
