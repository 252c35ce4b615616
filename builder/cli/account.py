"""``credentials``, ``query``, ``download``: the token, the API itself, and what is stored behind it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.build import artifact, manifest
from builder.cli import api_session, runs, terminal
from builder.cli import slots as seat
from builder.text import escape

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from builder import tournament
    from builder.net import download as stage

_UPLOADS = ("upload", "rollback", "assign", "disable", "trigger", "label", "create-model")
_DOWNLOADS = ("download", "why", "comparing in upload")
_MARKS = {True: "ok", False: "DIFFERS", None: "note"}


def credentials(options: argparse.Namespace) -> int:
    """Show whose token it is and what it may do; never its secret."""
    from builder import tournament  # noqa: PLC0415 - the API's side of the package

    with terminal.progress() as progress, api_session.connect(progress) as api:
        info = api.token_info()
        known = api.scopes()
        token = api.client.token
    lacking = {
        scope: verbs
        for scope, verbs in ((tournament.UPLOAD_SCOPE, _UPLOADS), (tournament.DOWNLOAD_SCOPE, _DOWNLOADS))
        if scope not in info.scopes
    }
    source = token.source if token else ""
    if options.json:
        scopes = {name: known.get(name, "") for name in info.scopes}
        answer = {"format": 1, "account": info.username, "name": info.name, "public_id": info.public_id}
        print(json.dumps({**answer, "source": source, "scopes": scopes, "lacking": lacking}))
        return 0
    rows = [
        ("account", seat.clean(info.username)),
        ("token", f"{seat.clean(info.name) or 'without a name'} ({seat.clean(info.public_id)}), from {source}"),
    ]
    said = [f"{seat.clean(name)}  {seat.clean(known.get(name, ''))}".rstrip() for name in sorted(info.scopes)]
    rows += [("may" if not place else "", text) for place, text in enumerate(said or ["nothing: it has no scope"])]
    rows += [("lacks", f"{scope}, which {', '.join(verbs)} need") for scope, verbs in lacking.items()]
    terminal.print_table(rows)
    if lacking:
        print('a token with more scopes is made at numer.ai/account ("Create MCP Key" selects them)')
    return 0


def query(options: argparse.Namespace) -> int:
    """Send a GraphQL text of the user's own."""
    from builder.tournament import query_check  # noqa: PLC0415 - a GraphQL parser

    text = _given(options.text)
    changes = query_check.writes(text)
    variables = query_check.read_variables(_given(options.variables)) if options.variables else {}
    if changes and not options.write:
        raise errors.RefusedError("the query is no mere question: it may change something; with --write it is sent")
    with terminal.progress() as progress, api_session.connect(progress, needs_token=False) as api:
        send = api.client.mutate if changes else api.client.query
        data = send(text, variables, what="the query")
    print(json.dumps({"format": 1, "data": data}) if options.json else json.dumps(data, indent=2, ensure_ascii=False))
    return 0


def download(options: argparse.Namespace) -> int:
    """Fetch an uploaded pickle; exit 1 when its hash is another than is on record."""
    from builder.net import download as stage  # noqa: PLC0415 - the network
    from builder.tournament import slots  # noqa: PLC0415

    with terminal.progress() as progress, api_session.connect(progress) as api:
        pickle = runs.pickle_of(api, slots.find(api, options.name))
        target = Path(options.to or stage.local_name(pickle.filename)).absolute()
        if target.is_dir():
            target /= stage.local_name(pickle.filename)
        if target.exists():
            raise errors.UsageError(f"{target}: is there already; name another file with --to, or remove it")
        if not target.parent.is_dir():
            raise errors.UsageError(f"{target.parent}: is no folder; make it, or name another with --to")
        progress.step(f"fetching {seat.clean(pickle.filename)}")
        try:
            came = fetch_pickle(api, pickle, target, progress)
        except OSError as error:
            raise errors.UsageError(
                f"{target}: cannot be written ({error.strerror or error}); name another file with --to"
            ) from error
    findings = list(_compare(pickle, came))
    bad = [text for good, text in findings if good is False]
    if options.json:
        answer = {"format": 1, "pickle": pickle.id, "filename": pickle.filename, "file": str(came.path)}
        compared = [{"equal": good, "text": text} for good, text in findings]
        print(json.dumps({**answer, "sha256": came.sha256, "size": came.size, "compared": compared}))
        return 1 if bad else 0
    print(f"{came.path}  ({terminal.size(came.size)})")
    terminal.print_table([("sha256", came.sha256), *((_MARKS[good], text) for good, text in findings)])
    if all(good is None for good, _ in findings):
        print("  nothing is on record here to compare it with: no digits of its hash, nothing of it in dist/*/")
    print("  it holds code: unpickle it nowhere but in its image (`python -m builder why` runs it there)")
    return 1 if bad else 0


def fetch_pickle(
    api: tournament.Tournament, pickle: tournament.UploadedPickle, target: Path, progress: Any
) -> stage.Downloaded:
    """Fetch a pickle's bytes through the slot that it belongs to.

    Raises:
        errors.TokenError: The token lacks the scope.
        errors.NetworkError: It could not be fetched.
    """
    from builder.net import download as stage  # noqa: PLC0415

    slot = pickle.owner or next(iter(pickle.slots), "")
    where = api.download_auth(slot, pickle.id)
    return stage.download(where.url, target, what=f"the pickle {pickle.id}", progress=progress)


def recorded(root: Path) -> Iterator[tuple[Path, manifest.Manifest]]:
    """Yield the manifests of ``dist/*/`` that can be read."""
    for path in sorted((root / "dist").glob(f"*/{artifact.MANIFEST}")):
        try:
            yield path, manifest.read(path)
        except (errors.BuilderError, OSError):
            continue


def known_digits(filename: str, root: Path) -> str | None:
    """Return the digits of the hash in a stored name, where something below ``dist`` says that they are of one."""
    from builder.net import download as stage  # noqa: PLC0415
    from builder.upload import receipt  # noqa: PLC0415

    digits = stage.digits_of(filename)
    if digits is None:
        return None
    hashes = [found.pickle.sha256 for _, found in recorded(root)]
    hashes += [str(said.get("sha256")) for _, said in receipt.read_all(root)]
    hashes += [path.name.removeprefix("journal-") for path in (root / "dist").glob(f"*/journal-{digits}-*")]
    return digits if any(sha256.startswith(digits) for sha256 in hashes) else None


def _compare(pickle: tournament.UploadedPickle, came: stage.Downloaded) -> Iterator[tuple[bool | None, str]]:
    """Yield what the hash was compared with, and whether it agrees; None where that says nothing."""
    from builder.net import download as stage  # noqa: PLC0415
    from builder.upload import receipt  # noqa: PLC0415

    root, digits = Path.cwd(), stage.digits_of(pickle.filename)
    if digits and came.sha256.startswith(digits):
        yield True, f"the digits in its name: {digits}"
    elif digits and known_digits(pickle.filename, root):
        yield False, f"the digits in its name: {digits}"
    elif digits:
        yield None, f"{digits} in its name is not of this hash, and nothing here says that it should be"
    for path, said in receipt.read_all(root):
        if said.get("pickle") == pickle.id:
            name = shlex.quote(escape(path.relative_to(root)))
            yield said.get("sha256") == came.sha256, f"the receipt {name}: {said.get('sha256')}"
    for path, found in recorded(root):
        if found.pickle.sha256 == came.sha256:
            yield True, f"made here: {shlex.quote(escape(path.relative_to(root)))}"


def _given(text: str) -> str:
    """Return what an argument names: itself, ``@FILE``, or ``-`` for standard input."""
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"{text[1:]}: cannot be read as text; look at the file's name") from error
