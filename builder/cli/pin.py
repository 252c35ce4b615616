"""``pin``: pin the images of the configs by their digests, and say what changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich import filesize
from typer import Option

from builder import errors
from builder.cli import terminal
from builder.cli.parameters import Configs, Json
from builder.config import model as config
from builder.config import project
from builder.config import values as config_values
from builder.image import choose, lockfile, pinning
from builder.registry import connections
from builder.tournament import images as tournament_images
from builder.tournament import session, settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.progress import Progress
    from builder.tournament import DockerImage

_STATES = {
    "new": "pinned",
    "moved": "moved",
    "same": "as it was",
    "gone": "GONE",
    "by itself": "names its digest",
    "unknown": "NOT KNOWN",
}
_CHECKED = {**_STATES, "new": "NOT PINNED", "moved": "MOVED"}


def run(
    *,
    what: Configs = None,
    check: Annotated[bool, Option("--check", help="change nothing; exit 1 where something moved")] = False,
    json_wanted: Json = False,
) -> int:
    """Pin images; exit 1 where one could not be, or, with ``--check``, where one is not pinned as it is now.

    If one reference cannot be resolved, the others are still pinned; its error sets the exit code.
    """
    with terminal.progress() as progress:
        root, users = _find_users(what or ())
        lock = lockfile.read(root)
        registry = session.read_registry(root)
        images = _list_offered(root, progress)
        with connections.connect(progress) as registries:
            answers = [
                _pin_reference(key, lock, images=images, registry=registry, registries=registries, progress=progress)
                for key in sorted(users)
            ]
        outcomes = [result for result, _ in answers]
        if not check:
            changes = {result.key: result.pin for result in outcomes if result.pin}
            lockfile.update(
                root,
                lambda lock: _replace_pins(lock, changes),
                on_wait=lambda holder: progress.note(f"waiting for {lockfile.NAME} ({holder})"),
            )
    silent = isinstance(images, errors.NetworkError)
    notes = [f"could not list the tournament's images: {images}"] if silent else []
    if json_wanted:
        print(json.dumps(_report(root, outcomes, notes, users, check=check)))
    else:
        _tell(root, outcomes, notes, users, check=check)
    failed = next((error for _, error in answers if error), None)
    if failed:
        return failed.exit_code
    bad = {"gone", "new", "moved"} if check else {"gone"}
    return 1 if any(result.state in bad or (check and result.pin) for result in outcomes) else 0


def _find_users(named: Sequence[str]) -> tuple[Path, dict[str, list[str]]]:
    """Return the folder of the lock file, and who uses each key of it."""
    paths = [Path(text) for text in named if text.endswith((".yaml", ".yml"))] if named else _all_configs()
    problems_found: list[str] = []
    loaded: list[config.Config] = []
    for path in paths:
        try:
            loaded.append(config.load(path))
        except errors.ConfigError as error:
            problems_found += error.problems
    if problems_found:
        raise errors.ConfigError(problems_found)
    roots = {loaded_config.root for loaded_config in loaded} or {Path.cwd()}
    if len(roots) > 1:
        raise errors.UsageError(
            f"the configs lie below {' and '.join(map(str, sorted(roots)))}, with a lock file each: pin them apart"
        )
    users: dict[str, list[str]] = {}
    for loaded_config in loaded:
        key = config.normalize_reference(loaded_config.image.ref)
        users.setdefault(key, []).append(loaded_config.name)
    for text in named:
        if not text.endswith((".yaml", ".yml")):
            users.setdefault(_read_key(text), [])
    return roots.pop(), users


def _all_configs() -> list[Path]:
    remote_image = project.list_configs()
    if not remote_image:
        raise errors.UsageError(f"{Path.cwd() / 'configs'}: has no config; name one, or an image reference")
    return remote_image


def _read_key(text: str) -> str:
    try:
        return config.normalize_reference(config_values.parse_reference(text))
    except ValueError as error:
        raise errors.UsageError(f"{error}; or name a config (configs/NAME.yaml), or default") from error


def _list_offered(root: Path, progress: Progress) -> Sequence[DockerImage] | errors.NetworkError:
    """Return the tournament's images, or why it does not say."""
    progress.step("asking the tournament for its images")
    try:
        with session.connect(progress, root=root) as registries:
            return registries.list_images()
    except errors.NetworkError as error:
        return error


def _pin_reference(
    key: str,
    lock: lockfile.LockFile,
    *,
    images: Sequence[DockerImage] | errors.NetworkError,
    registry: str,
    registries: connections.Registries,
    progress: Progress,
) -> tuple[pinning.PinResult, errors.BuilderError | None]:
    """Return what becomes of one reference, and what kept it from being known: the others are none the worse for it."""
    was, ref = lock.images.get(key), key
    try:
        if key == config_values.DEFAULT_IMAGE:
            ref = (was and was.ref) or key
            ref = _default(images)
        source = settings.to_pull_reference(ref, registry)
        progress.step(f"asking the registry for {source}")
        remote_image = registries.resolve(source)
    except errors.ImageNotFoundError:
        remote_image = None
    except (errors.NetworkError, errors.ImageError) as error:
        return pinning.create_unknown_result(key, ref, old_pin=was, reason=str(error)), error
    was_there: bool | str | None = None
    if was is not None and (remote_image is None or remote_image.digest != was.digest):
        was_there = _ask_for_old(settings.to_pull_reference(was.ref or ref, registry), was.digest, registries)
    tournament_notes = (
        () if isinstance(images, errors.NetworkError) else tournament_images.find_image_notes(ref, images, registry)
    )
    stand_in_note = pinning.format_stand_in_note(key, registry)
    tournament_notes = (*tournament_notes, *([stand_in_note] if stand_in_note else []))
    outcome = pinning.compare_pin(
        key,
        ref,
        old_pin=was,
        remote_image=remote_image,
        old_digest_exists=was_there,
        tournament_notes=tournament_notes,
        day=choose.today(),
    )
    return outcome, None


def _default(images: Sequence[DockerImage] | errors.NetworkError) -> str:
    if isinstance(images, errors.NetworkError):
        raise images
    return tournament_images.get_default_reference(images)


def _ask_for_old(ref: str, digest: str, registries: connections.Registries) -> bool | str:
    """Tell whether the registry has what was pinned, or why that is not known: only a note hangs on it.

    The registry may be another than today's, and gone.
    """
    try:
        return registries.has_digest(ref, digest)
    except (errors.NetworkError, errors.ImageError) as error:
        return str(error)


def _replace_pins(lock: lockfile.LockFile, changes: Mapping[str, lockfile.Pin]) -> lockfile.LockFile:
    for key, result in changes.items():
        lock = lock.with_pin(key, result)
    return lock


def _tell(
    root: Path,
    outcomes: Sequence[pinning.PinResult],
    notes: Sequence[str],
    users: Mapping[str, Sequence[str]],
    *,
    check: bool,
) -> None:
    for result in outcomes:
        print(f"{result.key}  {(_CHECKED if check else _STATES)[result.state]}{_of(users[result.key])}")
        terminal.print_table(_lines(result))
    for text in notes:
        print(f"note: {text}")
    changed = [result for result in outcomes if result.pin]
    file = root / lockfile.NAME
    if check and changed:
        print(f"{file} differs: `make pin` updates it")
    elif changed:
        print(f"{file} is changed: keep it under version control")
    elif file.exists():
        print(f"{file}: nothing to change")
    else:
        is_unsaved = any(result.state != "by itself" for result in outcomes)
        print(
            "no lock file yet: nothing to write in it"
            if is_unsaved
            else "no lock file, and none needed: nothing to change"
        )


def _lines(result: pinning.PinResult) -> list[tuple[str, str]]:
    """Return the lines to print below a reference."""
    lines = [("stands for", result.ref)] if result.key != result.ref else []
    if result.old_pin and (result.state in {"moved", "gone"}):
        lines.append(("was", f"{result.old_pin.digest} ({result.old_pin.pinned})"))
    now = result.pin or (result.old_pin if result.state == "same" else None)
    if now:
        lines.append(("is", f"{now.digest} ({now.pinned})"))
        python = [f"Python {now.python}"] if now.python else []
        lines.append(("", ", ".join([*python, f"{filesize.decimal(result.size)} to pull"])))
    lines += [("note", text) for text in result.notes]
    return lines or [("", "is there")]


def _of(names: Sequence[str]) -> str:
    return f"  (of {', '.join(names)})" if names else ""


def _report(
    root: Path,
    outcomes: Sequence[pinning.PinResult],
    notes: Sequence[str],
    users: Mapping[str, Sequence[str]],
    *,
    check: bool,
) -> dict[str, Any]:
    return {
        "format": 1,
        "lock": str(root / lockfile.NAME),
        "checked": check,
        "changed": not check and any(result.pin for result in outcomes),
        "images": [_entry(result, users[result.key]) for result in outcomes],
        "notes": list(notes),
    }


def _entry(result: pinning.PinResult, names: Sequence[str]) -> dict[str, Any]:
    now = result.pin or result.old_pin
    return {
        "key": result.key,
        "ref": result.ref,
        "state": result.state,
        "digest": pinning.digest_from_key(result.key) or (now.digest if now else None),
        "pinned": now.pinned if now else None,
        "python": now.python if now else None,
        "was": result.old_pin.digest if result.old_pin else None,
        "was_pinned": result.old_pin.pinned if result.old_pin else None,
        "size": result.size,
        "models": list(names),
        "notes": list(result.notes),
    }
