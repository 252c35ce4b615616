"""``sandbox``: a local sandbox of the tournament, to try the tool without an account, until Ctrl-C.

At a terminal it prints the settings, as shell exports, and what to try. Elsewhere it prints the exports alone or, with
``--env-file``, writes them there and prints nothing. The settings name a lock file of their own: a pin of an image of
the sandbox in the project's lock file would fail every build after the sandbox has ended.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option

from builder import commands, errors, interrupts, paths
from builder.cli import engine_session, terminal
from builder.image import lockfile, stand_in
from builder.sandbox import example, session
from builder.sandbox import state as sandbox_state
from builder.sandbox.status_words import VOCABULARIES
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.sandbox import server

_TRY = """
Paste these settings into another shell, in this folder. They are valid only for this sandbox:

{exports}

Then run, for example, with a config in a temporary folder:

{commands}

Slots: {slots}. In the registry: {images}.
Ctrl-C stops the sandbox and removes that folder, the registry, the images pulled from it and their pins, which are not
in your builder.lock.yaml. The stand-in images, and
an engine that was started, are kept for the next run.
"""
_ELSEWHERE = """\
note: try it with CONFIG={config}, in a temporary folder that is removed at the end.
note: pins made with these settings are not written to builder.lock.yaml, and are removed at the end with their images.
"""


def run(
    *,
    env_file: Annotated[
        Path | None,
        Option(
            "--env-file",
            metavar="FILE",
            help="write the settings to this file when the sandbox is ready; removed at the end",
        ),
    ] = None,
    port: Annotated[int, Option("--port", min=0, max=65_535, help="the port of the API; 0 selects a free one")] = 0,
    words: Annotated[
        Literal["seen", "others"], Option("--words", help="the status words that the API returns")
    ] = "seen",
    yes: Annotated[bool, Option("--yes", help="install and start an engine without asking")] = False,
    json_wanted: Annotated[bool, Option("--json", help="print one JSON object when the sandbox is ready")] = False,
) -> int:
    """Run a sandbox until a signal ends it."""
    if env_file and os.path.lexists(env_file):
        raise errors.UsageError(
            f"{env_file}: already exists, and would be removed at the end; pass a new file with --env-file"
        )
    if env_file and not env_file.parent.is_dir():
        raise errors.UsageError(
            f"{env_file.parent}: is not a folder; create it, or pass a file in another folder with --env-file"
        )
    with contextlib.ExitStack() as undo:
        try:
            sandbox, registry = _start(undo, port=port, words=words, yes=yes)
            pins = undo.enter_context(
                tempfile.TemporaryDirectory(prefix="numerai-sandbox-", ignore_cleanup_errors=True)
            )
            variables = {
                **sandbox.create_environment(),
                settings.REGISTRY: registry,
                settings.LOCK_FILE: str(Path(pins, lockfile.NAME)),
            }
            _print(sandbox, variables, env_file, undo, json_wanted=json_wanted)
            threading.Event().wait()
        except KeyboardInterrupt:
            _ignore_signals()  # no second one may keep it from cleaning up
    return 0


def format_instructions(sandbox: server.Sandbox, variables: Mapping[str, str], config: Path) -> str:
    """Return what is printed at a terminal."""
    newer = session.get_image_name(session.PYTHONS[-1])
    images = [image for image in sandbox.state.images if image.default or image.image == newer]
    tries = (("pin",), ("pickle",), ("validate",), ("upload", "--model=fresh"))
    return _TRY.format(
        exports="\n".join(f"  {line}" for line in _exports(variables).splitlines()),
        commands="\n".join(f"  {commands.suggest(name, config, *rest)}" for name, *rest in tries),
        slots=", ".join(_list_slots(sandbox)),
        images=", ".join(f"{image.image}:{image.tag}" for image in images),
    )


def _start(undo: contextlib.ExitStack, *, port: int, words: str, yes: bool) -> tuple[server.Sandbox, str]:
    with terminal.progress() as progress:
        engine = engine_session.connect(progress, yes=yes)
        images = [stand_in.find_or_build(engine, python, progress, fallback=True) for python in session.PYTHONS]
        tags = {image.python: image.tag for image in images}
        return session.start(undo, tags=tags, words=VOCABULARIES[words](), port=port, progress=progress)


def _print(
    sandbox: server.Sandbox,
    variables: Mapping[str, str],
    env_file: Path | None,
    undo: contextlib.ExitStack,
    *,
    json_wanted: bool,
) -> None:
    if env_file:
        undo.callback(env_file.unlink, missing_ok=True)
        paths.write_atomically(env_file, _exports(variables).encode(), mode=0o600)
    if json_wanted:
        config = undo.enter_context(example.create())
        terminal.print_json(
            {"format": 1, "settings": dict(variables), "config": str(config), "slots": _list_slots(sandbox)}
        )
    elif sys.stdout.isatty():
        instructions = format_instructions(sandbox, variables, undo.enter_context(example.create()))
        terminal.print_lines(*instructions.split("\n"))
    elif not env_file:
        path = undo.enter_context(example.create())
        terminal.put(sys.stderr, _ELSEWHERE.format(config=shlex.quote(str(path))))
        terminal.print_lines(*_exports(variables).splitlines())
    sys.stdout.flush()


def _list_slots(sandbox: server.Sandbox) -> list[str]:
    return [slot.name for slot in sandbox.state.slots.values() if slot.account.username == sandbox_state.OWNER]


def _exports(variables: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def _ignore_signals() -> None:
    for number in interrupts.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
