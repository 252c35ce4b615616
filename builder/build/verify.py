"""Build a pickle again from the inputs recorded in ``dist/NAME``, without cache, and compare the bytes."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from builder import commands, errors
from builder.build import artifact, engine_build, untrusted_files
from builder.text import escape

if TYPE_CHECKING:
    from pathlib import Path

    from builder.build import render
    from builder.config import model as config
    from builder.engine import protocol
    from builder.image import resolve
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both hashes, and where the bytes first differ (None if they are equal)."""

    recorded: str
    rebuilt: str
    first_difference: str | None

    @property
    def equal(self) -> bool:
        """Whether both pickles have the same bytes."""
        return self.recorded == self.rebuilt


def check_image(built: artifact.Artifact, image: resolve.ResolvedImage, inventory: resolve.Inventory) -> None:
    """Refuse a manifest that describes its image wrongly.

    Raises:
        errors.ArtifactError: The platform, the Python or the packages differ.
    """
    recorded = built.manifest.image
    _check(built, "image.platform", recorded.platform, image.platform)
    _check(built, "image.python", recorded.python, inventory.python)
    _check(built, "image.packages", recorded.packages, inventory.packages)


def verify(
    built: artifact.Artifact,
    context: render.BuildContext,
    engine: protocol.Engine,
    run: str,
    *,
    limits: config.LimitsConfig,
    work: Path,
    progress: Progress,
) -> Comparison:
    """Build again, and compare.

    Args:
        built: The recorded pickle, its hash checked.
        context: The result of :func:`builder.build.recorded_inputs.read_inputs`.
        engine: The engine.
        run: The run that images and containers are labelled with.
        limits: The limits of the build of a custom model.
        work: A folder for the rebuilt pickle.
        progress: Receives each step.

    Raises:
        errors.ArtifactError: The manifest describes the pickle wrongly.
        errors.EngineError: The engine failed, or a step of the build did.
    """
    recorded = built.manifest.pickle
    progress.step("building the pickle again")
    rebuilt_path = work / artifact.PICKLE
    build_limits = engine_build.find_limits(built.manifest.bundle, limits)
    rebuilt = engine_build.build(context, rebuilt_path, engine, run, progress=progress, limits=build_limits).pickle
    differs = rebuilt.sha256 != recorded.sha256
    if not differs:
        # The hash is not all that the manifest says about the pickle.
        for key in ("size", "protocol", "parameters"):
            _check(built, f"pickle.{key}", getattr(recorded, key), getattr(rebuilt, key))
    first_difference = _find_first_difference(built.pickle, rebuilt_path) if differs else None
    return Comparison(recorded=recorded.sha256, rebuilt=rebuilt.sha256, first_difference=first_difference)


def _check(built: artifact.Artifact, key: str, recorded: object, actual: object) -> None:
    if recorded != actual:
        raise errors.ArtifactError(
            f"{built.folder / artifact.MANIFEST}: {key} differs from what the new build reports; "
            f"{commands.suggest_rebuild(built.folder)}"
        )


def _find_first_difference(recorded: Path, rebuilt: Path) -> str:
    from builder.inside import pickle_diff  # noqa: PLC0415 - only when something is wrong

    try:
        with _map_file(recorded) as old, _map_file(rebuilt) as new:
            difference = pickle_diff.find_first_difference(cast("IO[bytes]", old), cast("IO[bytes]", new))
    # What pickletools raises for damaged data.
    except (ValueError, OverflowError, MemoryError) as error:
        return f"that the recorded file is not a pickle ({escape(str(error)[:200])})"
    if difference is None:
        return "that one ends before the other"
    return f"at byte {difference[0]}: {difference[1]} here, {difference[2]} in the rebuilt one"


def _map_file(path: Path) -> mmap.mmap:
    """Map a file, so that a length in a forged pickle that exceeds the file allocates no memory."""
    with untrusted_files.open_file(path, max_bytes=artifact.MAX_PICKLE_BYTES) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
