"""The lock file and a build: what was built is recorded in it; with LOCKED=1 anything else is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands, errors
from builder.config import model as config
from builder.config import values as config_values
from builder.image import choose, lockfile, pinning
from builder.image import resolve as image
from builder.tournament import session

if TYPE_CHECKING:
    from pathlib import Path

    from builder.build import manifest
    from builder.image import runner_image
    from builder.progress import Progress


def check(
    chosen: config.Config,
    *,
    bundle: str | None = None,
    found: image.ResolvedImage | runner_image.RunnerImage | None = None,
    pickle: str | None = None,
) -> None:
    """Refuse what the lock file does not name.

    Args:
        chosen: The config.
        bundle: Hash of its bundle; None before that is known.
        found: The image; None before it is resolved.
        pickle: Hash of the pickle; None before it is built.

    Raises:
        errors.RefusedError: There is no lock file, it does not name the model, or it names another part of it.
    """
    stand_in = chosen.image.stand_in
    again = commands.suggest("pickle", chosen.file, *(["--pull"] if stand_in else []))
    unlocked = f"run `{again}` without LOCKED=1 (--locked)"
    if stand_in:
        unlocked = (
            f"a build in the stand-in {stand_in} is never recorded: {unlocked} where the exact image can be pulled"
        )
    fix = f"; {unlocked}, which writes it, then review the file and commit it"
    path, key = chosen.root / lockfile.NAME, config.normalize_reference(chosen.image.ref)
    if not path.is_file():
        raise errors.RefusedError(f"{path}: no such file, and LOCKED=1 (--locked) allows only what it names{fix}")
    different = pinning.find_lock_differences(
        lockfile.read(chosen.root),
        key,
        chosen.name,
        image=(found.kind, found.identity) if found else None,
        bundle=bundle,
        pickle=pickle,
    )
    if different:
        raise errors.RefusedError(
            f"{chosen.name} is not what {path} names, and LOCKED=1 (--locked) allows nothing else: "
            f"{', '.join(different)}{fix}"
        )


def check_made(chosen: config.Config, made: manifest.Manifest) -> None:
    """Refuse a model that is not the one of the lock file.

    Raises:
        errors.RefusedError: It is another.
    """
    check(chosen, bundle=made.bundle.hash, found=made.image, pickle=made.pickle.sha256)


def record(choice: choose.ChosenImage, chosen: config.Config, made: manifest.Manifest, *, progress: Progress) -> str:
    """Write down what was made: its image's pin, where there is none, and the model; return the lines that are new."""
    if made.image.kind != "exact":
        return ""
    key, digest = choice.key, made.image.identity
    by_default = key == config_values.DEFAULT_IMAGE
    pin = lockfile.create_pin(
        digest,
        day=choose.today(),
        python=made.image.python,
        labels=choice.image.labels,
        ref=choice.image.ref if by_default else "",
    )
    model = lockfile.LockedModel(image=digest, bundle=made.bundle.hash, pickle=made.pickle.sha256)

    def edit(lock: lockfile.LockFile) -> lockfile.LockFile:
        needs_pin = key not in lock.images and pinning.digest_from_key(key) is None
        return (lock.with_pin(key, pin) if needs_pin else lock).with_model(chosen.name, model)

    before, after = lockfile.update(
        chosen.root, edit, on_wait=lambda holder: progress.note(f"waiting for {lockfile.NAME} ({holder})")
    )
    path = chosen.root / lockfile.NAME
    if after.images != before.images:
        source = pinning.format_stand_in_note(key, session.read_registry(chosen.root))
        progress.note(f"note: {key} is pinned in {path} now: {digest[:19]}..." + (f" ({source})" if source else ""))
    if after.models != before.models:
        progress.note(
            f"note: {path} names {chosen.name} now: review its lines and commit the file (LOCKED=1 goes by it)"
        )
    return lockfile.format_added_entries(before, after)


def has_moved(chosen: config.Config, made: manifest.Manifest) -> Path | None:
    """Return the lock file where it pins another image than an exact one that a model was made in."""
    key = config.normalize_reference(chosen.image.ref)
    digest = pinning.find_pinned_digest(lockfile.read(chosen.root), key)
    moved = digest is not None and made.image.kind == "exact" and made.image.identity != digest
    return chosen.root / lockfile.NAME if moved else None
