"""Build a pickle from a config.

The stages, each a frozen value made from the one before:

    Config -> Source          resolve_source   the bundle in a local folder, and the hash of its files
           -> _Inputs         build            what the pickle depends on: bundle, config, image, builder/inside
           -> Artifact        _build           model.pkl and manifest.json in dist/NAME

``build`` returns the artifact of an earlier build if its manifest records equal inputs. ``render`` stops half-way: it
writes the Dockerfile and its context, without an engine.
"""

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
    """The source of a build.

    Attributes:
        config: The config.
        bundle: Its bundle, fetched or unpacked if necessary.
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
        is_new: Whether it was built by this call; if not, nothing changed since the last build.
        lock_lines: The lines added to the lock file; empty if none were.
        warnings: What Python and libraries warned of while it was built, a line each; empty if it is not new.
    """

    artifact: artifact.Artifact
    is_new: bool
    lock_lines: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RenderResult:
    """A Dockerfile with its context, written to ``dist/NAME`` for ``docker build``.

    Attributes:
        folder: ``dist/NAME``.
        base: The image that the Dockerfile builds FROM.
    """

    folder: Path
    base: str


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """The inputs of a build: a pickle built from equal inputs is not built again.

    Attributes:
        tool: Hash of ``builder/inside``, the code that runs in the image. Other changes of this tool rebuild nothing.
        bundle: Hash of the bundle's files.
        config: Hash of the part of the config that a build depends on.
        image: The image to build in.
    """

    tool: str
    bundle: str
    config: str
    image: image.ResolvedImage

    def match(self, recorded: manifest.Manifest) -> bool:
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
    """Resolve a config's bundle to a folder and hash it; needs no engine.

    Raises:
        errors.BundleError: The bundle does not exist.
        errors.NetworkError: The bundle could not be fetched.
        errors.RefusedError: With ``locked``, the lock file has no entry for the model with this bundle.
        errors.ConfigError: The config names a finished pickle.
    """
    bundle = resolve.resolve_bundle(config, cache=paths.cache_folder(), progress=progress)
    with store.report_as(bundle.display_name, bundle.folder):
        content_hash = files.hash_bundle(bundle.folder)
    if locked:
        lock.check(config, bundle=content_hash)  # before an engine is started or an image is pulled
    return Source(config=config, bundle=bundle, hash=content_hash)


def build(
    source: Source, engine: Engine, *, pull: bool, locked: bool, progress: Progress, watch: Stopwatch
) -> BuildResult:
    """Build the pickle of a config in its image, unless ``dist/NAME`` has one that was built from the same inputs.

    Args:
        source: The config and its bundle.
        engine: The engine to build with.
        pull: Ask the registry for the image even if the engine has it.
        locked: Refuse what differs from the lock file, and do not write to it.
        progress: Receives each step.
        watch: Measures the time of each stage.

    Raises:
        errors.BundleError: The bundle is invalid.
        errors.EngineError: The engine failed, or a step of the build did.
        errors.ImageError: The image is not available, or is not a runner image.
        errors.NetworkError: The tournament does not say which image ``default`` is.
        errors.RefusedError: With ``locked``, something differs from the lock file.
    """
    config = source.config
    with watch.stage("image"):
        chosen_image = choose.choose_image(config, engine, pull=pull, locked=locked, progress=progress)
    if locked:
        lock.check(config, bundle=source.hash, image=chosen_image.image)
    inputs = _Inputs(
        tool=render_stage.hash_entries(render_stage.list_inside_files()),
        bundle=source.hash,
        config=manifest.hash_config(model.select_build_inputs(config)),
        image=chosen_image.image,
    )
    folder = target.get_dist_folder(config)
    # Locked before looking: another process may be building the same pickle now.
    with artifact.lock_folder(folder, progress):
        existing = _load_matching(folder, inputs)
        result, warnings = (
            (existing, ())
            if existing
            else _build(source, inputs, engine, locked=locked, progress=progress, watch=watch)
        )
        if locked and existing:  # it may have been built before the entry was changed
            lock.check_manifest(config, existing.manifest)
        lines = "" if locked else lock.record(chosen_image, config, result.manifest, progress=progress)
    return BuildResult(artifact=result, is_new=existing is None, lock_lines=lines, warnings=warnings)


def render(source: Source, progress: Progress) -> RenderResult:
    """Write the Dockerfile of a config and its context to ``dist/NAME``; needs no engine.

    Raises:
        errors.BundleError: The bundle is invalid.
        errors.ImageError: The image is ``default``, which is neither pinned nor known from the last build.
    """
    config = source.config
    folder = target.get_dist_folder(config)
    plan = _create_plan(config, _read_bundle(source.bundle))
    base = _find_known_base(folder, config)
    context = render_stage.render(
        name=config.name, base=base, plan=plan, bundle_files=files.list_paths(source.bundle.folder)
    )
    # Written to a folder of its own first: if the disk is full, the earlier files stay as they are.
    with artifact.lock_folder(folder, progress), artifact.create_staging_folder(folder) as staging:
        render_stage.write(context, staging)
        artifact.commit_rendering(staging, folder)
    return RenderResult(folder=folder, base=base)


def _load_matching(folder: Path, inputs: _Inputs) -> artifact.Artifact | None:
    """Return the pickle in ``dist/NAME`` if it is complete, unmodified and was built from these inputs."""
    try:
        existing = artifact.load(folder)
    except errors.ArtifactError:
        return None
    return existing if inputs.match(existing.manifest) and artifact.is_unmodified(folder) else None


def _build(
    source: Source, inputs: _Inputs, engine: Engine, *, locked: bool, progress: Progress, watch: Stopwatch
) -> tuple[artifact.Artifact, tuple[str, ...]]:
    from builder.build import engine_build  # noqa: PLC0415 - not when nothing has changed

    config, folder = source.config, target.get_dist_folder(source.config)
    with watch.stage("bundle"):
        progress.step("checking the bundle")
        bundle = _read_bundle(source.bundle)
    with watch.stage("build"), run.start(engine) as run_id, artifact.create_staging_folder(folder) as staging:
        recorded_image = describe_image(inputs.image, image.read_inventory(inputs.image, engine, run_id))
        context = render_stage.render(
            name=config.name,
            base=inputs.image.base,
            plan=_create_plan(config, bundle),
            bundle_files=files.list_paths(source.bundle.folder),
        )
        written = render_stage.write(context, staging)
        # The bundle was hashed before it was copied: a training script may have written to it since.
        if files.hash_bundle(staging / artifact.CONTEXT / "bundle") != inputs.bundle:
            raise errors.BundleError([f"{source.bundle.display_name}: changed while it was read; run it again"])
        # The Dockerfile in dist/NAME has the image's public name, also if the image came from another registry.
        local_context = render_stage.use_source(written, base=inputs.image.base, source=inputs.image.source)
        described = manifest.describe_bundle(bundle, inputs.bundle)
        report = engine_build.build(
            local_context,
            staging / artifact.PICKLE,
            engine,
            run_id,
            progress=progress,
            limits=engine_build.find_limits(described, config.validate.limits),
        )
        new_manifest = manifest.Manifest(
            name=config.name,
            tool=manifest.Tool(version=builder.__version__, inside=inputs.tool),
            image=recorded_image,
            bundle=described,
            config=manifest.ConfigPart(hash=inputs.config),
            pickle=report.pickle,
        )
        if locked:
            lock.check_manifest(config, new_manifest)  # before it replaces the existing pickle
        return artifact.commit(staging, folder, new_manifest), report.warnings


def describe_image(resolved: image.ResolvedImage, inventory: image.Inventory) -> runner_image.RunnerImage:
    """Return the manifest's entry for an image.

    Raises:
        errors.ImageError: A value is one that no manifest may contain; better known before the build than after it.
    """
    try:
        return runner_image.RunnerImage(
            kind=resolved.kind,
            ref=resolved.ref,
            base=resolved.base,
            identity=resolved.identity,
            platform=resolved.platform,
            python=inventory.python,
            packages=dict(inventory.packages),
        )
    except ValueError as error:
        raise errors.ImageError(
            f"{resolved.ref}: cannot be recorded in a manifest ({error}); set another image in the config"
        ) from error


def _read_bundle(bundle: resolve.ResolvedBundle) -> bundle_model.Bundle:
    from builder.bundle.storage import read  # noqa: PLC0415 - numpy

    with store.report_as(bundle.display_name, bundle.folder):
        return read.read(bundle.folder)


def _create_plan(config: model.Config, bundle: bundle_model.Bundle) -> render_stage.BuildPlan:
    from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415 - numpy

    steps = bundle.post if config.post is None else config.post
    # Only here: whether a list without a bounding step is valid depends on the model, which the config does not load.
    problem = post.find_range_problem(steps, model_bounded=kinds.is_bounded(bundle.model))
    if problem:
        raise errors.ConfigError([f"{config.file}: post: {problem}"])
    return render_stage.BuildPlan(post=post.as_data(steps), config=model.select_build_inputs(config))


def _find_known_base(folder: Path, config: model.Config) -> str:
    """Return the image for FROM without an engine: the pin, else the last build's, else the config's reference.

    Raises:
        errors.ImageError: The config names no image but ``default``, and neither a pin nor a build says which that is.
    """
    if pinned := choose.find_pinned_base(config):
        return pinned
    is_default = config.image.ref == config_values.DEFAULT_IMAGE
    try:
        last = artifact.load(folder).manifest.image
        if is_default or last.ref == config.image.ref:
            return last.base
    except errors.ArtifactError:
        pass
    if is_default:
        raise errors.ImageError(
            f"{config.file}: image.ref: `default` is not pinned; run `{commands.suggest('pin', config.file)}` first"
        )
    return config.image.ref
