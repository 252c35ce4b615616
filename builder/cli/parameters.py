"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def _complete_config() -> list[str]:
    """Return what a shell offers for CONFIG."""
    from builder.config import project  # noqa: PLC0415 - a shell asks

    return [path.as_posix() for path in project.list_configs()]


def _complete_target() -> list[str]:
    """Return what a shell offers for CONFIG or ``dist/NAME``."""
    return [*_complete_config(), *sorted(path.parent.as_posix() for path in Path("dist").glob("*/manifest.json"))]


_ONLY = "the only one below configs/"
Config = Annotated[str | None, Argument(metavar="CONFIG", help=f"default: {_ONLY}", autocompletion=_complete_config)]
Target = Annotated[
    str | None,
    Argument(metavar="CONFIG", help=f"or a dist/NAME folder; default: {_ONLY}", autocompletion=_complete_target),
]
ConfigOrSlot = Annotated[
    str | None,
    Argument(metavar="SLOT", help=f"its name or id, or a config; default: the slot of {_ONLY}"),
]
Configs = Annotated[
    list[str] | None,
    Argument(metavar="CONFIG", help="or an image reference; default: every config", autocompletion=_complete_config),
]
BundlePath = Annotated[Path, Argument(metavar="BUNDLE", help="NAME.bundle.zip, or a folder")]
Slot = Annotated[str, Argument(metavar="SLOT", help="its name or id")]
AnySlot = Annotated[str | None, Argument(metavar="SLOT", help="its name or id; default: all")]
Pickle = Annotated[str, Argument(metavar="PICKLE", help="its id, stored name, the 12 digits of its hash, or label")]
SlotOrPickle = Annotated[str, Argument(metavar="SLOT|PICKLE", help="a slot's pickle, or a pickle: its name or id")]
Json = Annotated[bool, Option("--json", help="print one JSON object")]
Yes = Annotated[bool, Option("--yes", help="do it without asking")]
StartEngine = Annotated[bool, Option("--yes", help="start an engine without asking")]
Locked = Annotated[
    bool,
    Option("--locked", help="refuse everything that builder.lock.yaml does not name, and change nothing in it"),
]
Wait = Annotated[
    float,
    Option(
        "--wait",
        min=0,
        max=7 * 86_400,
        metavar="SECONDS",
        help="for its end at the tournament, at most; 0: do not wait",
    ),
]
