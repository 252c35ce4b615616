"""Prints why another build of a pickle may give other bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands
from builder.cli import terminal

if TYPE_CHECKING:
    from builder.build import artifact


def print_findings(build: artifact.Artifact) -> None:
    """Print the findings of a build, if there are any."""
    findings = build.manifest.pickle.findings
    if findings:
        again = commands.suggest("verify", build.folder)
        terminal.print_lines(f"note: another build of this pickle may give other bytes (`{again}` compares them):")
    for finding in findings:
        terminal.print_lines(f"  {finding.file}:{finding.line}: {finding.text}")
