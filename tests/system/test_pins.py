"""Pins for real: an image is pinned, lost, pulled by its digest; its tag moves, its digest goes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builder.image import lockfile
from tests.support import clones, registry, registry_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.engine import docker_engine

CONFIG = "configs/mine.yaml"
NOWHERE = {"NUMERAI_API_URL": "http://127.0.0.1:9"}  # the tournament: it is not asked here


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with registry.start() as address:
        yield address


def write(clone: Path, reference: str, *, stand_in: str = "") -> None:
    text = (clone / "configs" / "mlp.yaml").read_text().replace("name: mlp", "name: mine")
    text = text.replace("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", reference)
    (clone / CONFIG).write_text(text.replace('  stand_in: "3.11"\n', stand_in))


def digest_of(clone: Path) -> str:
    made = json.loads((clone / "dist" / "mine" / "manifest.json").read_text())
    assert made["image"]["kind"] == "exact"
    return str(made["image"]["identity"])


def remove(on: docker_engine.DockerEngine, *names: str) -> None:
    for name in names:
        on.remove_image(name)


def test_locked_without_a_lock_file_is_refused_with_the_command_that_writes_it(clone: Path) -> None:
    write(clone, "localhost:9/absent:1", stand_in='  stand_in: "3.11"\n')
    lock = clone / "builder.lock.yaml"
    locked = clones.run_builder(clone, "pickle", "--locked", CONFIG)
    assert (locked.returncode, lock.exists()) == (5, False)
    for text in (f"{lock}: no such file, and LOCKED=1", f"run `make pickle CONFIG={CONFIG} PULL=1` without LOCKED=1"):
        assert text in locked.stderr


@pytest.mark.usefixtures("nothing_left")
def test_a_pin_is_followed_until_it_is_moved(on: docker_engine.DockerEngine, clone: Path, address: str) -> None:
    reference = f"{address}/numerai/numerai_predict_py_3_11:pinned"
    first = registry.publish(on, reference, release=1)
    digest = first.partition("@")[2]
    write(clone, reference)
    lock = clone / "builder.lock.yaml"

    done = clones.run_builder(clone, "pin", CONFIG, **NOWHERE)
    assert done.returncode == 0, done.stderr
    assert f"{reference}  pinned  (of mine)" in done.stdout
    assert digest in lock.read_text()

    remove(on, reference, first)
    locked = clones.run_builder(clone, "pickle", "--locked", CONFIG)
    assert (locked.returncode, "the model (it has no entry mine)" in locked.stderr) == (5, True)
    assert on.find_image(first) is None, "nothing is pulled that would be refused"
    done = clones.run_builder(clone, "pickle", CONFIG)  # pulled by its digest
    assert (done.returncode, f"{lock} names mine now" in done.stderr) == (0, True), done.stderr
    assert digest_of(clone) == digest
    assert on.find_image(reference) is None
    for options in ([], ["--locked"]):
        assert "nothing changed" in clones.run_builder(clone, "pickle", *options, CONFIG).stdout
    made = json.loads((clone / "dist" / "mine" / "manifest.json").read_text())
    assert lockfile.read(clone).models["mine"].pickle == made["pickle"]["sha256"]

    second = registry.publish(on, reference, release=2)  # the tag means another image, here too
    assert second != first
    checked = clones.run_builder(clone, "pin", "--check", CONFIG, **NOWHERE)
    assert checked.returncode == 1
    assert f"{reference}  MOVED" in checked.stdout
    pulled = clones.run_builder(clone, "pickle", "--pull", "--locked", CONFIG)
    assert pulled.returncode == 0, pulled.stderr
    assert "`make pin` pins the new one" in pulled.stderr
    assert digest_of(clone) == digest

    assert clones.run_builder(clone, "pin", CONFIG, **NOWHERE).returncode == 0
    assert second.partition("@")[2] in lock.read_text()
    stale = clones.run_builder(clone, "validate", CONFIG)
    assert stale.returncode == 2
    assert f"{lock} (its pin) changed since it was made" in stale.stderr
    refused = clones.run_builder(clone, "pickle", "--locked", CONFIG)
    assert refused.returncode == 5, "the model was recorded in the other image"
    assert clones.run_builder(clone, "pickle", CONFIG).returncode == 0
    assert digest_of(clone) == second.partition("@")[2]
    for verb in ("pickle", "verify", "validate"):
        done = clones.run_builder(clone, verb, "--locked", CONFIG)
        assert done.returncode == 0, done.stderr

    remove(on, reference, first, second)
    registry_images.delete_manifest(address, "numerai/numerai_predict_py_3_11", second.partition("@")[2])
    gone = clones.run_builder(clone, "pin", CONFIG, **NOWHERE)
    assert gone.returncode == 1
    assert f"{reference}  GONE" in gone.stdout
    done = clones.run_builder(clone, "pickle", CONFIG)
    assert done.returncode == 3
    assert f"{second}, which is pinned" in done.stderr
    assert "run `make pin` to pin the current image of" in done.stderr


@pytest.mark.usefixtures("nothing_left")
def test_a_build_pins_what_it_pulled_and_a_stand_in_pins_nothing(
    on: docker_engine.DockerEngine, clone: Path, address: str
) -> None:
    reference = f"{address}/numerai/numerai_predict_py_3_11:built"
    lock = clone / "builder.lock.yaml"
    write(clone, f"{address}/numerai/absent:1", stand_in='  stand_in: "3.11"\n')
    done = clones.run_builder(clone, "pickle", CONFIG)
    assert done.returncode == 0, done.stderr
    assert "STAND-IN" in done.stdout
    assert not lock.exists()

    published = registry.publish(on, reference, release=3)
    write(clone, reference)
    on.remove_image(reference)
    on.remove_image(published)
    done = clones.run_builder(clone, "pickle", CONFIG)
    assert done.returncode == 0, done.stderr
    assert f"note: {reference} is pinned in {lock} now" in done.stderr
    assert published.partition("@")[2] in lock.read_text()
    assert "python: 3.11" in lock.read_text()
    on.remove_image(reference)
    on.remove_image(published)
