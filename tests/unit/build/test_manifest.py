"""``manifest.json`` is read back as it was written, and matches its JSON Schema."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors, paths, schema
from builder.build import manifest
from builder.image import resolve as image
from builder.image import runner_image
from tests.support import manifests

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_FILE = paths.PACKAGE / "build" / "manifest.schema.json"
SCHEMA = json.loads(SCHEMA_FILE.read_bytes())

any_text = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
any_hash = st.text("0123456789abcdef", min_size=64, max_size=64)
any_count = st.integers(0, 2**53)
any_line = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@st.composite
def draw_image(draw: st.DrawFn) -> runner_image.RunnerImage:
    kind: image.Kind = draw(st.sampled_from(["exact", "local", "stand_in"]))
    identity = f"sha256:{draw(any_hash)}"
    bases = {
        "exact": f"ghcr.io/a/b@{identity}",
        "local": "ghcr.io/a/b:c",
        "stand_in": "numerai-builder/stand-in:3.11-0",
    }
    return runner_image.RunnerImage(
        kind=kind,
        ref="ghcr.io/a/b:c",
        base=bases[kind],
        identity=identity,
        platform="linux/amd64",
        python=f"3.{draw(st.integers(0, 99))}.{draw(st.integers(0, 999))}",
        packages=dict.fromkeys(runner_image.REQUIRED_PACKAGES, "1")
        | draw(st.dictionaries(any_line, any_line, max_size=4)),
    )


any_manifest = st.builds(
    manifest.Manifest,
    name=st.from_regex(r"[a-z0-9_-]{1,40}", fullmatch=True),
    tool=st.builds(manifest.Tool, version=any_line, inside=any_hash),
    image=draw_image(),
    bundle=st.builds(manifest.ModelBundle, hash=any_hash, kind=any_line, features=any_count, parameters=any_count),
    config=st.builds(manifest.ConfigPart, hash=any_hash),
    pickle=st.builds(
        manifest.PickleRecord,
        sha256=any_hash,
        size=any_count,
        protocol=st.integers(0, 5),
        parameters=st.lists(any_line, max_size=3).map(tuple),
    ),
)


def is_valid(data: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(data))


def test_the_committed_schema_is_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "builder.build.manifest"],
        cwd=paths.PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == SCHEMA_FILE.read_text(encoding="utf-8"), (
        "run: python -m builder.build.manifest > builder/build/manifest.schema.json"
    )


def test_the_schema_is_valid_and_describes_all_keys() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert all("description" in entry for entry in SCHEMA["properties"].values())


@given(given_manifest=any_manifest)
@settings(max_examples=40)
def test_every_manifest_is_read_back_and_matches_the_schema(
    tmp_path_factory: pytest.TempPathFactory, given_manifest: manifest.Manifest
) -> None:
    path = tmp_path_factory.mktemp("dist") / "manifest.json"
    path.write_bytes(manifest.to_bytes(given_manifest))
    assert manifest.read(path) == given_manifest
    assert is_valid(json.loads(path.read_bytes()))


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        (None, "format", 2, "format: "),
        (None, "surprise", 1, "surprise: "),
        ("pickle", "sha256", "0" * 63, "pickle.sha256: "),
        ("image", "identity", "0" * 64, "image.identity: "),
        ("image", "kind", "nearly", "image.kind: "),
        ("image", "packages", {"numpy": 2}, "image.packages.numpy: "),
        ("bundle", "features", "3", "bundle.features: "),
        ("pickle", "parameters", [1], "pickle.parameters.0: "),
        (None, "name", "../mlp", "name: "),
        (None, "name", "x\nRUN evil", "name: "),
        ("pickle", "size", -1, "pickle.size: "),
    ],
)
def test_what_the_schema_refuses_is_refused_with_its_key_path(
    tmp_path: Path, part: str | None, key: str, value: object, message: str
) -> None:
    data = json.loads(manifest.to_bytes(manifests.create_manifest(b"x")))
    assert is_valid(data)
    (data[part] if part else data)[key] = value
    assert not is_valid(data)
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(errors.ArtifactError, match=r"manifest\.json: is not a manifest of format 1") as raised:
        manifest.read(tmp_path / "manifest.json")
    assert message in str(raised.value)


def test_the_bytes_do_not_depend_on_the_order_of_the_packages() -> None:
    first = manifests.create_manifest(b"x")
    reordered = dict(reversed(first.image.packages.items()))
    second = dataclasses.replace(first, image=dataclasses.replace(first.image, packages=reordered))
    assert manifest.to_bytes(first) == manifest.to_bytes(second)
    assert manifest.to_bytes(first).endswith(b"}\n")


@given(data=st.dictionaries(any_text, st.integers() | any_text | st.lists(any_text, max_size=3), max_size=5))
def test_the_hash_of_a_config_does_not_depend_on_the_order_of_its_keys(data: dict[str, object]) -> None:
    assert manifest.hash_config(data) == manifest.hash_config(dict(reversed(data.items())))
    assert manifest.hash_config(data) != manifest.hash_config({**data, "one more": "key"})
    assert schema.canonical_json(data)


def test_the_kind_adopted_is_refused_for_a_pickle_of_a_bundle(tmp_path: Path) -> None:
    data = dataclasses.asdict(manifests.create_manifest(b"pickle"))
    data["bundle"]["kind"] = manifest.ADOPTED
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(errors.ArtifactError, match="hash is not the adopted pickle's; expected the value"):
        manifest.read(tmp_path / "manifest.json")
    data["bundle"]["hash"] = data["pickle"]["sha256"]
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    assert manifest.read(tmp_path / "manifest.json").is_adopted
