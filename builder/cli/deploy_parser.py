"""The verbs that deploy a pickle and take it back, and their options."""

from __future__ import annotations

import argparse
import math

from builder.cli import verb_groups

_CONFIG = "configs/mlp.yaml"
_WAIT = 3600.0


def add(verbs: verb_groups.Verbs) -> None:
    """Add them."""
    upload = verbs.add("upload", "upload.upload", "deploy the validated pickle of CONFIG to a model slot", json=True)
    upload.add_argument("target", nargs="?", default=_CONFIG, metavar="CONFIG", help="or dist/NAME")
    upload.add_argument("--model", metavar="NAME", help="the slot, by name or id; default: the config's upload.model")
    upload.add_argument("--create", action="store_true", help="make the slot where there is none of this name")
    upload.add_argument("--clear-webhook", action="store_true", help="take the slot's webhook away")
    upload.add_argument("--trigger", action="store_true", help="have the tournament run it once it is assigned")
    upload.add_argument("--again", action="store_true", help="send it anew though an upload of it failed there")
    upload.add_argument("--no-compare", action="store_true", help="do not compare with what the slot runs now")
    upload.add_argument("--dry-run", action="store_true", help="read and check everything, change nothing")
    add_wait(upload, "for the validation, and for a run, at most")
    verb_groups.add_locked(upload)
    upload.add_argument("--yes", action="store_true", help="yes to every question, a staked submission's too")
    rollback = verbs.add("rollback", "rollback.rollback", "have a slot run again what it ran before", json=True)
    rollback.add_argument(
        "slot", nargs="?", default=_CONFIG, metavar="SLOT", help=f"its name or id, or a config; default: {_CONFIG}"
    )
    rollback.add_argument("--to", metavar="PICKLE", help="this one: its id, stored name, digits of its hash, or label")
    rollback.add_argument("--yes", action="store_true", help="do it without asking")


def add_wait(parser: argparse.ArgumentParser, text: str) -> None:
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
