"""``pin``: pins the images of the configs by digest in ``builder.lock.yaml``, and prints what changed."""

from __future__ import annotations

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
    "same": "unchanged",
    "gone": "NOT FOUND",
    "by itself": "has a digest",
    "unknown": "UNKNOWN",
}
_CHECKED = {**_STATES, "new": "NOT PINNED", "moved": "MOVED"}


def run(
    *,
    named: Configs = None,
    check: Annotated[bool, Option("--check", help="change nothing; exit 1 if a pin is missing or outdated")] = False,
    json_wanted: Json = False,
) -> int:
    """Pin images; exit 1 if one cannot be pinned or, with ``--check``, if a pin is missing or outdated.

    If one reference cannot be resolved, the others are still pinned; its error sets the exit code.
    """
    with terminal.progress() as progress:
        root, users = _find_users(named or ())
        lock = lockfile.read(root)
        registry = session.read_registry(root)
        images = _list_offered(root, progress)
        with connections.connect(progress) as registries:
            results = [
                _pin_reference(key, lock, images=images, registry=registry, registries=registries, progress=progress)
                for key in sorted(users)
            ]
        outcomes = [result for result, _ in results]
        if not check:
            changes = {result.key: result.pin for result in outcomes if result.pin}
            lockfile.update(
                root,
                lambda lock: _replace_pins(lock, changes),
                on_wait=lambda holder: progress.note(f"waiting for {lockfile.NAME} ({holder})"),
            )
    notes = [f"could not list the tournament's images: {images}"] if isinstance(images, errors.NetworkError) else []
    if json_wanted:
        terminal.print_json(_build_report(root, outcomes, notes, users, check=check))
    else:
        _print(root, outcomes, notes, users, check=check)
    failure = next((error for _, error in results if error), None)
    if failure:
        return failure.exit_code
    bad = {"gone", "new", "moved"} if check else {"gone"}
    return 1 if any(result.state in bad or (check and result.pin) for result in outcomes) else 0


def _find_users(named: Sequence[str]) -> tuple[Path, dict[str, list[str]]]:
    """Return the folder of the lock file, and the names of the configs that use each reference."""
    paths = [Path(text) for text in named if text.endswith((".yaml", ".yml"))] if named else _list_configs()
    problems: list[str] = []
    configs: list[config.Config] = []
    for path in paths:
        try:
            configs.append(config.load(path))
        except errors.ConfigError as error:
            problems += error.problems
    if problems:
        raise errors.ConfigError(problems)
    roots = {loaded_config.root for loaded_config in configs} or {Path.cwd()}
    if len(roots) > 1:
        raise errors.UsageError(
            f"the configs belong to several projects ({', '.join(map(str, sorted(roots)))}); pin each separately"
        )
    users: dict[str, list[str]] = {}
    for loaded_config in configs:
        key = config.normalize_reference(loaded_config.image.ref)
        users.setdefault(key, []).append(loaded_config.name)
    for text in named:
        if not text.endswith((".yaml", ".yml")):
            users.setdefault(_read_key(text), [])
    return roots.pop(), users


def _list_configs() -> list[Path]:
    paths = project.list_configs()
    if not paths:
        raise errors.UsageError(f"{Path.cwd() / 'configs'}: no configs found; pass a config or an image reference")
    return paths


def _read_key(text: str) -> str:
    try:
        return config.normalize_reference(config_values.parse_reference(text))
    except ValueError as error:
        raise errors.UsageError(f"{error}; pass an image reference, a config (configs/NAME.yaml) or default") from error


def _list_offered(root: Path, progress: Progress) -> Sequence[DockerImage] | errors.NetworkError:
    """Return the tournament's images, or the error that prevented listing them."""
    progress.step("listing the tournament's images")
    try:
        with session.connect(progress, root=root) as api:
            return api.list_images()
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
    """Return the result for one reference, with the error if it is unknown: the other references are still pinned."""
    old_pin, ref = lock.images.get(key), key
    try:
        if key == config_values.DEFAULT_IMAGE:
            ref = (old_pin and old_pin.ref) or key  # for the message, if the next line fails
            ref = _get_default(images)
        source = settings.to_pull_reference(ref, registry)
        progress.step(f"resolving {source}")
        remote_image = registries.resolve(source)
    except errors.ImageNotFoundError:
        remote_image = None
    except (errors.NetworkError, errors.ImageError) as error:
        return pinning.create_unknown_result(key, ref, old_pin=old_pin, reason=str(error)), error
    old_digest_exists: bool | str | None = None
    if old_pin is not None and (remote_image is None or remote_image.digest != old_pin.digest):
        old_ref = settings.to_pull_reference(old_pin.ref or ref, registry)
        old_digest_exists = _check_old_digest(old_ref, old_pin.digest, registries)
    stand_in_note = pinning.format_stand_in_note(key, registry)
    notes = [stand_in_note] if stand_in_note else []
    if not isinstance(images, errors.NetworkError):
        notes = [*tournament_images.find_image_notes(ref, images, registry), *notes]
    outcome = pinning.compare_pin(
        key,
        ref,
        old_pin=old_pin,
        remote_image=remote_image,
        old_digest_exists=old_digest_exists,
        tournament_notes=tuple(notes),
        day=choose.today(),
    )
    return outcome, None


def _get_default(images: Sequence[DockerImage] | errors.NetworkError) -> str:
    if isinstance(images, errors.NetworkError):
        raise images
    return tournament_images.get_default_reference(images)


def _check_old_digest(ref: str, digest: str, registries: connections.Registries) -> bool | str:
    """Return whether the registry still has the pinned digest, or why that is unknown; only a note depends on it.

    The registry may be an earlier one that no longer exists.
    """
    try:
        return registries.has_digest(ref, digest)
    except (errors.NetworkError, errors.ImageError) as error:
        return str(error)


def _replace_pins(lock: lockfile.LockFile, changes: Mapping[str, lockfile.Pin]) -> lockfile.LockFile:
    for key, pin in changes.items():
        lock = lock.with_pin(key, pin)
    return lock


def _print(
    root: Path,
    outcomes: Sequence[pinning.PinResult],
    notes: Sequence[str],
    users: Mapping[str, Sequence[str]],
    *,
    check: bool,
) -> None:
    for result in outcomes:
        terminal.print_lines(
            f"{result.key}  {(_CHECKED if check else _STATES)[result.state]}{_format_users(users[result.key])}"
        )
        terminal.print_table(_format_rows(result))
    for text in notes:
        terminal.print_lines(f"note: {text}")
    changed = [result for result in outcomes if result.pin]
    file = lockfile.find(root)
    if check and changed:
        terminal.print_lines(f"{file} is outdated; run `make pin` to update it")
    elif changed:
        terminal.print_lines(f"{file} was updated{'; commit it' if file == root / lockfile.NAME else ''}")
    elif file.exists():
        terminal.print_lines(f"{file}: nothing to change")
    else:
        is_unsaved = any(result.state != "by itself" for result in outcomes)
        terminal.print_lines(
            "no lock file was written: there is nothing to pin"
            if is_unsaved
            else "no lock file required: every reference has a digest"
        )


def _format_rows(result: pinning.PinResult) -> list[tuple[str, str]]:
    """Return the rows to print below a reference."""
    lines = [("resolves to", result.ref)] if result.key != result.ref else []
    if result.old_pin and (result.state in {"moved", "gone"}):
        lines.append(("was", f"{result.old_pin.digest} ({result.old_pin.pinned})"))
    now = result.pin or (result.old_pin if result.state == "same" else None)
    if now:
        lines.append(("is", f"{now.digest} ({now.pinned})"))
        python = [f"Python {now.python}"] if now.python else []
        lines.append(("", ", ".join([*python, f"{filesize.decimal(result.size)} to pull"])))
    lines += [("note", text) for text in result.notes]
    return lines or [("", "exists at the registry")]


def _format_users(names: Sequence[str]) -> str:
    return f"  (used by {', '.join(names)})" if names else ""


def _build_report(
    root: Path,
    outcomes: Sequence[pinning.PinResult],
    notes: Sequence[str],
    users: Mapping[str, Sequence[str]],
    *,
    check: bool,
) -> dict[str, Any]:
    return {
        "format": 1,
        "lock": str(lockfile.find(root)),
        "checked": check,
        "changed": not check and any(result.pin for result in outcomes),
        "images": [_build_entry(result, users[result.key]) for result in outcomes],
        "notes": list(notes),
    }


def _build_entry(result: pinning.PinResult, names: Sequence[str]) -> dict[str, Any]:
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
