"""``pickle``, ``render``, ``verify``: from a config to a pickle, and the proof that it can be made again."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import builder
from builder import commands, errors, paths
from builder.build import artifact, manifest, render
from builder.bundle import post
from builder.bundle.storage import files, store
from builder.cli import engine_session, locking, target, terminal
from builder.config import model as config
from builder.config import obtain
from builder.config import values as config_values
from builder.engine import run
from builder.image import resolve as image

if TYPE_CHECKING:
    import argparse

    from builder.bundle import model as bundle_model
    from builder.engine import protocol as engine
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """What decides whether anything has changed: three hashes and the image."""

    tool: str
    bundle: str
    config: str
    image: image.ResolvedImage

    def made(self, found: manifest.Manifest) -> bool:
        """Tell whether a manifest is of these inputs."""
        ours = (self.tool, self.bundle, self.config, self.image.kind, self.image.identity, self.image.base)
        image_of = found.image
        return ours == (
            found.tool.inside,
            found.bundle.hash,
            found.config.hash,
            image_of.kind,
            image_of.identity,
            image_of.base,
        )


def pickle(options: argparse.Namespace) -> int:
    """Make the pickle of a config, unless the one that is there was made of the same inputs."""
    watch = terminal.Stopwatch()
    with terminal.progress() as progress:
        with watch.stage("config"):
            chosen = config.load(Path(options.config))
            source = _obtain(chosen, progress)
            hashed = _hash_bundle(source)
            if options.locked:
                locking.check(chosen, bundle=hashed)  # before an engine is started or an image pulled
        with watch.stage("image"):
            on = engine_session.connect(progress, yes=options.yes)
            choice = locking.choose(chosen, on, pull=options.pull, locked=options.locked, progress=progress)
        if options.locked:
            locking.check(chosen, bundle=hashed, found=choice.image)
        inputs = _Inputs(
            tool=render.hash_entries(render.inside_entries()),
            bundle=hashed,
            config=manifest.config_hash(config.build_inputs(chosen)),
            image=choice.image,
        )
        folder = target.dist_folder(chosen)
        with artifact.locked(folder, progress):
            done = _present(folder, inputs)
            fresh = done is None
            if done is None:
                done = _make(chosen, source, inputs, on, locked=options.locked, progress=progress, watch=watch)
            elif options.locked:
                locking.check_made(chosen, done.manifest)
            if not options.locked:
                locking.record(choice, chosen, done.manifest, progress=progress)
    if options.json:
        print(json.dumps({"format": 1, "made": fresh, "folder": str(folder), "manifest": asdict(done.manifest)}))
    else:
        _tell(done, watch, fresh=fresh)
    return 0


def write_rendered(options: argparse.Namespace) -> int:
    """Write the Dockerfile and its context; asks no engine."""
    chosen = config.load(Path(options.config))
    with terminal.progress() as progress:
        source = _obtain(chosen, progress)
        if options.locked:
            locking.check(chosen, bundle=_hash_bundle(source))
        plan = _plan(chosen, _read_bundle(source))
        folder = target.dist_folder(chosen)
        base = _known_base(folder, chosen)
        text = render.render(name=chosen.name, base=base, plan=plan, bundle_files=files.paths(source.folder))
        with artifact.locked(folder, progress), artifact.staging(folder) as staged:
            render.write(text, staged)
            artifact.put_rendering(staged, folder)
    print(f"{folder / artifact.DOCKERFILE}: builds FROM {base}")
    print(f"by hand: docker build --network none -f {folder / artifact.DOCKERFILE} {folder / artifact.CONTEXT}")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Make the pickle again and compare; exit 1 when it differs."""
    from builder.build import recorded  # noqa: PLC0415 - numpy
    from builder.build import verify as stage  # noqa: PLC0415 - the command has the stage's name

    chosen = target.find(options.target)
    watch = terminal.Stopwatch()
    with (
        terminal.progress() as progress,
        watch.stage("rebuild"),
        tempfile.TemporaryDirectory(prefix="numerai-builder-verify-") as work,
    ):
        # Nothing is written to the folder, which may be somebody else's, and everything is copied: so no lock is held.
        made = target.load(chosen, progress, locked=options.locked)
        rendered = recorded.read_inputs(made, copy=Path(work))
        on = engine_session.connect(progress, yes=options.yes)
        with run.start(on) as identity:
            where = target.find_image(made, on, progress)
            stage.check_image(made, where, image.inventory(where, on, identity))
            result = stage.verify(made, rendered, on, identity, work=Path(work), progress=progress)
    if options.json:
        print(json.dumps({"format": 1, "equal": result.equal, "image": made.manifest.image.base, **asdict(result)}))
    else:
        print(f"recorded  {result.recorded}\nrebuilt   {result.rebuilt}")
        print(f"{'equal' if result.equal else 'DIFFERENT'}: {made.pickle}  ({watch.line()})")
        print(f"  in {made.manifest.image.base} ({target.KINDS[made.manifest.image.kind]})")
        if result.first_difference:
            print(f"the first difference is {result.first_difference}")
            _tell_findings(made)
    return 0 if result.equal else 1


def _present(folder: Path, inputs: _Inputs) -> artifact.Artifact | None:
    """Return what is in ``dist/NAME`` if it is whole and of these inputs."""
    try:
        found = artifact.load(folder)
    except errors.ArtifactError:
        return None
    return found if inputs.made(found.manifest) else None


def _make(
    chosen: config.Config,
    source: obtain.Obtained,
    inputs: _Inputs,
    on: engine.Engine,
    *,
    locked: bool,
    progress: Progress,
    watch: terminal.Stopwatch,
) -> artifact.Artifact:
    from builder.build import engine_build  # noqa: PLC0415 - not when nothing has changed

    with watch.stage("bundle"):
        progress.step("checking the bundle")
        bundle = _read_bundle(source)
    with watch.stage("build"), run.start(on) as identity, artifact.staging(target.dist_folder(chosen)) as staged:
        holds = image.inventory(inputs.image, on, identity)
        rendered = render.render(
            name=chosen.name,
            base=inputs.image.base,
            plan=_plan(chosen, bundle),
            bundle_files=files.paths(source.folder),
        )
        written = render.write(rendered, staged)
        if files.content_hash(staged / artifact.CONTEXT / "bundle") != inputs.bundle:
            raise errors.BundleError([f"{source.said}: changed while it was read; run it again"])
        made = engine_build.build(written, staged / artifact.PICKLE, on, identity, progress=progress)
        record = _manifest(chosen, inputs, bundle, holds, made)
        if locked:
            locking.check_made(chosen, record)  # before it takes the place of what is there
        return artifact.commit(staged, target.dist_folder(chosen), record)


def _manifest(
    chosen: config.Config,
    inputs: _Inputs,
    bundle: bundle_model.Bundle,
    holds: image.Inventory,
    made: manifest.PickleRecord,
) -> manifest.Manifest:
    return manifest.Manifest(
        name=chosen.name,
        tool=manifest.Tool(version=builder.__version__, inside=inputs.tool),
        image=manifest.RunnerImage(
            kind=inputs.image.kind,
            ref=inputs.image.ref,
            base=inputs.image.base,
            identity=inputs.image.identity,
            platform=inputs.image.platform,
            python=holds.python,
            packages=dict(holds.packages),
        ),
        bundle=manifest.describe_bundle(bundle, inputs.bundle),
        config=manifest.ConfigPart(hash=inputs.config),
        pickle=made,
    )


def _obtain(chosen: config.Config, progress: Progress) -> obtain.Obtained:
    return obtain.obtain(chosen, cache=paths.cache_folder(), progress=progress)


def _hash_bundle(source: obtain.Obtained) -> str:
    with store.named(source.said, source.folder):
        return files.content_hash(source.folder)


def _read_bundle(source: obtain.Obtained) -> bundle_model.Bundle:
    from builder.bundle.storage import read  # noqa: PLC0415 - numpy

    with store.named(source.said, source.folder):
        return read.read(source.folder)


def _plan(chosen: config.Config, bundle: bundle_model.Bundle) -> render.BuildPlan:
    from builder.bundle.kinds import known as kinds  # noqa: PLC0415 - numpy

    steps = bundle.post if chosen.post is None else chosen.post
    fault = post.unbounded_fault(steps, model_bounded=kinds.is_bounded(bundle.model))
    if fault:
        raise errors.ConfigError([f"{chosen.file}: post: {fault}"])
    return render.BuildPlan(post=post.as_data(steps), config=config.build_inputs(chosen))


def _known_base(folder: Path, chosen: config.Config) -> str:
    """Return what FROM can name without an engine: the pin, else what the last build resolved, else the config's."""
    if pinned := locking.pinned_base(chosen):
        return pinned
    by_default = chosen.image.ref == config_values.DEFAULT_IMAGE
    try:
        last = artifact.load(folder).manifest.image
        if by_default or last.ref == chosen.image.ref:
            return last.base
    except errors.ArtifactError:
        pass
    if by_default:
        raise errors.ImageError(
            f"{chosen.file}: image.ref: `default` is not pinned; "
            f"run `{commands.with_config('pin', chosen.file)}`, then this again"
        )
    return chosen.image.ref


def _tell(done: artifact.Artifact, watch: terminal.Stopwatch, *, fresh: bool) -> None:
    said = done.manifest
    packages = ", ".join(f"{name} {said.image.packages[name]}" for name in ("numpy", "pandas", "cloudpickle"))
    print(f"{done.pickle}  ({'made' if fresh else 'nothing changed since it was made'})")
    terminal.print_table(
        [
            ("image", f"{said.image.ref} ({target.KINDS[said.image.kind]})"),
            ("", f"{said.image.base}, {said.image.identity[:19]}..., {said.image.platform}"),
            ("python", f"{said.image.python}, {packages}"),
            ("bundle", f"{said.bundle.kind}, {said.bundle.features} features, {said.bundle.parameters:,} parameters"),
            ("pickle", f"{terminal.size(said.pickle.size)}, protocol {said.pickle.protocol}"),
            ("sha256", said.pickle.sha256),
            ("seconds", watch.line()),
        ]
    )
    _tell_findings(done)
    if said.image.kind != "exact":
        print(target.warning(said.image.kind, done.folder))


def _tell_findings(made: artifact.Artifact) -> None:
    findings = made.manifest.pickle.findings
    if findings:
        again = commands.with_config("verify", made.folder)
        print(f"note: another build of this pickle may give other bytes (`{again}` compares them):")
    for one in findings:
        print(f"  {one.file}:{one.line}: {one.text}")
