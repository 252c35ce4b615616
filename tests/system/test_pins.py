"""Pins with a real registry: an image is pinned and pulled by its digest, its tag moves, its digest is deleted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builder.image import lockfile
from tests.support import clones, registry, registry_images, stand_ins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.engine import docker_engine

CONFIG = "configs/mine.yaml"
NO_TOURNAMENT = {"NUMERAI_API_URL": "http://127.0.0.1:9"}  # the tests do not need its API


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with registry.start() as address:
        yield address


def write(clone: Path, reference: str, *, stand_in: str = "") -> None:
    text = (clone / "configs" / "mlp.yaml").read_text().replace("name: mlp", "name: mine")
    text = text.replace("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", reference)
    (clone / CONFIG).write_text(text.replace('  stand_in: "3.12"\n', stand_in))


def read_digest(clone: Path) -> str:
    manifest = json.loads((clone / "dist" / "mine" / "manifest.json").read_text())
    assert manifest["image"]["kind"] == "exact"
    return str(manifest["image"]["identity"])


def remove_images(engine: docker_engine.DockerEngine, *names: str) -> None:
    for name in names:
        engine.remove_image(name)


def test_locked_without_a_lock_file_is_refused_with_the_command_to_write_it(clone: Path) -> None:
    write(clone, "localhost:9/absent:1", stand_in='  stand_in: "3.12"\n')
    lock = clone / "builder.lock.yaml"
    locked = clones.run_builder(clone, "pickle", "--locked", CONFIG)
    assert (locked.returncode, lock.exists()) == (5, False)
    for text in (f"{lock}: not found, and LOCKED=1", f"run `make pickle CONFIG={CONFIG} PULL=1` without LOCKED=1"):
        assert text in locked.stderr


@pytest.mark.usefixtures("nothing_left")
def test_a_pin_is_used_until_it_is_updated(engine: docker_engine.DockerEngine, clone: Path, address: str) -> None:
    reference = f"{address}/numerai/numerai_predict_py_3_12:pinned"
    first = registry.publish(engine, reference, release=1)
    digest = first.partition("@")[2]
    write(clone, reference)
    lock = clone / "builder.lock.yaml"

    result = clones.run_builder(clone, "pin", CONFIG, **NO_TOURNAMENT)
    assert result.returncode == 0, result.stderr
    assert f"{reference}  pinned  (used by mine)" in result.stdout
    assert digest in lock.read_text()

    remove_images(engine, reference, first)
    locked = clones.run_builder(clone, "pickle", "--locked", CONFIG)
    assert (locked.returncode, "the model (it has no entry mine)" in locked.stderr) == (5, True)
    assert engine.find_image(first) is None, "a refused image is not pulled"
    result = clones.run_builder(clone, "pickle", CONFIG)  # pulled by its digest
    assert (result.returncode, f"recorded mine in {lock}" in result.stderr) == (0, True), result.stderr
    assert read_digest(clone) == digest
    assert engine.find_image(reference) is None
    for options in ([], ["--locked"]):
        assert "nothing changed" in clones.run_builder(clone, "pickle", *options, CONFIG).stdout
    manifest = json.loads((clone / "dist" / "mine" / "manifest.json").read_text())
    assert lockfile.read(clone).models["mine"].pickle == manifest["pickle"]["sha256"]

    second = registry.publish(engine, reference, release=2)  # the tag means another image, also on this engine
    assert second != first
    checked = clones.run_builder(clone, "pin", "--check", CONFIG, **NO_TOURNAMENT)
    assert checked.returncode == 1
    assert f"{reference}  MOVED" in checked.stdout
    pulled = clones.run_builder(clone, "pickle", "--pull", "--locked", CONFIG)
    assert pulled.returncode == 0, pulled.stderr
    assert "run `make pin` to pin the new one" in pulled.stderr
    assert read_digest(clone) == digest

    assert clones.run_builder(clone, "pin", CONFIG, **NO_TOURNAMENT).returncode == 0
    assert second.partition("@")[2] in lock.read_text()
    stale = clones.run_builder(clone, "validate", CONFIG)
    assert stale.returncode == 2
    assert f"{lock} (its pin) changed since it was built" in stale.stderr
    refused = clones.run_builder(clone, "pickle", "--locked", CONFIG)
    assert refused.returncode == 5, "the model was recorded in the other image"
    assert clones.run_builder(clone, "pickle", CONFIG).returncode == 0
    assert read_digest(clone) == second.partition("@")[2]
    for command in ("pickle", "verify", "validate"):
        result = clones.run_builder(clone, command, "--locked", CONFIG)
        assert result.returncode == 0, result.stderr

    remove_images(engine, reference, first, second)
    registry_images.delete_manifest(address, "numerai/numerai_predict_py_3_12", second.partition("@")[2])
    gone = clones.run_builder(clone, "pin", CONFIG, **NO_TOURNAMENT)
    assert gone.returncode == 1
    assert f"{reference}  NOT FOUND" in gone.stdout
    result = clones.run_builder(clone, "pickle", CONFIG)
    assert result.returncode == 3
    assert f"{second} is pinned in builder.lock.yaml" in result.stderr
    assert "run `make pin` to pin the current image of" in result.stderr


@pytest.mark.usefixtures("nothing_left")
def test_a_build_pins_the_image_it_pulled_but_no_stand_in(
    engine: docker_engine.DockerEngine, clone: Path, address: str
) -> None:
    reference = f"{address}/numerai/numerai_predict_py_3_12:built"
    lock = clone / "builder.lock.yaml"
    write(clone, f"{address}/numerai/absent:1", stand_in='  stand_in: "3.12"\n')
    result = clones.run_builder(clone, "pickle", CONFIG)
    assert result.returncode == 0, result.stderr
    assert "STAND-IN" in result.stdout
    assert not lock.exists()

    published = registry.publish(engine, reference, release=3)
    write(clone, reference)
    engine.remove_image(reference)
    engine.remove_image(published)
    result = clones.run_builder(clone, "pickle", CONFIG)
    assert result.returncode == 0, result.stderr
    assert f"note: pinned {reference} in {lock}" in result.stderr
    assert published.partition("@")[2] in lock.read_text()
    assert f"python: {stand_ins.get_default().python}" in lock.read_text()
    engine.remove_image(reference)
    engine.remove_image(published)
