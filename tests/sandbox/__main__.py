"""``make sandbox``: the stand-in, a registry with look-alikes and a runner, for trying the tool without an account.

Prints the settings to use, as shell exports, and what to try; ends with Ctrl-C. Where nobody is at a terminal it prints
the exports alone on standard output, or, with ``--env-file``, writes them there and prints nothing. What it says to try
is done in a folder of its own, so that no pin of the person's comes to mean an image of the stand-in.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.sandbox import live, registry, runner, server, try_out
from tests.sandbox import state as world
from tests.support.words import VOCABULARIES, Words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.13")  # Debian's own: the others cannot be made where no image can be pulled
_TRY = """
Paste these into another shell, in this folder. They are worth nothing anywhere else:

{exports}

Then, for example, with a config in a folder of its own (your builder.lock.yaml stays as it is):

  make pin CONFIG={config}
  make pickle CONFIG={config}
  make validate CONFIG={config}
  make upload CONFIG={config} MODEL=fresh

Slots: {slots}. In the registry: {images}.
Ctrl-C ends it and removes that folder, the registry and what was pulled from it; an engine that was started and the
look-alikes that were made stay for the next time.
"""
_ELSEWHERE = """\
note: try it with CONFIG={config}, in a folder of its own that is removed at the end.
note: a pin that is made with these settings is of an image of this sandbox, and of no use once it has ended.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal ends it."""
    options = _parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    words = VOCABULARIES[options.words]()
    try:
        with (
            _running(yes=options.yes, port=options.port, words=words) as (sandbox, registry_name),
            contextlib.ExitStack() as undo,
        ):
            settings = {**sandbox.environment(), "NUMERAI_REGISTRY": registry_name}
            if options.env_file:
                undo.callback(options.env_file.unlink, missing_ok=True)
                _write(options.env_file, _exports(settings))
            if sys.stdout.isatty():
                print(text_to_try(sandbox, settings, undo.enter_context(try_out.folder())), flush=True)
            elif not options.env_file:
                config = shlex.quote(str(undo.enter_context(try_out.folder())))
                sys.stderr.write(_ELSEWHERE.format(config=config))
                sys.stderr.flush()
                print(_exports(settings), end="", flush=True)
            undo.callback(_ignore_signals)  # first of all at the end: no second one may keep it from cleaning up
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        sys.stderr.write(f"error: port {options.port} is in use: name another with --port, or none\n")
        return 2
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sandbox", description=__doc__.partition("\n")[0])
    parser.add_argument("--env-file", type=Path, help="write the settings there once all is up; removed at the end")
    parser.add_argument("--port", type=int, default=0, help="of the API; a free one otherwise")
    parser.add_argument("--words", choices=VOCABULARIES, default="seen", help="the status words that it speaks")
    parser.add_argument("--yes", action="store_true", help="install and start an engine without asking")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _running(*, yes: bool, port: int, words: Words) -> Iterator[tuple[server.Sandbox, str]]:
    """Run all of it; yields the stand-in, and what stands for ``ghcr.io/numerai``."""
    _builder("engine", *(["--yes"] if yes else []))
    tags = {python: json.loads(_builder("stand-in", "--python", python, "--json"))["tag"] for python in PYTHONS}
    state = world.default_world(words)
    with contextlib.ExitStack() as undo:
        address = undo.enter_context(registry.start())
        undo.callback(registry.forget_all, address)
        name = f"{address}/numerai"
        for python, tag in tags.items():
            image = state.image(f"numerai_predict_py_{python.replace('.', '_')}")
            registry.publish(tag, f"{name}/{image.image}:{image.tag}")
        registry.forget_all(address)  # so that a pin or a pull has something to do
        data = undo.enter_context(live.Live(live.every_bundle()))
        judge = runner.Runner(registry=name, data=data)
        yield undo.enter_context(server.start(judge=judge, data=data, state=state, port=port)), name


def _builder(*arguments: str) -> str:
    """Run the tool itself, whose messages go to the terminal, and return what it prints for programs."""
    done = subprocess.run(
        [sys.executable, "-m", "builder", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout


def text_to_try(sandbox: server.Sandbox, settings: Mapping[str, str], config: Path) -> str:
    """Return what a person at the terminal is told."""
    images = [sandbox.state.image(f"numerai_predict_py_{python.replace('.', '_')}") for python in PYTHONS]
    return _TRY.format(
        exports="\n".join(f"  {line}" for line in _exports(settings).splitlines()),
        config=shlex.quote(str(config)),
        slots=", ".join(one.name for one in sandbox.state.slots.values() if one.account.username == world.OWNER),
        images=", ".join(f"{one.image}:{one.tag}" for one in images),
    )


def _exports(settings: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())


def _write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, for its owner alone."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
