"""Checks of the machine, the image and the account, before a pickle is built and uploaded.

The functions here only judge what ``builder.cli.doctor`` collected; they start, pull and change nothing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import commands, errors, tournament
from builder.engine import protocol as engine
from builder.text import sanitize
from builder.tournament import images as tournament_images
from builder.tournament import status, versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from builder.image import lockfile
    from builder.tournament import DataVersion, DockerImage, Slot, TokenInfo, UploadedPickle

ENGINE, DISK, MEMORY, PLATFORM = "engine", "disk", "memory", "platform"
CONFIG, DATA, IMAGE, PIN, OFFERED = "config", "data", "image", "pin", "offered"
API, TOKEN, CLOCK, SLOT = "api", "token", "clock", "slot"

_MIN_DISK_BYTES = 5 * 10**9
"""Enough for a runner image, its layers while they are unpacked, and a build."""
_MIN_MEMORY_BYTES = 4 << 30
"""The default of ``validate.limits.memory``."""
_MAX_CLOCK_SECONDS = 60.0  # presigned URLs are valid for minutes
_OLD_PIN_DAYS = 90


@dataclass(frozen=True, kw_only=True)
class DoctorCheck:
    """The result of one check. ``good`` is None if it is unknown or needs no action; ``fix`` is set if it is False."""

    name: str
    good: bool | None
    text: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """The running engine: ``memory`` and ``free`` disk space in bytes; ``free`` is None if the disk is remote."""

    facts: engine.EngineFacts
    memory: int
    free: int | None


@dataclass(frozen=True, kw_only=True)
class ImageState:
    """The state of a config's image.

    Attributes:
        ref: The image reference; ``default`` is already resolved.
        pin: Its entry in the lock file, or None.
        on_engine: Whether the engine has the image; None without an engine.
        registry_digest: The registry's current digest of the reference, or None if unknown.
        has_pinned: Whether the registry still has the pinned digest, if the reference now has another digest or none;
            None if unknown.
        registry_error: Why the registry did not answer.
        stand_in: The Python version of the config's stand-in image, or None.
        config: The path of the config.
    """

    ref: str
    pin: lockfile.Pin | None
    on_engine: bool | None
    registry_digest: str | None
    has_pinned: bool | None = None
    registry_error: str
    stand_in: str | None
    config: Path


def format_verdict(lines: Sequence[DoctorCheck]) -> str:
    """Return ``ready``, or the number of things to fix."""
    count = sum(line.good is False for line in lines)
    return f"{count} thing{'s' if count > 1 else ''} to fix" if count else "ready"


def judge_engine(state: EngineState | errors.EngineError) -> list[DoctorCheck]:
    """Judge the engine's disk, memory and platform, or the error of connecting to it."""
    if isinstance(state, errors.EngineError):
        text = str(state).removesuffix(state.fix).rstrip("; ")
        fix = "make engine" if not state.fix or "`make engine`" in state.fix else state.fix
        return [DoctorCheck(name=ENGINE, good=False, text=text, fix=fix)]
    lines = [DoctorCheck(name=ENGINE, good=True, text=f"version {state.facts.version}, API {state.facts.api}")]
    if state.free is None:
        lines.append(DoctorCheck(name=DISK, good=None, text="unknown: the engine runs on another machine"))
    else:
        is_low = state.free < _MIN_DISK_BYTES
        fix = f"free {_format_gb(_MIN_DISK_BYTES)} or more: `docker system df` shows what can be removed"
        text = f"{_format_gb(state.free)} free for images"
        lines.append(DoctorCheck(name=DISK, good=not is_low, text=text, fix=fix if is_low else ""))
    is_low = state.memory < _MIN_MEMORY_BYTES
    fix = "give the engine's machine 4 GiB or more, or set a lower validate.limits.memory in the config"
    text = f"{state.memory / 2**30:.1f} GiB"
    lines.append(DoctorCheck(name=MEMORY, good=not is_low, text=text, fix=fix if is_low else ""))
    platform = state.facts.platform
    if platform == engine.PLATFORM:
        lines.append(DoctorCheck(name=PLATFORM, good=True, text=platform))
    else:
        text = f"{platform}: {engine.PLATFORM} images are emulated, which is slow; the pickle is the same"
        lines.append(DoctorCheck(name=PLATFORM, good=None, text=text))
    return lines


def judge_image(state: ImageState, today: dt.date) -> list[DoctorCheck]:
    """Judge a config's image and its pin."""
    return [_judge_presence(state), _judge_pin(state, today)]


def judge_offer(ref: str, images: Sequence[DockerImage], registry: str) -> DoctorCheck:
    """Judge whether the tournament still offers an image."""
    image = tournament_images.find_image(ref, images, registry)
    notes = "; ".join(tournament_images.find_image_notes(ref, images, registry))
    if image is None or image.deprecated:
        problem, _, fix = notes.partition(": ")
        return DoctorCheck(name=OFFERED, good=False, text=problem or f"{ref} has no tag to compare", fix=fix)
    if image.default:
        return DoctorCheck(name=OFFERED, good=True, text=f"{image.image}:{image.tag} is the tournament's default")
    return DoctorCheck(name=OFFERED, good=None, text=notes)


def judge_data_version(version: str, offered: Sequence[DataVersion]) -> DoctorCheck:
    """Judge a config's data version by the tournament's list."""
    problem = versions.find_problem(version, offered)
    if problem:
        return DoctorCheck(name=DATA, good=False, text=problem, fix="train on one of these and set data_version")
    notes = versions.find_notes(version, offered)
    return DoctorCheck(name=DATA, good=None if notes else True, text="; ".join(notes) or f"{version} is offered")


def judge_token(info: TokenInfo | None, source: str) -> DoctorCheck:
    """Judge the scopes of the token; ``info`` is None if no token is configured."""
    create = 'create one at numer.ai/account ("Create MCP Key") with the scopes'
    both = f"{tournament.UPLOAD_SCOPE} and {tournament.DOWNLOAD_SCOPE}"
    if info is None:
        setting = "set NUMERAI_PUBLIC_ID and NUMERAI_SECRET_KEY in the environment or in .env"
        return DoctorCheck(name=TOKEN, good=False, text="no token is set", fix=f"{create} {both}, and {setting}")
    text = f"{info.public_id} of {info.username}, from {source}"
    if tournament.UPLOAD_SCOPE not in info.scopes:
        return DoctorCheck(
            name=TOKEN,
            good=False,
            text=f"{text}: the scope {tournament.UPLOAD_SCOPE} is missing",
            fix=f"{create} {both}",
        )
    if tournament.DOWNLOAD_SCOPE not in info.scopes:
        uses = "only `download`, `why` and the comparison of `upload` use it"
        text = f"{text}: can upload; the scope {tournament.DOWNLOAD_SCOPE} is missing ({uses})"
    return DoctorCheck(name=TOKEN, good=True, text=text)


def judge_clock(ahead: float | None) -> DoctorCheck:
    """Judge this computer's clock, which is ``ahead`` of the server's by some seconds."""
    if ahead is None:
        return DoctorCheck(name=CLOCK, good=None, text="the server sent no time")
    if abs(ahead) <= _MAX_CLOCK_SECONDS:
        return DoctorCheck(name=CLOCK, good=True, text=f"within {_MAX_CLOCK_SECONDS:.0f} s of the server's")
    side = "ahead of" if ahead > 0 else "behind"
    text = f"{abs(ahead):.0f} s {side} the server's"
    return DoctorCheck(
        name=CLOCK, good=False, text=text, fix="set this computer's clock (NTP): signed URLs expire by it"
    )


def judge_slot(slot: Slot, config: Path, uploaded: Iterable[UploadedPickle] = ()) -> DoctorCheck:
    """Judge whether a slot accepts a pickle, and its status; ``uploaded`` are all pickles of the account."""
    stake = f", stake {slot.stake}" if slot.stake else ""
    slot_status = status.judge(slot, uploaded)
    text = sanitize(f"{slot.name}: {slot_status.reason}{stake}")
    if slot.archived or slot.tournament != tournament.CLASSIC:
        return DoctorCheck(
            name=SLOT, good=False, text=text, fix="set upload.model to a slot of Classic: `make models` lists them"
        )
    if slot.webhook:
        fix = commands.suggest("upload", config, "--clear-webhook")
        return DoctorCheck(name=SLOT, good=False, text=f"{slot.name}: has a webhook", fix=fix)
    if slot_status.state is status.SlotState.FAILED and slot.pickle:
        return DoctorCheck(name=SLOT, good=False, text=text, fix=commands.suggest_plain(*slot_status.todo.split()))
    if slot_status.state <= status.SlotState.UNASSIGNED:  # does not prevent an upload
        return DoctorCheck(name=SLOT, good=None, text=f"{text}: `{commands.suggest_plain(*slot_status.todo.split())}`")
    return DoctorCheck(name=SLOT, good=True, text=text)


def _judge_presence(state: ImageState) -> DoctorCheck:
    build = commands.suggest("pickle", state.config)
    if state.on_engine:
        return DoctorCheck(name=IMAGE, good=True, text=f"{state.ref} is on the engine")
    # A build pulls the pinned digest, not the tag: what counts is whether the registry still has that one.
    has_moved = state.pin is not None and state.registry_digest != state.pin.digest
    if state.has_pinned if has_moved else state.registry_digest is not None:
        return DoctorCheck(name=IMAGE, good=True, text=f"{state.ref} is at the registry; `{build}` pulls it")
    is_gone = has_moved and state.registry_digest is not None and state.has_pinned is False
    reason = "it no longer has the pinned digest" if is_gone else state.registry_error
    if state.stand_in is not None:
        stand_in = f"the stand-in {state.stand_in} is used, never uploaded"
        text = f"{state.ref} is not available ({reason}): {stand_in}"
        return DoctorCheck(name=IMAGE, good=None, text=text)
    engine_text = "not on the engine, and " if state.on_engine is not None else ""
    fix = "check the reference and the network, or pull it yourself (`docker pull`, `docker load`)"
    fix = f"make pin, then {build}" if is_gone else fix
    text = f"{state.ref}: {engine_text}not available from the registry: {reason}"
    return DoctorCheck(name=IMAGE, good=False, text=text, fix=fix)


def _judge_pin(state: ImageState, today: dt.date) -> DoctorCheck:
    build = commands.suggest("pickle", state.config)
    if state.pin is None:
        if "@" in state.ref:
            return DoctorCheck(name=PIN, good=True, text="the reference contains its digest")
        text = f"not pinned yet: `make pin` pins it, and so does the next `{build}` in the image"
        return DoctorCheck(name=PIN, good=None, text=text)
    days = (today - dt.date.fromisoformat(state.pin.pinned)).days
    age = "today" if days <= 0 else f"{days} day{'s' if days > 1 else ''} ago"
    text = f"{state.pin.digest[:19]}..., pinned {age}"
    if state.registry_digest is not None and state.registry_digest != state.pin.digest:
        return DoctorCheck(
            name=PIN,
            good=False,
            text=f"{text}; the tag is now {state.registry_digest[:19]}...",
            fix=f"make pin, then {build}",
        )
    old = f"; more than {_OLD_PIN_DAYS} days old: `make pin` checks for a newer one" if days > _OLD_PIN_DAYS else ""
    return DoctorCheck(name=PIN, good=True, text=text + old)


def _format_gb(count: float) -> str:
    return f"{count / 10**9:.1f} GB"
