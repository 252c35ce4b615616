"""Have the engine build a rendered Dockerfile, and bring out the pickle."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder import errors, schema
from builder.build import manifest, render
from builder.engine import tar_stream
from builder.text import escape

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import protocol as engine
    from builder.progress import Progress

_MARK = "numerai-builder: "  # how builder/inside/build_pickle.py begins its one line
_PICKLE = "/model.pkl"


def build(
    rendered: render.BuildContext, target: Path, on: engine.Engine, run: str, *, progress: Progress
) -> manifest.PickleRecord:
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


def _read_report(log: str) -> manifest.PickleRecord:
    # Anywhere in a line: a custom model may have printed before it, and ended no line.
    reports = re.findall(rf"{_MARK}({{.*}})$", log, re.MULTILINE)
    if not reports:
        raise errors.BuildError(
            "the build ended without saying what it made, so its result is not taken; run it again. "
            f"It printed last: {log[-300:]}"
        )
    # A custom model's code can print such a line too.
    data = schema.read_json(reports[-1].encode(errors="replace"))
    if isinstance(data, dict):
        data.pop("format", None)
    report = data if isinstance(data, list) else schema.parse(manifest.PickleRecord, data)
    if isinstance(report, list):
        raise errors.BuildError(
            f"the build's report is not one of this tool ({escape(str(report[0])[:300])}), so its result is not "
            f"taken; remove what prints a line with {_MARK!r} from the model's code"
        )
    return report
