"""``pickle``: build the pickle of a config in its image."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from rich import filesize
from typer import Option

from builder.build import pipeline
from builder.cli import engine_session, findings, image_kinds, terminal
from builder.cli.parameters import Config, Json, Locked, StartEngine
from builder.config import model, project
from builder.image import lockfile
from builder.progress import Stopwatch
from builder.tournament import session


def run(
    *,
    config: Config = None,
    pull: Annotated[bool, Option("--pull", help="check the registry even if the image is on this engine")] = False,
    locked: Locked = False,
    yes: StartEngine = False,
    json_wanted: Json = False,
) -> int:
    """Build the pickle of a config, unless the one that is there was built from the same inputs."""
    loaded = model.load(Path(project.choose_config(config)))
    if loaded.pickle:
        from builder.cli import adopt  # noqa: PLC0415 - numpy

        return adopt.run_again(loaded, pull=pull, locked=locked, yes=yes, json_wanted=json_wanted)
    watch = Stopwatch()
    with terminal.progress() as progress:
        with watch.stage("config"):
            source = pipeline.resolve_source(loaded, locked=locked, progress=progress)
        session.read_registry(source.config.root)  # an invalid setting is reported before an engine is started
        with watch.stage("image"):
            engine = engine_session.connect(progress, yes=yes)
        findings.note_data_version(source.config, progress)
        build = pipeline.build(source, engine, pull=pull, locked=locked, progress=progress, watch=watch)
    lock_file = lockfile.find(source.config.root)
    if json_wanted:
        folder, manifest = str(build.artifact.folder), asdict(build.artifact.manifest)
        entry = {"file": str(lock_file), "lines": build.lock_lines} if build.lock_lines else None
        report = {"format": 1, "made": build.is_new, "folder": folder, "manifest": manifest, "lock": entry}
        terminal.print_json({**report, "warnings": list(build.warnings)})
    else:
        _print(build, watch, source.config.root)
        if build.lock_lines:
            terminal.print_lines(f"written into {lock_file}:", *build.lock_lines.split("\n"))
    return 0


def _print(build: pipeline.BuildResult, watch: Stopwatch, root: Path) -> None:
    result, manifest = build.artifact, build.artifact.manifest
    bundle = manifest.bundle
    packages = ", ".join(f"{name} {manifest.image.packages[name]}" for name in ("numpy", "pandas", "cloudpickle"))
    terminal.print_lines(f"{result.pickle}  ({'built' if build.is_new else 'nothing changed since it was built'})")
    terminal.print_table(
        [
            ("image", f"{manifest.image.ref} ({image_kinds.describe_kind(manifest.image, root)})"),
            ("", f"{manifest.image.base}, {manifest.image.identity[:19]}..., {manifest.image.platform}"),
            ("python", f"{manifest.image.python}, {packages}"),
            ("bundle", f"{bundle.kind}, {bundle.features} features, {bundle.parameters:,} parameters"),
            ("pickle", f"{filesize.decimal(manifest.pickle.size)}, protocol {manifest.pickle.protocol}"),
            ("sha256", manifest.pickle.sha256),
            ("seconds", watch.line()),
        ]
    )
    if build.warnings:
        terminal.print_lines("note: warnings while the pickle was built:", *(f"  {line}" for line in build.warnings))
    findings.print_findings(result)
    if manifest.image.kind != "exact":
        terminal.print_lines(*image_kinds.format_warning(manifest.image.kind, result.folder))
