"""What a verb is pointed at: a config file, or a ``dist/NAME`` folder."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import artifact, config, errors, manifest, obtain, paths
from builder.bundle import files
from builder.cli import locking

if TYPE_CHECKING:
    from builder.progress import Progress

KINDS = {"exact": "the exact runner image", "local": "a local image", "stand_in": "A STAND-IN, not the runner image"}
WARNINGS = {
    "local": "note: this image has no digest of its registry, so a pickle made in it is not uploaded; "
    "pull the tournament's own image to make one that is",
    "stand_in": """\
********************************************************************************
  MADE IN A STAND-IN, a look-alike of the runner image: good to try things out,
  never to be uploaded. Where the image can be pulled: make pickle PULL=1
********************************************************************************""",
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A ``dist/NAME`` folder, and its config where there is one."""

    folder: Path
    config: config.Config | None


def dist_folder(chosen: config.Config) -> Path:
    """Return where the results of a config go."""
    return chosen.root / "dist" / chosen.name


def find(text: str) -> Target:
    """Return what a command line argument names.

    Raises:
        errors.UsageError: it is neither a config nor a folder.
        errors.ConfigError: the config has faults.
    """
    path = Path(text)
    if path.is_dir():
        folder = path.resolve()
        # A folder elsewhere is somebody else's: what lies around it is no config of it.
        is_ours = folder.parent.name == "dist"
        pattern = f"{glob.escape(folder.name)}.yaml"
        found = (folder.parent.parent / "configs").rglob(pattern) if is_ours else ()
        configs = sorted(path for path in found if path.is_file())
        return Target(folder=folder, config=config.load(configs[0]) if configs else None)
    if not path.exists() and path.suffix not in {".yaml", ".yml"}:
        raise errors.UsageError(f"{text}: is neither a config (configs/NAME.yaml) nor a folder (dist/NAME)")
    chosen = config.load(path)
    return Target(folder=dist_folder(chosen), config=chosen)


def load(chosen: Target, progress: Progress, *, locked: bool = False) -> artifact.Artifact:
    """Return the artifact, once it is found to be of the config, the pin and the bundle as they are now.

    Args:
        chosen: What the verb is pointed at.
        progress: Told of a fetch, where the bundle is not here.
        locked: It must be what the lock file says.

    Raises:
        errors.ArtifactError: there is none, or the config, the pin or the bundle changed since it was made.
        errors.RefusedError: it is not what the lock file says.
        errors.BundleError: there is no bundle any more.
        errors.NetworkError: the bundle could not be fetched.
    """
    made = artifact.load(chosen.folder)
    if locked and chosen.config is None:
        raise errors.UsageError(f"{chosen.folder}: has no config beside it, whose lock file LOCKED=1 goes by: name one")
    if chosen.config is not None:
        changed = []
        if manifest.config_hash(config.build_inputs(chosen.config)) != made.manifest.config.hash:
            changed.append(str(chosen.config.file))
        if lock := locking.has_moved(chosen.config, made.manifest):
            changed.append(f"{lock} (its pin)")
        source = obtain.obtain(chosen.config, cache=paths.cache_folder(), progress=progress)
        if files.content_hash(source.folder) != made.manifest.bundle.hash:
            changed.append(source.said)
        if changed:
            raise errors.ArtifactError(
                f"{made.pickle}: {' and '.join(changed)} changed since it was made; run `make pickle` to make it anew"
            )
        if locked:
            locking.check_made(chosen.config, made.manifest)
    return made
