"""``upload``: uploads a validated pickle and assigns it to a slot."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from builder import commands, errors, tournament
from builder.build import target
from builder.cli import api_session, confirmation, remote_files, terminal
from builder.cli.parameters import Json, Locked, Target, Wait
from builder.config import project
from builder.registry import connections
from builder.text import sanitize
from builder.tournament import session, slots, status, times
from builder.upload import assign, deploy, local_checks, old_records, remote_checks, slot_log, waiting
from builder.upload import plan as planning
from builder.validate import runner_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.progress import Progress
    from builder.upload.plan import UploadPlan

_LOG_LINES = 12


def run(
    *,
    config: Target = None,
    model: Annotated[
        str | None,
        Option("--model", metavar="NAME", help="the slot, by name or id; default: the config's upload.model"),
    ] = None,
    create: Annotated[bool, Option("--create", help="create the slot if it does not exist")] = False,
    clear_webhook: Annotated[bool, Option("--clear-webhook", help="remove the slot's webhook")] = False,
    trigger: Annotated[bool, Option("--trigger", help="start a run after the pickle is assigned")] = False,
    again: Annotated[bool, Option("--again", help="upload the pickle again after a failed upload")] = False,
    no_compare: Annotated[bool, Option("--no-compare", help="do not compare with the slot's current pickle")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="print the plan and change nothing")] = False,
    wait: Wait = 3600.0,
    locked: Locked = False,
    yes: Annotated[bool, Option("--yes", help="answer every question with yes, also about stakes")] = False,
    json_wanted: Json = False,
) -> int:
    """Upload and assign a pickle; exit 1 if the tournament's validation rejects it."""
    source = target.find_target(project.choose_config(config))
    root, configured = (source.config.root, source.config.upload) if source.config else (Path.cwd(), None)
    with terminal.progress() as progress, contextlib.ExitStack() as stack:
        artifact = target.load_artifact(source, progress, locked=locked)
        proof = local_checks.check_artifact(artifact, wanted=source.config.data_version if source.config else None)
        reservation = None if dry_run else stack.enter_context(slot_log.reserve_space())
        api = stack.enter_context(api_session.connect(progress, root=root))
        registries = stack.enter_context(connections.connect(progress))
        remote_checks.check_token(api)
        account = api.get_account()
        name, origin = model, ""
        if not name and source.config and configured and configured.model:
            name, origin = configured.model, f"upload.model of {source.config.file}"
        if not name:
            name, create = _ask_for_slot(account, create=create)
        slot = remote_checks.find_slot(account, name, create=create, origin=origin)
        request = planning.UploadRequest(
            artifact=artifact,
            slot=name,
            data_version=proof.data_version,
            create=create,
            clear_webhook=clear_webhook,
            trigger=trigger,
            again=again,
            compare=not no_compare,
        )
        registry = session.read_registry(root)

        def compare(plan: UploadPlan) -> UploadPlan:
            return _add_similarity(plan, source, api, root, progress)

        if reservation is None:
            _print_plan(
                compare(remote_checks.make_plan(api, account, request, registries, registry)),
                proof.notes,
                json_wanted=json_wanted,
            )
            return 0
        if slot:
            name = slot.name
        stack.enter_context(assign.report_slots_on_interrupt(api, [slot.id if slot else name]))
        stack.enter_context(slot_log.lock_slot(name))
        old_records.migrate(root, account.slots)
        plan = _confirm_current(
            api, remote_checks.make_plan(api, account, request, registries, registry), proof.notes, compare, yes=yes
        )
        result = deploy.deploy(plan, api, progress, reserve=reservation, policy=waiting.PollPolicy(total=wait))
        if not result.failure:
            remote_files.keep(result.pickle.id, artifact.pickle)
        plan = _refresh_round(api, plan, result)
    _print(result, plan, json_wanted=json_wanted)
    return 1 if result.failure else 0


def _refresh_round(api: tournament.Tournament, plan: UploadPlan, result: deploy.UploadResult) -> UploadPlan:
    """Return the plan with the current round if its times are printed: it may have closed in the meantime."""
    run = _last_run(result)
    if run and status.had_no_round(run):
        # The upload is complete, so an error here must not make it fail.
        with contextlib.suppress(errors.NetworkError):
            return remote_checks.refresh_round(api, plan)
    return plan


def _last_run(result: deploy.UploadResult) -> tournament.Run | None:
    return result.run or next(iter(result.pickle.runs), None)


def _add_similarity(
    plan: UploadPlan,
    source: target.Target,
    api: tournament.Tournament,
    root: Path,
    progress: Progress,
) -> UploadPlan:
    """Return the plan with the correlation between the pickle and the slot's current one, for the confirmation."""
    if not plan.request.compare or plan.is_done or plan.slot is None or plan.slot.pickle is None:
        return plan
    from builder.cli import compare  # noqa: PLC0415 - numpy, pyarrow

    similarity = compare.compare(plan.request, plan.slot.pickle, source, api, root, progress=progress)
    return dataclasses.replace(plan, similarity=similarity)


def _ask_for_slot(account: tournament.Account, *, create: bool) -> tuple[str, bool]:
    """Ask for the slot's name; return it, and whether to create the slot, which the plan shows for confirmation."""
    usable = [slot for slot in account.slots if not slot.archived and slot.tournament == tournament.CLASSIC]
    if not terminal.is_interactive():
        names = ", ".join(slot.name for slot in usable) or "none"
        raise errors.UsageError(
            f"no slot given; pass --model (make: MODEL=name), or set upload.model in the config; slots: {names}"
        )
    for slot in usable:
        runs = slot.pickle.filename if slot.pickle else "nothing"
        terminal.show(f"  {slot.name}: runs {runs}")
    name = terminal.ask("Name of an existing or a new slot to deploy to:")
    if not name:
        raise errors.RefusedError("no slot was given; nothing was changed")
    return name, create or slots.match_slot(account, name) is None


def _confirm_current(
    api: tournament.Tournament,
    plan: UploadPlan,
    notes: tuple[str, ...],
    compare: Callable[[UploadPlan], UploadPlan],
    *,
    yes: bool,
) -> UploadPlan:
    """Ask the user to confirm the plan; return it with the round and the stakes as of the answer."""
    if not yes and not terminal.is_interactive():
        _confirm(plan, notes, yes=False)  # raises without a terminal, before the slow comparison
    plan = remote_checks.refresh_plan(api, compare(plan))
    while True:
        _confirm(plan, notes, yes=yes)
        now = plan if yes or plan.changes_nothing else remote_checks.refresh_plan(api, plan)
        if not now.exceeds(plan):
            return now
        terminal.show("in the meantime a round opened or a stake was added; the effects are now:")
        plan = now


def _confirm(plan: UploadPlan, notes: tuple[str, ...], *, yes: bool) -> None:
    """Show the plan and ask the user to confirm it; stakes and webhooks are confirmed separately."""
    facts = [*plan.lines(), *(f"note     {note}" for note in notes)]
    if plan.changes_nothing:
        return
    kind = "existing" if plan.slot else "NEW"
    confirmation.ask(f"Deploy to the {kind} slot {plan.name}?", facts, yes=yes)
    if yes:
        return
    webhook = [f"Remove the webhook of {plan.name}?"] if plan.clears_webhook else []
    run_action = confirmation.format_run(plan.round.number if plan.runs_now and plan.round else None)
    own, others = (plan.staked[:1], plan.staked[1:]) if plan.slot and plan.slot.stake else ((), plan.staked)
    stakes = confirmation.format_stakes(own, run_action if plan.runs_now else confirmation.NEXT_ROUNDS)
    confirmation.ask_in_full([*webhook, *stakes, *confirmation.format_stakes(others, run_action)])


def _print_plan(plan: UploadPlan, notes: tuple[str, ...], *, json_wanted: bool) -> None:
    if json_wanted:
        terminal.print_json({"format": 1, "plan": {**plan.data(), "notes": [*plan.data()["notes"], *notes]}})
        return
    terminal.print_lines(*plan.lines(), *(f"note     {note}" for note in notes))
    terminal.print_lines("nothing was changed (--dry-run)")


def _print(result: deploy.UploadResult, plan: UploadPlan, *, json_wanted: bool) -> None:
    if json_wanted:
        failure = result.failure
        data = {
            "format": 1,
            "slot": result.slot.name,
            "pickle": result.pickle.id,
            "good": failure is None,
            "receipt": result.receipt,
            "log": list(failure.log if failure else result.log),
            "failure": failure.data() if failure else None,
        }
        terminal.print_json(data)
    elif result.failure:
        _print_failure(result, plan)
    else:
        _print_success(result, plan)


def _print_failure(result: deploy.UploadResult, plan: UploadPlan) -> None:
    failure = result.failure
    if failure is None:
        return
    terminal.print_lines(
        f"FAILED: {sanitize(result.pickle.filename)} ({result.pickle.id}), {failure.where} {failure.status}"
    )
    for text in failure.descriptions:
        terminal.print_lines(f"  status   {sanitize(text)}")
    terminal.print_lines(f"  cause    {failure.cause}")
    if failure.log:
        terminal.print_lines("  last lines of its log:")
        terminal.print_lines(*(f"    {line}" for line in runner_log.format_excerpt(failure.log, _LOG_LINES)))
    current = planning.describe_pickle(result.slot.pickle)
    if assign.get_pickle_id(result.slot) == result.pickle.id:
        terminal.print_lines(
            f"  {plan.name} RUNS THE FAILED PICKLE; "
            f"`{commands.suggest_plain('rollback', plan.name)}` restores the previous one"
        )
    elif result.changed_elsewhere:
        terminal.print_lines(f"  {plan.name} runs {current}, which was assigned elsewhere in the meantime")
    else:
        terminal.print_lines(f"  {plan.name} still runs {current}")
    terminal.print_lines("  if the model is not the cause, upload it again with --again (make: AGAIN=1)")


def _print_success(result: deploy.UploadResult, plan: UploadPlan) -> None:
    name = sanitize(result.slot.name)
    source = "unchanged" if plan.is_done else "read back from the slot"
    terminal.print_lines(f"{name} runs {planning.describe_pickle(result.pickle)}  ({source})")
    run = _last_run(result)
    if result.run:
        terminal.print_lines(
            f"run {result.run.id}: {sanitize('; '.join((result.run.status, *result.run.descriptions)))}"
        )
        terminal.print_lines(*(f"    {line}" for line in runner_log.format_excerpt(result.log, _LOG_LINES)))
    if run and status.had_no_round(run):
        round_text = times.describe_round(plan.round, plan.now)
        terminal.print_lines(f'"{tournament.NO_ROUND}" means success: the model is valid, and {round_text}')
    if result.receipt and result.receipt["previous"]:
        terminal.print_lines(
            f"previous pickle: {sanitize(result.receipt['previous'])}; to restore it: "
            + commands.suggest_plain("rollback", name)
        )
    terminal.print_lines(f"{plan.request.artifact.folder / 'receipt.json'}")
