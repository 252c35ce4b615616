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


_ONLY = "the only config below configs/"
Config = Annotated[
    str | None, Argument(metavar="CONFIG", help=f"a YAML file; default: {_ONLY}", autocompletion=_complete_config)
]
Target = Annotated[
    str | None,
    Argument(
        metavar="CONFIG", help=f"a YAML file or a dist/NAME folder; default: {_ONLY}", autocompletion=_complete_target
    ),
]
ConfigOrSlot = Annotated[
    str | None,
    Argument(metavar="SLOT", help=f"the slot's name or id, or a config; default: the slot of {_ONLY}"),
]
Configs = Annotated[
    list[str] | None,
    Argument(
        metavar="CONFIG", help="YAML files or image references; default: every config", autocompletion=_complete_config
    ),
]
BundlePath = Annotated[Path, Argument(metavar="BUNDLE", help="a NAME.bundle.zip or a folder")]
Slot = Annotated[str, Argument(metavar="SLOT", help="the slot's name or id")]
AnySlot = Annotated[str | None, Argument(metavar="SLOT", help="the slot's name or id; default: all slots")]
Pickle = Annotated[
    str, Argument(metavar="PICKLE", help="the pickle's id, label, stored name, or the 12 digits of its hash")
]
SlotOrPickle = Annotated[str, Argument(metavar="SLOT|PICKLE", help="the name or id of a slot or of a pickle")]
Json = Annotated[bool, Option("--json", help="print one JSON object")]
Yes = Annotated[bool, Option("--yes", help="answer every question with yes")]
StartEngine = Annotated[bool, Option("--yes", help="start an engine without asking")]
Locked = Annotated[
    bool,
    Option("--locked", help="refuse everything that builder.lock.yaml does not contain, and do not change it"),
]
Wait = Annotated[
    float,
    Option(
        "--wait",
        min=0,
        max=7 * 86_400,
        metavar="SECONDS",
        help="how long to wait at most for the tournament to finish; 0 does not wait",
    ),
]
