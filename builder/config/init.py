"""Write a complete, commented config for a bundle, filled in from the bundle and ``features.json``."""

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
    """The arguments of ``init``.

    Attributes:
        bundle: A folder or a zip.
        root: The folder that contains ``configs/``, or will contain it.
        name: Of the config; None to derive one from the bundle's file name.
        features: A ``features.json``; None to search below the root.
        force: Whether an existing config or bundle may be replaced.
    """

    bundle: Path
    root: Path
    name: str | None = None
    features: Path | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class InitResult:
    """The written config.

    Attributes:
        config: The config's path.
        name: Of the config.
        root: The folder that contains ``configs/``.
        bundle: The bundle that the config names: a copy if the config cannot name the original.
        notes: Messages for the user, one line each.
    """

    config: Path
    name: str
    root: Path
    bundle: Path
    notes: tuple[str, ...]


def init(request: InitRequest, *, cache: Path) -> InitResult:
    """Write ``configs/NAME.yaml`` for a bundle.

    Args:
        request: The arguments.
        cache: The folder that a zip is unpacked to.

    Raises:
        errors.BundleError: The bundle is invalid.
        errors.UsageError: The root is not a folder, the name is invalid, or the ``features.json`` is.
        errors.RefusedError: The config exists, or another bundle does at the path for the copy.
        errors.ConfigError: The new config does not load; nothing is written.
        OSError: Something cannot be written.
    """
    root = Path(os.path.realpath(request.root))
    configs = root / "configs"
    check_folders(root, configs)
    folder = store.resolve_folder(request.bundle, cache)
    with store.report_as(request.bundle, folder):
        bundle = read.read(folder)
    stem = Path(os.path.realpath(request.bundle)).name.removesuffix(archive.SUFFIX).removesuffix(".zip")
    name = choose_name(request.name, stem)
    target = configs / f"{name}.yaml"
    match, notes = _match_features(bundle, request, root)
    source = Path(os.path.realpath(request.bundle))
    path = source if _can_be_named(source, root, configs) else configs / "bundles" / f"{name}{archive.SUFFIX}"
    _check_target(target, path if path != source else None, force=request.force)
    if path != source:
        _check_copy_target(path, folder, request, cache)
        notes.append(f"the bundle was copied to {path.relative_to(root)}: a config can only name paths below its root")
    steps = init_text.choose_steps(bundle)
    text = init_text.render(
        bundle,
        name=name,
        path=_format_relative(path, configs),
        match=match,
        steps=steps,
        has_schema=(configs / "schema.json").is_file(),
    )
    configs.mkdir(exist_ok=True)
    with restore_on_error(target), restore_on_error(path) if path != source else contextlib.nullcontext():
        if path != source:
            _copy(folder, path)
        paths.write_atomically(target, text.encode())
        config.load(target)  # never leave a config that does not load
    notes += [steps.note] if steps.note else []
    return InitResult(config=target, name=name, root=root, bundle=path, notes=(match.text, *notes))


def check_folders(root: Path, configs: Path) -> None:
    """Refuse a root that is not a folder, and a ``configs/`` that is a link or not a folder.

    Raises:
        errors.UsageError: One of them is.
    """
    if not root.is_dir():
        raise errors.UsageError(f"{root} is not a folder; pass --root with the folder for configs/")
    # A link could lead out of the root, and every path of a config has to be below the root.
    if os.path.lexists(configs) and (not configs.is_dir() or configs.resolve() != configs):
        raise errors.UsageError(
            f"{configs}: is a link or not a folder; move it away, or pass --root with another folder"
        )


def choose_name(name: str | None, stem: str) -> str:
    """Return a config's name: the one of ``--name``, or else one made from ``stem``, such as a file's name.

    Raises:
        errors.UsageError: The name is invalid.
    """
    if name is None:
        return re.sub(r"[^a-z0-9_-]+", "_", stem.lower())[:40].strip("_-") or "model"
    if not _NAME.fullmatch(name):
        raise errors.UsageError(f"--name {describe(name)}: invalid name of a config; expected 1 to 40 of a-z 0-9 _ -")
    return name


def _match_features(
    bundle: bundle_model.Bundle, request: InitRequest, root: Path
) -> tuple[feature_match.Match, list[str]]:
    benchmarks = (*bundle.benchmarks, *post.find_required_columns(bundle.post).benchmarks)
    try:
        return feature_match.match(bundle.features, benchmarks, root=root, file=request.features)
    except ValueError as error:
        raise errors.UsageError(f"--features: {error}") from error


def _can_be_named(bundle: Path, root: Path, configs: Path) -> bool:
    """Return whether a config can name a bundle at its own path: below the root, printable, and not like a secret."""
    if not bundle.is_relative_to(root) or configs.is_relative_to(bundle):
        return False
    if not bundle.is_dir() and bundle.suffix != ".zip":
        return False
    relative = _format_relative(bundle, configs)
    return not (strict_yaml.UNPRINTABLE.search(relative) or secret_scan.find({"bundle": relative}, {}))


def _format_relative(bundle: Path, configs: Path) -> str:
    return Path(os.path.relpath(bundle, configs)).as_posix()


def _check_target(target: Path, copy: Path | None, *, force: bool) -> None:
    """Refuse to replace a config, unless ``force``; ``copy`` is the path to which the bundle would be copied."""
    if os.path.lexists(target) and not (target.is_file() and force):
        fix = "pass --force (make: FORCE=1) to replace it, or --name (make: NAME=...) to write another one"
        if copy is not None and copy.is_file():
            fix = f"to keep the config and replace its bundle, copy the new one to {copy}; or {fix}"
        if not target.is_file():
            fix = "it is not a regular file: move it away, or pass --name to write another one"
        raise errors.RefusedError(f"{target}: already exists; {fix}")


def _check_copy_target(path: Path, folder: Path, request: InitRequest, cache: Path) -> None:
    """Refuse to copy a bundle through a link, over another file, or, without ``force``, over another bundle."""
    check_copy_folder(path.parent, "bundle")
    if not os.path.lexists(path):
        return
    if not path.is_file() or not (_is_same(path, folder, cache) or (request.force and _is_bundle(path))):
        raise errors.RefusedError(
            f"{path}: already exists and is not this bundle; move it away, pass --force to replace a bundle, or --name "
            "for another name"
        )


def check_copy_folder(folder: Path, noun: str) -> None:
    """Refuse to copy a bundle or a pickle through a link.

    Raises:
        errors.RefusedError: The folder is a link, or not a folder.
    """
    if os.path.lexists(folder) and (not folder.is_dir() or folder.resolve() != folder):
        raise errors.RefusedError(
            f"{folder}: is a link or not a folder, and the {noun} would be copied into it; move it away, or put "
            f"the {noun} below {folder.parent.parent} yourself"
        )


def _copy(folder: Path, path: Path) -> None:
    """Pack a bundle's folder into a zip, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            archive.pack(folder, file)
            # Reports a full disk now, while the old file is still there.
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def restore_on_error(path: Path) -> Iterator[None]:
    """Restore the file at a path, or remove a new one, if the body of the ``with`` statement fails."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.is_file():
        try:
            os.link(path, old, follow_symlinks=False)  # keeps the content when the path is replaced
        except OSError:  # a file system without hard links
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


def _is_same(path: Path, folder: Path, cache: Path) -> bool:
    """Return whether a zip contains the same bundle as a folder."""
    try:
        return files.hash_bundle(store.resolve_folder(path, cache)) == files.hash_bundle(folder)
    except errors.BundleError:
        return False
