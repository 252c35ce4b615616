"""Make a pickle again from what ``dist/NAME`` recorded, in a clean container, and compare the bytes."""

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
    from builder.engine import protocol as engine
    from builder.image import resolve as image
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both hashes, and where the bytes first differ (None: nowhere)."""

    recorded: str
    rebuilt: str
    first_difference: str | None

    @property
    def equal(self) -> bool:
        """Tell whether the rebuilt pickle is the recorded one."""
        return self.recorded == self.rebuilt


def check_image(made: artifact.Artifact, found: image.ResolvedImage, holds: image.Inventory) -> None:
    """Refuse a manifest that says something else of its image than the image itself.

    Raises:
        errors.ArtifactError: It does.
    """
    recorded = made.manifest.image
    _check(made, "image.platform", recorded.platform, found.platform)
    _check(made, "image.python", recorded.python, holds.python)
    _check(made, "image.packages", recorded.packages, holds.packages)


def verify(
    made: artifact.Artifact,
    rendered: render.BuildContext,
    on: engine.Engine,
    run: str,
    *,
    work: Path,
    progress: Progress,
) -> Comparison:
    """Build again without cache, and compare.

    Args:
        made: The recorded pickle, its hash checked.
        rendered: What :func:`builder.build.recorded_inputs.read_inputs` returns of it.
        on: The engine.
        run: The run whose label everything carries.
        work: A folder for the pickle that is built.
        progress: Told of each step.

    Raises:
        errors.ArtifactError: The manifest says something else of the pickle than the build.
        errors.EngineError: The engine failed, or a step of the build did.
    """
    recorded = made.manifest.pickle
    progress.step("making the pickle again")
    again = work / artifact.PICKLE
    rebuilt = engine_build.build(rendered, again, on, run, progress=progress)
    different = rebuilt.sha256 != recorded.sha256
    if not different:
        for key in ("size", "protocol", "parameters"):
            _check(made, f"pickle.{key}", getattr(recorded, key), getattr(rebuilt, key))
    where = _first_difference(made.pickle, again) if different else None
    return Comparison(recorded=recorded.sha256, rebuilt=rebuilt.sha256, first_difference=where)


def _check(made: artifact.Artifact, key: str, recorded: object, actual: object) -> None:
    if recorded != actual:
        raise errors.ArtifactError(
            f"{made.folder / artifact.MANIFEST}: {key} is not what making the pickle again gives; "
            f"{commands.suggest_rebuild(made.folder)}"
        )


def _first_difference(one: Path, other: Path) -> str:
    from builder.inside import pickle_diff  # noqa: PLC0415 - only when something is wrong

    try:
        with _mapped(one) as left, _mapped(other) as right:
            found = pickle_diff.find_first_difference(cast("IO[bytes]", left), cast("IO[bytes]", right))
    except (ValueError, OverflowError, MemoryError) as error:
        return f"that the recorded one is not a pickle ({escape(str(error)[:200])})"
    return (
        f"at byte {found[0]}: {found[1]} here, {found[2]} in the rebuilt one" if found else "one ends before the other"
    )


def _mapped(path: Path) -> mmap.mmap:
    """Open a file so that a length in it which goes beyond its end takes no memory."""
    with untrusted_files.open_file(path, max_bytes=artifact.MAX_PICKLE_BYTES) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
