"""A project whose pickle is fit to be uploaded: made and validated in an exact image, as far as files can say.

The pickle is a few bytes, forged: these tests are about what becomes of it on the way, and the sandbox's judge is a
scripted one. The image is really in a registry, so that its digest is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import artifact, config, manifest, render
from builder.bundle import files
from tests.support import bundles, command, manifests, registry_images

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox.server import Sandbox
    from tests.sandbox.state import Pickle, Slot

IMAGE, TAG = "numerai_predict_py_3_11", "a78dedd"
_PICKLE = b"a pickle of a few bytes, never loaded: " + bytes(range(256)) * 4


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder with a config, its bundle and ``dist/small``, and the stand-in it is uploaded to."""

    root: Path
    sandbox: Sandbox
    registry: str

    @property
    def folder(self) -> Path:
        """The artifact's folder."""
        return self.root / "dist" / "small"

    @property
    def sha256(self) -> str:
        """The pickle's hash."""
        return hashlib.sha256((self.folder / artifact.PICKLE).read_bytes()).hexdigest()

    def environment(self, token: str = "full") -> dict[str, str]:
        """Return the settings under which the tool talks to the stand-in."""
        return {**self.sandbox.environment(token), "NUMERAI_REGISTRY": f"{self.registry}/numerai"}

    def start(self, *arguments: str, token: str = "full", **environment: str) -> subprocess.Popen[str]:
        """Start the tool in a process of its own."""
        return command.start(*arguments, cwd=self.root, **{**self.environment(token), **environment})

    def run(self, *arguments: str, token: str = "full", **environment: str) -> tuple[int, str, str]:
        """Run the tool; returns its exit code and what it printed."""
        return command.run(*arguments, cwd=self.root, **{**self.environment(token), **environment})

    def upload(self, *arguments: str, slot: str = "fresh", **environment: str) -> tuple[int, str, str]:
        """Upload to a slot, with yes to all questions."""
        return self.run("upload", "configs/small.yaml", "--model", slot, "--yes", *arguments, **environment)

    def slot(self, name: str = "fresh") -> Slot:
        """Return a slot of the stand-in."""
        return self.sandbox.state.slot(name)

    def records(self) -> list[Pickle]:
        """Return what is registered under this pickle's hash."""
        return [one for one in self.sandbox.state.stored() if self.sha256[:12] in one.filename]

    def journal(self, slot: str = "fresh") -> list[dict[str, Any]]:
        """Return the journal's lines."""
        path = self.folder / f"journal-{self.sha256[:12]}-{slot}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines() if line]

    def receipt(self) -> dict[str, Any]:
        """Return the receipt."""
        found: dict[str, Any] = json.loads((self.folder / "receipt.json").read_bytes())
        return found

    def running(self, name: str = "running") -> Pickle:
        """Have a slot run an earlier pickle; returns that."""
        return self.sandbox.state.add_pickle(self.slot(name), "11112222-before-0123456789ab.pkl", assign=True)

    def replace_pickle(self, content: bytes) -> None:
        """Put another pickle in place, as a build and a validation would."""
        _forge(self.root, content, self.folder, _digest(self.folder))

    def manifest(self) -> dict[str, Any]:
        """Return the manifest's data."""
        found: dict[str, Any] = json.loads((self.folder / artifact.MANIFEST).read_bytes())
        return found


def make(root: Path, sandbox: Sandbox, registry: str, *, pickle: bytes = _PICKLE) -> Project:
    """Write the project; its image is pushed to the registry."""
    digest = registry_images.put(registry, f"numerai/{IMAGE}", TAG)
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "small.yaml").write_text(
        f"name: small\nimage:\n  ref: {registry}/numerai/{IMAGE}:{TAG}\nbundle: bundles/small\n"
    )
    bundles.written(root / "configs" / "bundles" / "small")
    _forge(root, pickle, root / "dist" / "small", digest)
    return Project(root=root, sandbox=sandbox, registry=registry)


def _digest(folder: Path) -> str:
    return manifest.read(folder / artifact.MANIFEST).image.identity


def _forge(root: Path, pickle: bytes, folder: Path, digest: str) -> None:
    chosen = config.load(root / "configs" / "small.yaml")
    plain = manifests.of(pickle)
    made = dataclasses.replace(
        plain,
        name="small",
        tool=manifest.Tool(version="0", inside=render.hash_entries(render.inside_entries())),
        image=dataclasses.replace(
            plain.image,
            kind="exact",
            ref=chosen.image.ref,
            base=f"{chosen.image.ref.rpartition(':')[0]}@{digest}",
            identity=digest,
        ),
        bundle=dataclasses.replace(plain.bundle, hash=files.content_hash(root / "configs" / "bundles" / "small")),
        config=manifest.ConfigPart(hash=manifest.config_hash(config.build_inputs(chosen))),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / artifact.PICKLE).write_bytes(pickle)
    (folder / artifact.MANIFEST).write_bytes(manifest.to_bytes(made))
    write_validation(folder, made)


def write_validation(folder: Path, made: manifest.Manifest, **changed: Any) -> None:
    """Write a good ``validation.json``, or one that differs."""
    report = {
        "format": 1,
        "good": True,
        "name": made.name,
        "pickle": made.pickle.sha256,
        "image": {"kind": made.image.kind, "identity": made.image.identity, "ref": made.image.ref, "python": "3.11.2"},
        "limits": {"cpus": 1, "memory": 4 << 30, "seconds": 600},
        "checks": [{"name": "entry point", "good": True, "detail": "exit 0"}],
        **changed,
    }
    (folder / artifact.VALIDATION).write_text(json.dumps(report))


def command_line(process: subprocess.Popen[str]) -> bytes:
    """Return what ``ps`` shows of a process."""
    with open(f"/proc/{process.pid}/cmdline", "rb") as file:  # noqa: PTH123 - of another process
        return file.read()


def python(program: str, root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines of Python with the tool on its path."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(command.ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
