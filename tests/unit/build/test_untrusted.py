"""Hostile ``dist/NAME`` folders: each is refused with one sentence, and no mutation of a manifest crashes the tool."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.build import artifact, manifest, render
from builder.bundle.storage import files
from builder.cli import engine_session
from tests.support import bundles, command
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable

FORGED = b"\x80\x05K\x01."


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole artifact, as the command makes it, built once."""
    folder = tmp_path_factory.mktemp("genuine")
    on = FakeEngine(folder / "engine")
    on.add_image("runner:1", layers=("sha256:1",))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(command.write_project(folder / "project"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(engine_session, "connect", lambda *_, **__: on)
        assert command.call("pickle", "configs/small.yaml") == 0
    return folder / "project" / "dist" / "small"


@pytest.fixture
def theirs(genuine: Path, tmp_path: Path) -> Path:
    """The same, received from somebody else: no config beside it."""
    return shutil.copytree(genuine, tmp_path / "theirs")


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Change values of the manifest: ``image_base`` is ``image.base``."""
    data = json.loads((folder / artifact.MANIFEST).read_bytes())
    for key, value in changes.items():
        part, _, name = key.partition("_")
        if name:
            data[part][name] = value
        else:
            data[part] = value
    (folder / artifact.MANIFEST).write_text(json.dumps(data))


def put_pickle(folder: Path, content: bytes) -> None:
    """Replace the pickle, and have the manifest name it."""
    (folder / artifact.PICKLE).write_bytes(content)
    edit_manifest(folder, pickle_sha256=hashlib.sha256(content).hexdigest(), pickle_size=len(content))


def add(name: str, content: str = "FROM scratch\n") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return change


def replace(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.move(path, folder / "moved")
        else:
            path.unlink(missing_ok=True)
        make(path)

    return change


def bind(path: Path) -> None:
    where = os.open(path.parent, os.O_RDONLY)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(f"/proc/self/fd/{where}/{path.name}")
    os.close(where)


def grow(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def many(folder: Path) -> None:
    for number in range(21_000):
        (folder / "context" / "bundle" / f"{number}").touch()


def deep(folder: Path) -> None:
    path = folder / "context" / "bundle" / "files"
    for _ in range(30):
        path /= "d"
    path.mkdir(parents=True)
    (path / "file").touch()


def edit_plan(folder: Path) -> None:
    """Swap the post-processing steps; the config's part, whose hash the manifest has, stays."""
    path = folder / "context" / render.PLAN
    plan = json.loads(path.read_bytes())
    plan["post"] = [{"rank": {"scope": "frame", "ties": "first"}}]
    path.write_text(json.dumps(plan, sort_keys=True, separators=(",", ":")))


def swap_code(folder: Path) -> None:
    """Have the code in ``inside/`` write another model's pickle, and the manifest name that code."""
    path = folder / "context" / "inside" / "make.py"
    path.write_text(path.read_text() + "\nprint('owned')\n")
    found = render.read(folder)
    code = [one for one in found.context if one.name.startswith("inside/")]
    edit_manifest(folder, tool_inside=render.hash_entries(code))


def other_release(folder: Path) -> None:
    """Claim another release, whose Dockerfile may be any that has the image in it."""
    text = (folder / "Dockerfile").read_text()
    (folder / "Dockerfile").write_text(text.replace("RUN cd", "RUN touch /owned\nRUN cd"))
    edit_manifest(folder, tool_version="99.0")


def swap_bundle(folder: Path) -> None:
    """Put another model's bundle there, and name it in the manifest, with figures that are not its own."""
    shutil.rmtree(folder / "context" / "bundle")
    bundles.write_bundle(folder / "context" / "bundle", bundles.make_bundle())
    edit_manifest(folder, bundle_hash=files.hash_bundle(folder / "context" / "bundle"), bundle_features=7)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a Dockerfile in the context": (add("context/Dockerfile"), "does not name: Dockerfile"),
    "a .dockerignore": (add("context/.dockerignore", "*"), r"does not name: \.dockerignore"),
    "a file beside the bundle's": (add("context/bundle/evil.so"), "does not name: bundle/evil.so"),
    "a module more": (add("context/inside/numpy.py"), "does not name: inside/numpy.py"),
    "a name that paints": (add("context/\x1b[2J\nequal: yes"), r"does not name: \\x1b\[2J\\nequal: yes"),
    "a name that is no text": (add("context/\udcff"), r"does not name: \\udcff"),
    "an empty folder": (lambda folder: (folder / "context" / "x").mkdir(), "x: is an empty folder"),
    "a link in the context": (replace("context/x", lambda path: path.symlink_to("/etc/passwd")), "x: is a link"),
    "the plan a link": (
        replace("context/plan.json", lambda path: path.symlink_to("/dev/zero")),
        "plan.json: is a link",
    ),
    "the bundle a link": (replace("context/bundle", lambda path: path.symlink_to("../moved")), "bundle: is a link"),
    "the context a link": (replace("context", lambda path: path.symlink_to("moved")), "context: is a link; expected a"),
    "the context a file": (replace("context", Path.touch), "context: is a file; expected a folder"),
    "the Dockerfile a FIFO": (replace("Dockerfile", os.mkfifo), "Dockerfile: is a FIFO"),
    "the manifest a FIFO": (replace("manifest.json", os.mkfifo), r"manifest\.json: is a FIFO"),
    "the manifest a link": (replace("manifest.json", lambda path: path.symlink_to("/dev/zero")), r"json: is a link"),
    "the manifest a folder": (replace("manifest.json", Path.mkdir), r"manifest\.json: is a folder"),
    "the manifest endless": (replace("manifest.json", grow(1 << 40)), r"manifest\.json: is larger than"),
    "the manifest deep": (add("manifest.json", "[" * 100_000), "nest deeper than 64"),
    "the pickle a FIFO": (replace("model.pkl", os.mkfifo), r"model\.pkl: is a FIFO"),
    "the pickle a link": (replace("model.pkl", lambda path: path.symlink_to("/dev/zero")), r"model\.pkl: is a link"),
    "the pickle endless": (replace("model.pkl", grow(1 << 40)), r"model\.pkl: is larger than"),
    "a FIFO in the bundle": (
        replace("context/bundle/arrays.safetensors", os.mkfifo),
        r"arrays\.safetensors: is a FIFO",
    ),
    "a socket in the context": (replace("context/x", bind), "x: is a device or a socket"),
    "arrays without end": (
        replace("context/bundle/arrays.safetensors", grow(1 << 40)),
        r"arrays\.safetensors: is larger than",
    ),
    "a plan without end": (replace("context/plan.json", grow(1 << 40)), r"plan\.json: is larger than"),
    "too many files": (many, "holds more than 20,000 files"),
    "folders without end": (deep, "is over 16 folders deep"),
    "no context": (lambda folder: shutil.rmtree(folder / "context"), "context: cannot be read"),
    "no Dockerfile": (lambda folder: (folder / "Dockerfile").unlink(), "Dockerfile: cannot be read"),
    "other steps": (edit_plan, r"plan\.json changed since"),
    "a plan of another config": (lambda folder: edit_manifest(folder, config_hash="0" * 64), r"plan\.json changed"),
    "other code": (swap_code, "another version of this tool"),
    "another release": (other_release, "Dockerfile changed since"),
    "another bundle": (swap_bundle, r"bundle in manifest\.json changed since"),
    "a RUN line": (lambda folder: edit_manifest(folder, image_base="runner:1\nRUN touch /owned"), "image.base: "),
    "a RUN line by name": (lambda folder: edit_manifest(folder, name="small\nRUN touch /owned"), "name: "),
    "a stage": (lambda folder: edit_manifest(folder, image_base="runner:1 AS make"), "image.base: "),
    "a variable": (lambda folder: edit_manifest(folder, image_base="$RUN_ID"), "image.base: "),
    "another image": (
        lambda folder: edit_manifest(folder, image_base="evil.example/x:1"),
        "is not an image of runner:1; expected the same repository",
    ),
    "another image as look-alike": (
        lambda folder: edit_manifest(folder, image_kind="stand_in", image_base="evil.example/x:1"),
        "expected the same repository",
    ),
    "a digest that is another": (
        lambda folder: edit_manifest(folder, image_kind="exact", image_base=f"runner@sha256:{'0' * 64}"),
        "has another digest than",
    ),
    "another Python": (lambda folder: edit_manifest(folder, image_python="3.10.1"), r"image\.python is not what"),
    "other packages": (
        lambda folder: edit_manifest(folder, image_packages=dict.fromkeys(("numpy", "pandas", "cloudpickle"), "0")),
        r"image\.packages is not what",
    ),
    "other parameters": (lambda folder: edit_manifest(folder, pickle_parameters=["x"]), r"pickle\.parameters is not"),
    "no numpy": (
        lambda folder: edit_manifest(folder, image_packages={}),
        "numpy, pandas, cloudpickle missing in packages",
    ),
    "a name that leaves the folder": (lambda folder: edit_manifest(folder, name="../../x"), "name: "),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_is_refused_with_one_sentence(
    theirs: Path, on: FakeEngine, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    change, message = HOSTILE[what]
    change(theirs)
    code = command.call("verify", str(theirs))
    out, err = command.read_output(capsys)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert re.search(message, err), err
    assert on.list_leftovers() == []


REBUILT = (
    *("a file beside the bundle's", "a link in the context", "the context a link", "the Dockerfile a FIFO"),
    *("the manifest a folder", "other steps", "another release", "other packages"),
)


@pytest.mark.parametrize("what", REBUILT)
@pytest.mark.usefixtures("on")
def test_the_fix_for_an_edited_folder_of_ones_own_is_true(
    genuine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    shutil.copytree(genuine.parents[1], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    HOSTILE[what][0](tmp_path / "dist" / "small")
    assert command.call("verify", "configs/small.yaml") == 2
    assert command.read_output(capsys)[1].endswith("run `make pickle CONFIG=configs/small.yaml` to build it again\n")
    assert command.call("pickle", "configs/small.yaml") == 0
    assert "model.pkl  (made)" in command.read_output(capsys)[0]
    assert command.call("verify", "configs/small.yaml") == 0
    assert command.call("pickle", "configs/small.yaml") == 0
    assert "(nothing changed since it was made)" in command.read_output(capsys)[0]


def test_a_received_folder_is_not_built_again_here(
    theirs: Path, on: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    (theirs / "context" / "x").symlink_to("/etc/passwd")
    assert command.call("verify", str(theirs)) == 2
    assert command.read_output(capsys)[1].endswith(
        "expected plain files only; get the folder again from where it came\n"
    )


def test_a_genuine_folder_is_equal_and_its_image_is_named(
    theirs: Path, on: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    (theirs / "notes.txt").write_text("what is not read harms nobody")
    theirs.chmod(0o555)
    assert command.call("verify", str(theirs)) == 0
    assert "\n  in runner:1 (a local image)\n" in command.read_output(capsys)[0]
    assert command.call("verify", str(theirs), "--json") == 0
    assert json.loads(command.read_output(capsys)[0])["image"] == "runner:1"


@pytest.mark.parametrize(
    ("content", "difference"),
    [
        (FORGED, "BININT1 1 here"),
        (b"garbage", "that the recorded one is not a pickle"),
        (b"\x80\x05\x8e" + (1 << 62).to_bytes(8, "little") + b"x", "that the recorded one is not a pickle"),
        (b"\x80\x05\x8b" + (1 << 30).to_bytes(4, "little"), "that the recorded one is not a pickle"),
        (b"\x80\x05I" + b"9" * 10_000 + b"\n.", "that the recorded one is not a pickle"),
    ],
)
def test_a_pickle_that_is_another_is_a_finding_whatever_is_in_it(
    theirs: Path, on: FakeEngine, capsys: pytest.CaptureFixture[str], content: bytes, difference: str
) -> None:
    put_pickle(theirs, content)
    assert command.call("verify", str(theirs)) == 1
    out, err = command.read_output(capsys)
    assert err == ""
    assert "\nDIFFERENT: " in out
    assert difference in out


def test_validate_trusts_no_more(theirs: Path, on: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    (theirs / "precious").write_text("mine")
    (theirs / ".lock").unlink()
    (theirs / ".lock").symlink_to("precious")
    assert command.call("validate", str(theirs)) == 2
    assert ".lock: cannot be locked" in command.read_output(capsys)[1]
    assert (theirs / "precious").read_text() == "mine"
    (theirs / ".lock").unlink()
    edit_plan(theirs)
    assert command.call("validate", str(theirs)) == 2
    assert "plan.json changed since" in command.read_output(capsys)[1]
    (theirs / "context" / "plan.json").unlink()
    os.mkfifo(theirs / "context" / "plan.json")
    assert command.call("validate", str(theirs)) == 2
    assert "plan.json: is a FIFO" in command.read_output(capsys)[1]


def test_a_folder_is_searched_for_its_config_by_its_own_name_alone(
    genuine: Path, tmp_path: Path, on: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    command.write_project(tmp_path)
    for name in ("*", "**", "[s]mall", "small"):
        folder = shutil.copytree(genuine, tmp_path / "dist" / name)
        assert command.call("verify", str(folder)) == 0
        command.read_output(capsys)
    (tmp_path / "configs" / "small.yaml").write_text("not: a config")
    assert command.call("verify", str(tmp_path / "dist" / "*")) == 0
    assert command.call("verify", str(tmp_path / "dist" / "small")) == 2
    elsewhere = shutil.copytree(genuine, tmp_path / "received" / "small")
    command.read_output(capsys)
    assert command.call("verify", str(elsewhere)) == 0, "only in dist is it one of ours"


# ---- any mutation of the manifest

odd: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from(
        ["default", "scratch", "runner:1", "runner:1\nRUN x", "../..", "\x00", "$X", "sha256:" + "0" * 64]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every value of plain data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_mutation_of_the_manifest_is_refused_or_harmless(
    genuine: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = shutil.copytree(genuine, tmp_path_factory.mktemp("mutated") / "small")
    before = manifest.read(folder / artifact.MANIFEST)
    text = json.loads((folder / artifact.MANIFEST).read_bytes())
    path = data.draw(st.sampled_from(places(text)))
    action = data.draw(st.sampled_from(["replace", "remove", "add", "nest", "bytes"]))
    (folder / artifact.MANIFEST).write_bytes(mutate(text, path, action, data))
    out, err = io.StringIO(), io.StringIO()
    on = FakeEngine(folder.parent / "engine")
    on.add_image("runner:1", layers=("sha256:1",))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(engine_session, "connect", lambda *_, **__: on)
        code = command.call("verify", str(folder))
    assert code in {0, 1, 2, 3}, err.getvalue()
    if code == 0:
        found = manifest.read(folder / artifact.MANIFEST)
        tool = dataclasses.replace(found.tool, version=before.tool.version)
        pickle = dataclasses.replace(found.pickle, findings=())
        assert dataclasses.replace(found, tool=tool, pickle=pickle) == before, "all else is compared"


def mutate(text: Any, path: tuple[Any, ...], action: str, data: st.DataObject) -> bytes:
    """Change one value of a manifest, or some bytes of the file."""
    if action == "bytes":
        raw = bytearray(json.dumps(text).encode())
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=30))
        return bytes(raw)
    if action == "nest":
        value: Any = data.draw(odd)
        for _ in range(data.draw(st.integers(1, 90))):
            value = [value]
    else:
        value = data.draw(odd)
    if not path:
        return json.dumps(value).encode()
    parent = text
    for key in path[:-1]:
        parent = parent[key]
    if action == "remove":
        del parent[path[-1]]
    elif action == "add" and isinstance(parent, dict):
        parent[data.draw(st.text(max_size=10))] = value
    else:
        parent[path[-1]] = value
    return json.dumps(text).encode()
