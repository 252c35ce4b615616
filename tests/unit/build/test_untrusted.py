"""Hostile ``dist/NAME`` folders are refused with one sentence, and no change of a manifest crashes the tool."""

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
    """A complete artifact, built once by the command."""
    folder = tmp_path_factory.mktemp("genuine")
    engine = FakeEngine(folder / "engine")
    engine.add_image("runner:1", layers=("sha256:1",))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(command.write_project(folder / "project"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(engine_session, "connect", lambda *_, **__: engine)
        assert command.call("pickle", "configs/small.yaml") == 0
    return folder / "project" / "dist" / "small"


@pytest.fixture
def received(genuine: Path, tmp_path: Path) -> Path:
    """The same, as if received from somebody else: without its config."""
    return shutil.copytree(genuine, tmp_path / "theirs")


def edit_manifest(folder: Path, **changes: Any) -> None:
    """Change values of the manifest; the key ``image_base`` means ``image.base``."""
    data = json.loads((folder / artifact.MANIFEST).read_bytes())
    for key, value in changes.items():
        part, _, name = key.partition("_")
        if name:
            data[part][name] = value
        else:
            data[part] = value
    (folder / artifact.MANIFEST).write_text(json.dumps(data))


def replace_pickle(folder: Path, content: bytes) -> None:
    """Replace the pickle, and its hash and size in the manifest."""
    (folder / artifact.PICKLE).write_bytes(content)
    edit_manifest(folder, pickle_sha256=hashlib.sha256(content).hexdigest(), pickle_size=len(content))


def write_file(name: str, content: str = "FROM scratch\n") -> Callable[[Path], None]:
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


def bind_socket(path: Path) -> None:
    folder_fd = os.open(path.parent, os.O_RDONLY)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(f"/proc/self/fd/{folder_fd}/{path.name}")
    os.close(folder_fd)


def write_sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return make


def add_many_files(folder: Path) -> None:
    for number in range(21_000):
        (folder / "context" / "bundle" / f"{number}").touch()


def add_deep_folder(folder: Path) -> None:
    path = folder / "context" / "bundle" / "files"
    for _ in range(30):
        path /= "d"
    path.mkdir(parents=True)
    (path / "file").touch()


def edit_plan(folder: Path) -> None:
    """Change the post-processing steps, but not the config's part, whose hash is in the manifest."""
    path = folder / "context" / render.PLAN
    plan = json.loads(path.read_bytes())
    plan["post"] = [{"rank": {"scope": "frame", "ties": "first"}}]
    path.write_text(json.dumps(plan, sort_keys=True, separators=(",", ":")))


def swap_code(folder: Path) -> None:
    """Change the code in ``inside/``, and its hash in the manifest."""
    path = folder / "context" / "inside" / "build_pickle.py"
    path.write_text(path.read_text() + "\nprint('owned')\n")
    context = render.read(folder)
    code = [entry for entry in context.files if entry.name.startswith("inside/")]
    edit_manifest(folder, tool_inside=render.hash_entries(code))


def claim_other_release(folder: Path) -> None:
    """Claim another release, whose Dockerfile might have been different."""
    text = (folder / "Dockerfile").read_text()
    (folder / "Dockerfile").write_text(text.replace("RUN cd", "RUN touch /owned\nRUN cd"))
    edit_manifest(folder, tool_version="99.0")


def swap_bundle(folder: Path) -> None:
    """Replace the bundle, and its hash in the manifest, but with a wrong number of features."""
    shutil.rmtree(folder / "context" / "bundle")
    bundles.write_bundle(folder / "context" / "bundle", bundles.make_bundle())
    edit_manifest(folder, bundle_hash=files.hash_bundle(folder / "context" / "bundle"), bundle_features=7)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a Dockerfile in the context": (write_file("context/Dockerfile"), "does not list: Dockerfile"),
    "a .dockerignore": (write_file("context/.dockerignore", "*"), r"does not list: \.dockerignore"),
    "a file beside the bundle's": (write_file("context/bundle/evil.so"), "does not list: bundle/evil.so"),
    "an additional module": (write_file("context/inside/numpy.py"), "does not list: inside/numpy.py"),
    "a name with a terminal escape": (
        write_file("context/\x1b[2J\nequal: yes"),
        r"does not list: \\x1b\[2J\\nequal: yes",
    ),
    "a name that is not UTF-8": (write_file("context/\udcff"), r"does not list: \\udcff"),
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
    "a huge manifest": (replace("manifest.json", write_sparse(1 << 40)), r"manifest\.json: is larger than"),
    "a deeply nested manifest": (write_file("manifest.json", "[" * 100_000), "nest deeper than 64"),
    "the pickle a FIFO": (replace("model.pkl", os.mkfifo), r"model\.pkl: is a FIFO"),
    "the pickle a link": (replace("model.pkl", lambda path: path.symlink_to("/dev/zero")), r"model\.pkl: is a link"),
    "a huge pickle": (replace("model.pkl", write_sparse(1 << 40)), r"model\.pkl: is larger than"),
    "a FIFO in the bundle": (
        replace("context/bundle/arrays.safetensors", os.mkfifo),
        r"arrays\.safetensors: is a FIFO",
    ),
    "a socket in the context": (replace("context/x", bind_socket), "x: is a device or a socket"),
    "huge arrays": (
        replace("context/bundle/arrays.safetensors", write_sparse(1 << 40)),
        r"arrays\.safetensors: is larger than",
    ),
    "a huge plan": (replace("context/plan.json", write_sparse(1 << 40)), r"plan\.json: is larger than"),
    "too many files": (add_many_files, "contains more than 20,000 files"),
    "deeply nested folders": (add_deep_folder, "is more than 16 folders deep"),
    "no context": (lambda folder: shutil.rmtree(folder / "context"), "cannot read .*context: No such file"),
    "no Dockerfile": (lambda folder: (folder / "Dockerfile").unlink(), "cannot read .*Dockerfile: No such file"),
    "other steps": (edit_plan, r"plan\.json changed since"),
    "a plan of another config": (lambda folder: edit_manifest(folder, config_hash="0" * 64), r"plan\.json changed"),
    "other code": (swap_code, "built by another version of this tool"),
    "another release": (claim_other_release, "Dockerfile changed since"),
    "another bundle": (swap_bundle, r"bundle in manifest\.json changed since"),
    "a RUN line": (lambda folder: edit_manifest(folder, image_base="runner:1\nRUN touch /owned"), "image.base: "),
    "a RUN line by name": (lambda folder: edit_manifest(folder, name="small\nRUN touch /owned"), "name: "),
    "a stage": (lambda folder: edit_manifest(folder, image_base="runner:1 AS make"), "image.base: "),
    "a variable": (lambda folder: edit_manifest(folder, image_base="$RUN_ID"), "image.base: "),
    "another image": (
        lambda folder: edit_manifest(folder, image_base="evil.example/x:1"),
        "is not an image of runner:1; expected the same repository",
    ),
    "another image as stand-in": (
        lambda folder: edit_manifest(folder, image_kind="stand_in", image_base="evil.example/x:1"),
        "expected the same repository",
    ),
    "another digest": (
        lambda folder: edit_manifest(folder, image_kind="exact", image_base=f"runner@sha256:{'0' * 64}"),
        "has another digest than",
    ),
    "another Python": (lambda folder: edit_manifest(folder, image_python="3.10.1"), r"image\.python differs from what"),
    "other packages": (
        lambda folder: edit_manifest(folder, image_packages=dict.fromkeys(("numpy", "pandas", "cloudpickle"), "0")),
        r"image\.packages differs from what",
    ),
    "other parameters": (lambda folder: edit_manifest(folder, pickle_parameters=["x"]), r"pickle\.parameters differs"),
    "no numpy": (
        lambda folder: edit_manifest(folder, image_packages={}),
        "packages: numpy, pandas, cloudpickle missing",
    ),
    "a name that leaves the folder": (lambda folder: edit_manifest(folder, name="../../x"), "name: "),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_folder_is_refused_with_one_sentence(
    received: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    change, message = HOSTILE[case]
    change(received)
    code = command.call("verify", str(received))
    out, err = command.read_output(capsys)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert re.search(message, err), err
    assert engine.list_leftovers() == []


REBUILT = (
    *("a file beside the bundle's", "a link in the context", "the context a link", "the Dockerfile a FIFO"),
    *("the manifest a folder", "other steps", "another release", "other packages"),
)


@pytest.mark.parametrize("case", REBUILT)
@pytest.mark.usefixtures("engine")
def test_the_suggested_fix_for_an_edited_folder_works(
    genuine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    shutil.copytree(genuine.parents[1], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    HOSTILE[case][0](tmp_path / "dist" / "small")
    assert command.call("verify", "configs/small.yaml") == 2
    assert command.read_output(capsys)[1].endswith("run `make pickle CONFIG=configs/small.yaml` to build it again\n")
    assert command.call("pickle", "configs/small.yaml") == 0
    assert "model.pkl  (built)" in command.read_output(capsys)[0]
    assert command.call("verify", "configs/small.yaml") == 0
    assert command.call("pickle", "configs/small.yaml") == 0
    assert "(nothing changed since it was built)" in command.read_output(capsys)[0]


def test_no_rebuild_is_suggested_for_a_received_folder(
    received: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    (received / "context" / "x").symlink_to("/etc/passwd")
    assert command.call("verify", str(received)) == 2
    assert command.read_output(capsys)[1].endswith(
        "expected only regular files; get the folder again from where it came\n"
    )


def test_a_genuine_folder_is_equal_and_its_image_is_shown(
    received: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    (received / "notes.txt").write_text("not read by the tool")
    received.chmod(0o555)
    assert command.call("verify", str(received)) == 0
    assert "\n  in runner:1 (a local image)\n" in command.read_output(capsys)[0]
    assert command.call("verify", str(received), "--json") == 0
    assert json.loads(command.read_output(capsys)[0])["image"] == "runner:1"


@pytest.mark.parametrize(
    ("content", "difference"),
    [
        (FORGED, "BININT1 1 here"),
        (b"garbage", "that the recorded file is not a pickle"),
        (b"\x80\x05\x8e" + (1 << 62).to_bytes(8, "little") + b"x", "that the recorded file is not a pickle"),
        (b"\x80\x05\x8b" + (1 << 30).to_bytes(4, "little"), "that the recorded file is not a pickle"),
        (b"\x80\x05I" + b"9" * 10_000 + b"\n.", "that the recorded file is not a pickle"),
    ],
)
def test_a_replaced_pickle_is_a_finding_for_any_content(
    received: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str], content: bytes, difference: str
) -> None:
    replace_pickle(received, content)
    assert command.call("verify", str(received)) == 1
    out, err = command.read_output(capsys)
    assert err == ""
    assert "\nDIFFERENT: " in out
    assert difference in out


def test_validate_does_not_trust_the_folder_either(
    received: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    (received / "precious").write_text("mine")
    (received / ".lock").unlink()
    (received / ".lock").symlink_to("precious")
    assert command.call("validate", str(received)) == 2
    assert ".lock: cannot be locked" in command.read_output(capsys)[1]
    assert (received / "precious").read_text() == "mine"
    (received / ".lock").unlink()
    edit_plan(received)
    assert command.call("validate", str(received)) == 2
    assert "plan.json changed since" in command.read_output(capsys)[1]
    (received / "context" / "plan.json").unlink()
    os.mkfifo(received / "context" / "plan.json")
    assert command.call("validate", str(received)) == 2
    assert "plan.json: is a FIFO" in command.read_output(capsys)[1]


def test_the_config_of_a_folder_is_found_only_by_its_exact_name(
    genuine: Path, tmp_path: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
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
    assert command.call("verify", str(elsewhere)) == 0, "a folder outside of dist has no config"


# ---- any change of the manifest

odd_values: st.SearchStrategy[Any] = st.recursive(
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


def list_key_paths(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the key path of every value of plain data."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(key_path for key, item in items for key_path in list_key_paths(item, (*path, key)))]


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_change_of_the_manifest_is_refused_or_harmless(
    genuine: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = shutil.copytree(genuine, tmp_path_factory.mktemp("mutated") / "small")
    before = manifest.read(folder / artifact.MANIFEST)
    text = json.loads((folder / artifact.MANIFEST).read_bytes())
    path = data.draw(st.sampled_from(list_key_paths(text)))
    action = data.draw(st.sampled_from(["replace", "remove", "add", "nest", "bytes"]))
    (folder / artifact.MANIFEST).write_bytes(mutate(text, path, action, data))
    out, err = io.StringIO(), io.StringIO()
    engine = FakeEngine(folder.parent / "engine")
    engine.add_image("runner:1", layers=("sha256:1",))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(engine_session, "connect", lambda *_, **__: engine)
        code = command.call("verify", str(folder))
    assert code in {0, 1, 2, 3}, err.getvalue()
    if code == 0:
        changed = manifest.read(folder / artifact.MANIFEST)
        tool = dataclasses.replace(changed.tool, version=before.tool.version)
        pickle = dataclasses.replace(changed.pickle, findings=())
        assert dataclasses.replace(changed, tool=tool, pickle=pickle) == before, "all other values are compared"


def mutate(text: Any, path: tuple[Any, ...], action: str, data: st.DataObject) -> bytes:
    """Change one value of a manifest, or some bytes of the file."""
    if action == "bytes":
        raw = bytearray(json.dumps(text).encode())
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=30))
        return bytes(raw)
    if action == "nest":
        value: Any = data.draw(odd_values)
        for _ in range(data.draw(st.integers(1, 90))):
            value = [value]
    else:
        value = data.draw(odd_values)
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
