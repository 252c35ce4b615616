"""Compare pins with the registry, the tournament and the builds of models; reads no files and no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from builder import commands
from builder.config import values as config_values
from builder.image import lockfile
from builder.net import address
from builder.registry import reference as image_ref
from builder.tournament import images as tournament_images
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.registry import resolve as registry

State = Literal["new", "moved", "same", "gone", "by itself", "unknown"]


@dataclass(frozen=True, kw_only=True)
class PinResult:
    """The result of pinning one reference.

    Attributes:
        key: The key in the lock file: the full reference, or ``default``.
        ref: The reference; for ``default``, the one that it resolves to.
        state: The comparison with the lock file. ``gone``: the registry does not have the tag or digest; ``by itself``:
            the reference contains its digest; ``unknown``: the registry or the tournament did not answer.
        pin: The pin to write; None if there is nothing to write.
        old_pin: The pin in the lock file.
        size: Bytes to pull; 0 if unknown.
        notes: Notes for the user, each with what to do.
    """

    key: str
    ref: str
    state: State
    pin: lockfile.Pin | None
    old_pin: lockfile.Pin | None
    size: int
    notes: tuple[str, ...]


def digest_from_key(key: str) -> str | None:
    """Return the digest in a reference; None for a reference without one and for ``default``."""
    return None if key == config_values.DEFAULT_IMAGE else image_ref.parse(key).digest


def find_pinned_digest(lock: lockfile.LockFile, key: str) -> str | None:
    """Return the digest in a reference, or else in its pin; None if there is neither."""
    pin = lock.images.get(key)
    return digest_from_key(key) or (pin.digest if pin else None)


def compare_pin(
    key: str,
    ref: str,
    *,
    old_pin: lockfile.Pin | None,
    remote_image: registry.RemoteImage | None,
    old_digest_exists: bool | str | None,
    tournament_notes: Sequence[str],
    day: str,
) -> PinResult:
    """Compare a pin with the registry and return what to write.

    Args:
        key: The key in the lock file.
        ref: The reference; for ``default``, the one that it resolves to now.
        old_pin: The pin in the lock file.
        remote_image: The image in the registry; None if the registry does not have it.
        old_digest_exists: Whether the registry still has the digest of ``old_pin``; the reason if that could not be
            checked; None if it was not checked.
        tournament_notes: The tournament's notes about the reference.
        day: Today's date.
    """
    notes = [_format_new_default_note(ref, old_pin.ref)] if old_pin and old_pin.ref and old_pin.ref != ref else []
    if remote_image is None:
        pin_note = f"; {old_pin.digest[:19]}... of {old_pin.pinned} stays pinned" if old_pin else ""
        notes.append(f"image not found in the registry{pin_note}: set another in the config; {tournament_images.LIST}")
        state: State = "gone"
    elif digest_from_key(key):  # a digest cannot move
        state = "by itself"
    elif old_pin is None:
        state = "new"
    elif old_pin.digest != remote_image.digest:
        state = "moved"
        # If `default` now resolves to another reference, its tag has not moved; the first note describes it.
        if old_pin.ref in {None, ref}:
            notes.append(
                f"the tag has moved since {old_pin.pinned}: once the new image is pinned, "
                f"`{commands.suggest('pickle', None)}` builds each model again"
            )
    else:
        state = "same"
    if old_digest_exists is False:
        notes.append(
            "the registry no longer has the pinned image: pickles built in it run only where the image still exists"
        )
    elif isinstance(old_digest_exists, str):
        notes.append(f"could not check whether the registry still has the pinned image: {old_digest_exists}")
    # Also with the same digest if `default` has another reference: the lock file names it.
    pin = None
    if remote_image is not None and (
        state in {"new", "moved"} or (state == "same" and old_pin and old_pin.ref not in {None, ref})
    ):
        pin = lockfile.create_pin(
            remote_image.digest,
            day=day,
            python=remote_image.python,
            labels=remote_image.labels,
            ref=ref if key == config_values.DEFAULT_IMAGE else "",
        )
    size = remote_image.size if remote_image else 0
    return PinResult(
        key=key, ref=ref, state=state, pin=pin, old_pin=old_pin, size=size, notes=(*notes, *tournament_notes)
    )


def create_unknown_result(key: str, ref: str, *, old_pin: lockfile.Pin | None, reason: str) -> PinResult:
    """Return the result for a reference that could not be looked up; its pin is kept."""
    pin_note = (f"{old_pin.digest[:19]}... of {old_pin.pinned} stays pinned",) if old_pin else ()
    return PinResult(key=key, ref=ref, state="unknown", pin=None, old_pin=old_pin, size=0, notes=(reason, *pin_note))


def find_lock_differences(
    lock: lockfile.LockFile,
    key: str,
    name: str,
    *,
    image: tuple[str, str] | None,
    bundle: str | None,
    pickle: str | None,
) -> list[str]:
    """Return the differences between a model and its entries in the lock file, as nouns with details.

    Args:
        lock: The lock file.
        key: The key of the config's image.
        name: The config's name.
        image: Kind and identity of the image that the model is built in; None if not known yet.
        bundle: Hash of the bundle; None if not known yet.
        pickle: Hash of the pickle; None if it is not built yet.
    """
    digest, recorded = find_pinned_digest(lock, key), lock.models.get(name)
    differences = []
    if digest is None:
        differences.append(f"the image ({key} is not pinned)")
    elif image and image != ("exact", digest):  # with LOCKED=1, no stand-in and no local image is used
        differences.append(f"the image ({image[0]} {image[1][:19]}... here, {digest[:19]}... pinned for {key})")
    elif recorded and recorded.image != digest:
        differences.append(
            f"the image ({digest[:19]}... pinned for {key}, {recorded.image[:19]}... recorded for the model)"
        )
    if recorded is None:
        return [*differences, f"the model (it has no entry {name})"]
    if bundle and recorded.bundle != bundle:
        differences.append(f"the bundle ({bundle[:12]}... here, {recorded.bundle[:12]}... recorded)")
    if recorded.pickle is None:
        differences.append("the pickle (none is recorded)")
    elif pickle and recorded.pickle != pickle:
        differences.append(f"the pickle ({pickle[:12]}... here, {recorded.pickle[:12]}... recorded)")
    return differences


def _format_new_default_note(ref: str, old_ref: str) -> str:
    now, then = _shorten_reference(ref), _shorten_reference(old_ref)
    if now == then:
        now, then = ref, old_ref  # only the registry differs, which the short form does not contain
    command = commands.suggest("pickle", None)
    return f"the default is {now} now, was {then}: `{command}` builds each model again in it"


def _shorten_reference(ref: str) -> str:
    return ref.rpartition("/")[2]


def format_stand_in_note(ref: str, registry: str) -> str:
    """Return a note for a pin of a tournament image that was read from a registry on this computer, else nothing.

    Args:
        ref: The pinned reference, or ``default``.
        registry: The result of :func:`builder.tournament.session.read_registry`.
    """
    host = image_ref.parse(f"{registry}/name:tag").registry.rpartition(":")[0]
    is_tournament_image = ref == config_values.DEFAULT_IMAGE or ref.startswith(f"{settings.DEFAULT_REGISTRY}/")
    if not (is_tournament_image and address.is_loopback(host)):
        return ""
    return f"it is from the stand-in registry {registry} ({settings.REGISTRY}), not from the tournament's"
