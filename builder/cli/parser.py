"""The command line: which commands there are.

A command is a line of :data:`_COMMANDS` and the module of its name: ``data-versions`` is
:func:`builder.cli.data_versions.run`, and ``bundle show`` is :func:`builder.cli.bundle_show.run`. The parameters of
``run`` are its arguments and options. The module is imported when the command is called, and not before:
``--help`` and completion stay fast.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

import builder
from builder import commands, errors, paths
from builder.cli import requirements, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "numerai-builder"
_TyperError: Any = typer.BadParameter.__mro__[2]  # click's, or typer's copy of it, which has no public name
_COMPLETION = "_NUMERAI_BUILDER_COMPLETE"  # set by the shell script that --install-completion writes
_COMMANDS = {
    "Pipeline": {
        "init": "write the config of BUNDLE: configs/NAME.yaml",
        "pickle": "build the pickle of CONFIG in its image: dist/NAME/model.pkl",
        "render": "write the Dockerfile of CONFIG and its build context, without an engine",
        "validate": "run the pickle of CONFIG in its image under the tournament's limits",
        "verify": "build the pickle of CONFIG again and compare the bytes",
        "check": "find out whether any PICKLE would run, and if not, why: read it, then run it in its image",
        "adopt": "give a finished PICKLE, or what SLOT runs, a config and a dist/NAME; its bytes stay the same",
        "upload": "deploy the validated pickle of CONFIG to a model slot",
        "rollback": "assign the pickle that a slot ran before",
    },
    "Images": {
        "pin": "pin the images of all configs by digest in builder.lock.yaml, and print what changed",
        "images": "list the tournament's images, with the default and those pinned here",
    },
    "Bundles": {
        "bundle show": "print the contents of BUNDLE",
        "bundle check": "print every problem of BUNDLE",
        "bundle convert": "convert a bundle of an older format to the current one, in place or as NEW",
    },
    "Slots and uploaded pickles": {
        "models": "list the slots and the pickle of each",
        "status": "show the state of all slots, those that need attention first, or of one slot",
        "why": "explain why a slot's pickle failed, by running it here in its image",
        "logs": "print the log of a run",
        "pickles": "list the uploaded pickles, of all slots or of SLOT",
        "assign": "assign PICKLE to SLOT",
        "disable": "remove the pickle of SLOT, so that it runs none",
        "trigger": "start a run of a pickle now",
        "download": "download an uploaded pickle and compare its hash",
        "label": "set the label that the website shows for PICKLE",
        "create-model": "create a slot in the Classic tournament",
    },
    "Tournament": {
        "credentials": "show the account and scopes of the API token",
        "data": "fetch the live data of the last round, for validate.data: live",
        "data-versions": "list the tournament's data versions",
        "query": "send a query to the tournament's API",
    },
    "Machine": {
        "doctor": "check the engine, the image, the API, the token and the slot, without changes",
        "engine": "find a container engine; install and start one if possible",
        "stand-in": "build a stand-in image with PYTHON (3.10 to 3.13, oldest, newest, boosters, full)",
        "sandbox": "run a local sandbox of the tournament until Ctrl-C, to try the tool without an account",
    },
}
_GROUPS = {"bundle": "show what is in a bundle, check it, or convert an old one"}


def run(arguments: Sequence[str]) -> int:
    """Run a command; return its exit code.

    Raises:
        errors.UsageError: The command line is wrong; the usage is printed already.
    """
    command = typer.main.get_command(_build())
    if not terminal.has_colour(sys.stdout):
        os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"  # its help has colour in GitHub's logs otherwise
    if _COMPLETION in os.environ:
        command.main(prog_name=NAME)  # prints what the shell asked for, and exits
    try:
        with command.make_context(NAME, list(arguments)) as context:
            code: int = command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except SystemExit:  # rich ends the program if the reader of --help has gone
        return 0
    except _TyperError as error:
        raise _usage_error(error, NAME) from error
    return code


def names() -> Iterator[str]:
    """Yield every command that can be typed, such as ``bundle show``."""
    for group in _COMMANDS.values():
        yield from group


def load(name: str) -> TyperCommand:
    """Import a command.

    Raises:
        errors.UsageError: It needs packages that are not installed.
    """
    requirements.check(requirements.BASE if name.startswith("bundle ") else requirements.ALL)
    _remove_leftovers()
    module = importlib.import_module(f"builder.cli.{name.replace(' ', '_').replace('-', '_')}")
    alone = _new_app(add_completion=False)
    text = next(group[name] for group in _COMMANDS.values() if name in group)
    alone.command(name, cls=_Command, help=text)(module.run)
    return cast("TyperCommand", typer.main.get_command(alone))  # an app with one command is that command


def _remove_leftovers() -> None:
    """Remove what killed commands left on the engine; if that fails, the next command tries again."""
    with contextlib.suppress(OSError):
        if any(paths.runs_folder().glob("*")) and not requirements.missing():
            from builder.cli import engine_session  # noqa: PLC0415 - only after a kill, or while another command runs

            engine_session.remove_leftovers()


def _hide_flag_types(params: list[Any]) -> list[Any]:
    """Hide the type of flags in the help; typer shows ``<bool>``, as if they took a value."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _hide_flag_types(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _hide_flag_types(super().get_params(ctx))


class _LazyCommand(_Command):
    """A command that is imported only when it is called; ``--help`` and suggestions for typos need just its name."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        name = " ".join([*parent.command_path.split()[1:], str(self.name)])
        try:
            return load(name).make_context(info_name, args, parent=parent, **extra)
        except _TyperError as error:
            raise _usage_error(error, f"{NAME} {name}") from error


def _new_app(**settings: Any) -> typer.Typer:
    return typer.Typer(
        cls=_Group, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}, **settings
    )


def _build() -> typer.Typer:
    epilog = (
        "exit codes: 0 success, 1 a check failed, 2 usage, config or bundle, 3 engine or image, 4 network, 5 refused, "
        "70 internal error, 130 interrupted, 141 the reader of the output closed it"
    )
    app = _new_app(help=builder.__doc__, epilog=epilog)
    app.callback()(_take_version)
    groups = {"": app}
    for panel, texts in _COMMANDS.items():
        for name, text in texts.items():
            group, _, last = name.rpartition(" ")
            if group not in groups:
                groups[group] = _new_app()
                app.add_typer(groups[group], name=group, help=_GROUPS[group], rich_help_panel=panel)
            groups[group].command(last, cls=_LazyCommand, help=text, rich_help_panel=None if group else panel)(
                _run_nothing
            )
    return app


def _run_nothing() -> None:
    """Stand in for the function of a command whose module is not imported."""


def _print_version(is_requested: bool) -> None:  # noqa: FBT001 - as typer calls it
    if is_requested:
        terminal.print_lines(f"{NAME} {builder.__version__}")
        raise typer.Exit


def _take_version(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options of the program itself."""


def _usage_error(error: Any, path: str) -> errors.UsageError:
    """Print the usage of the command of this path, and return what is wrong."""
    context = getattr(error, "ctx", None)
    if context:
        path = context.command_path
        terminal.put(sys.stderr, f"{context.get_usage()}\n")
    message = error.format_message().rstrip(".")
    message = message.replace("Input should be ", "expected ").replace("Value error, ", "")  # pydantic's own words
    message = message[:1].lower() + message[1:]
    if message.startswith("missing argument '") and os.environ.get(commands.UNDER_MAKE):
        name = message.split("'")[1].partition("|")[0]
        return errors.UsageError(f"{message}; pass {name}=...")
    more = f"`{path} --help`"
    return errors.UsageError(f"{message} See {more}" if message.endswith("?") else f"{message}; see {more}")
