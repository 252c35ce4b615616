"""Build a rendered Dockerfile with the engine, and copy the pickle out of the image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from builder import errors, schema
from builder.build import manifest, render
from builder.engine import protocol, tar_stream
from builder.inside import build_warnings
from builder.text import escape

if TYPE_CHECKING:
    from pathlib import Path

    from builder.config import model as config
    from builder.progress import Progress

_PREFIX = "numerai-builder: "  # of the line that builder/inside/build_pickle.py prints
_PICKLE = "/model.pkl"


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What ``builder/inside/build_pickle.py`` reports.

    Attributes:
        format: Format of the report.
        pickle: The pickle.
        warnings: What Python and libraries warned of while the pickle was built, a line each. Not in the manifest: the
            same inputs need not give the same text.
    """

    format: Literal[2]
    pickle: manifest.PickleRecord
    warnings: Annotated[
        tuple[Annotated[str, schema.require_line(build_warnings.MAX_CHARACTERS)], ...],
        schema.require_length(0, build_warnings.MAX_LINES + 1),
    ]


def build(
    context: render.BuildContext,
    target: Path,
    engine: protocol.Engine,
    run: str,
    *,
    progress: Progress,
    limits: protocol.ContainerLimits | None = None,
) -> BuildReport:
    """Build without network and without cache, and write the pickle to ``target``.

    Args:
        context: The Dockerfile and its context.
        target: The pickle's path.
        engine: The engine.
        run: The run that images and containers are labelled with.
        progress: Receives each step.
        limits: The limits of the build; only a custom model runs code that is not this tool's.

    Raises:
        errors.BuildError: A step failed, or the copied pickle is not the one that the build reported.
        errors.EngineError: The engine failed.
        OSError: ``target`` cannot be written.
    """
    outcome = engine.build(
        render.pack_context(context), run=run, arguments={}, tag=None, cache=False, progress=progress, limits=limits
    )
    report = _read_report(outcome.log)
    record = report.pickle
    progress.step("copying the pickle out")
    with engine.copy_out(outcome.image, _PICKLE, run=run) as chunks:
        sha256 = tar_stream.unpack_file(chunks, target, size=record.size)
    if sha256 != record.sha256:
        raise errors.BuildError(
            f"the build reported a pickle with sha256 {record.sha256}, but the copied file has {sha256}: run it again; "
            "if the error persists, check the engine's disk"
        )
    return report


def find_limits(bundle: manifest.ModelBundle, limits: config.LimitsConfig) -> protocol.ContainerLimits | None:
    """Return the limits of a build, those of the validation; None unless it runs custom code.

    Folding the numbers of the largest built-in models takes more memory than running them.
    """
    return protocol.ContainerLimits(cpus=limits.cpus, memory=limits.memory) if bundle.kind == "custom" else None


def _read_report(log: str) -> BuildReport:
    # Anywhere in a line: a custom model's code may have printed text without a newline before it.
    reports = re.findall(rf"{_PREFIX}({{.*}})$", log, re.MULTILINE)
    if not reports:
        raise errors.BuildError(
            "the build ended without a report of the pickle, so its result is discarded; run it again. "
            f"The last lines of its log: {log[-300:]}"
        )
    # A custom model's code can print a line with the same prefix: check it like any untrusted input.
    data = schema.read_json(reports[-1].encode(errors="replace"))
    report = data if isinstance(data, list) else schema.parse(BuildReport, data)
    if isinstance(report, list):
        raise errors.BuildError(
            f"the build's report is invalid ({escape(str(report[0])[:300])}), so its result is discarded; "
            f"remove what prints a line with {_PREFIX!r} from the model's code"
        )
    return report
