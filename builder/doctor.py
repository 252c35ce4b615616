"""Checks of the machine, the image and the account, before a pickle is built and uploaded.

Nothing is started, pulled or changed to find out.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import commands, errors, tournament
from builder.engine import protocol as engine
from builder.text import sanitize
from builder.tournament import images as tournament_images
from builder.tournament import status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from builder.image import lockfile
    from builder.tournament import DockerImage, Slot, TokenInfo, UploadedPickle

ENGINE, DISK, MEMORY, PLATFORM = "engine", "disk", "memory", "platform"
CONFIG, IMAGE, PIN, OFFERED = "config", "image", "pin", "offered"
API, TOKEN, CLOCK, SLOT = "api", "token", "clock", "slot"

_LEAST_DISK = 5 * 10**9
"""A runner image, its layers while they are unpacked, and a build."""
_LEAST_MEMORY = 4 << 30
"""What a validation may use unless its config says otherwise."""
_MOST_SECONDS_OFF = 60.0
_OLD_DAYS = 90


@dataclass(frozen=True, kw_only=True)
class DoctorCheck:
    """One thing that was looked at. ``good`` is None if unknown, or if there is nothing to fix."""

    name: str
    good: bool | None
    text: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineFound:
    """The engine that answers; ``free`` is None where its disk is another machine's."""

    facts: engine.EngineFacts
    memory: int
    free: int | None


@dataclass(frozen=True, kw_only=True)
class ImageFound:
    """What is known of a config's image.

    Attributes:
        ref: The reference; of ``default``, what it stands for.
        pin: Its pin, if there is one.
        here: It is on the engine; None without an engine.
        at_registry: The digest that the registry has under the reference; None where it did not say.
        pinned_there: Whether the registry has the pinned digest, where the reference means another or none now; None
            where it did not say.
        silence: Why the registry did not say.
        stand_in: The Python of the config's stand-in, or None.
        config: The config's file.
    """

    ref: str
    pin: lockfile.Pin | None
    here: bool | None
    at_registry: str | None
    pinned_there: bool | None = None
    silence: str
    stand_in: str | None
    config: Path


def verdict(lines: Sequence[DoctorCheck]) -> str:
    """Return what all lines come to: ``ready``, or how many things there are to fix."""
    count = sum(line.good is False for line in lines)
    return f"{count} thing{'s' if count > 1 else ''} to fix" if count else "ready"


def judge_engine(info: EngineFound | errors.EngineError) -> list[DoctorCheck]:
    """Judge the engine, or the error that says why there is none and what to do."""
    if isinstance(info, errors.EngineError):
        text = str(info).removesuffix(info.fix).rstrip("; ")
        fix = "make engine" if not info.fix or "`make engine`" in info.fix else info.fix
        return [DoctorCheck(name=ENGINE, good=False, text=text, fix=fix)]
    lines = [DoctorCheck(name=ENGINE, good=True, text=f"version {info.facts.version}, API {info.facts.api}")]
    if info.free is None:
        lines.append(DoctorCheck(name=DISK, good=None, text="of another machine: not known from here"))
    else:
        few = info.free < _LEAST_DISK
        fix = f"free {_gigabytes(_LEAST_DISK)} or more: `docker system df` shows what may go" if few else ""
        lines.append(DoctorCheck(name=DISK, good=not few, text=f"{_gigabytes(info.free)} free for images", fix=fix))
    short = info.memory < _LEAST_MEMORY
    fix = "give the engine's machine 4 GiB or more, or name a lower validate.limits.memory in the config"
    text = f"{info.memory / 2**30:.1f} GiB"
    lines.append(DoctorCheck(name=MEMORY, good=not short, text=text, fix=fix if short else ""))
    platform = info.facts.platform
    if platform == engine.PLATFORM:
        lines.append(DoctorCheck(name=PLATFORM, good=True, text=platform))
    else:
        text = f"{platform}: {engine.PLATFORM} images run emulated, slowly; the pickle is the same"
        lines.append(DoctorCheck(name=PLATFORM, good=None, text=text))
    return lines


def judge_image(info: ImageFound, today: dt.date) -> list[DoctorCheck]:
    """Judge a config's image and its pin."""
    return [_judge_presence(info), _judge_pin(info, today)]


def judge_offer(ref: str, images: Sequence[DockerImage], registry: str) -> DoctorCheck:
    """Judge whether the tournament offers an image."""
    offered = tournament_images.find_image(ref, images, registry)
    notes = "; ".join(tournament_images.find_image_notes(ref, images, registry))
    if offered is None or offered.deprecated:
        what, _, fix = notes.partition(": ")
        return DoctorCheck(name=OFFERED, good=False, text=what or f"{ref} has no tag to compare with", fix=fix)
    if offered.default:
        return DoctorCheck(name=OFFERED, good=True, text=f"{offered.image}:{offered.tag} is the tournament's default")
    return DoctorCheck(name=OFFERED, good=None, text=notes)


def judge_token(info: TokenInfo | None, source: str) -> DoctorCheck:
    """Judge what the token may do; None: none is set."""
    make = 'make one at numer.ai/account ("Create MCP Key") with the scopes'
    both = f"{tournament.UPLOAD_SCOPE} and {tournament.DOWNLOAD_SCOPE}"
    if info is None:
        where = "set NUMERAI_PUBLIC_ID and NUMERAI_SECRET_KEY, here or in .env"
        return DoctorCheck(name=TOKEN, good=False, text="none is set", fix=f"{make} {both}, and {where}")
    text = f"{info.public_id} of {info.username}, from {source}"
    if tournament.UPLOAD_SCOPE not in info.scopes:
        return DoctorCheck(
            name=TOKEN, good=False, text=f"{text}: the scope {tournament.UPLOAD_SCOPE} is missing", fix=f"{make} {both}"
        )
    if tournament.DOWNLOAD_SCOPE not in info.scopes:
        users = "only `download`, `why` and the comparison use it"
        text = f"{text}: can upload; the scope {tournament.DOWNLOAD_SCOPE} is missing ({users})"
    return DoctorCheck(name=TOKEN, good=True, text=text)


def judge_clock(ahead: float | None) -> DoctorCheck:
    """Judge by how many seconds this computer's clock is ahead of the server's."""
    if ahead is None:
        return DoctorCheck(name=CLOCK, good=None, text="the server sent no time")
    if abs(ahead) <= _MOST_SECONDS_OFF:
        return DoctorCheck(name=CLOCK, good=True, text=f"within {_MOST_SECONDS_OFF:.0f} s of the server's")
    side = "ahead of" if ahead > 0 else "behind"
    text = f"{abs(ahead):.0f} s {side} the server's"
    return DoctorCheck(
        name=CLOCK, good=False, text=text, fix="set this computer's clock (NTP): signed addresses expire by it"
    )


def judge_slot(slot: Slot, config: Path, uploaded: Iterable[UploadedPickle] = ()) -> DoctorCheck:
    """Judge whether the slot of a config takes a pickle, and how it stands; ``uploaded`` are the account's pickles."""
    stake = f", stake {slot.stake}" if slot.stake else ""
    how = status.judge(slot, uploaded)
    text = sanitize(f"{slot.name}: {how.reason}{stake}")
    if slot.archived or slot.tournament != tournament.CLASSIC:
        return DoctorCheck(
            name=SLOT, good=False, text=text, fix="name a slot of Classic as upload.model: `make models` lists them"
        )
    if slot.webhook:
        fix = commands.suggest("upload", config, "--clear-webhook")
        return DoctorCheck(name=SLOT, good=False, text=f"{slot.name}: has a webhook", fix=fix)
    if how.state is status.SlotState.FAILED and slot.pickle:
        return DoctorCheck(name=SLOT, good=False, text=text, fix=f"python -m builder {how.todo}")
    if how.state <= status.SlotState.UNASSIGNED:  # nothing that keeps a deploy from it
        return DoctorCheck(name=SLOT, good=None, text=f"{text}: `python -m builder {how.todo}`")
    return DoctorCheck(name=SLOT, good=True, text=text)


def _judge_presence(info: ImageFound) -> DoctorCheck:
    build = commands.suggest("pickle", info.config)
    if info.here:
        return DoctorCheck(name=IMAGE, good=True, text=f"{info.ref} is on the engine")
    has_moved = info.pin is not None and info.at_registry != info.pin.digest
    if info.pinned_there if has_moved else info.at_registry is not None:
        return DoctorCheck(name=IMAGE, good=True, text=f"{info.ref} is at the registry; `{build}` pulls it")
    is_gone = has_moved and info.at_registry is not None and info.pinned_there is False
    reason = "it no longer has what is pinned" if is_gone else info.silence
    if info.stand_in is not None:
        text = f"{info.ref} is not available ({reason}): the stand-in {info.stand_in} is used, never uploaded"
        return DoctorCheck(name=IMAGE, good=None, text=text)
    where = "not on the engine, and the registry" if info.here is not None else "the registry"
    fix = "look at the reference and the network, or pull it by hand (`docker pull`, `docker load`)"
    fix = f"make pin, then {build}" if is_gone else fix
    return DoctorCheck(name=IMAGE, good=False, text=f"{info.ref}: {where} does not hand it out: {reason}", fix=fix)


def _judge_pin(info: ImageFound, today: dt.date) -> DoctorCheck:
    build = commands.suggest("pickle", info.config)
    if info.pin is None:
        if "@" in info.ref:
            return DoctorCheck(name=PIN, good=True, text="the reference names its digest")
        text = f"none yet: `make pin`, or the next `{build}` in the image, makes one"
        return DoctorCheck(name=PIN, good=None, text=text)
    days = (today - dt.date.fromisoformat(info.pin.pinned)).days
    age = "today" if days <= 0 else f"{days} day{'s' if days > 1 else ''} ago"
    text = f"{info.pin.digest[:19]}..., pinned {age}"
    if info.at_registry is not None and info.at_registry != info.pin.digest:
        return DoctorCheck(
            name=PIN,
            good=False,
            text=f"{text}; the tag is {info.at_registry[:19]}... now",
            fix=f"make pin, then {build}",
        )
    old = "; that is long ago: `make pin` looks again" if days > _OLD_DAYS else ""
    return DoctorCheck(name=PIN, good=True, text=text + old)


def _gigabytes(count: float) -> str:
    return f"{count / 10**9:.1f} GB"
