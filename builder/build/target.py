"""Resolve the argument of a command, a config file or a ``dist/NAME`` folder, and load the pickle of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import commands, errors, paths
from builder.build import artifact, lock, manifest
from builder.bundle.storage import files
from builder.config import model, resolve
from builder.image import lockfile, runner_image
from builder.image import resolve as image
from builder.registry import reference
from builder.tournament import session, settings

if TYPE_CHECKING:
    from builder.engine import protocol
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Target:
    """A ``dist/NAME`` folder, and its config if it has one."""

    folder: Path
    config: model.Config | None

    @property
    def root(self) -> Path:
        """The folder whose settings and lock file apply."""
        return self.config.root if self.config else Path.cwd()


def get_dist_folder(config: model.Config) -> Path:
    """Return the ``dist/NAME`` folder of a config."""
    return config.root / "dist" / config.name


def find_target(text: str) -> Target:
    """Return the config and folder that a command line argument names.

    Raises:
        errors.UsageError: It is neither a config nor a folder.
        errors.ConfigError: The config is invalid.
    """
    path = Path(text)
    if path.is_dir():
        folder = path.resolve()
        # A folder that is not in dist/ was received from somebody else: a config beside it is not its own.
        file = commands.find_config(folder) if folder.parent.name == "dist" else None
        return Target(folder=folder, config=model.load(file) if file else None)
    if not path.exists() and path.suffix not in {".yaml", ".yml"}:
        raise errors.UsageError(f"{text}: not a config or a folder; pass configs/NAME.yaml or dist/NAME")
    config = model.load(path)
    return Target(folder=get_dist_folder(config), config=config)


def load_artifact(target: Target, progress: Progress, *, locked: bool = False) -> artifact.Artifact:
    """Load a pickle, and check that the config, the pin and the bundle are still those it was built from.

    Args:
        target: The config or the folder.
        progress: Receives each step, if the bundle has to be fetched.
        locked: Refuse a pickle that differs from the lock file.

    Raises:
        errors.ArtifactError: There is no pickle, or the config, the pin or the bundle changed since it was built.
        errors.RefusedError: With ``locked``, the pickle differs from the lock file.
        errors.BundleError: The bundle does not exist.
        errors.NetworkError: The bundle could not be fetched.
    """
    config = target.config
    if config is None:
        if locked:
            raise errors.RefusedError(
                f"{target.folder}: no config of this name found, so {lockfile.NAME} has no entry for it; "
                "pass a config, or run it without LOCKED=1 (--locked)"
            )
        return artifact.load(target.folder)
    if locked:
        lock.check(config)  # before a bundle is fetched
    built = artifact.load(target.folder)
    folder: Path | None = None
    if config.pickle:
        content_hash, source = hash_pickle(config.pickle), str(config.pickle)
    else:
        bundle = resolve.resolve_bundle(config, cache=paths.cache_folder(), progress=progress)
        content_hash, source, folder = files.hash_bundle(bundle.folder), bundle.display_name, bundle.folder
    if locked:
        lock.check(config, bundle=content_hash)
        lock.check_manifest(config, built.manifest)
    changed = []
    if manifest.hash_config(model.select_build_inputs(config)) != built.manifest.config.hash:
        changed.append(str(config.file))
    if lock_file := lock.find_moved_pin(config, built.manifest):
        changed.append(f"{lock_file} (its pin)")
    recorded_hash = built.manifest.bundle.hash
    if content_hash != recorded_hash and not (folder and _was_converted(folder, recorded_hash)):
        changed.append(source)
    if changed:
        command = commands.suggest("pickle", config.file)
        action, done = ("adopt", "adopted") if config.pickle else ("build", "built")
        raise errors.ArtifactError(
            f"{built.pickle}: {' and '.join(changed)} changed since it was {done}; run `{command}` to {action} it again"
        )
    return built


def hash_pickle(path: Path) -> str:
    """Return the sha256 of a finished pickle.

    Raises:
        errors.ConfigError: It cannot be read.
    """
    try:
        return artifact.hash_file(path)
    except OSError as error:
        problem = f"{path}: cannot be read: {error.strerror}; restore it, or adopt the pickle again"
        raise errors.ConfigError([problem]) from error


def _was_converted(bundle: Path, old_hash: str) -> bool:
    """Return whether a bundle was converted to the current format from the one with this hash: the same model."""
    from builder.bundle.storage import convert, read  # noqa: PLC0415 - numpy, for a rare case

    return read.read(bundle).trained.get(convert.CONVERTED_FROM) == old_hash


def find_image(
    target: Target, built: artifact.Artifact, engine: protocol.Engine, progress: Progress
) -> image.ResolvedImage:
    """Return the image that a pickle was built in; see :func:`builder.image.resolve.find_recorded_image`.

    Raises:
        errors.RefusedError: The image is not the tournament's, and only the manifest, which may come from somebody
            else, names it.
    """
    recorded, registry = built.manifest.image, session.read_registry(target.root)
    if target.config is None and not _is_allowed(recorded, registry, target.root):
        trust = f"pin it here: `python -m builder pin {recorded.ref}`"
        if reference.parse(recorded.ref).tag is None:
            trust = "write a config with this image (image.ref)"
        raise errors.RefusedError(
            f"{built.folder}: was built in {recorded.base}, which is not one of the tournament's images; it is not "
            f"run, because the folder may come from somebody else; if you trust the image, {trust}"
        )
    rebuild_command = commands.suggest("pickle", built.folder)
    return image.find_recorded_image(
        recorded, engine, registry=registry, progress=progress, rebuild_command=rebuild_command
    )


def _is_allowed(recorded: runner_image.RunnerImage, registry: str, root: Path) -> bool:
    """Return whether an image that no config names may be run: only exact images are ever pulled."""
    # Local images and stand-ins have to be on this engine already, so that somebody here has built or loaded them.
    if recorded.kind != "exact" or settings.is_tournament_image(recorded.base, registry):
        return True
    images = lockfile.read(root).images
    pinned = {reference.parse(pin.ref or key).name for key, pin in images.items() if pin.digest == recorded.identity}
    return reference.parse(recorded.base).name in pinned
