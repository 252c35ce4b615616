"""What a command is pointed at: a config file, or a ``dist/NAME`` folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import commands, errors, paths
from builder.build import artifact, manifest
from builder.build import lock as locking
from builder.bundle.storage import files
from builder.config import model as config
from builder.config import resolve
from builder.image import lockfile, runner_image
from builder.image import resolve as image
from builder.registry import reference
from builder.tournament import session, settings

if TYPE_CHECKING:
    from builder.engine import protocol as engine
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Target:
    """A ``dist/NAME`` folder, and its config where there is one."""

    folder: Path
    config: config.Config | None

    @property
    def root(self) -> Path:
        """The folder with the settings and the lock file that hold for it."""
        return self.config.root if self.config else Path.cwd()


def dist_folder(chosen: config.Config) -> Path:
    """Return where the results of a config go."""
    return chosen.root / "dist" / chosen.name


def find_target(text: str) -> Target:
    """Return what a command line argument names.

    Raises:
        errors.UsageError: it is neither a config nor a folder.
        errors.ConfigError: the config has faults.
    """
    path = Path(text)
    if path.is_dir():
        folder = path.resolve()
        # A folder elsewhere is somebody else's: what lies around it is no config of it.
        file = commands.find_config(folder) if folder.parent.name == "dist" else None
        return Target(folder=folder, config=config.load(file) if file else None)
    if not path.exists() and path.suffix not in {".yaml", ".yml"}:
        raise errors.UsageError(f"{text}: is neither a config nor a folder; name configs/NAME.yaml or dist/NAME")
    chosen = config.load(path)
    return Target(folder=dist_folder(chosen), config=chosen)


def load_artifact(chosen: Target, progress: Progress, *, locked: bool = False) -> artifact.Artifact:
    """Return the artifact, once it is found to be of the config, the pin and the bundle as they are now.

    Args:
        chosen: What the command is pointed at.
        progress: Told of a fetch, where the bundle is not here.
        locked: It must be what the lock file says.

    Raises:
        errors.ArtifactError: there is none, or the config, the pin or the bundle changed since it was made.
        errors.RefusedError: it is not what the lock file says.
        errors.BundleError: there is no bundle any more.
        errors.NetworkError: the bundle could not be fetched.
    """
    if chosen.config is None:
        if locked:
            raise errors.RefusedError(
                f"{chosen.folder}: no config has this name, so that {lockfile.NAME} cannot name it; "
                "name a config, or run it without LOCKED=1 (--locked)"
            )
        return artifact.load(chosen.folder)
    if locked:
        locking.check(chosen.config)
    made = artifact.load(chosen.folder)
    source = resolve.resolve_bundle(chosen.config, cache=paths.cache_folder(), progress=progress)
    bundle = files.hash_bundle(source.folder)
    if locked:
        locking.check(chosen.config, bundle=bundle)
        locking.check_made(chosen.config, made.manifest)
    changed = []
    if manifest.hash_config(config.select_build_inputs(chosen.config)) != made.manifest.config.hash:
        changed.append(str(chosen.config.file))
    if lock := locking.has_moved(chosen.config, made.manifest):
        changed.append(f"{lock} (its pin)")
    if bundle != made.manifest.bundle.hash and not _was_converted(source.folder, made.manifest.bundle.hash):
        changed.append(source.said)
    if changed:
        again = commands.suggest("pickle", chosen.config.file)
        raise errors.ArtifactError(
            f"{made.pickle}: {' and '.join(changed)} changed since it was made; run `{again}` to build it again"
        )
    return made


def _was_converted(bundle: Path, before: str) -> bool:
    """Tell whether a bundle is one of this hash, brought from format 1 to the present one."""
    from builder.bundle.storage import convert, read  # noqa: PLC0415 - numpy, for what hardly ever is

    return read.read(bundle).trained.get(convert.CONVERTED_FROM) == before


def find_image(
    chosen: Target, made: artifact.Artifact, engine: engine.Engine, progress: Progress
) -> image.ResolvedImage:
    """Return the image that a pickle was built in; see :func:`builder.image.resolve.find_recorded_image`.

    Raises:
        errors.RefusedError: Only the manifest, which may be a stranger's, names an image that is not the tournament's.
    """
    recorded, registry = made.manifest.image, session.read_registry(chosen.root)
    if chosen.config is None and not _is_allowed(recorded, registry, chosen.root):
        trust = f"pin it here: `python -m builder pin {recorded.ref}`"
        if reference.parse(recorded.ref).tag is None:
            trust = "write a config that names it (image.ref)"
        raise errors.RefusedError(
            f"{made.folder}: was built in {recorded.base}, which is not one of the tournament's images, so it is not "
            f"run here: only the manifest, which may be a stranger's, names it; if you trust that image, {trust}"
        )
    again = commands.suggest("pickle", made.folder)
    return image.find_recorded_image(recorded, engine, registry=registry, progress=progress, rebuild_command=again)


def _is_allowed(recorded: runner_image.RunnerImage, registry: str, root: Path) -> bool:
    """Tell whether an image may be run though no config names it: nothing but an exact one is ever pulled."""
    if recorded.kind != "exact" or settings.is_tournament_image(recorded.base, registry):
        return True
    name, images = reference.parse(recorded.base).name, lockfile.read(root).images
    named = {reference.parse(pin.ref or key).name for key, pin in images.items() if pin.digest == recorded.identity}
    return name in named
