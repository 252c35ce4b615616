"""Adopt a finished pickle: write a ``dist/NAME`` for it as if it had been built here, without changing a byte."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import builder
from builder import commands, errors, published_pins
from builder.build import artifact, lock, manifest, pipeline, render, target, untrusted_files
from builder.config import model
from builder.engine import run
from builder.image import choose
from builder.image import resolve as image
from builder.text import escape
from builder.tournament import images, settings
from builder.validate import other_fixes
from builder.validate.reading import bytecode, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from builder.engine.protocol import Engine
    from builder.image import runner_image
    from builder.progress import Progress, Stopwatch


@dataclass(frozen=True, kw_only=True)
class Source:
    """A finished pickle and its config.

    Attributes:
        config: The config; its file need not exist yet.
        pickle: The file, which may be another one than the config's.
        sha256: Its hash.
        reading: What is in it.
    """

    config: model.Config
    pickle: Path
    sha256: str
    reading: read.Reading


def read_source(config: model.Config, pickle: Path, *, locked: bool) -> Source:
    """Read a pickle without executing it.

    Raises:
        errors.RefusedError: It is not a pickle, or could run in no image; or with ``locked``, the lock file has no
            entry for the model with this pickle.
        errors.UsageError: It cannot be read, is not a file, or is too large.
    """
    shown = escape(pickle)
    try:
        if pickle.stat().st_size > artifact.MAX_PICKLE_BYTES:
            raise errors.UsageError(
                f"{shown}: is larger than {artifact.MAX_PICKLE_BYTES:,} bytes, the limit for a pickle; store less in it"
            )
        reading = read.read(pickle)
        sha256 = artifact.hash_file(pickle)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        again = commands.suggest_plain("adopt", "PICKLE")
        fix = f"restore it, or `{again}`" if pickle == config.pickle else "pass the path of a pickle"
        raise errors.UsageError(f"{shown}: cannot be read: {reason}; {fix}") from error
    problem = next((problem for problem in reading.problems if problem.is_certain), None)
    if problem:
        raise errors.RefusedError(f"{shown}: {problem.text}; {other_fixes.reword(problem.fix)}")
    if locked:
        lock.check(config, bundle=sha256)
    return Source(config=config, pickle=pickle, sha256=sha256, reading=reading)


def adopt(
    source: Source,
    engine: Engine,
    *,
    pull: bool,
    locked: bool,
    progress: Progress,
    watch: Stopwatch,
    publish: Callable[[Path], AbstractContextManager[None]],
) -> pipeline.BuildResult:
    """Write ``dist/NAME`` for a finished pickle, unless the same pickle is there for the same image.

    Args:
        source: The pickle and its config.
        engine: The engine that has or pulls the image.
        pull: Ask the registry for the image even if the engine has it.
        locked: Refuse what differs from the lock file, and do not write to it.
        progress: Receives each step.
        watch: Measures the time of each stage.
        publish: Writes the other files of the pickle, whose bytes are at this path, and restores the earlier ones if
            the body of its ``with`` statement fails.

    Raises:
        errors.ImageError: The image is not available, or is not a runner image.
        errors.NetworkError: The tournament does not say which image ``default`` is.
        errors.RefusedError: The image has another Python than the one that made the pickle; or with ``locked``,
            something differs from the lock file.
        errors.UsageError: The pickle changed since it was read.
    """
    config, folder = source.config, target.get_dist_folder(source.config)
    with watch.stage("image"):
        chosen_image = choose.choose_image(config, engine, pull=pull, locked=locked, progress=progress)
        if locked:
            lock.check(config, bundle=source.sha256, image=chosen_image.image)
        with run.start(engine) as run_id:
            inventory = image.read_inventory(chosen_image.image, engine, run_id)
    _check_python(source, inventory.python)
    new_manifest = _make_manifest(source, pipeline.describe_image(chosen_image.image, inventory))
    if locked:
        lock.check_manifest(config, new_manifest)
    with watch.stage("adopt"), artifact.lock_folder(folder, progress):
        existing = _load_same(folder, new_manifest)
        if existing:
            with publish(existing.pickle):
                result = existing
        else:
            with artifact.create_staging_folder(folder) as staging:
                _copy(source, staging / artifact.PICKLE)
                with publish(staging / artifact.PICKLE):
                    result = artifact.commit(staging, folder, new_manifest)
        lines = "" if locked else lock.record(chosen_image, config, result.manifest, progress=progress)
    return pipeline.BuildResult(artifact=result, is_new=existing is None, lock_lines=lines, warnings=())


def _make_manifest(source: Source, recorded_image: runner_image.RunnerImage) -> manifest.Manifest:
    reading, sha256 = source.reading, source.sha256
    return manifest.Manifest(
        name=source.config.name,
        tool=manifest.Tool(version=builder.__version__, inside=render.hash_entries(render.list_inside_files())),
        image=recorded_image,
        bundle=manifest.ModelBundle(hash=sha256, kind=manifest.ADOPTED, features=len(reading.features), parameters=0),
        config=manifest.ConfigPart(hash=manifest.hash_config(model.select_build_inputs(source.config))),
        pickle=manifest.PickleRecord(sha256=sha256, size=reading.size, protocol=reading.protocol or 0, parameters=()),
    )


def _load_same(folder: Path, new_manifest: manifest.Manifest) -> artifact.Artifact | None:
    """Return what is in ``dist/NAME`` if it is complete, and the same pickle for the same image."""
    try:
        existing = artifact.load(folder)
    except errors.ArtifactError:
        return None
    is_same = dataclasses.replace(existing.manifest, tool=new_manifest.tool) == new_manifest
    return existing if is_same else None


def _copy(source: Source, staged: Path) -> None:
    path = Path(os.path.realpath(source.pickle))  # a link on the command line is the user's own
    untrusted_files.copy_file(path, staged, max_bytes=artifact.MAX_PICKLE_BYTES)
    if artifact.hash_file(staged) != source.sha256:
        raise errors.UsageError(f"{escape(source.pickle)}: changed while it was read; run the command again")


def _check_python(source: Source, python: str) -> None:
    """Refuse an image with another Python, whose bytecode differs: calling the pickle there would crash."""
    pythons, image_python = source.reading.pythons, ".".join(python.split(".")[:2])
    is_newer = bytecode.NEWER in pythons and image_python not in published_pins.list_pythons()
    if not pythons or image_python in pythons or is_newer:
        return
    ref = next(filter(None, (images.find_published(made_by, settings.DEFAULT_REGISTRY) for made_by in pythons)), None)
    fix = f"dump it again with Python {image_python}"
    if ref:
        fix = f"adopt it for {ref} ({commands.format_option(f'--image={ref}')}; in a config: image.ref), or {fix}"
    made_by = " or ".join(pythons)
    raise errors.RefusedError(
        f"{escape(source.pickle)}: was made by Python {made_by}, but the image {source.config.image.ref} has Python "
        f"{python}, in which it would crash; {fix}"
    )
