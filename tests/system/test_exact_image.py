"""The exact kind, for real: a look-alike published without its labels in a registry of the test's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support import clones, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.engine import docker_engine
    from builder.engine import protocol as engine


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with registry.start() as address:
        yield address


def forget(on: engine.Engine, *references: str) -> None:
    for reference in references:
        on.remove_image(reference)


@pytest.mark.usefixtures("nothing_left")
def test_a_published_image_is_exact_by_its_digest_and_pulled_by_it(
    on: docker_engine.DockerEngine, clone: Path, address: str
) -> None:
    reference = f"{address}/numerai/numerai_predict_py_3_11:a78dedd"
    by_digest = registry.publish(on, reference, release=1)
    stand_in_made = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--json").stdout)["manifest"]
    config = clone / "configs" / "mlp.yaml"
    text = config.read_text().replace("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", reference)
    config.write_text(text.replace('  stand_in: "3.11"\n', ""))
    forget(on, reference, by_digest)

    done = clones.run_builder(clone, "pickle", "configs/mlp.yaml")  # pulled by its tag
    assert done.returncode == 0, done.stderr
    assert f"{reference} (NOT one of the tournament's images)" in done.stdout
    assert "STAND-IN" not in done.stdout
    made = json.loads((clone / "dist" / "mlp" / "manifest.json").read_text())
    assert (made["image"]["kind"], made["image"]["base"]) == ("exact", by_digest)
    assert made["image"]["identity"] == by_digest.partition("@")[2]
    assert made["image"]["packages"] == stand_in_made["image"]["packages"]
    assert made["pickle"] == stand_in_made["pickle"]
    assert f"\nFROM {by_digest} AS make\n" in (clone / "dist" / "mlp" / "Dockerfile").read_text()

    forget(on, reference, by_digest)
    assert clones.run_builder(clone, "verify", "configs/mlp.yaml").returncode == 0  # pulled by its digest
    assert clones.run_builder(clone, "validate", "configs/mlp.yaml").returncode == 0

    moved = registry.publish(on, reference, release=2)
    forget(on, reference)
    assert clones.run_builder(clone, "verify", "configs/mlp.yaml").returncode == 0, (
        "the digest still means the old image"
    )
    kept = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--pull", "--json").stdout)
    assert (kept["made"], kept["manifest"]["image"]["base"]) == (False, by_digest), "and so does the pin"
    assert clones.run_builder(clone, "pin", "configs/mlp.yaml", NUMERAI_API_URL="http://127.0.0.1:9").returncode == 0
    again = json.loads(clones.run_builder(clone, "pickle", "configs/mlp.yaml", "--json").stdout)
    assert again["made"] is True
    assert again["manifest"]["image"]["base"] == moved
    forget(on, reference, by_digest, moved)


def test_an_image_that_is_gone_from_engine_and_registry_is_said(on: docker_engine.DockerEngine, clone: Path) -> None:
    with registry.start() as address:
        reference = f"{address}/numerai/numerai_predict_py_3_11:gone"
        by_digest = registry.publish(on, reference, release=1)
        config = clone / "configs" / "mlp.yaml"
        config.write_text(config.read_text().replace("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd", reference))
        assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    forget(on, reference, by_digest)
    for command in ("validate", "verify"):
        done = clones.run_builder(clone, command, "dist/mlp")
        assert done.returncode == 3, done.stderr
        assert by_digest in done.stderr
        assert "Traceback" not in done.stderr
