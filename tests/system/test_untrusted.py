"""A ``dist/NAME`` that a stranger made, verified on a real engine: his lines never run."""

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
    """Replace the pickle, and have the manifest name it."""
    (folder / "model.pkl").write_bytes(pickle)
    data = json.loads((folder / "manifest.json").read_bytes())
    data["pickle"] |= {"sha256": hashlib.sha256(pickle).hexdigest(), "size": len(pickle)}
    (folder / "manifest.json").write_text(json.dumps(data))


@pytest.mark.usefixtures("nothing_left")
def test_a_strangers_dockerfile_is_not_built_and_his_pickle_not_called_equal(
    clone: Path, on: docker_engine.DockerEngine, tmp_path: Path
) -> None:
    assert clones.run_builder(clone, "pickle", "configs/mlp.yaml").returncode == 0
    theirs = shutil.copytree(clone / "dist" / "mlp", tmp_path / "theirs")
    forge(theirs, b"\x80\x05K\x01.")
    pickle = (theirs / "model.pkl").read_bytes()
    report = json.dumps(
        json.loads((theirs / "manifest.json").read_bytes())["pickle"] | {"format": 1}, separators=(",", ":")
    )
    base = json.loads((theirs / "manifest.json").read_bytes())["image"]["base"]
    (theirs / "context" / "other.pkl").write_bytes(pickle)
    attack = (
        f"FROM {base} AS make\nARG RUN_ID\nLABEL numerai-builder.run=$RUN_ID\nCOPY . /build/\n"
        f"RUN printf '%s\\n' 'numerai-builder: {report}'\n"
        f"FROM scratch\nARG RUN_ID\nLABEL numerai-builder.run=$RUN_ID {MARK}=yes\n"
        "COPY --from=make /build/other.pkl /model.pkl\n"
    )

    # In the context, where it took the place of the recorded one; and in the recorded one's own place.
    (theirs / "context" / "Dockerfile").write_text(attack)
    done = clones.run_builder(clone, "verify", str(theirs))
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        "contains files that its manifest does not list: Dockerfile, other.pkl; nothing was built from it"
        in done.stderr
    )
    (theirs / "context" / "Dockerfile").unlink()
    (theirs / "context" / "other.pkl").unlink()
    genuine = (theirs / "Dockerfile").read_text()
    for text in (attack, genuine.replace("RUN cd", f"LABEL {MARK}=yes\nRUN cd")):
        (theirs / "Dockerfile").write_text(text)
        done = clones.run_builder(clone, "verify", str(theirs))
        assert (done.returncode, done.stdout) == (2, "")
        assert "Dockerfile changed since" in done.stderr
    assert on.find_images_by_label(MARK, "yes") == []

    # With all else genuine, his pickle is built again from what he says it was made of, and is another.
    (theirs / "Dockerfile").write_text(genuine)
    done = clones.run_builder(clone, "verify", str(theirs))
    assert done.returncode == 1, done.stderr
    assert f"DIFFERENT: {theirs / 'model.pkl'}" in done.stdout
    forge(theirs, (clone / "dist" / "mlp" / "model.pkl").read_bytes())
    done = clones.run_builder(clone, "verify", str(theirs))
    assert done.returncode == 0, done.stderr
    assert f"equal: {theirs / 'model.pkl'}" in done.stdout
