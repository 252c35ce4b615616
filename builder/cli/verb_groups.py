"""Where a group of verbs adds its own to the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.cli import requirements

if TYPE_CHECKING:
    import argparse


class Verbs:
    """Where a group adds its verbs.

    Args:
        parsers: Of the command, or of a verb that has verbs of its own.
    """

    def __init__(self, parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        self._parsers = parsers

    def add(
        self, name: str, function: str, text: str, *, json: bool = False, base: bool = False
    ) -> argparse.ArgumentParser:
        """Add a verb.

        Args:
            name: What is typed.
            function: ``module.function`` under ``builder.cli``; imported only when the verb is run.
            text: What ``--help`` says.
            json: It can print for programs.
            base: The base installation is enough for it; the others need the extra ``[build]``.
        """
        added = self._parsers.add_parser(name, help=text, description=text)
        added.set_defaults(verb=function, needs=requirements.BASE if base else requirements.ALL)
        if json:
            added.add_argument("--json", action="store_true", help="print one JSON object")
        return added

    def add_engine(self, name: str, function: str, text: str) -> argparse.ArgumentParser:
        """Add a verb that needs an engine; the arguments are those of :meth:`add`."""
        added = self.add(name, function, text)
        added.add_argument("--yes", action="store_true", help="start an engine without asking")
        added.add_argument("--json", action="store_true", help="print one JSON object")
        return added

    def group(self, name: str, text: str) -> Verbs:
        """Add a verb that has verbs of its own."""
        added = self._parsers.add_parser(name, help=text, description=text)
        return Verbs(added.add_subparsers(required=True, metavar="VERB", title="verbs"))


def add_locked(parser: argparse.ArgumentParser) -> None:
    """Add the option that keeps the lock file as it is."""
    text = "refuse everything that builder.lock.yaml does not name, and change nothing in it"
    parser.add_argument("--locked", action="store_true", help=text)
