"""Prints why another build of a pickle may give other bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands

if TYPE_CHECKING:
    from builder.build import artifact


def print_findings(made: artifact.Artifact) -> None:
    """Print the findings of a build; nothing where there are none."""
    findings = made.manifest.pickle.findings
    if findings:
        again = commands.suggest("verify", made.folder)
        print(f"note: another build of this pickle may give other bytes (`{again}` compares them):")
    for one in findings:
        print(f"  {one.file}:{one.line}: {one.text}")
