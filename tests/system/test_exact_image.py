"""Exact images: a stand-in image published without its labels in a local registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support import clones, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.engine import docker_engine, protocol


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with registry.start() as address:
        yield address


def remove_images(engine: protocol.Engine, *references: str) -> None:
    for reference in references:
        engine.remove_image(reference)


@pytest.mark.usefixtures("nothing_left")
def test_a_published_image_is_exact_and_pulled_by_its_digest(
    engine: docker_engine.DockerEngine, clone: Path, address: str
) -> None:
    reference = f"{address}/numerai/numerai_predict_py_3_12:a78dedd"
    by_digest = registry.publish(engine, reference, release=1)
    stand_in_manifest = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--json").stdout)["manifest"]
    config = clone / "configs" / "mlp.yaml"
    text = config.read_text().replace("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", reference)
    config.write_text(text.replace('  stand_in: "3.12"\n', ""))
    remove_images(engine, reference, by_digest)

    result = clones.run_builder(clone, "pickle", "configs/mlp.yaml")  # pulled by its tag
    assert result.returncode == 0, result.stderr
    assert f"{reference} (NOT one of the tournament's images)" in result.stdout
    assert "STAND-IN" not in result.stdout
    manifest = json.loads((clone / "dist" / "mlp" / "manifest.json").read_text())
    assert (manifest["image"]["kind"], manifest["image"]["base"]) == ("exact", by_digest)
    assert manifest["image"]["identity"] == by_digest.partition("@")[2]
    assert manifest["image"]["packages"] == stand_in_manifest["image"]["packages"]
    assert manifest["pickle"] == stand_in_manifest["pickle"]
    assert f"\nFROM --platform=linux/amd64 {by_digest} AS make\n" in (clone / "dist" / "mlp" / "Dockerfile").read_text()

    remove_images(engine, reference, by_digest)
    assert clones.run_builder(clone, "verify", "configs/mlp.yaml").returncode == 0  # pulled by its digest
    assert clones.run_builder(clone, "validate", "configs/mlp.yaml").returncode == 0

    new_digest = registry.publish(engine, reference, release=2)
    remove_images(engine, reference)
    assert clones.run_builder(clone, "verify", "configs/mlp.yaml").returncode == 0, (
        "the pickle is verified in the old image"
    )
    pulled = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--pull", "--json").stdout)
    assert (pulled["made"], pulled["manifest"]["image"]["base"]) == (False, by_digest), "the pin is still the old image"
    assert clones.run_builder(clone, "pin", "configs/mlp.yaml", NUMERAI_API_URL="http://127.0.0.1:9").returncode == 0
    again = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--json").stdout)
    assert again["made"] is True
    assert again["manifest"]["image"]["base"] == new_digest
    remove_images(engine, reference, by_digest, new_digest)


def test_an_image_that_is_in_neither_engine_nor_registry_is_an_error(
    engine: docker_engine.DockerEngine, clone: Path
) -> None:
    with registry.start() as address:
        reference = f"{address}/numerai/numerai_predict_py_3_12:gone"
        by_digest = registry.publish(engine, reference, release=1)
        config = clone / "configs" / "mlp.yaml"
        config.write_text(config.read_text().replace("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", reference))
        assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    remove_images(engine, reference, by_digest)
    for command in ("validate", "verify"):
        result = clones.run_builder(clone, command, "dist/mlp")
        assert result.returncode == 3, result.stderr
        assert by_digest in result.stderr
        assert "Traceback" not in result.stderr
