"""Make a pickle again from what ``dist/NAME`` recorded, in a clean container, and compare the bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import builder
from builder import artifact, build, commands, errors, manifest, render
from builder.bundle import files

if TYPE_CHECKING:
    import pickletools
    from collections.abc import Iterator
    from pathlib import Path

    from builder import engine
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


def verify(made: artifact.Artifact, on: engine.Engine, run: str, progress: Progress) -> Comparison:
    """Rebuild without cache from the recorded Dockerfile and context, and compare.

    Raises:
        errors.ArtifactError: the recorded inputs are not those that the manifest names.
        errors.EngineError: the engine failed, or a step of the build did.
    """
    recorded = _recorded_inputs(made)
    progress.step("making the pickle again")
    with artifact.staging(made.folder) as staged:
        again = staged / artifact.PICKLE
        rebuilt = build.build(recorded, again, on, run, progress=progress)
        different = rebuilt.sha256 != made.manifest.pickle.sha256
        where = _first_difference(made.pickle, again) if different else None
    return Comparison(recorded=made.manifest.pickle.sha256, rebuilt=rebuilt.sha256, first_difference=where)


def _recorded_inputs(made: artifact.Artifact) -> render.Rendered:
    """Return the recorded Dockerfile and context, once they are found to be what the manifest says."""
    context, said = made.folder / artifact.CONTEXT, made.manifest
    again = commands.with_config("pickle", made.folder)
    try:
        recorded = render.read(made.folder)
        plan = json.loads((context / render.PLAN).read_bytes())
        inside = [entry for entry in recorded.context if entry.name.startswith("inside/")]
        found = {
            "inside/": (render.hash_entries(inside), said.tool.inside),
            "bundle/": (files.content_hash(context / "bundle"), said.bundle.hash),
            "plan.json": (manifest.config_hash(plan["config"]), said.config.hash),
        }
    except (OSError, ValueError, KeyError, TypeError, errors.BundleError) as error:
        raise errors.ArtifactError(
            f"{context}: the recorded inputs cannot be read ({error}); run `{again}` to record them again"
        ) from error
    edited = [name for name, (actual, expected) in found.items() if actual != expected]
    # Another release of the tool may write another Dockerfile: then the image's name is all that can be looked for.
    text = render.dockerfile(name=said.name, base=said.image.base)
    same_tool = said.tool.version == builder.__version__
    if recorded.dockerfile != text if same_tool else said.image.base not in recorded.dockerfile:
        edited.append(artifact.DOCKERFILE)
    if edited:
        raise errors.ArtifactError(
            f"{made.folder}: {', '.join(edited)} changed since the pickle was made; run `{again}` to build it again"
        )
    return recorded


def _first_difference(one: Path, other: Path) -> str:
    """Say where two pickles part: the first operation of each that is not the same."""
    import pickletools  # noqa: PLC0415 - only when something is wrong

    def operations(file: IO[bytes]) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
        # A frame says how long it is, so it differs wherever anything in it does.
        return (one for one in pickletools.genops(file) if one[0].name != "FRAME")

    with one.open("rb") as left, other.open("rb") as right:
        for (code, value, at), (code_2, value_2, _) in zip(operations(left), operations(right), strict=False):
            if (code.name, value) != (code_2.name, value_2):
                return f"at byte {at}: {code.name} {value!r:.60} here, {code_2.name} {value_2!r:.60} in the rebuilt one"
    return "one ends before the other"
