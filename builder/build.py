"""Have the engine build a rendered Dockerfile, and bring out the pickle."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import errors, manifest, render, tar_stream

if TYPE_CHECKING:
    from pathlib import Path

    from builder import engine
    from builder.progress import Progress

_MARK = "numerai-builder: "  # how builder/inside/make.py begins its one line
_PICKLE = "/model.pkl"


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the image said of the pickle that it made."""

    sha256: str
    size: int
    protocol: int
    parameters: tuple[str, ...]
    findings: tuple[manifest.Finding, ...] = ()


def build(rendered: render.Rendered, target: Path, on: engine.Engine, run: str, *, progress: Progress) -> Made:
    """Build, without network, and write the pickle to ``target``.

    Args:
        rendered: The Dockerfile and its context.
        target: Where the pickle goes.
        on: The engine.
        run: The run whose label everything carries.
        progress: Told of each step.

    Raises:
        errors.BuildError: a step failed, or the pickle that came out is not the one that was made.
        errors.EngineError: the engine failed.
        OSError: ``target`` cannot be written.
    """
    outcome = on.build(render.build_context(rendered), run=run, arguments={}, tag=None, cache=False, progress=progress)
    made = _read_report(outcome.log)
    progress.step("copying the pickle out")
    with on.copy_out(outcome.image, _PICKLE, run=run) as chunks:
        arrived = tar_stream.unpack_file(chunks, target)
    if arrived != made.sha256:
        raise errors.BuildError(
            f"the pickle was made with sha256 {made.sha256} and arrived with {arrived}: run it again; if it stays so, "
            "the engine's disk is failing"
        )
    return made


def _read_report(log: str) -> Made:
    # Anywhere in a line: a model of the user's own may have printed before it, and ended no line.
    reports = re.findall(rf"{_MARK}({{.*}})$", log, re.MULTILINE)
    if not reports:
        raise errors.BuildError(
            "the build ended without saying what it made, so its result is not taken; run it again. "
            f"It printed last: {log[-300:]}"
        )
    report: dict[str, Any] = json.loads(reports[-1])
    return Made(
        sha256=report["sha256"],
        size=report["size"],
        protocol=report["protocol"],
        parameters=tuple(report["parameters"]),
        findings=tuple(manifest.Finding(**one) for one in report.get("findings", ())),
    )
