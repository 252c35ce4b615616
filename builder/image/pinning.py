"""What a pin is worth today: judged from the lock file, the registry's word and the tournament's. Pure."""

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
    """What became of one reference.

    Attributes:
        key: In the lock file: the reference in full, or ``default``.
        ref: The reference itself.
        state: Against the lock; ``gone``: the registry has no such tag or digest; ``by itself``: it names its digest;
            ``unknown``: nobody said what it means.
        pin: What the lock shall say; None where nothing is to be written.
        old_pin: What it said.
        size: Bytes to pull; 0 where that is not known.
        notes: What a person should know, each with what to do.
    """

    key: str
    ref: str
    state: State
    pin: lockfile.Pin | None
    old_pin: lockfile.Pin | None
    size: int
    notes: tuple[str, ...]


def digest_from_key(key: str) -> str | None:
    """Return the digest that a reference names itself."""
    return None if key == config_values.DEFAULT_IMAGE else image_ref.parse(key).digest


def find_pinned_digest(lock: lockfile.LockFile, key: str) -> str | None:
    """Return the digest that a reference means: its own, or the lock's; None where neither says."""
    found = lock.images.get(key)
    return digest_from_key(key) or (found.digest if found else None)


def compare_pin(
    key: str,
    ref: str,
    *,
    old_pin: lockfile.Pin | None,
    found: registry.RemoteImage | None,
    old_digest_exists: bool | str | None,
    said: Sequence[str],
    day: str,
) -> PinResult:
    """Say what is to be written for a reference.

    Args:
        key: In the lock file.
        ref: The reference itself: of ``default``, what it stands for now.
        old_pin: The pin until now.
        found: What the registry has under the reference; None where it has no such thing.
        old_digest_exists: Whether the registry still has the digest of ``was``; why that is not known; None where nobody asked.
        said: What the tournament says of it.
        day: Today.
    """
    notes = [_new_default(ref, old_pin.ref)] if old_pin and old_pin.ref and old_pin.ref != ref else []
    if found is None:
        until = f"; {old_pin.digest[:19]}... of {old_pin.pinned} stays pinned" if old_pin else ""
        notes.append(f"the registry has no such image{until}: name another in the config; {tournament_images.LIST}")
        state: State = "gone"
    elif digest_from_key(key):
        state = "by itself"
    elif old_pin is None:
        state = "new"
    elif old_pin.digest != found.digest:
        state = "moved"
        if old_pin.ref in {None, ref}:
            notes.append(
                f"the tag has moved since {old_pin.pinned}: once it is pinned, `{commands.suggest('pickle', None)}` "
                "builds each model again"
            )
    else:
        state = "same"
    if old_digest_exists is False:
        notes.append(
            "the registry no longer has what was pinned: what was made in it can be run again only where it is"
        )
    elif isinstance(old_digest_exists, str):
        notes.append(f"whether the registry still has what was pinned is not known: {old_digest_exists}")
    pin = None
    if found is not None and (
        state in {"new", "moved"} or (state == "same" and old_pin and old_pin.ref not in {None, ref})
    ):
        pin = lockfile.create_pin(
            found.digest,
            day=day,
            python=found.python,
            labels=found.labels,
            ref=ref if key == config_values.DEFAULT_IMAGE else "",
        )
    size = found.size if found else 0
    return PinResult(key=key, ref=ref, state=state, pin=pin, old_pin=old_pin, size=size, notes=(*notes, *said))


def create_unknown_result(key: str, ref: str, *, old_pin: lockfile.Pin | None, reason: str) -> PinResult:
    """Say of a reference that nobody could be asked what it means; its pin stays."""
    stays = (f"{old_pin.digest[:19]}... of {old_pin.pinned} stays pinned",) if old_pin else ()
    return PinResult(key=key, ref=ref, state="unknown", pin=None, old_pin=old_pin, size=0, notes=(reason, *stays))


def find_lock_differences(
    lock: lockfile.LockFile,
    key: str,
    name: str,
    *,
    image: tuple[str, str] | None,
    bundle: str | None,
    pickle: str | None,
) -> list[str]:
    """Return what of a model the lock file does not name.

    Args:
        lock: The lock file.
        key: The config's reference there.
        name: The config's name.
        image: Kind and identity of the image that it is built in; None before that is known.
        bundle: Hash of the bundle; None before that is known.
        pickle: Hash of the pickle; None before it is built.
    """
    digest, recorded = find_pinned_digest(lock, key), lock.models.get(name)
    found = []
    if digest is None:
        found.append(f"the image ({key} is not pinned)")
    elif image and image != ("exact", digest):
        found.append(f"the image ({image[0]} {image[1][:19]}... here, {digest[:19]}... pinned for {key})")
    elif recorded and recorded.image != digest:
        found.append(f"the image ({digest[:19]}... pinned for {key}, {recorded.image[:19]}... recorded for the model)")
    if recorded is None:
        return [*found, f"the model (it has no entry {name})"]
    if bundle and recorded.bundle != bundle:
        found.append(f"the bundle ({bundle[:12]}... here, {recorded.bundle[:12]}... recorded)")
    if recorded.pickle is None:
        found.append("the pickle (none is recorded)")
    elif pickle and recorded.pickle != pickle:
        found.append(f"the pickle ({pickle[:12]}... here, {recorded.pickle[:12]}... recorded)")
    return found


def _new_default(ref: str, old_pin: str) -> str:
    now, then = _short(ref), _short(old_pin)
    if now == then:
        now, then = ref, old_pin  # at another registry
    again = commands.suggest("pickle", None)
    return f"the default is {now} now, was {then}: `{again}` builds each model again in it"


def _short(ref: str) -> str:
    return ref.rpartition("/")[2]


def format_stand_in_note(ref: str, registry: str) -> str:
    """Return what to say of a pin whose image comes from this computer in the tournament's place; else nothing.

    Args:
        ref: What is pinned: a reference, or ``default``.
        registry: As :func:`read_registry` returns it.
    """
    host = image_ref.parse(f"{registry}/name:tag").registry.rpartition(":")[0]
    is_tournament_image = ref == config_values.DEFAULT_IMAGE or ref.startswith(f"{settings.DEFAULT_REGISTRY}/")
    if not (is_tournament_image and address.is_loopback(host)):
        return ""
    return f"it is of the stand-in registry {registry} ({settings.REGISTRY}), not of the tournament's"
