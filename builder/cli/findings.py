"""Print what a person should know about a config or a build, without failing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands, data_versions
from builder.cli import terminal

if TYPE_CHECKING:
    from builder.build import artifact
    from builder.config import model
    from builder.progress import Progress


def note_data_version(config: model.Config, progress: Progress) -> None:
    """Print a note if a config's data version is older than the default one or unknown; works without the API."""
    version = config.data_version
    if data_versions.is_known(version):
        note = data_versions.format_age_note(version)
    else:
        note = (
            f"data version {version} is newer than {data_versions.DEFAULT}, the newest known here; "
            f"`{commands.suggest_plain('data-versions')}` lists those that the tournament offers"
        )
    if note:
        progress.note(f"note: {config.file}: {note}")


def print_findings(build: artifact.Artifact) -> None:
    """Print why another build may give other bytes, if something was found."""
    findings = build.manifest.pickle.findings
    if findings:
        again = commands.suggest("verify", build.folder)
        terminal.print_lines(f"note: another build of this pickle may give other bytes (`{again}` compares them):")
    for finding in findings:
        terminal.print_lines(f"  {finding.file}:{finding.line}: {finding.text}")
