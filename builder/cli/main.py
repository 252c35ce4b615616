"""The verbs, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import io
import os
import signal
import sys
import tempfile
import traceback
from typing import TYPE_CHECKING, NoReturn

import builder
from builder import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

_REMINDER_SECONDS = 3.0
INTERRUPTED, BUG = 130, 70
PIPE_CLOSED = 141  # as of any program that is cut short in its output; 0 would say that all held
# What a disk or its permissions refuse, anywhere (the cache folder, the temporary one): no bug of ours.
_MACHINES_OWN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG)
_CONFIG = "configs/mlp.yaml"
_BUNDLE_TEXT = "show what is in a bundle, or check it"


def run() -> NoReturn:
    """Run the command line and end the process."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if "pyarrow" in sys.modules:
        # Its threads abort now and then while the interpreter ends (seen in 2 of 25 runs): leave without them.
        os._exit(code)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return its exit code."""
    interrupts = _listen()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file need not be text
    try:
        return _run(arguments)
    except errors.BuilderError as error:
        # An interrupted call to the engine may end as an error of it.
        return _end_interrupted() if interrupts else _end_failed(error)
    except KeyboardInterrupt:
        return _end_interrupted()
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        return _report_refusal(error) if error.errno in _MACHINES_OWN else _report_bug()
    except Exception:  # noqa: BLE001 - a bug of ours: kept for the report, not shown
        return _report_bug()


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = _parser().parse_args(arguments)
        return _verb(options.verb)(options)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()  # all is done and said: the exit code stands


def _drop_output() -> None:
    """Write to nowhere: whoever read it has gone, and Python would complain once more when it closes it."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="numerai-builder",
        description=builder.__doc__,
        epilog="exit codes: 0 good, 1 a finding, 2 usage, config or bundle, 3 engine or image, 4 network, 5 refused",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {builder.__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB", title="verbs")

    def verb(name: str, function: str, text: str, *, engine: bool = True) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=function)
        if engine:
            added.add_argument("--yes", action="store_true", help="start an engine without asking")
            added.add_argument("--json", action="store_true", help="print one JSON object")
        return added

    make = verb("pickle", "making.pickle", "make the pickle of CONFIG in its image: dist/NAME/model.pkl")
    make.add_argument("config", nargs="?", default=_CONFIG, metavar="CONFIG", help=f"default: {_CONFIG}")
    make.add_argument("--pull", action="store_true", help="ask the registry even if the image is here")
    render_text = "write the Dockerfile of CONFIG and its context; needs no engine"
    render = verb("render", "making.write_rendered", render_text, engine=False)
    render.add_argument("config", nargs="?", default=_CONFIG, metavar="CONFIG", help=f"default: {_CONFIG}")
    validate_text = "run the pickle of CONFIG in its image under the tournament's limits"
    validate = verb("validate", "proving.validate_pickle", validate_text)
    _add_target(validate)
    validate.add_argument("--stand-in", metavar="PYTHON", help="run it in this look-alike, not where it was made")
    _add_target(verb("verify", "making.verify", "make the pickle of CONFIG again and compare the bytes"))
    engine = verb("engine", "machine.engine", "find a container engine; install and start one where that is possible")
    engine.add_argument("--stop", action="store_true", help="stop the engine that this tool started")
    stand_in_text = "make a look-alike of the runner image with PYTHON (3.10 to 3.13, oldest, newest)"
    stand_in = verb("stand-in", "machine.make_stand_in", stand_in_text)
    stand_in.add_argument("--python", required=True, metavar="PYTHON", help="3.10 to 3.13; oldest or newest packages")
    init = verb("init", "bundles.write_config", "write the config of BUNDLE: configs/NAME.yaml", engine=False)
    _add_init(init)
    _add_bundle(verbs.add_parser("bundle", help=_BUNDLE_TEXT, description=_BUNDLE_TEXT))
    return parser


def _add_init(init: argparse.ArgumentParser) -> None:
    init.add_argument("--from", dest="bundle", required=True, metavar="BUNDLE", help="NAME.bundle.zip, or a folder")
    init.add_argument("--name", help="of the config; default: the bundle's")
    init.add_argument("--root", default=".", metavar="FOLDER", help="what holds configs/; default: the current folder")
    init.add_argument("--features", metavar="FILE", help="a features.json; default: FOLDER's own, or its v5.2's")
    init.add_argument("--force", action="store_true", help="replace the config that is there")
    init.add_argument("--json", action="store_true", help="print one JSON object")


def _add_bundle(bundle: argparse.ArgumentParser) -> None:
    verbs = bundle.add_subparsers(required=True, metavar="VERB", title="verbs")
    for name, text in (("show", "print what is in BUNDLE"), ("check", "print every fault of BUNDLE")):
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=f"bundles.{name}")
        added.add_argument("bundle", metavar="BUNDLE", help="NAME.bundle.zip, or a folder")
        added.add_argument("--json", action="store_true", help="print one JSON object")


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target", nargs="?", default=_CONFIG, metavar="CONFIG", help=f"or a dist/NAME folder; default: {_CONFIG}"
    )


def _verb(name: str) -> Callable[[argparse.Namespace], int]:
    """Import the verb's module: each command pays for its own imports alone."""
    module, _, function = name.partition(".")
    found: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f"builder.cli.{module}"), function)
    return found


def _listen() -> list[int]:
    """Have Ctrl-C and SIGTERM end the work; return where they are noted.

    An exception that comes while Python ends some object is lost, so it is raised again until it was heard.
    """
    interrupts: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.setitimer(signal.ITIMER_REAL, _REMINDER_SECONDS)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, interrupt)
    return interrupts


def _end_failed(error: errors.BuilderError) -> int:
    _say(f"error: {error}")
    return error.exit_code


def _end_interrupted() -> int:
    signal.setitimer(signal.ITIMER_REAL, 0)
    _say("interrupted")
    return INTERRUPTED


def _say(text: str) -> None:
    sys.stderr.write(f"{_hide(text)}\n")


def _hide(text: str) -> str:
    """Take out the secrets that were read, where any were."""
    settings = sys.modules.get("builder.settings")
    return str(settings.hide(text)) if settings else text


def _report_refusal(error: OSError) -> int:
    where = error.filename or tempfile.gettempdir()
    _say(f"error: {where}: {error.strerror}; free some space or mend the permissions, then run it again")
    return errors.UsageError.exit_code


def _report_bug() -> int:
    with tempfile.NamedTemporaryFile(
        "w", prefix="numerai-builder-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"numerai-builder {builder.__version__}, Python {sys.version}\n\n{_hide(traceback.format_exc())}")
    last = (traceback.format_exc().strip().splitlines() or [""])[-1]
    _say(f"error: this is a bug of numerai-builder ({last:.200}); the details are in {file.name}: please report it")
    return BUG
