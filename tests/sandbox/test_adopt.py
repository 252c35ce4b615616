"""What a slot of the sandbox runs is adopted, validated in its exact image, and uploaded again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from builder.image import lockfile
from builder.sandbox import runs, server
from builder.tournament import settings
from tests.support import command

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = f"{settings.DEFAULT_REGISTRY}/numerai_predict_py_3_12:a78dedd"


@pytest.fixture
def root(sandbox: server.Sandbox, stand_in_registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working directory, with the settings for the sandbox."""
    variables = {
        **sandbox.create_environment(),
        "NUMERAI_REGISTRY": stand_in_registry,
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NUMERAI_MCP_AUTH", raising=False)
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    return root


def test_what_a_slot_runs_is_adopted_and_uploaded_again(
    root: Path, sandbox: server.Sandbox, example_pickle: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        assert command.call(*arguments) == code
        return "".join(command.read_output(capsys))

    assert "fresh: runs no pickle" in run("adopt", "--slot", "fresh", code=2)
    slot = sandbox.state.get_slot("running")
    uploaded = sandbox.state.add_pickle(slot, "from-another-program.pkl", assign=True)
    sandbox.storage.get_path(runs.get_key(uploaded.filename)).write_bytes(example_pickle)

    out = run("adopt", "--slot", "running", "--name", "taken")
    assert f"image     {IMAGE} (exact, but of the sandbox: not the runner image)" in out
    assert "recorded taken in " in out
    assert (root / "dist/taken/model.pkl").read_bytes() == example_pickle
    text = (root / "configs/taken.yaml").read_text()
    assert "model: running" in text
    assert "data_version: v5.3" in text
    locked = lockfile.read(root).models["taken"]
    assert locked.bundle == locked.pickle
    run("pickle", "--locked")
    run("validate", "--locked")
    assert "builder.lock.yaml" in run("verify", "--locked")

    out = run("upload", "--locked", "--yes", "--no-compare")
    assert sandbox.state.get_slot("running").pickle_id != uploaded.id
    assert "it was adopted, not built here" in out
    receipt = json.loads((root / "dist/taken/receipt.json").read_bytes())
    assert (receipt["sha256"], receipt["previous"]) == (locked.pickle, uploaded.id)
    assert "unchanged" in run("upload", "--yes")
    assert "did not fail" in run("why", "running")
    run("status", "running")
    run("rollback", "running", "--yes")
    assert sandbox.state.get_slot("running").pickle_id == uploaded.id
    # Other bytes in the folder are found, and refused by what needs the pickle.
    (root / "configs/adopted/taken.pkl").write_bytes(b"other bytes")
    assert "DIFFERS  " in run("verify", code=1)
    assert "differs from its entry in " in run("upload", "--locked", code=5)
