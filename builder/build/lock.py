"""Record builds in the lock file, and with LOCKED=1 refuse every build that it does not contain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands, errors
from builder.config import model as config_model
from builder.config import values as config_values
from builder.image import choose, lockfile, pinning
from builder.tournament import session

if TYPE_CHECKING:
    from pathlib import Path

    from builder.build import manifest
    from builder.image import resolve, runner_image
    from builder.progress import Progress


def check(
    config: config_model.Config,
    *,
    bundle: str | None = None,
    image: resolve.ResolvedImage | runner_image.RunnerImage | None = None,
    pickle: str | None = None,
) -> None:
    """Refuse a build that differs from the model's entry in the lock file.

    Args:
        config: The config.
        bundle: Hash of its bundle; None before it is known.
        image: The image; None before it is resolved.
        pickle: Hash of the pickle; None before it is built.

    Raises:
        errors.RefusedError: There is no lock file, it has no entry for the model, or the entry differs.
    """
    stand_in = config.image.stand_in
    # After a failed pull, the stand-in is used for a day without asking the registry again, except with --pull.
    command = commands.suggest("pickle", config.file, *(["--pull"] if stand_in else []))
    fix = f"run `{command}` without LOCKED=1 (--locked)"
    if stand_in:
        fix = f"builds in the stand-in {stand_in} are not recorded: {fix} on a machine that can pull the exact image"
    fix = f"; {fix}, which writes the entry, then review the file and commit it"
    path, key = lockfile.find(config.root), config_model.normalize_reference(config.image.ref)
    if not path.is_file():
        raise errors.RefusedError(f"{path}: not found, and LOCKED=1 (--locked) allows only what it contains{fix}")
    differences = pinning.find_lock_differences(
        lockfile.read(config.root),
        key,
        config.name,
        image=(image.kind, image.identity) if image else None,
        bundle=bundle,
        pickle=pickle,
    )
    if differences:
        raise errors.RefusedError(
            f"{config.name} differs from its entry in {path}, and LOCKED=1 (--locked) allows only what it contains: "
            f"{', '.join(differences)}{fix}"
        )


def check_manifest(config: config_model.Config, manifest: manifest.Manifest) -> None:
    """Refuse a built pickle that differs from the model's entry in the lock file.

    Raises:
        errors.RefusedError: It differs.
    """
    check(config, bundle=manifest.bundle.hash, image=manifest.image, pickle=manifest.pickle.sha256)


def record(
    chosen_image: choose.ChosenImage, config: config_model.Config, manifest: manifest.Manifest, *, progress: Progress
) -> str:
    """Record a build in an exact image: the model, and the image's pin if it has none; return the added lines."""
    # Other images have no digest in a registry, by which another machine could get the same image.
    if manifest.image.kind != "exact":
        return ""
    key, digest = chosen_image.key, manifest.image.identity
    by_default = key == config_values.DEFAULT_IMAGE
    pin = lockfile.create_pin(
        digest,
        day=choose.today(),
        python=manifest.image.python,
        labels=chosen_image.image.labels,
        ref=chosen_image.image.ref if by_default else "",
    )
    model = lockfile.LockedModel(image=digest, bundle=manifest.bundle.hash, pickle=manifest.pickle.sha256)

    def edit(lock: lockfile.LockFile) -> lockfile.LockFile:
        # A reference with a digest needs no pin; an existing pin is only changed by `make pin`.
        needs_pin = key not in lock.images and pinning.digest_from_key(key) is None
        return (lock.with_pin(key, pin) if needs_pin else lock).with_model(config.name, model)

    before, after = lockfile.update(
        config.root, edit, on_wait=lambda holder: progress.note(f"waiting for {lockfile.NAME} ({holder})")
    )
    path = lockfile.find(config.root)
    if after.images != before.images:
        source = pinning.format_stand_in_note(key, session.read_registry(config.root))
        progress.note(f"note: pinned {key} in {path}: {digest[:19]}..." + (f" ({source})" if source else ""))
    if after.models != before.models and path == config.root / lockfile.NAME:  # not for the file of a sandbox
        progress.note(f"note: recorded {config.name} in {path}: review its lines and commit the file for LOCKED=1")
    return lockfile.format_added_entries(before, after)


def find_moved_pin(config: config_model.Config, manifest: manifest.Manifest) -> Path | None:
    """Return the lock file if it pins another image than the exact one that a model was built in."""
    key = config_model.normalize_reference(config.image.ref)
    digest = pinning.find_pinned_digest(lockfile.read(config.root), key)
    has_moved = digest is not None and manifest.image.kind == "exact" and manifest.image.identity != digest
    return lockfile.find(config.root) if has_moved else None
