"""``validate``: run a pickle as the tournament does, and say what held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands, errors, paths
from builder.build import artifact
from builder.bundle import post
from builder.cli import engine_session, target, terminal
from builder.config import model as config
from builder.engine import run
from builder.image import lockfile
from builder.image import resolve as image
from builder.validate import data, diagnose

if TYPE_CHECKING:
    import argparse

    from builder.bundle import model as bundle_model
    from builder.engine import protocol as engine
    from builder.progress import Progress
    from builder.validate import run as validate

_LOG_LINES = 12
_MARKS = {True: "ok", False: "FAILED", None: "note"}


def validate_pickle(options: argparse.Namespace) -> int:
    """Validate; exit 1 when a check failed."""
    from builder.validate import run as validate  # noqa: PLC0415 - numpy

    if options.locked and options.stand_in:
        raise errors.RefusedError(
            f"--stand-in {options.stand_in}: a stand-in is not the image that {lockfile.NAME} names; "
            "leave out --stand-in, or LOCKED=1 (--locked)"
        )
    chosen = target.find(options.target)
    watch = terminal.Stopwatch()
    with terminal.progress() as progress:
        target.load(chosen, progress, locked=options.locked)  # what is wrong with it is said before anything is started
        on = engine_session.connect(progress, yes=options.yes)
        with artifact.locked(chosen.folder, progress), run.start(on) as identity:
            made = target.load(chosen, progress, locked=options.locked)
            task = _task(made, chosen, on, identity, progress, stand_in_python=options.stand_in)
            with watch.stage("validation"):
                result = validate.validate(task, on, identity, progress)
            report = validate.to_bytes(result)
            artifact.write_report(made.folder, artifact.VALIDATION, report)
    if options.json:
        print(report.decode(), end="")
    else:
        _tell(result, watch)
    return 0 if result.good else 1


def _task(
    made: artifact.Artifact,
    chosen: target.Target,
    on: engine.Engine,
    identity: str,
    progress: Progress,
    *,
    stand_in_python: str | None,
) -> validate.ValidationTask:
    from builder.build import recorded  # noqa: PLC0415 - numpy
    from builder.validate import run as validate  # noqa: PLC0415 - numpy

    terms = chosen.config.validate if chosen.config else config.Validate()
    found = recorded.read_model(made)
    if stand_in_python:
        where = image.stand_in_image(made.manifest.image.ref, stand_in_python, on, progress)
    else:
        where = target.find_image(made, on, progress)
    live, source = _live_files(terms, found.bundle, chosen, post.needs(found.steps))
    return validate.ValidationTask(
        artifact=made,
        bundle=found.bundle,
        image=where,
        python=image.inventory(where, on, identity).python,
        files=live,
        source=source,
        data_version=_data_version(made, chosen),
        limits=terms.limits,
    )


def _data_version(made: artifact.Artifact, chosen: target.Target) -> str:
    """Return the config's data version; without a config, that of the validation before this."""
    from builder.upload import refusals  # noqa: PLC0415

    if chosen.config:
        return chosen.config.data_version
    return refusals.data_version(made.folder) or config.Config.data_version


def _live_files(
    terms: config.Validate, bundle: bundle_model.Bundle, chosen: target.Target, needs: post.Needs
) -> tuple[data.LiveFiles, str]:
    """Return what to predict on, and what to call it in the report."""
    features = tuple(dict.fromkeys((*bundle.features, *needs.features)))
    benchmarks = tuple(dict.fromkeys((*bundle.benchmarks, *needs.benchmarks)))
    if isinstance(terms.data, config.LivePaths):
        from builder.bundle.kinds import known as kinds  # noqa: PLC0415 - numpy
        from builder.validate import live_check  # noqa: PLC0415 - pyarrow

        found = live_check.check(
            terms.data.live,
            terms.data.benchmarks,
            features=features,
            benchmark_columns=benchmarks,
            needs_era=needs.era or kinds.needs_era(bundle.model),
            data_version=chosen.config.data_version if chosen.config else "",
        )
        return found, f"{terms.data.live.name}, {artifact.hash_file(terms.data.live)}"
    cache = paths.cache_folder() / "shaped"
    made = data.shaped(features=features, benchmarks=benchmarks, rows=terms.rows, cache=cache)
    return made, "shaped"


def _tell(result: validate.Validation, watch: terminal.Stopwatch) -> None:
    task = result.task
    print(f"{task.artifact.pickle}  on {task.files.rows:,} rows ({task.source.partition(',')[0]})")
    print(f"  in {task.image.base} ({target.KINDS[task.image.kind]}), Python {task.python}")
    terminal.print_table(
        [
            (_MARKS[check.good], check.name, commands.name_config(check.detail, task.artifact.folder))
            for check in result.checks
        ]
    )
    if result.usage:
        used, limits = result.usage, task.limits
        part = used.peak_bytes / limits.memory
        print(
            f"  used  {terminal.size(used.peak_bytes)} of memory ({part:.0%} of {terminal.size(limits.memory)}), "
            f"{used.seconds:.2f} s ({used.seconds / limits.seconds:.1%} of {limits.seconds:g} s), "
            f"{used.cpu_seconds:.2f} s of CPU on {limits.cpus:g}"
        )
    print(f"{'valid' if result.good else 'NOT VALID'}  ({watch.line()}; {artifact.VALIDATION})")
    if not result.good and result.log.strip():
        print("the entry point printed last:")
        print("\n".join(f"    {line}" for line in diagnose.excerpt([result.log], _LOG_LINES)))
    if task.image.kind == "stand_in":
        print(target.warning("stand_in", task.artifact.folder))
