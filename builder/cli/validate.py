"""``validate``: run a pickle as the tournament does, and report which checks passed."""

from __future__ import annotations

import importlib
import json
import webbrowser
from concurrent import futures
from typing import TYPE_CHECKING, Annotated

from typer import Option

from builder import errors
from builder.build import artifact, target
from builder.cli import engine_session, findings, image_kinds, slot_pickle, terminal
from builder.cli.parameters import Json, Locked, StartEngine, Target
from builder.config import project
from builder.engine import run as engine_run
from builder.image import lockfile
from builder.progress import Stopwatch
from builder.tournament import session
from builder.validate import headroom, runner_log
from builder.validate import task as tasks

if TYPE_CHECKING:
    from pathlib import Path

    from builder.validate import run as validate
    from builder.validate.page.content import SlotComparison

_LOG_LINES = 12
_MARKS = {True: "ok", False: "FAILED", None: "note"}


def run(
    *,
    config: Target = None,
    locked: Locked = False,
    stand_in: Annotated[
        str | None,
        Option("--stand-in", metavar="PYTHON", help="run the pickle in this stand-in image instead of its own"),
    ] = None,
    open_wanted: Annotated[bool, Option("--open", help="open the report in a browser")] = False,
    yes: StartEngine = False,
    json_wanted: Json = False,
) -> int:
    """Validate; exit 1 when a check failed."""
    from builder.validate import report  # noqa: PLC0415 - numpy
    from builder.validate import run as validate  # noqa: PLC0415 - numpy
    from builder.validate.reading import read  # noqa: PLC0415

    if locked and stand_in:
        raise errors.RefusedError(
            f"--stand-in {stand_in}: a stand-in is not the image that is pinned in {lockfile.NAME}; "
            "leave out --stand-in, or LOCKED=1 (--locked)"
        )
    selected = target.find_target(project.choose_config(config))
    watch = Stopwatch()
    with terminal.progress() as progress:
        target.load_artifact(
            selected, progress, locked=locked
        )  # problems with it are reported before anything is started
        session.read_registry(selected.root)  # and with this setting
        if selected.config:
            findings.note_data_version(selected.config, progress)
        engine = engine_session.connect(progress, yes=yes)
        with artifact.lock_folder(selected.folder, progress), engine_run.start(engine) as run_id:
            built = target.load_artifact(selected, progress, locked=locked)
            task = tasks.prepare_task(built, selected, engine, run_id, progress, stand_in_python=stand_in)
            with futures.ThreadPoolExecutor(1) as pool:
                # matplotlib is loaded and the pickle is read while the containers run.
                loading = pool.submit(importlib.import_module, "builder.validate.page.compose")
                minor = ".".join(task.python.split(".")[:2])
                reading = pool.submit(read.read, built.pickle, image_python=minor)
                with watch.stage("validation"):
                    result = validate.validate(task, engine, run_id, progress)
                slot = selected.config.upload.model if selected.config and selected.config.upload else None
                compared = (
                    slot_pickle.compare(slot, result, selected.root, engine, run=run_id, progress=progress)
                    if slot
                    else None
                )
                content, page = report.to_bytes(result), loading.result().compose(result, reading.result(), compared)
            artifact.write_report(built.folder, artifact.VALIDATION, content)
            report.mark_local(content)
            artifact.write_report(built.folder, artifact.PAGE, page)
    if json_wanted:
        terminal.print_json(json.loads(content))
    else:
        _print_result(result, compared, watch, selected.root)
    if open_wanted:
        webbrowser.open((selected.folder / artifact.PAGE).absolute().as_uri())
    return 0 if result.good else 1


def _print_result(result: validate.Validation, compared: SlotComparison | None, watch: Stopwatch, root: Path) -> None:
    task = result.task
    limitation = f"; {task.limitation}" if task.limitation else ""
    exempt = "".join(f"; exempt from {key}: {reason}" for key, reason in task.exempt.items())
    terminal.print_lines(
        f"{task.artifact.pickle}  on {task.files.rows:,} rows ({task.source.partition(',')[0]}){limitation}{exempt}"
    )
    terminal.print_lines(
        f"  in {task.image.base} ({image_kinds.describe_kind(task.image, root)}), Python {task.python}"
    )
    terminal.print_table([(_MARKS[check.good], check.name, check.text) for check in result.checks])
    terminal.print_lines(f"  used  {headroom.describe_usage(result.usage, task.limits)}")
    terminal.print_lines(*([f"  slot  {compared.name}: {compared.text}"] if compared else []))
    terminal.print_lines(
        f"{'valid' if result.good else 'NOT VALID'}  ({watch.line()}; {task.artifact.folder / artifact.PAGE})"
    )
    if result.evidence.predictions is None and result.log.strip():
        terminal.print_lines("last output of the entry point:")
        terminal.print_lines(*(f"    {line}" for line in runner_log.format_excerpt([result.log], _LOG_LINES)))
    if task.image.kind == "stand_in":
        terminal.print_lines(*image_kinds.format_warning("stand_in", task.artifact.folder))
