"""``verify``: build a pickle again and compare the bytes; of an adopted pickle, only compare them with the records."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

from builder import commands
from builder.build import records, render, target
from builder.cli import engine_session, findings, image_kinds, terminal
from builder.cli.parameters import Json, Locked, StartEngine, Target
from builder.config import project
from builder.config.model import LimitsConfig
from builder.engine import run as engine_run
from builder.image import resolve as image
from builder.progress import Stopwatch
from builder.tournament import session


def run(*, config: Target = None, locked: Locked = False, yes: StartEngine = False, json_wanted: Json = False) -> int:
    """Build the pickle again and compare; exit 1 if it differs."""
    from builder.build import recorded_inputs  # noqa: PLC0415 - numpy
    from builder.build import verify as stage  # noqa: PLC0415 - the command has the stage's name

    selected = target.find_target(project.choose_config(config))
    if records.is_adopted(selected):
        return _compare_adopted(selected, locked=locked, json_wanted=json_wanted)
    watch = Stopwatch()
    with (
        terminal.progress() as progress,
        watch.stage("rebuild"),
        tempfile.TemporaryDirectory(prefix="numerai-builder-verify-") as work,
    ):
        # No lock on the folder: it is only read, may belong to another user, and all its files are copied first.
        artifact = target.load_artifact(selected, progress, locked=locked)
        rendered = recorded_inputs.read_inputs(artifact, copy=Path(work))
        session.read_registry(selected.root)  # an invalid setting is reported before an engine is started
        engine = engine_session.connect(progress, yes=yes)
        with engine_run.start(engine) as run_id:
            runner_image = target.find_image(selected, artifact, engine, progress)
            stage.check_image(artifact, runner_image, image.read_inventory(runner_image, engine, run_id))
            rendered = render.use_source(rendered, base=artifact.manifest.image.base, source=runner_image.source)
            limits = selected.config.validate.limits if selected.config else LimitsConfig()
            result = stage.verify(artifact, rendered, engine, run_id, limits=limits, work=Path(work), progress=progress)
    if json_wanted:
        terminal.print_json(
            {"format": 1, "equal": result.equal, "image": artifact.manifest.image.base, **asdict(result)}
        )
    else:
        terminal.print_lines(f"recorded  {result.recorded}", f"rebuilt   {result.rebuilt}")
        terminal.print_lines(f"{'equal' if result.equal else 'DIFFERENT'}: {artifact.pickle}  ({watch.line()})")
        terminal.print_lines(
            f"  in {artifact.manifest.image.base} ({image_kinds.describe_kind(artifact.manifest.image, selected.root)})"
        )
        if result.first_difference:
            terminal.print_lines(f"the first difference is {result.first_difference}")
            findings.print_findings(artifact)
    return 0 if result.equal else 1


def _compare_adopted(selected: target.Target, *, locked: bool, json_wanted: bool) -> int:
    """Compare the bytes of an adopted pickle with what is on record; exit 1 if they differ."""
    comparison = records.compare(selected, locked=locked)
    if json_wanted:
        terminal.print_json({"format": 1, "equal": comparison.equal, "adopted": True, **asdict(comparison)})
        return 0 if comparison.equal else 1
    rows = [("ok" if record.equal else "DIFFERS", record.source, record.sha256) for record in comparison.records]
    terminal.print_table([("", "model.pkl", comparison.sha256), *rows])
    terminal.print_lines(
        f"{'equal' if comparison.equal else 'DIFFERENT'}: {comparison.pickle}",
        "  an adopted pickle cannot be built again: only its bytes were compared with what is on record",
    )
    if len(comparison.records) == 1:
        terminal.print_lines("  the only record is in the same folder, which does not show where the pickle came from")
    if not comparison.equal:
        command = commands.suggest_plain("adopt", "PICKLE")
        terminal.print_lines(f"  restore the file that differs, or adopt the pickle again: `{command}`")
    return 0 if comparison.equal else 1
