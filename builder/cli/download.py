"""``download``: fetch an uploaded pickle and compare its hash."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import filesize
from typer import Option

from builder import errors
from builder.build import artifact
from builder.cli import api_session, pickle_argument, remote_files, terminal
from builder.cli.parameters import Json, SlotOrPickle
from builder.net import download as stage
from builder.text import escape, sanitize
from builder.tournament import slots
from builder.upload import old_records, slot_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder import tournament

_MARKS = {True: "ok", False: "DIFFERS", None: "note"}


def run(
    *,
    name: SlotOrPickle,
    to: Annotated[
        str | None, Option("--to", metavar="FILE", help="default: its stored name, in the current folder")
    ] = None,
    json_wanted: Json = False,
) -> int:
    """Fetch an uploaded pickle; exit 1 when its hash is another than is on record."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        pickle = pickle_argument.resolve_pickle(api, slots.find_slot_or_pickle(api, name))
        old_records.migrate(Path.cwd(), api.last_account.slots if api.last_account else ())
        target = Path(to or stage.to_file_name(pickle.filename)).absolute()
        if target.is_dir():
            target /= stage.to_file_name(pickle.filename)
        if target.exists():
            raise errors.UsageError(f"{target}: is there already; name another file with --to, or remove it")
        if not target.parent.is_dir():
            raise errors.UsageError(f"{target.parent}: is not a folder; create it, or pass another with --to")
        progress.step(f"fetching {sanitize(pickle.filename)}")
        try:
            came = remote_files.fetch_pickle(api, pickle, target, progress)
        except OSError as error:
            raise errors.UsageError(
                f"{target}: cannot be written ({error.strerror or error}); name another file with --to"
            ) from error
    findings = list(_compare(pickle, came))
    bad = [text for good, text in findings if good is False]
    if json_wanted:
        answer = {"format": 1, "pickle": pickle.id, "filename": pickle.filename, "file": str(came.path)}
        compared = [{"equal": good, "text": text} for good, text in findings]
        print(json.dumps({**answer, "sha256": came.sha256, "size": came.size, "compared": compared}))
        return 1 if bad else 0
    print(f"{came.path}  ({filesize.decimal(came.size)})")
    terminal.print_table([("sha256", came.sha256), *((_MARKS[good], text) for good, text in findings)])
    if all(good is None for good, _ in findings):
        print("  nothing is on record here to compare it with: no digits of its hash, nothing in dist/*/ or a log")
    print("  it holds code: unpickle it nowhere but in its image (`python -m builder why` runs it there)")
    return 1 if bad else 0


def _compare(pickle: tournament.UploadedPickle, came: stage.DownloadedFile) -> Iterator[tuple[bool | None, str]]:
    """Yield what the hash was compared with, and whether it agrees; None where that says nothing."""
    root, digits = Path.cwd(), stage.find_hash_prefix(pickle.filename)
    if digits and came.sha256.startswith(digits):
        yield True, f"the digits in its name: {digits}"
    elif digits and remote_files.known_digits(pickle.filename, root):
        yield False, f"the digits in its name: {digits}"
    elif digits:
        yield None, f"{digits} in its name is not of this hash, and nothing here says that it should be"
    for path, entries in slot_log.read_all():
        ran = {
            entry.get_text("sha256")
            for entry in entries
            if entry.get_text("pickle") == pickle.id and entry.step == slot_log.READ_BACK
        }
        for sha256 in sorted(ran - {""}):
            yield sha256 == came.sha256, f"the upload log {shlex.quote(escape(path))}: {sha256}"
    for path, manifest in artifact.read_manifests(root):
        if manifest.pickle.sha256 == came.sha256:
            yield True, f"made here: {shlex.quote(escape(path.relative_to(root)))}"
