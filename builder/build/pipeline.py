"""From a config to a pickle: fetch the bundle, choose the image, render, build, record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import builder
from builder import commands, errors, paths
from builder.build import artifact, lock, manifest, target
from builder.build import render as render_stage
from builder.bundle import post
from builder.bundle.storage import files, store
from builder.config import model, resolve
from builder.config import values as config_values
from builder.engine import run
from builder.image import choose, runner_image
from builder.image import resolve as image

if TYPE_CHECKING:
    from builder.bundle import model as bundle_model
    from builder.engine.protocol import Engine
    from builder.progress import Progress, Stopwatch


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a pickle is built from.

    Attributes:
        config: The config.
        bundle: Where its bundle lies, fetched or unpacked where it had to be.
        hash: Hash of the bundle's files.
    """

    config: model.Config
    bundle: resolve.ResolvedBundle
    hash: str


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """A pickle in ``dist/NAME``.

    Attributes:
        artifact: The pickle and its manifest.
        is_new: It was built now; else nothing changed since it was built.
        lock_lines: The entry that was written into the lock file; empty where nothing was.
    """

    artifact: artifact.Artifact
    is_new: bool
    lock_lines: str


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """A Dockerfile with its context, written to ``dist/NAME`` for a build by hand.

    Attributes:
        folder: ``dist/NAME``.
        base: What the Dockerfile builds FROM.
    """

    folder: Path
    base: str


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """What decides whether anything changed: three hashes and the image."""

    tool: str
    bundle: str
    config: str
    image: image.ResolvedImage

    def match(self, recorded: manifest.Manifest) -> bool:
        """Tell whether a manifest is of these inputs."""
        return (
            self.tool,
            self.bundle,
            self.config,
            self.image.kind,
            self.image.identity,
            self.image.base,
        ) == (
            recorded.tool.inside,
            recorded.bundle.hash,
            recorded.config.hash,
            recorded.image.kind,
            recorded.image.identity,
            recorded.image.base,
        )


def resolve_source(config: model.Config, *, locked: bool, progress: Progress) -> Source:
    """Return what a config's pickle is built from; takes no engine.

    Raises:
        errors.BundleError: There is no such bundle.
        errors.NetworkError: The bundle could not be fetched.
        errors.RefusedError: With ``locked``, the lock file does not name the model or the bundle.
    """
    bundle = resolve.resolve_bundle(config, cache=paths.cache_folder(), progress=progress)
    with store.report_as(bundle.said, bundle.folder):
        content_hash = files.hash_bundle(bundle.folder)
    if locked:
        lock.check(config, bundle=content_hash)  # before an engine is started or an image pulled
    return Source(config=config, bundle=bundle, hash=content_hash)


def build(
    source: Source, engine: Engine, *, pull: bool, locked: bool, progress: Progress, watch: Stopwatch
) -> BuildResult:
    """Build the pickle of a config in its image, unless the one that is there was built from the same inputs.

    Args:
        source: What it is built from.
        engine: Where.
        pull: Ask the registry for the image even if it is here.
        locked: Refuse what the lock file does not name, and change nothing in it.
        progress: Told of each step.
        watch: Times them.

    Raises:
        errors.BundleError: The bundle has faults.
        errors.EngineError: The engine failed, or a step of the build did.
        errors.ImageError: The image is not available, or is not a runner image.
        errors.NetworkError: The tournament does not say what ``default`` stands for.
        errors.RefusedError: With ``locked``, something is not what the lock file names.
    """
    config = source.config
    with watch.stage("image"):
        choice = choose.choose_image(config, engine, pull=pull, locked=locked, progress=progress)
    if locked:
        lock.check(config, bundle=source.hash, found=choice.image)
    inputs = _Inputs(
        tool=render_stage.hash_entries(render_stage.list_inside_files()),
        bundle=source.hash,
        config=manifest.hash_config(model.select_build_inputs(config)),
        image=choice.image,
    )
    folder = target.dist_folder(config)
    with artifact.lock_folder(folder, progress):
        present = _find_present(folder, inputs)
        result = present or _build(source, inputs, engine, locked=locked, progress=progress, watch=watch)
        if locked and present:
            lock.check_made(config, present.manifest)
        lines = "" if locked else lock.record(choice, config, result.manifest, progress=progress)
    return BuildResult(artifact=result, is_new=present is None, lock_lines=lines)


def render(source: Source, progress: Progress) -> Rendering:
    """Write the Dockerfile of a config and its context to ``dist/NAME``; takes no engine.

    Raises:
        errors.BundleError: The bundle has faults.
        errors.ImageError: Nothing says what image ``default`` stands for.
    """
    config = source.config
    folder = target.dist_folder(config)
    plan = _plan(config, _read_bundle(source.bundle))
    base = _known_base(folder, config)
    rendered = render_stage.render(
        name=config.name, base=base, plan=plan, bundle_files=files.list_paths(source.bundle.folder)
    )
    with artifact.lock_folder(folder, progress), artifact.staging(folder) as staged:
        render_stage.write(rendered, staged)
        artifact.put_rendering(staged, folder)
    return Rendering(folder=folder, base=base)


def _find_present(folder: Path, inputs: _Inputs) -> artifact.Artifact | None:
    """Return what is in ``dist/NAME`` if it is whole, unedited and of these inputs."""
    try:
        present = artifact.load(folder)
    except errors.ArtifactError:
        return None
    return present if inputs.match(present.manifest) and artifact.is_as_written(folder) else None


def _build(
    source: Source, inputs: _Inputs, engine: Engine, *, locked: bool, progress: Progress, watch: Stopwatch
) -> artifact.Artifact:
    from builder.build import engine_build  # noqa: PLC0415 - not when nothing has changed

    config, folder = source.config, target.dist_folder(source.config)
    with watch.stage("bundle"):
        progress.step("checking the bundle")
        bundle = _read_bundle(source.bundle)
    with watch.stage("build"), run.start(engine) as identity, artifact.staging(folder) as staged:
        recorded = _runner_image(inputs.image, image.read_inventory(inputs.image, engine, identity))
        rendered = render_stage.render(
            name=config.name,
            base=inputs.image.base,
            plan=_plan(config, bundle),
            bundle_files=files.list_paths(source.bundle.folder),
        )
        written = render_stage.write(rendered, staged)
        if files.hash_bundle(staged / artifact.CONTEXT / "bundle") != inputs.bundle:
            raise errors.BundleError([f"{source.bundle.said}: changed while it was read; run it again"])
        here = render_stage.use_source(written, base=inputs.image.base, source=inputs.image.source)
        pickle = engine_build.build(here, staged / artifact.PICKLE, engine, identity, progress=progress)
        record = _manifest(config, inputs, bundle, recorded, pickle)
        if locked:
            lock.check_made(config, record)  # before it takes the place of what is there
        return artifact.commit(staged, folder, record)


def _runner_image(found: image.ResolvedImage, holds: image.Inventory) -> runner_image.RunnerImage:
    """Return what the manifest says of an image.

    Raises:
        errors.ImageError: No manifest can say it: known before anything is built.
    """
    try:
        return runner_image.RunnerImage(
            kind=found.kind,
            ref=found.ref,
            base=found.base,
            identity=found.identity,
            platform=found.platform,
            python=holds.python,
            packages=dict(holds.packages),
        )
    except ValueError as error:
        raise errors.ImageError(
            f"{found.ref}: cannot be recorded in a manifest ({error}); name another image in the config"
        ) from error


def _manifest(
    config: model.Config,
    inputs: _Inputs,
    bundle: bundle_model.Bundle,
    recorded: runner_image.RunnerImage,
    pickle: manifest.PickleRecord,
) -> manifest.Manifest:
    return manifest.Manifest(
        name=config.name,
        tool=manifest.Tool(version=builder.__version__, inside=inputs.tool),
        image=recorded,
        bundle=manifest.describe_bundle(bundle, inputs.bundle),
        config=manifest.ConfigPart(hash=inputs.config),
        pickle=pickle,
    )


def _read_bundle(bundle: resolve.ResolvedBundle) -> bundle_model.Bundle:
    from builder.bundle.storage import read  # noqa: PLC0415 - numpy

    with store.report_as(bundle.said, bundle.folder):
        return read.read(bundle.folder)


def _plan(config: model.Config, bundle: bundle_model.Bundle) -> render_stage.BuildPlan:
    from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415 - numpy

    steps = bundle.post if config.post is None else config.post
    fault = post.find_range_problem(steps, model_bounded=kinds.is_bounded(bundle.model))
    if fault:
        raise errors.ConfigError([f"{config.file}: post: {fault}"])
    return render_stage.BuildPlan(post=post.as_data(steps), config=model.select_build_inputs(config))


def _known_base(folder: Path, config: model.Config) -> str:
    """Return what FROM can name without an engine: the pin, else what the last build resolved, else the config's."""
    if pinned := choose.find_pinned_base(config):
        return pinned
    by_default = config.image.ref == config_values.DEFAULT_IMAGE
    try:
        last = artifact.load(folder).manifest.image
        if by_default or last.ref == config.image.ref:
            return last.base
    except errors.ArtifactError:
        pass
    if by_default:
        raise errors.ImageError(
            f"{config.file}: image.ref: `default` is not pinned; "
            f"run `{commands.suggest('pin', config.file)}`, then this again"
        )
    return config.image.ref
