"""The Dockerfile and its context: deterministic, without other files, and safe against injection after FROM."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import errors, paths
from builder.build import render
from builder.engine import protocol, tar_stream
from builder.registry import reference
from tests.support import bundles

DIGEST = "sha256:" + "0123456789abcdef" * 4
BASE = f"ghcr.io/numerai/numerai_predict_py_3_12@{DIGEST}"
GOLDEN = Path(__file__).resolve().parents[2] / "data" / "Dockerfile.mlp"


@pytest.fixture(scope="module")
def bundle_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(bundles.write_bundle(tmp_path_factory.mktemp("bundle") / "small").iterdir())


def render_context(bundle_files: list[Path], base: str = BASE) -> render.BuildContext:
    plan = render.BuildPlan(post=[{"rank": {"scope": "era", "ties": "average"}}], config={"name": "mlp"})
    return render.render(name="mlp", base=base, plan=plan, bundle_files=bundle_files)


def pack(context: render.BuildContext) -> bytes:
    return b"".join(render.pack_context(context))


def test_the_dockerfile_is_the_golden_file(bundle_files: list[Path]) -> None:
    text, expected = render_context(bundle_files).dockerfile, GOLDEN.read_text(encoding="utf-8")
    assert text == expected, "\n".join(difflib.unified_diff(expected.splitlines(), text.splitlines(), lineterm=""))


def test_the_same_inputs_give_the_same_bytes(bundle_files: list[Path], tmp_path: Path) -> None:
    first = pack(render_context(bundle_files))
    assert pack(render_context(list(reversed(bundle_files)))) == first
    (tmp_path / "one").mkdir()
    assert pack(render.write(render_context(bundle_files), tmp_path / "one")) == first
    assert pack(render.read(tmp_path / "one")) == first


def test_the_engine_gets_only_inside_the_bundle_without_its_golden_rows_and_the_plan(bundle_files: list[Path]) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(render_context(bundle_files)))) as archive:
        files = {member.name for member in archive if member.isfile()}
        file = archive.extractfile("plan.json")
        assert file is not None
        plan = json.loads(file.read())
        members = archive.getmembers()
    inside = {name for name in files if name.startswith("inside/")}
    sent = {f"bundle/{path.name}" for path in bundle_files} - {"bundle/golden.safetensors"}
    assert files - inside == {"Dockerfile", "plan.json", *sent}
    assert inside == {
        f"inside/{path.relative_to(paths.inside_folder()).as_posix()}" for path in paths.inside_folder().rglob("*.py")
    }
    assert plan == {
        "format": 1,
        "post": [{"rank": {"scope": "era", "ties": "average"}}],
        "config": {"name": "mlp"},
    }
    assert [member.name for member in members] == sorted(member.name for member in members)
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 0)}


def test_no_path_of_this_machine_is_in_the_context(bundle_files: list[Path]) -> None:
    text = pack(render_context(bundle_files))
    for path in (str(Path.home()), str(bundle_files[0].parent), str(paths.PACKAGE.parent)):
        assert path.encode() not in text


@pytest.mark.parametrize(
    "base",
    [
        "",
        "python:3.11\nRUN evil",
        "python:3.11 AS other",
        "python:3.11\r",
        "python:3.11\t",
        "python:3.11\u2028",
        "$BASE",
        "python:3.11\\",
        "--platform=x",
        f"python@{DIGEST}0",
        f"python@{DIGEST}\n",
    ],
)
def test_an_invalid_base_is_refused(bundle_files: list[Path], base: str) -> None:
    with pytest.raises(errors.ImageError, match="is not an image reference that a Dockerfile can build FROM"):
        render_context(bundle_files, base)


@given(text=st.from_regex(r"[a-zA-Z0-9.\-\[\]:]{1,12}/[a-z0-9._/-]{1,12}(:[\w.-]{1,9})?", fullmatch=True))
def test_every_reference_that_a_config_accepts_may_follow_from(text: str) -> None:
    try:
        reference.parse(text)
    except ValueError:
        return
    assert render._check_reference(text) == text


@given(text=st.text(max_size=30))
def test_no_accepted_reference_contains_white_space(text: str) -> None:
    try:
        render._check_reference(text)
    except errors.ImageError:
        return
    assert text.split() == [text]


def test_the_hash_of_files_depends_on_their_names_and_contents_only(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    on_disk = tar_stream.TarEntry(name="a", content=tmp_path / "x")
    in_memory = tar_stream.TarEntry(name="a", content=b"content")
    other = tar_stream.TarEntry(name="b", content=b"")
    assert render.hash_entries([on_disk, other]) == render.hash_entries([other, in_memory])
    hashes = [
        render.hash_entries([tar_stream.TarEntry(name=name, content=content) for name, content in files])
        for files in ([], [("a", b"content")], [("b", b"content")], [("a", b"other")], [("a", b""), ("b", b"content")])
    ]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_of_inside_is_that_of_its_files() -> None:
    lines = sorted(
        f"{entry.name}\0{hashlib.sha256(entry.content.read_bytes()).hexdigest()}\n"
        for entry in render.list_inside_files()
        if isinstance(entry.content, Path)
    )
    assert render.hash_entries(render.list_inside_files()) == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_dockerfile_sets_the_label_by_which_leftovers_are_found() -> None:
    text = (paths.docker_folder() / "pickle.Dockerfile.j2").read_text(encoding="utf-8")
    assert f"LABEL {protocol.RUN_LABEL}=" in text
