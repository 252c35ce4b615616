"""From a bundle to its config: complete, commented, and asking nothing that the bundle or ``features.json`` tells."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import config, errors, feature_match, init_text, paths, post, secret_scan, typed_kinds, yaml_scalar
from builder.bundle import archive, files, read, store

if TYPE_CHECKING:
    from builder.bundle import model as bundle_model

_NAME = re.compile(r"[a-z0-9_-]{1,40}")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked for.

    Attributes:
        bundle: A folder or a zip.
        root: The folder that holds ``configs/``, or will.
        name: Of the config; None for the bundle's, made to fit.
        features: A ``features.json``; None for those that lie at the root.
        force: Whether what is there may be replaced.
    """

    bundle: Path
    root: Path
    name: str | None = None
    features: Path | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        config: The config's path.
        name: Of the config.
        root: What holds ``configs/``.
        bundle: The bundle that the config names: a copy where the given one cannot be named.
        notes: What a person should know, a line each.
    """

    config: Path
    name: str
    root: Path
    bundle: Path
    notes: tuple[str, ...]


def init(wish: Wish, *, cache: Path) -> Written:
    """Write ``configs/NAME.yaml`` for a bundle.

    Args:
        wish: What is asked for.
        cache: Where a zip is unpacked to.

    Raises:
        errors.BundleError: The bundle has faults.
        errors.UsageError: The root is no folder, the name cannot be one, or the ``features.json`` has faults.
        errors.RefusedError: A config, or another bundle where this one would be copied to, is there already.
        OSError: Something cannot be written.
    """
    root = Path(os.path.realpath(wish.root))
    configs = root / "configs"
    _check_folders(root, configs)
    folder = store.folder_of(wish.bundle, cache)
    with store.named(wish.bundle, folder):
        bundle = read.read(folder)
    name = _name(wish)
    target = configs / f"{name}.yaml"
    if target.exists() and not wish.force:
        raise errors.RefusedError(
            f"{target}: is there already and is not replaced; pass --force to write it anew, or --name for another"
        )
    match, notes = _match(bundle, wish, root)
    given = Path(os.path.realpath(wish.bundle))
    place = given if _can_be_named(given, root, configs) else configs / "bundles" / f"{name}{archive.SUFFIX}"
    configs.mkdir(exist_ok=True)
    if place != given:
        _copy(folder, place, wish, cache)
        notes.append(f"the bundle was copied to {place.relative_to(root)}: a config names what lies below its root")
    steps = init_text.steps_of(bundle)
    text = init_text.render(
        bundle,
        name=name,
        path=_relative(place, configs),
        match=match,
        steps=steps,
        has_schema=(configs / "schema.json").is_file(),
    )
    paths.write_atomically(target, text.encode())
    config.load(target)  # what is written is what loads
    notes += [steps.note] if steps.note else []
    return Written(config=target, name=name, root=root, bundle=place, notes=(match.text, *notes))


def _check_folders(root: Path, configs: Path) -> None:
    if not root.is_dir():
        raise errors.UsageError(f"{root}: is no folder; name the one that holds configs/, or will, by --root")
    if os.path.lexists(configs) and (not configs.is_dir() or configs.resolve() != configs):
        raise errors.UsageError(f"{configs}: is a link or no folder; move it away, or name another folder by --root")


def _name(wish: Wish) -> str:
    if wish.name is not None:
        if not _NAME.fullmatch(wish.name):
            shown = typed_kinds.show(wish.name)
            raise errors.UsageError(f"--name {shown}: cannot name a config; 1 to 40 of a-z 0-9 _ - are needed")
        return wish.name
    stem = Path(os.path.realpath(wish.bundle)).name.removesuffix(archive.SUFFIX).removesuffix(".zip")
    return re.sub(r"[^a-z0-9_-]+", "_", stem.lower())[:40].strip("_-") or "model"


def _match(bundle: bundle_model.Bundle, wish: Wish, root: Path) -> tuple[feature_match.Match, list[str]]:
    benchmarks = (*bundle.benchmarks, *post.needs(bundle.post).benchmarks)
    try:
        return feature_match.match(bundle.features, benchmarks, root=root, given=wish.features)
    except ValueError as error:
        raise errors.UsageError(f"--features: {error}") from error


def _can_be_named(bundle: Path, root: Path, configs: Path) -> bool:
    """Tell whether a config can name a bundle where it lies: below the root, by a path that YAML can hold."""
    if not bundle.is_relative_to(root) or configs.is_relative_to(bundle):
        return False
    if not bundle.is_dir() and bundle.suffix != ".zip":
        return False
    relative = _relative(bundle, configs)
    return not (yaml_scalar.UNPRINTABLE.search(relative) or secret_scan.find({"bundle": relative}, {}))


def _relative(bundle: Path, configs: Path) -> str:
    return Path(os.path.relpath(bundle, configs)).as_posix()


def _copy(folder: Path, place: Path, wish: Wish, cache: Path) -> None:
    """Put a bundle where a config can name it, as one file."""
    if place.is_dir() or (place.exists() and not wish.force and not _is_same(place, folder, cache)):
        raise errors.RefusedError(
            f"{place}: something else is there already; move it away, pass --force to replace a bundle, or --name for "
            "another name"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            archive.pack(folder, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


def _is_same(place: Path, folder: Path, cache: Path) -> bool:
    """Tell whether a zip holds the bundle that is in a folder."""
    try:
        return files.content_hash(store.folder_of(place, cache)) == files.content_hash(folder)
    except errors.BundleError:
        return False
