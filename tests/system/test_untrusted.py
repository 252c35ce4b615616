"""A forged ``dist/NAME`` is verified on a real engine without running its code."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support import clones

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import docker_engine

MARK = "numerai-builder-test.owned"


def forge(folder: Path, pickle: bytes) -> None:
    """Replace the pickle, and its hash and size in the manifest."""
    (folder / "model.pkl").write_bytes(pickle)
    data = json.loads((folder / "manifest.json").read_bytes())
    data["pickle"] |= {"sha256": hashlib.sha256(pickle).hexdigest(), "size": len(pickle)}
    (folder / "manifest.json").write_text(json.dumps(data))


@pytest.mark.usefixtures("nothing_left")
def test_a_forged_dockerfile_is_not_built_and_a_forged_pickle_is_different(
    clone: Path, engine: docker_engine.DockerEngine, tmp_path: Path
) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    received = shutil.copytree(clone / "dist" / "mlp", tmp_path / "theirs")
    forge(received, b"\x80\x05K\x01.")
    pickle = (received / "model.pkl").read_bytes()
    record = json.loads((received / "manifest.json").read_bytes())["pickle"]
    report = json.dumps({"format": 2, "pickle": record, "warnings": []}, separators=(",", ":"))
    base = json.loads((received / "manifest.json").read_bytes())["image"]["base"]
    (received / "context" / "other.pkl").write_bytes(pickle)
    attack = (
        f"FROM {base} AS make\nARG RUN_ID\nLABEL numerai-builder.run=$RUN_ID\nCOPY . /build/\n"
        f"RUN printf '%s\\n' 'numerai-builder: {report}'\n"
        f"FROM scratch\nARG RUN_ID\nLABEL numerai-builder.run=$RUN_ID {MARK}=yes\n"
        "COPY --from=make /build/other.pkl /model.pkl\n"
    )

    # The forged Dockerfile in the context, where it would replace the rendered one in the tar; and beside the context.
    (received / "context" / "Dockerfile").write_text(attack)
    result = clones.run_builder(clone, "verify", str(received))
    assert (result.returncode, result.stdout) == (2, "")
    assert (
        "contains files that its manifest does not list: Dockerfile, other.pkl; nothing was built from it"
        in result.stderr
    )
    (received / "context" / "Dockerfile").unlink()
    (received / "context" / "other.pkl").unlink()
    genuine = (received / "Dockerfile").read_text()
    for text in (attack, genuine.replace("RUN cd", f"LABEL {MARK}=yes\nRUN cd")):
        (received / "Dockerfile").write_text(text)
        result = clones.run_builder(clone, "verify", str(received))
        assert (result.returncode, result.stdout) == (2, "")
        assert "Dockerfile changed since" in result.stderr
    assert engine.find_images_by_label(MARK, "yes") == []

    # With genuine inputs, the rebuilt pickle differs from the forged one.
    (received / "Dockerfile").write_text(genuine)
    result = clones.run_builder(clone, "verify", str(received))
    assert result.returncode == 1, result.stderr
    assert f"DIFFERENT: {received / 'model.pkl'}" in result.stdout
    forge(received, (clone / "dist" / "mlp" / "model.pkl").read_bytes())
    result = clones.run_builder(clone, "verify", str(received))
    assert result.returncode == 0, result.stderr
    assert f"equal: {received / 'model.pkl'}" in result.stdout
