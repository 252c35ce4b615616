"""``download``: download an uploaded pickle and compare its hash with the recorded ones."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import filesize
from typer import Option

from builder import commands, errors
from builder.build import artifact
from builder.cli import api_session, pickle_argument, reading_rows, remote_files, terminal
from builder.cli.parameters import Json, SlotOrPickle
from builder.net import download as stage
from builder.text import escape, sanitize
from builder.tournament import slots
from builder.upload import old_records, slot_log
from builder.validate.reading import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder import tournament

_MARKS = {True: "ok", False: "DIFFERS", None: "note"}


def run(
    *,
    name: SlotOrPickle,
    to: Annotated[
        str | None,
        Option("--to", metavar="FILE", help="the file to write; default: the stored name, in the current folder"),
    ] = None,
    json_wanted: Json = False,
) -> int:
    """Download an uploaded pickle; exit 1 if its hash differs from a recorded one."""
    with terminal.progress() as progress, api_session.connect(progress) as api:
        pickle = pickle_argument.resolve_pickle(api, slots.find_slot_or_pickle(api, name))
        old_records.migrate(Path.cwd(), api.last_account.slots if api.last_account else ())
        target = Path(to or stage.to_file_name(pickle.filename)).absolute()
        if target.is_dir():
            target /= stage.to_file_name(pickle.filename)
        if target.exists():
            raise errors.UsageError(f"{target}: already exists; pass another file with --to, or remove it")
        if not target.parent.is_dir():
            raise errors.UsageError(f"{target.parent}: is not a folder; create it, or pass another file with --to")
        progress.step(f"fetching {sanitize(pickle.filename)}")
        try:
            download = remote_files.fetch_pickle(api, pickle, target, progress)
        except OSError as error:
            raise errors.UsageError(
                f"{target}: cannot be written: {error.strerror or error}; pass another file with --to"
            ) from error
    findings = list(_compare(pickle, download))
    reading = read.read(download.path)
    bad = [text for good, text in findings if good is False]
    if json_wanted:
        answer: dict[str, object] = {
            "format": 1,
            "pickle": pickle.id,
            "filename": pickle.filename,
            "file": str(download.path),
        }
        compared = [{"equal": good, "text": text} for good, text in findings]
        answer |= {"sha256": download.sha256, "size": download.size, "compared": compared}
        terminal.print_json({**answer, "reading": dataclasses.asdict(reading)})
        return 1 if bad else 0
    terminal.print_lines(f"{download.path}  ({filesize.decimal(download.size)})")
    compared_rows = [(_MARKS[good], text) for good, text in findings]
    terminal.print_table([("sha256", download.sha256), *compared_rows, *reading_rows.list_summary(reading)])
    if all(good is None for good, _ in findings):
        terminal.print_lines("  no recorded hash to compare it with: none in its name, in dist/*/ or in an upload log")
    terminal.print_lines(*reading_rows.list_problems(reading))
    terminal.print_lines(f"  unpickle it only in its image (`{commands.suggest_plain('why')}` runs it there)")
    return 1 if bad else 0


def _compare(pickle: tournament.UploadedPickle, download: stage.DownloadedFile) -> Iterator[tuple[bool | None, str]]:
    """Yield whether the hash agrees with a recorded one (None if that is not known), and where that one is recorded."""
    root, digits = Path.cwd(), stage.find_hash_prefix(pickle.filename)
    if digits and download.sha256.startswith(digits):
        yield True, f"the digits in its name: {digits}"
    elif digits and remote_files.known_digits(pickle.filename, root):
        yield False, f"the digits in its name: {digits}"
    elif digits:
        yield None, f"{digits} in its name is not the start of this hash, and may be something else, such as a date"
    for path, entries in slot_log.read_all():
        hashes = {
            entry.get_text("sha256")
            for entry in entries
            if entry.get_text("pickle") == pickle.id and entry.step == slot_log.READ_BACK
        }
        for sha256 in sorted(hashes - {""}):
            yield sha256 == download.sha256, f"the upload log {shlex.quote(escape(path))}: {sha256}"
    for path, manifest in artifact.read_manifests(root):
        if manifest.pickle.sha256 == download.sha256:
            yield True, f"built here: {shlex.quote(escape(path.relative_to(root)))}"
