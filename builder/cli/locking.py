"""Which image a config means, with the lock file: chosen for a build, written down after it, compared before a use."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import commands, errors
from builder.cli import api_session, registries
from builder.config import model as config
from builder.config import values as config_values
from builder.image import lockfile, pinning
from builder.image import resolve as image
from builder.tournament import settings

if TYPE_CHECKING:
    from pathlib import Path

    from builder.build import manifest
    from builder.engine import protocol as engine
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The image that a config means.

    Attributes:
        image: As it was found or made.
        key: Of its pin.
        lock: The lock file as it was read.
    """

    image: image.ResolvedImage
    key: str
    lock: lockfile.Lock


def today() -> str:
    """Return the day, as pins are dated."""
    return dt.datetime.now(dt.UTC).date().isoformat()


def choose(chosen: config.Config, on: engine.Engine, *, pull: bool, locked: bool, progress: Progress) -> Choice:
    """Return the image that a config means: the pinned one, where there is a pin.

    With ``locked``, no stand-in takes its place; :func:`check` must have passed before.

    Raises:
        errors.ImageError: It is not available.
        errors.NetworkError: Nobody says what ``default`` stands for.
    """
    lock, key = lockfile.read(chosen.root), config.canonical_reference(chosen.image.ref)
    stand_in = None if locked else chosen.image.stand_in
    try:
        ref = _reference(chosen, lock, progress)
    except errors.NetworkError as error:
        if stand_in is None:
            raise
        progress.note(f"note: {error}")
        found = image.stand_in_image(chosen.image.ref, stand_in, on, progress)
        return Choice(image=found, key=key, lock=lock)
    source = settings.pull_reference(ref, api_session.read_registry(chosen.root))
    wanted = image.Wanted(ref=ref, source=source, stand_in=stand_in, digest=pinning.pinned(lock, key))
    with registries.connect(progress) as asked:
        found = image.resolve(wanted, on, pull=pull, progress=progress, ask=asked.resolve)
        if pull and key in lock.images:
            _tell_moved(source, lock.images[key], asked, progress)
    return Choice(image=found, key=key, lock=lock)


def check(
    chosen: config.Config,
    *,
    bundle: str | None = None,
    found: image.ResolvedImage | manifest.RunnerImage | None = None,
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
    again = commands.with_config("pickle", chosen.file)
    fix = f"; run `{again}` without LOCKED=1 (--locked), which writes it, then review the file and commit it"
    path, key = chosen.root / lockfile.NAME, config.canonical_reference(chosen.image.ref)
    if not path.is_file():
        raise errors.RefusedError(f"{path}: no such file, and LOCKED=1 (--locked) allows only what it names{fix}")
    different = pinning.disagreements(
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


def record(choice: Choice, chosen: config.Config, made: manifest.Manifest, *, progress: Progress) -> None:
    """Write down what was made: its image's pin, where there is none, and the model."""
    if made.image.kind != "exact":
        return
    key, digest = choice.key, made.image.identity
    by_default = key == config_values.DEFAULT_IMAGE
    pin = lockfile.pin(
        digest,
        day=today(),
        python=made.image.python,
        labels=choice.image.labels,
        ref=choice.image.ref if by_default else "",
    )
    model = lockfile.LockedModel(image=digest, bundle=made.bundle.hash, pickle=made.pickle.sha256)

    def edit(lock: lockfile.Lock) -> lockfile.Lock:
        needs_pin = key not in lock.images and pinning.own_digest(key) is None
        return (lock.with_pin(key, pin) if needs_pin else lock).with_model(chosen.name, model)

    before, after = lockfile.change(
        chosen.root, edit, waiting=lambda holder: progress.note(f"waiting for {lockfile.NAME} ({holder})")
    )
    path = chosen.root / lockfile.NAME
    if after.images != before.images:
        progress.note(f"note: {key} is pinned in {path} now: {digest[:19]}...")
    if after.models != before.models:
        progress.note(
            f"note: {path} names {chosen.name} now: review its lines and commit the file (LOCKED=1 goes by it)"
        )


def pinned_base(chosen: config.Config) -> str | None:
    """Return the reference by digest that a config means; None where nothing pins it."""
    lock, key = lockfile.read(chosen.root), config.canonical_reference(chosen.image.ref)
    digest, pin = pinning.pinned(lock, key), lock.images.get(key)
    ref = (pin.ref if pin else None) or chosen.image.ref
    source = settings.pull_reference(ref, api_session.read_registry(chosen.root))
    return image.Wanted(ref=ref, source=source, digest=digest).name if digest else None


def has_moved(chosen: config.Config, made: manifest.Manifest) -> Path | None:
    """Return the lock file where it pins another image than an exact one that a model was made in."""
    key = config.canonical_reference(chosen.image.ref)
    digest = pinning.pinned(lockfile.read(chosen.root), key)
    moved = digest is not None and made.image.kind == "exact" and made.image.identity != digest
    return chosen.root / lockfile.NAME if moved else None


def _reference(chosen: config.Config, lock: lockfile.Lock, progress: Progress) -> str:
    """Return the reference; what ``default`` stands for is in its pin, else the tournament says."""
    if chosen.image.ref != config_values.DEFAULT_IMAGE:
        return chosen.image.ref
    pin = lock.images.get(config_values.DEFAULT_IMAGE)
    if pin is not None and pin.ref is not None:
        return pin.ref
    progress.step("asking the tournament for its default image")
    with api_session.connect(progress, root=chosen.root, needs_token=False) as asked:
        return pinning.default_reference(asked.images(), api_session.read_registry(chosen.root))


def _tell_moved(ref: str, pin: lockfile.Pin, asked: registries.Registries, progress: Progress) -> None:
    """Say whether the tag means another image by now: a pin is moved by ``make pin`` alone."""
    try:
        now = asked.resolve(ref).digest
    except errors.BuilderError as error:
        progress.note(f"note: whether {ref} has moved is not known: {error}")
        return
    if now != pin.digest:
        progress.note(
            f"note: {ref} is {now[:19]}... at the registry now, and {pin.digest[:19]}... is pinned ({pin.pinned}) and "
            "used: `make pin` pins the new one"
        )
