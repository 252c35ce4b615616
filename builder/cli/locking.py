"""Which image a config means, with the lock file: chosen for a build, written down after it, compared before a use."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import config, config_values, errors, image, pinning, pins
from builder.cli import online, registries

if TYPE_CHECKING:
    from pathlib import Path

    from builder import engine, manifest
    from builder.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The image that a config means.

    Attributes:
        image: As it was found or made.
        key: Of its pin.
        lock: The lock file as it was read.
    """

    image: image.Image
    key: str
    lock: pins.Lock


def today() -> str:
    """Return the day, as pins are dated."""
    return dt.datetime.now(dt.UTC).date().isoformat()


def choose(chosen: config.Config, on: engine.Engine, *, pull: bool, locked: bool, progress: Progress) -> Choice:
    """Return the image that a config means: the pinned one, where there is a pin.

    Raises:
        errors.RefusedError: Nothing may be pinned, and it is not.
        errors.ImageError: It cannot be had.
        errors.NetworkError: Nobody says what ``default`` stands for.
    """
    lock, key = pins.read(chosen.root), config.canonical_reference(chosen.image.ref)
    digest, stand_in = pinning.pinned(lock, key), chosen.image.stand_in
    if locked and digest is None and stand_in is None:
        raise _unpinned(chosen, key)
    try:
        ref = _reference(chosen, lock, progress)
    except errors.NetworkError as error:
        if stand_in is None:
            raise
        progress.note(f"note: {error}")
        found = image.stand_in_image(chosen.image.ref, stand_in, on, progress)
        return Choice(image=found, key=key, lock=lock)
    wanted = image.Wanted(ref=ref, stand_in=stand_in, digest=digest, locked=locked)
    with registries.connect(progress) as asked:
        if locked and digest is None and (pull or on.find_image(ref) is None) and _is_there(ref, asked):
            raise _unpinned(chosen, key)  # before it is pulled: what comes from a registry is exact
        found = image.resolve(wanted, on, pull=pull, progress=progress, ask=asked.resolve)
        if pull and key in lock.images:
            _tell_moved(ref, lock.images[key], asked, progress)
    if locked and digest is None and found.kind == "exact":
        raise _unpinned(chosen, key)
    return Choice(image=found, key=key, lock=lock)


def check(choice: Choice, chosen: config.Config, *, bundle: str) -> None:
    """Refuse, before anything is made, an image or a bundle that the lock file does not name.

    Raises:
        errors.RefusedError: One is another.
    """
    found = choice.image
    _refuse(chosen, choice.lock, choice.key, found.kind, found.identity, bundle=bundle, pickle=None)


def check_made(chosen: config.Config, made: manifest.Manifest) -> None:
    """Refuse a model that is not the one of the lock file.

    Raises:
        errors.RefusedError: It is another.
    """
    lock, key = pins.read(chosen.root), config.canonical_reference(chosen.image.ref)
    said = made.image
    _refuse(chosen, lock, key, said.kind, said.identity, bundle=made.bundle.hash, pickle=made.pickle.sha256)


def record(choice: Choice, chosen: config.Config, made: manifest.Manifest, *, progress: Progress) -> None:
    """Write down what was made: its image's pin, where there is none, and the model."""
    if made.image.kind != "exact":
        return
    key, digest = choice.key, made.image.identity
    by_default = key == config_values.DEFAULT_IMAGE
    pin = pins.pin(
        digest,
        day=today(),
        python=made.image.python,
        labels=choice.image.labels,
        ref=choice.image.ref if by_default else "",
    )
    model = pins.Model(image=digest, bundle=made.bundle.hash, pickle=made.pickle.sha256)

    def edit(lock: pins.Lock) -> pins.Lock:
        needs_pin = key not in lock.images and pinning.own_digest(key) is None
        return (lock.with_pin(key, pin) if needs_pin else lock).with_model(chosen.name, model)

    before, after = pins.change(
        chosen.root, edit, waiting=lambda holder: progress.note(f"waiting for {pins.NAME} ({holder})")
    )
    if after.images != before.images:
        progress.note(f"note: {key} is pinned in {chosen.root / pins.NAME} now: {digest[:19]}...")


def pinned_base(chosen: config.Config) -> str | None:
    """Return the reference by digest that a config means; None where nothing pins it."""
    lock, key = pins.read(chosen.root), config.canonical_reference(chosen.image.ref)
    digest, pin = pinning.pinned(lock, key), lock.images.get(key)
    ref = (pin.ref if pin else None) or chosen.image.ref
    return image.Wanted(ref=ref, digest=digest).name if digest else None


def has_moved(chosen: config.Config, made: manifest.Manifest) -> Path | None:
    """Return the lock file where it pins another image than an exact one that a model was made in."""
    key = config.canonical_reference(chosen.image.ref)
    digest = pinning.pinned(pins.read(chosen.root), key)
    moved = digest is not None and made.image.kind == "exact" and made.image.identity != digest
    return chosen.root / pins.NAME if moved else None


def _reference(chosen: config.Config, lock: pins.Lock, progress: Progress) -> str:
    """Return the reference; what ``default`` stands for is in its pin, else the tournament says."""
    if chosen.image.ref != config_values.DEFAULT_IMAGE:
        return chosen.image.ref
    pin = lock.images.get(config_values.DEFAULT_IMAGE)
    if pin is not None and pin.ref is not None:
        return pin.ref
    progress.step("asking the tournament for its default image")
    with online.connect(progress, root=chosen.root, needs_token=False) as asked:
        return pinning.default_reference(asked.images(), online.read_settings(chosen.root).registry)


def _refuse(
    chosen: config.Config, lock: pins.Lock, key: str, kind: str, identity: str, *, bundle: str, pickle: str | None
) -> None:
    different = pinning.disagreements(
        lock, key, chosen.name, kind=kind, identity=identity, bundle=bundle, pickle=pickle
    )
    if different:
        raise errors.RefusedError(
            f"{chosen.name} is not what {chosen.root / pins.NAME} says: {'; '.join(different)}. To change that, "
            f"run `make pin` or `make pickle CONFIG={_shown(chosen)}` without LOCKED=1, and keep the file"
        )


def _unpinned(chosen: config.Config, key: str) -> errors.RefusedError:
    return errors.RefusedError(
        f"{_shown(chosen)}: {key} is not pinned in {chosen.root / pins.NAME}, and LOCKED=1 (--locked) pins nothing: "
        f"run `python -m builder pin {_shown(chosen)}`, and keep the file"
    )


def _shown(chosen: config.Config) -> Path:
    return chosen.file.relative_to(chosen.root)


def _is_there(ref: str, asked: registries.Registries) -> bool:
    """Tell whether a registry has an image to pull."""
    try:
        asked.resolve(ref)
    except (errors.NetworkError, errors.ImageError):
        return False
    return True


def _tell_moved(ref: str, pin: pins.Pin, asked: registries.Registries, progress: Progress) -> None:
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
