"""From a bundle to its config: complete, commented, and asking nothing that the bundle or ``features.json`` tells."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, paths, secret_scan
from builder.bundle import post
from builder.bundle.storage import archive, files, read, store
from builder.config import feature_match, init_text, strict_yaml
from builder.config import model as config
from builder.text import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.bundle import model as bundle_model

_NAME = re.compile(r"[a-z0-9_-]{1,40}")


@dataclass(frozen=True, kw_only=True)
class InitRequest:
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
class InitResult:
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


def init(wish: InitRequest, *, cache: Path) -> InitResult:
    """Write ``configs/NAME.yaml`` for a bundle.

    Args:
        wish: What is asked for.
        cache: Where a zip is unpacked to.

    Raises:
        errors.BundleError: The bundle has faults.
        errors.UsageError: The root is no folder, the name cannot be one, or the ``features.json`` has faults.
        errors.RefusedError: A config, or another bundle where this one would be copied to, is there already.
        errors.ConfigError: What would be written does not load; nothing is.
        OSError: Something cannot be written.
    """
    root = Path(os.path.realpath(wish.root))
    configs = root / "configs"
    _check_folders(root, configs)
    folder = store.resolve_folder(wish.bundle, cache)
    with store.report_as(wish.bundle, folder):
        bundle = read.read(folder)
    name = _name(wish)
    target = configs / f"{name}.yaml"
    _check_target(target, force=wish.force)
    match, notes = _match(bundle, wish, root)
    given = Path(os.path.realpath(wish.bundle))
    place = given if _can_be_named(given, root, configs) else configs / "bundles" / f"{name}{archive.SUFFIX}"
    if place != given:
        _check_place(place, folder, wish, cache)
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
    configs.mkdir(exist_ok=True)
    with _back_on_failure(target), _back_on_failure(place) if place != given else contextlib.nullcontext():
        if place != given:
            _copy(folder, place)
        paths.write_atomically(target, text.encode())
        config.load(target)  # what is written is what loads
    notes += [steps.note] if steps.note else []
    return InitResult(config=target, name=name, root=root, bundle=place, notes=(match.text, *notes))


def _check_folders(root: Path, configs: Path) -> None:
    if not root.is_dir():
        raise errors.UsageError(f"{root}: is not a folder; name the one that holds configs/, or will, by --root")
    if os.path.lexists(configs) and (not configs.is_dir() or configs.resolve() != configs):
        raise errors.UsageError(f"{configs}: is a link or not a folder; move it away, or name another folder by --root")


def _name(wish: InitRequest) -> str:
    if wish.name is not None:
        if not _NAME.fullmatch(wish.name):
            shown = describe(wish.name)
            raise errors.UsageError(f"--name {shown}: cannot name a config; expected 1 to 40 of a-z 0-9 _ -")
        return wish.name
    stem = Path(os.path.realpath(wish.bundle)).name.removesuffix(archive.SUFFIX).removesuffix(".zip")
    return re.sub(r"[^a-z0-9_-]+", "_", stem.lower())[:40].strip("_-") or "model"


def _match(bundle: bundle_model.Bundle, wish: InitRequest, root: Path) -> tuple[feature_match.Match, list[str]]:
    benchmarks = (*bundle.benchmarks, *post.find_required_columns(bundle.post).benchmarks)
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
    return not (strict_yaml.UNPRINTABLE.search(relative) or secret_scan.find({"bundle": relative}, {}))


def _relative(bundle: Path, configs: Path) -> str:
    return Path(os.path.relpath(bundle, configs)).as_posix()


def _check_target(target: Path, *, force: bool) -> None:
    if os.path.lexists(target) and not (target.is_file() and force):
        forced = "pass --force (make: FORCE=1) to write it again, or --name (make: NAME=...) for another"
        cure = forced if target.is_file() else "it is not a plain file: move it away, or pass --name for another"
        raise errors.RefusedError(f"{target}: is there already and is not replaced; {cure}")


def _check_place(place: Path, folder: Path, wish: InitRequest, cache: Path) -> None:
    """Refuse to copy a bundle over what is none, over another one unasked, or to where a link leads."""
    if os.path.lexists(place.parent) and (not place.parent.is_dir() or place.parent.resolve() != place.parent):
        raise errors.RefusedError(
            f"{place.parent}: is a link or not a folder, and the bundle would be copied into it; move it away, or put "
            f"the bundle below {place.parent.parent.parent} yourself"
        )
    if not os.path.lexists(place):
        return
    if not place.is_file() or not (_is_same(place, folder, cache) or (wish.force and _is_bundle(place))):
        raise errors.RefusedError(
            f"{place}: something else is there already; move it away, pass --force to replace a bundle, or --name for "
            "another name"
        )


def _copy(folder: Path, place: Path) -> None:
    """Put a bundle where a config can name it, as one file."""
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


@contextlib.contextmanager
def _back_on_failure(path: Path) -> Iterator[None]:
    """Have what was at a path, or nothing, be there again if what follows fails."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.is_file():
        try:
            os.link(path, old, follow_symlinks=False)
        except OSError:  # a file system without links
            shutil.copyfile(path, old)
    try:
        yield
    except BaseException:
        if old.exists():
            old.replace(path)
        else:
            path.unlink(missing_ok=True)
        raise
    finally:
        old.unlink(missing_ok=True)


def _is_bundle(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            archive.look(path, file)
    except (errors.BundleError, OSError):
        return False
    return True


def _is_same(place: Path, folder: Path, cache: Path) -> bool:
    """Tell whether a zip holds the bundle that is in a folder."""
    try:
        return files.hash_bundle(store.resolve_folder(place, cache)) == files.hash_bundle(folder)
    except errors.BundleError:
        return False
