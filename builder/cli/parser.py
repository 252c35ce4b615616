"""The command line's commands and options; what a command does is in the module with its name.

A command is added by its name alone: ``data-versions`` is :func:`builder.cli.data_versions.run`, and ``bundle show`` is
:func:`builder.cli.bundle_show.run`. No stage is imported here.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import builder
from builder import errors
from builder.cli import requirements

if TYPE_CHECKING:
    from collections.abc import Callable

_ONLY = "the only one below configs/"
_NAMED = "its name or id"
_PICKLE = "its id, stored name, the 12 digits of its hash, or label"
_WAIT = 3600.0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are the tool's own: with ``--json`` they are printed as JSON, too."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is left over where it is found: the usage that is printed is the command's, not the tool's."""
        found, extra = super().parse_known_args(args, namespace)
        if extra:
            self.error(f"unrecognized arguments: {' '.join(extra)}")
        return found, extra

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise errors.UsageError(f"{message}; see `{self.prog} --help`")


class _Commands:
    """Where commands are added.

    Args:
        parsers: Of the program, or of a command that has commands of its own.
        prefix: That command's name and a space.
    """

    def __init__(self, parsers: argparse._SubParsersAction[argparse.ArgumentParser], prefix: str = "") -> None:
        self._parsers, self._prefix = parsers, prefix

    def add(self, name: str, text: str, *, json: bool = True, base: bool = False) -> argparse.ArgumentParser:
        """Add a command.

        Args:
            name: What is typed; it names the module.
            text: What ``--help`` says.
            json: It can print for programs.
            base: The base installation is enough for it; the others need the extra ``[build]``.
        """
        added = self._parsers.add_parser(name, help=text, description=text)
        needs = requirements.BASE if base else requirements.ALL
        added.set_defaults(command=f"{self._prefix}{name}", needs=needs)
        if json:
            added.add_argument("--json", action="store_true", help="print one JSON object")
        return added

    def add_engine(self, name: str, text: str) -> argparse.ArgumentParser:
        """Add a command that needs an engine; the arguments are those of :meth:`add`."""
        added = self.add(name, text, json=False)
        added.add_argument("--yes", action="store_true", help="start an engine without asking")
        added.add_argument("--json", action="store_true", help="print one JSON object")
        return added

    def group(self, name: str, text: str) -> _Commands:
        """Add a command that has commands of its own."""
        added = self._parsers.add_parser(name, help=text, description=text)
        return _Commands(added.add_subparsers(required=True, metavar="VERB", title="verbs"), f"{name} ")


def build() -> argparse.ArgumentParser:
    """Return the parser; what it parses has the command's name in ``command``."""
    parser: argparse.ArgumentParser = _Parser(
        prog="numerai-builder",
        description=builder.__doc__,
        epilog="exit codes: 0 good, 1 a finding, 2 usage, config or bundle, 3 engine or image, 4 network, 5 refused, "
        "70 a bug of ours, 130 interrupted, 141 the reader of the output went away",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {builder.__version__}")
    commands = _Commands(parser.add_subparsers(required=True, metavar="VERB", title="verbs"))
    for add_group in _GROUPS:
        add_group(commands)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    """Add what a command is pointed at that reads the config alone."""
    parser.add_argument("config", nargs="?", metavar="CONFIG", help=f"default: {_ONLY}")


def _add_target(parser: argparse.ArgumentParser) -> None:
    """Add what a command after the build is pointed at."""
    parser.add_argument("target", nargs="?", metavar="CONFIG", help=f"or a dist/NAME folder; default: {_ONLY}")


def _add_making(commands: _Commands) -> None:
    make = commands.add_engine("pickle", "make the pickle of CONFIG in its image: dist/NAME/model.pkl")
    _add_config(make)
    make.add_argument("--pull", action="store_true", help="ask the registry even if the image is here")
    _add_locked(make)
    render_text = "write the Dockerfile of CONFIG and its context; needs no engine"
    render = commands.add("render", render_text, json=False)
    _add_config(render)
    _add_locked(render)
    validate_text = "run the pickle of CONFIG in its image under the tournament's limits"
    validate = commands.add_engine("validate", validate_text)
    _add_target(validate)
    _add_locked(validate)
    validate.add_argument("--stand-in", metavar="PYTHON", help="run it in this look-alike, not where it was made")
    verify = commands.add_engine("verify", "make the pickle of CONFIG again and compare the bytes")
    _add_target(verify)
    _add_locked(verify)


def _add_machine(commands: _Commands) -> None:
    engine_text = "find a container engine; install and start one where that is possible"
    engine = commands.add_engine("engine", engine_text)
    engine.add_argument("--stop", action="store_true", help="stop the engine that this tool started")
    stand_in_text = "make a look-alike of the runner image with PYTHON (3.10 to 3.13, oldest, newest)"
    stand_in = commands.add_engine("stand-in", stand_in_text)
    stand_in.add_argument("--python", required=True, metavar="PYTHON", help="3.10 to 3.13; oldest or newest packages")
    sandbox_text = (
        "run a local sandbox of the tournament until Ctrl-C: to try pin, pickle and upload without an account"
    )
    sandbox = commands.add("sandbox", sandbox_text, json=False)
    sandbox.add_argument(
        "--env-file", metavar="FILE", help="write the settings there once all is up; removed at the end"
    )
    sandbox.add_argument("--port", type=int, default=0, help="of the API; default: a free one")
    sandbox.add_argument("--words", choices=("seen", "others"), default="seen", help="the status words that it speaks")
    sandbox.add_argument("--yes", action="store_true", help="install and start an engine without asking")


def _add_images(commands: _Commands) -> None:
    pin_text = "pin the images of all configs in builder.lock.yaml by their digests, and say what changed"
    pin = commands.add("pin", pin_text)
    pin.add_argument("what", nargs="*", metavar="CONFIG", help="or an image reference; default: every config")
    pin.add_argument("--check", action="store_true", help="change nothing; exit 1 where something moved")
    images_text = "list the tournament's images: which is the default, which are pinned here"
    commands.add("images", images_text)


def _add_bundles(commands: _Commands) -> None:
    init = commands.add("init", "write the config of BUNDLE: configs/NAME.yaml", json=False)
    init.add_argument("--from", "--bundle", dest="bundle", metavar="BUNDLE", help="NAME.bundle.zip, or a folder")
    init.add_argument("--name", help="of the config; default: the bundle's")
    init.add_argument("--root", default=".", metavar="FOLDER", help="what holds configs/; default: the current folder")
    init.add_argument("--features", metavar="FILE", help="a features.json; default: FOLDER's own, or its v5.2's")
    init.add_argument("--force", action="store_true", help="replace the config that is there")
    init.add_argument("--json", action="store_true", help="print one JSON object")
    bundle = commands.group("bundle", "show what is in a bundle, check it, or convert an old one")
    for name, text in (("show", "print what is in BUNDLE"), ("check", "print every fault of BUNDLE")):
        added = bundle.add(name, text, json=False, base=True)
        added.add_argument("bundle", metavar="BUNDLE", help="NAME.bundle.zip, or a folder")
        added.add_argument("--json", action="store_true", help="print one JSON object")
    convert = bundle.add("convert", "write BUNDLE, of format 1, in the present format", base=True)
    convert.add_argument("bundle", metavar="BUNDLE", help="NAME.bundle.zip, or a folder")
    convert.add_argument("new", nargs="?", metavar="NEW", help="where to write it; default: in its place")


def _add_deploying(commands: _Commands) -> None:
    upload = commands.add("upload", "deploy the validated pickle of CONFIG to a model slot")
    _add_target(upload)
    upload.add_argument("--model", metavar="NAME", help="the slot, by name or id; default: the config's upload.model")
    upload.add_argument("--create", action="store_true", help="make the slot where there is none of this name")
    upload.add_argument("--clear-webhook", action="store_true", help="take the slot's webhook away")
    upload.add_argument("--trigger", action="store_true", help="have the tournament run it once it is assigned")
    upload.add_argument("--again", action="store_true", help="send it anew though an upload of it failed there")
    upload.add_argument("--no-compare", action="store_true", help="do not compare with what the slot runs now")
    upload.add_argument("--dry-run", action="store_true", help="read and check everything, change nothing")
    _add_wait(upload, "for the validation, and for a run, at most")
    _add_locked(upload)
    upload.add_argument("--yes", action="store_true", help="yes to every question, a staked submission's too")
    rollback = commands.add("rollback", "have a slot run again what it ran before")
    rollback.add_argument(
        "slot", nargs="?", metavar="SLOT", help=f"its name or id, or a config; default: the slot of {_ONLY}"
    )
    rollback.add_argument("--to", metavar="PICKLE", help="this one: its id, stored name, digits of its hash, or label")
    rollback.add_argument("--yes", action="store_true", help="do it without asking")


def _add_wait(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that says how long is waited for the tournament."""
    parser.add_argument("--wait", type=_seconds, default=_WAIT, metavar="SECONDS", help=text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found <= 7 * 86_400:
        raise argparse.ArgumentTypeError(f"{text[:20]!r}: is no number of seconds from 0 to a week")
    return found


def _add_looking(commands: _Commands) -> None:
    doctor_text = "look at the engine, the image, the API, the token and the slot; change nothing"
    doctor = commands.add("doctor", doctor_text)
    doctor.add_argument("config", nargs="?", metavar="CONFIG", help=f"whose image and slot; default: {_ONLY}")
    commands.add("models", "list the slots and what runs in each")
    status = commands.add("status", "show all slots, what needs attention first, or one slot")
    status.add_argument("slot", nargs="?", metavar="SLOT", help=_NAMED)
    pickles = commands.add("pickles", "list the uploaded pickles, of all slots or of SLOT")
    pickles.add_argument("slot", nargs="?", metavar="SLOT", help=f"the one they were uploaded for: {_NAMED}")
    pickles.add_argument("--unassigned", action="store_true", help="only those that run nowhere")
    commands.add("data-versions", "list the tournament's data versions")


def _add_runs(commands: _Commands) -> None:
    logs = commands.add("logs", "print what a run printed")
    logs.add_argument("name", metavar="SLOT|PICKLE|RUN", help="of a slot or pickle: its newest run")
    logs.add_argument("--diagnostics", action="store_true", help="of the run over the validation data")
    why = commands.add("why", "say why a slot's pickle failed: run it again here, in its image")
    why.add_argument("name", metavar="SLOT|PICKLE", help="its name or id")
    why.add_argument("--live", metavar="FILE", help="live data to run it on; default: today's, fetched")
    why.add_argument("--benchmarks", metavar="FILE", help="live benchmark predictions, with --live")
    why.add_argument("--stand-in", metavar="PYTHON", help="where the image cannot be had: run it in this look-alike")
    why.add_argument("--no-run", action="store_true", help="read what the tournament says and run nothing")
    why.add_argument("--yes", action="store_true", help="start an engine without asking")
    trigger = commands.add("trigger", "have the tournament run a pickle now")
    trigger.add_argument("name", metavar="SLOT|PICKLE", help="a slot's pickle, or a pickle")
    trigger.add_argument("--validation", action="store_true", help="validate it again too")
    _add_wait(trigger, "for the run to end, at most; 0: do not wait")
    _add_yes(trigger)


def _add_changing(commands: _Commands) -> None:
    assign = commands.add("assign", "have SLOT run PICKLE")
    assign.add_argument("slot", metavar="SLOT", help=_NAMED)
    assign.add_argument("pickle", metavar="PICKLE", help=_PICKLE)
    _add_yes(assign)
    disable = commands.add("disable", "have SLOT run no pickle")
    disable.add_argument("slot", metavar="SLOT", help=_NAMED)
    _add_yes(disable)
    label = commands.add("label", "give PICKLE a label that people see")
    label.add_argument("pickle", metavar="PICKLE", help=_PICKLE)
    label.add_argument("text", metavar="TEXT", help="the label; an empty one takes it away")
    create = commands.add("create-model", "make a slot in the Classic tournament")
    create.add_argument("name", metavar="NAME", help="1 to 20 of a-z, 0-9 and _")
    _add_yes(create)


def _add_access(commands: _Commands) -> None:
    download = commands.add("download", "fetch an uploaded pickle and compare its hash")
    download.add_argument("name", metavar="SLOT|PICKLE", help="a slot's pickle, or a pickle")
    download.add_argument("--to", metavar="FILE", help="default: its stored name, in the current folder")
    commands.add("credentials", "show whose token is set and what it may do")
    query = commands.add("query", "ask the tournament's API anything")
    query.add_argument("text", metavar="TEXT|@FILE|-", help="GraphQL, a file that has it, or standard input")
    query.add_argument("--variables", metavar="JSON|@FILE", help="an object")
    query.add_argument("--write", action="store_true", help="let it change something")


def _add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do it without asking")


def _add_locked(parser: argparse.ArgumentParser) -> None:
    """Add the option that keeps the lock file as it is."""
    text = "refuse everything that builder.lock.yaml does not name, and change nothing in it"
    parser.add_argument("--locked", action="store_true", help=text)


_GROUPS: tuple[Callable[[_Commands], None], ...] = (
    _add_making,
    _add_machine,
    _add_images,
    _add_bundles,
    _add_deploying,
    _add_looking,
    _add_runs,
    _add_changing,
    _add_access,
)
