"""``adopt``: give a finished pickle a config and a ``dist/NAME``, without changing its bytes."""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich import filesize
from typer import Argument, Option

from builder import adopt as stage
from builder import commands, data_versions, errors
from builder.cli import (
    api_session,
    engine_session,
    findings,
    image_kinds,
    pickle_argument,
    reading_rows,
    remote_files,
    terminal,
)
from builder.cli.parameters import Json, Locked, StartEngine
from builder.config import adopted, init
from builder.image import lockfile
from builder.progress import Stopwatch
from builder.tournament import session, settings, slots
from builder.validate import other_fixes

if TYPE_CHECKING:
    from builder.build import pipeline
    from builder.config import model
    from builder.progress import Progress


def run(
    *,
    path: Annotated[Path | None, Argument(metavar="PICKLE", help="a file: a finished pickle, from any program")] = None,
    slot: Annotated[str | None, Option("--slot", metavar="SLOT", help="adopt what this slot runs now")] = None,
    name: Annotated[
        str | None, Option("--name", metavar="NAME", help="the config's name; default: the file's or the slot's name")
    ] = None,
    image: Annotated[
        str | None,
        Option("--image", metavar="REF", help="the image; default: `default`, or the one of the slot's pickle"),
    ] = None,
    stand_in: Annotated[
        str | None,
        Option("--stand-in", metavar="PYTHON", help="use this stand-in image if the image is not available"),
    ] = None,
    force: Annotated[bool, Option("--force", help="replace an existing config of something else")] = False,
    pull: Annotated[bool, Option("--pull", help="check the registry even if the image is on this engine")] = False,
    locked: Locked = False,
    yes: StartEngine = False,
    json_wanted: Json = False,
) -> int:
    """Write ``configs/NAME.yaml`` and ``dist/NAME`` for a finished pickle."""
    if (path is None) == (slot is None):
        option = commands.format_option("--slot=SLOT")
        raise errors.UsageError(f"pass a pickle, or {option} for what a slot runs now, and not both")
    watch = Stopwatch()
    with terminal.progress() as progress:
        request = adopted.AdoptRequest(
            pickle=path or Path(),
            root=Path.cwd(),
            name=init.choose_name(name, path.stem if path else slot or ""),
            image=image,
            stand_in=stand_in,
            force=force,
        )
        if slot:
            request = _fetch(slot, request, progress)
        with watch.stage("reading"):
            plan = adopted.plan(request)
            source = stage.read_source(plan.config, request.pickle, locked=locked)
        build = _adopt(source, plan, progress, watch, pull=pull, locked=locked, yes=yes)
    _print(build, source, watch, json_wanted=json_wanted)
    return 0


def run_again(
    config: model.Config, *, pull: bool = False, locked: bool = False, yes: bool = False, json_wanted: bool = False
) -> int:
    """Write ``dist/NAME`` for a config that names a finished pickle, for ``pickle``."""
    watch = Stopwatch()
    with terminal.progress() as progress:
        plan = adopted.AdoptPlan(config=config, text=None)
        with watch.stage("reading"):
            source = stage.read_source(config, plan.copy, locked=locked)
        build = _adopt(source, plan, progress, watch, pull=pull, locked=locked, yes=yes)
    _print(build, source, watch, json_wanted=json_wanted)
    return 0


def _adopt(
    source: stage.Source,
    plan: adopted.AdoptPlan,
    progress: Progress,
    watch: Stopwatch,
    *,
    pull: bool,
    locked: bool,
    yes: bool,
) -> pipeline.BuildResult:
    session.read_registry(source.config.root)  # an invalid setting is reported before an engine is started
    with watch.stage("image"):
        engine = engine_session.connect(progress, yes=yes)
    findings.note_data_version(source.config, progress)
    return stage.adopt(
        *(source, engine),
        pull=pull,
        locked=locked,
        progress=progress,
        watch=watch,
        publish=functools.partial(adopted.publish, plan),
    )


def _fetch(slot_name: str, request: adopted.AdoptRequest, progress: Progress) -> adopted.AdoptRequest:
    """Fetch what a slot runs now; return the request with it, its image and data version, and the slot."""
    with api_session.connect(progress) as api:
        slot = slots.find_slot(api.get_account(), slot_name)
        pickle = pickle_argument.resolve_pickle(api, slot, assigned=True)
        version = pickle.data_version
        return dataclasses.replace(
            request,
            image=request.image or remote_files.reference(api, pickle, settings.DEFAULT_REGISTRY),
            pickle=remote_files.fetch(api, pickle, progress),
            slot=slot.name,
            data_version=version if re.fullmatch(data_versions.PATTERN, version) else request.data_version,
        )


def _print(build: pipeline.BuildResult, source: stage.Source, watch: Stopwatch, *, json_wanted: bool) -> None:
    config, reading, built = source.config, source.reading, build.artifact.manifest
    names = ("validate", "upload") if built.image.kind == "exact" else ("validate",)
    next_commands = [commands.suggest(name, config.file) for name in names]
    lock_file = lockfile.find(config.root)
    if json_wanted:
        entry = {"file": str(lock_file), "lines": build.lock_lines} if build.lock_lines else None
        answer = {
            "format": 1,
            "made": build.is_new,
            "folder": str(build.artifact.folder),
            "lock": entry,
            "warnings": [],
        }
        data = {"config": str(config.file), "manifest": dataclasses.asdict(built), "next": next_commands}
        terminal.print_json({**answer, **data, "reading": dataclasses.asdict(reading)})
        return
    terminal.print_lines(
        f"{build.artifact.pickle}  ({'adopted' if build.is_new else 'nothing changed since it was adopted'})"
    )
    image = built.image
    terminal.print_table(
        [
            *reading_rows.list_summary(reading),
            *reading_rows.list_details(reading),
            ("image", f"{image.ref} ({image_kinds.describe_kind(image, config.root)}), Python {image.python}"),
            ("config", f"{config.file}"),
            ("pickle", f"{filesize.decimal(built.pickle.size)}, protocol {built.pickle.protocol}"),
            ("sha256", built.pickle.sha256),
            ("seconds", watch.line()),
        ]
    )
    terminal.print_lines(
        *reading_rows.list_notes(reading),
        *(f"note:  {problem.text}; {other_fixes.reword(problem.fix)}" for problem in reading.problems),
    )
    if not reading.is_safe:
        terminal.print_lines("note:  see what is dangerous in it before you upload it")
    if image.kind != "exact":
        terminal.print_lines(*image_kinds.format_warning(image.kind, build.artifact.folder))
    if build.lock_lines:
        terminal.print_lines(f"written into {lock_file}:", *build.lock_lines.split("\n"))
    terminal.print_lines("next:", *(f"  {command}" for command in next_commands))
