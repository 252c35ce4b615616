"""The verbs on slots, pickles and the account, and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.cli import deploy_parser

if TYPE_CHECKING:
    import argparse

    from builder.cli import verb_groups

_NAMED = "its name or id"
_PICKLE = "its id, stored name, the 12 digits of its hash, or label"


def add(verbs: verb_groups.Verbs) -> None:
    """Add them."""
    _add_looking(verbs)
    _add_runs(verbs)
    _add_changing(verbs)
    _add_access(verbs)


def _add_looking(verbs: verb_groups.Verbs) -> None:
    doctor_text = "look at the engine, the image, the API, the token and the slot; change nothing"
    doctor = verbs.add("doctor", "doctor.doctor", doctor_text, json=True)
    doctor.add_argument("config", nargs="?", metavar="CONFIG", help="whose image and slot; default: configs/mlp.yaml")
    verbs.add("models", "slots.models", "list the slots and what runs in each", json=True)
    status = verbs.add("status", "slots.status", "show all slots, what needs attention first, or one slot", json=True)
    status.add_argument("slot", nargs="?", metavar="SLOT", help=_NAMED)
    pickles = verbs.add("pickles", "slots.pickles", "list the uploaded pickles, of all slots or of SLOT", json=True)
    pickles.add_argument("slot", nargs="?", metavar="SLOT", help=f"the one they were uploaded for: {_NAMED}")
    pickles.add_argument("--unassigned", action="store_true", help="only those that run nowhere")
    verbs.add("data-versions", "slots.data_versions", "list the tournament's data versions", json=True)


def _add_runs(verbs: verb_groups.Verbs) -> None:
    logs = verbs.add("logs", "runs.logs", "print what a run printed", json=True)
    logs.add_argument("name", metavar="SLOT|PICKLE|RUN", help="of a slot or pickle: its newest run")
    logs.add_argument("--diagnostics", action="store_true", help="of the run over the validation data")
    why = verbs.add("why", "why.why", "say why a slot's pickle failed: run it again here, in its image", json=True)
    why.add_argument("name", metavar="SLOT|PICKLE", help="its name or id")
    why.add_argument("--live", metavar="FILE", help="live data to run it on; default: today's, fetched")
    why.add_argument("--benchmarks", metavar="FILE", help="live benchmark predictions, with --live")
    why.add_argument("--stand-in", metavar="PYTHON", help="where the image cannot be had: run it in this look-alike")
    why.add_argument("--no-run", action="store_true", help="read what the tournament says and run nothing")
    why.add_argument("--yes", action="store_true", help="start an engine without asking")
    trigger = verbs.add("trigger", "runs.trigger", "have the tournament run a pickle now", json=True)
    trigger.add_argument("name", metavar="SLOT|PICKLE", help="a slot's pickle, or a pickle")
    trigger.add_argument("--validation", action="store_true", help="validate it again too")
    deploy_parser.add_wait(trigger, "for the run to end, at most; 0: do not wait")
    _add_yes(trigger)


def _add_changing(verbs: verb_groups.Verbs) -> None:
    assign = verbs.add("assign", "changes.assign", "have SLOT run PICKLE", json=True)
    assign.add_argument("slot", metavar="SLOT", help=_NAMED)
    assign.add_argument("pickle", metavar="PICKLE", help=_PICKLE)
    _add_yes(assign)
    disable = verbs.add("disable", "changes.disable", "have SLOT run no pickle", json=True)
    disable.add_argument("slot", metavar="SLOT", help=_NAMED)
    _add_yes(disable)
    label = verbs.add("label", "changes.label", "give PICKLE a label that people see", json=True)
    label.add_argument("pickle", metavar="PICKLE", help=_PICKLE)
    label.add_argument("text", metavar="TEXT", help="the label; an empty one takes it away")
    create = verbs.add("create-model", "changes.create_model", "make a slot in the Classic tournament", json=True)
    create.add_argument("name", metavar="NAME", help="1 to 20 of a-z, 0-9 and _")
    _add_yes(create)


def _add_access(verbs: verb_groups.Verbs) -> None:
    download = verbs.add("download", "account.download", "fetch an uploaded pickle and compare its hash", json=True)
    download.add_argument("name", metavar="SLOT|PICKLE", help="a slot's pickle, or a pickle")
    download.add_argument("--to", metavar="FILE", help="default: its stored name, in the current folder")
    verbs.add("credentials", "account.credentials", "show whose token is set and what it may do", json=True)
    query = verbs.add("query", "account.query", "ask the tournament's API anything", json=True)
    query.add_argument("text", metavar="TEXT|@FILE|-", help="GraphQL, a file that has it, or standard input")
    query.add_argument("--variables", metavar="JSON|@FILE", help="an object")
    query.add_argument("--write", action="store_true", help="let it change something")


def _add_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do it without asking")
