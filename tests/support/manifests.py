"""Create manifests and artifacts for tests."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from builder import progress
from builder.build import artifact, manifest
from builder.image import runner_image

if TYPE_CHECKING:
    from pathlib import Path


def create_manifest(pickle: bytes, *, python: str = "3.11.2") -> manifest.Manifest:
    """Return a manifest that matches a pickle."""
    return manifest.Manifest(
        name="mlp",
        tool=manifest.Tool(version="0.1.0", inside="1" * 64),
        image=runner_image.RunnerImage(
            kind="stand_in",
            ref="ghcr.io/a/b:c",
            base="numerai-builder/stand-in:3.11-0",
            identity=f"sha256:{'2' * 64}",
            platform="linux/amd64",
            python=python,
            packages={"numpy": "2.1.3", "pandas": "2.3.1", "cloudpickle": "3.1.1"},
        ),
        bundle=manifest.ModelBundle(hash="3" * 64, kind="mlp", features=3, parameters=21),
        config=manifest.ConfigPart(hash="4" * 64),
        pickle=manifest.PickleRecord(
            sha256=hashlib.sha256(pickle).hexdigest(), size=len(pickle), protocol=5, parameters=("live_features",)
        ),
    )


def stage(staging: Path, pickle: bytes) -> manifest.Manifest:
    """Fill a staging folder as a build does; return the manifest of it."""
    (staging / artifact.CONTEXT / "bundle").mkdir(parents=True)
    (staging / artifact.CONTEXT / "bundle" / "bundle.json").write_bytes(b"bundle of " + pickle)
    (staging / artifact.DOCKERFILE).write_bytes(b"FROM " + pickle)
    (staging / artifact.PICKLE).write_bytes(pickle)
    return create_manifest(pickle)


def commit(folder: Path, pickle: bytes) -> artifact.Artifact:
    """Write a complete artifact, as a build does."""
    with artifact.lock_folder(folder, progress.Silent()), artifact.create_staging_folder(folder) as staging:
        return artifact.commit(staging, folder, stage(staging, pickle))
