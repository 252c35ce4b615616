"""Compose a page about a pickle: ``report.html`` from a validation, or the report of ``check``.

It is one file without references to others or to the network.

What came from a container, a bundle or a data file is untrusted: jinja2 escapes it for HTML, and control characters are
replaced. Imports matplotlib, which takes half a second: only what writes a page imports this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2
import markupsafe
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rich import filesize

from builder import published_pins
from builder.net import address
from builder.registry import reference
from builder.text import escape_line, escape_lines, format_list, sanitize
from builder.validate import headroom
from builder.validate.page import plots

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from builder.config import model as config
    from builder.validate.container_run import Usage
    from builder.validate.page.content import PickleAnswer, SlotComparison
    from builder.validate.reading.read import Reading
    from builder.validate.run import Evidence, Validation

_MAX_BENCHMARKS, _MAX_MODULES, _MAX_ROWS = 20, 12, 30
_MAX_DRAWN = 1e100  # matplotlib fails when the difference of two numbers is infinite
_WORDS = {True: "ok", False: "failed", None: "note"}
_CLASSES = {True: "good", False: "bad", None: "note"}
_LIMITED_PROOF = {
    "stand_in": "run in a stand-in, an image that imitates the runner: for tests, the pickle cannot be uploaded",
    "local": "run in an image of this computer, not one of the registry's: the pickle cannot be uploaded",
}


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What a run used and predicted; ``live`` and ``benchmarks`` are its parquet files."""

    evidence: Evidence
    usage: Usage
    limits: config.LimitsConfig
    live: Path
    benchmarks: Path | None


def compose(validation: Validation, reading: Reading, slot: SlotComparison | None = None) -> bytes:
    """Return the page of a validation; ``reading`` is that of its pickle."""
    task = validation.task
    failed = [check for check in validation.checks if check.good is False]
    summary = [f"{len(failed)} of {len(validation.checks)} checks failed"] if failed else []
    source = "generated in the shape of live data" if task.source == "shaped" else task.source
    summary.append(f"on {task.files.rows:,} rows: {source}")
    summary += [task.limitation] if task.limitation else []
    summary += [f"exempt from {key}: {reason}" for key, reason in task.exempt.items()]
    summary += [_LIMITED_PROOF[task.image.kind]] if task.image.kind in _LIMITED_PROOF else []
    if task.image.kind == "exact" and _is_on_this_computer(task.image.source):
        summary.append("run in an image from a registry on this computer, as the sandbox's is: not the tournament's")
    files, limits = task.files, task.limits
    run = _Run(
        evidence=validation.evidence,
        usage=validation.usage,
        limits=limits,
        live=files.live,
        benchmarks=files.benchmarks,
    )
    return _render(
        name=task.artifact.manifest.name,
        verdict="valid" if validation.good else "not valid",
        good=validation.good,
        summary=summary,
        cause=None,
        # The functions of this tool read one file, the limit of their container.
        dangers=[] if reading.is_safe else reading.dangers,
        checks=validation.checks,
        plots=list(_draw_plots(run, slot)),
        imports=list(_list_imports(reading, task.packages)),
        captures=[],
        identities=list(_list_identities(validation, slot)),
        log="" if validation.good else validation.log,
    )


def _is_on_this_computer(source: str) -> bool:
    return bool(source) and address.is_loopback(reference.parse(source).registry.rpartition(":")[0])


def compose_check(answer: PickleAnswer) -> bytes:
    """Return the page of an arbitrary pickle."""
    reading, result = answer.reading, answer.result
    python = reading.image_pythons[0] if len(reading.image_pythons) == 1 else ""
    summary = ([] if result else [f"not run: {' '.join(answer.reason.split())}"]) + list(map(str, reading.notes))
    drawn = list[dict[str, Any]]()
    identities = [("pickle", f"{answer.path}, {filesize.decimal(reading.size)}")]
    identities += [("contains", reading.root)] if reading.root else []
    identities += [("made by", f"Python {' or '.join(reading.pythons)}")] if reading.pythons else []
    if result:
        task = result.task
        run = _Run(
            evidence=result.evidence,
            usage=result.usage,
            limits=task.limits,
            live=task.live,
            benchmarks=task.benchmarks,
        )
        drawn = list(_draw_plots(run, None))
        identities += [
            ("image", f"{task.image.ref} ({task.image.kind.replace('_', '-')}), Python {task.python}"),
            ("image identity", task.image.identity),
        ]
    return _render(
        name=answer.path.name,
        verdict=answer.verdict,
        # Without a run, a good reading does not show that it works.
        good=None if answer.is_good and not result else answer.is_good,
        summary=summary,
        cause=answer.cause,
        dangers=reading.dangers,
        checks=result.checks if result else (),
        plots=drawn,
        imports=list(_list_imports(reading, published_pins.get_versions(python))),
        captures=[
            (filesize.decimal(item.size), f"{item.name}: {item.kind}" if item.name else item.kind)
            for item in reading.captures[:_MAX_ROWS]
        ],
        identities=identities,
        log=result.log if result and result.cause else "",
    )


def _render(**values: Any) -> bytes:
    loader = jinja2.PackageLoader("builder.validate", "page")
    environment = jinja2.Environment(loader=loader, autoescape=True, finalize=_escape)
    shown = {"css": _CLASSES, "words": _WORDS, "mark_code": _mark_code, "max_rows": _MAX_ROWS}
    return environment.get_template("page.html.j2").render(**shown, **values).encode()


def _escape(value: Any) -> Any:
    """Escape the control characters of a text that the template prints; the log keeps its lines."""
    if isinstance(value, str) and not isinstance(value, markupsafe.Markup) and not value.isprintable():
        return escape_lines(value)
    return value


def _list_imports(reading: Reading, packages: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    """Yield each package that a pickle imports, with its modules, and whether the image has it; missing ones first.

    Args:
        reading: What was read of the pickle.
        packages: The versions of the image's packages.
    """
    groups = dict[str, dict[str, list[str]]]()
    for item in reading.imports:
        name = item.module.partition(".")[0].replace("_", "-").lower()
        provider = item.provider or (name if name in packages else "")  # of an image with more packages
        groups.setdefault(provider, {}).setdefault(item.when, []).append(item.module)
    for provider in sorted(groups, key=lambda name: (name == "Python", name)):
        label = f"{provider} {packages.get(provider, '')}".strip() or "missing in the image"
        parts = (f"at {when}: {format_list(names, most=_MAX_MODULES)}" for when, names in groups[provider].items())
        yield label, "; ".join(parts), bool(provider)


def _mark_code(text: str) -> markupsafe.Markup:
    """Escape a line, and mark what is between backticks as code."""
    escaped = str(markupsafe.escape(escape_line(text)))  # `re.sub` would escape the tags in a Markup
    return markupsafe.Markup(re.sub("`([^`]+)`", r"<code>\1</code>", escaped))  # noqa: S704 - escaped above


def _list_identities(validation: Validation, slot: SlotComparison | None) -> Iterator[tuple[str, str]]:
    """Yield names and values of what was run, and of what it was compared with."""
    task = validation.task
    manifest, limits = task.artifact.manifest, task.limits
    yield "pickle", f"sha256 {manifest.pickle.sha256}, {filesize.decimal(manifest.pickle.size)}"
    yield "image", f"{task.image.ref} ({task.image.kind.replace('_', '-')}), Python {task.python}"
    yield "image identity", task.image.identity
    yield "bundle", f"{manifest.bundle.kind}, {manifest.bundle.features:,} features, sha256 {manifest.bundle.hash}"
    yield "data version", task.data_version
    yield "limits", f"{limits.cpus:g} CPU, {filesize.decimal(limits.memory)}, {limits.seconds:g} s"
    if slot:
        yield "slot", f"{slot.name}: {slot.text}"


def _draw_plots(run: _Run, slot: SlotComparison | None) -> Iterator[dict[str, Any]]:
    """Yield the plots for which there is data, each with a caption that says the same in words."""
    evidence, usage, limits = run.evidence, run.usage, run.limits
    if evidence.predictions is not None and np.isfinite(evidence.predictions).all():
        yield from _draw_predictions(run, evidence.predictions, slot)
    if evidence.golden is not None and all((np.abs(values) < _MAX_DRAWN).all() for values in evidence.golden):
        expected, predicted = evidence.golden
        difference = float(np.abs(expected - predicted).max())
        yield _to_plot(
            plots.draw_parity(expected, predicted),
            f"{len(expected)} golden rows before post-processing: largest difference {difference:.2g}",
        )
    used = headroom.compute_headroom(usage, limits)
    parts = {"seconds": used.seconds} if used.memory is None else {"seconds": used.seconds, "memory": used.memory}
    yield _to_plot(plots.draw_headroom(parts), f"Used of the limits: {headroom.describe_usage(usage, limits)}")


def _draw_predictions(
    run: _Run, predictions: NDArray[np.float64], slot: SlotComparison | None
) -> Iterator[dict[str, Any]]:
    middle, low, high = np.median(predictions), predictions.min(), predictions.max()
    caption = f"{len(predictions):,} predictions from {low:.3g} to {high:.3g}, median {middle:.3g}"
    yield _to_plot(plots.draw_histogram(predictions), caption)
    eras = _read_eras(run.live)
    count = len(set(eras))
    if count > 1:
        yield _to_plot(plots.draw_eras(predictions, eras), f"Spread in each of {count} eras (at most the last 60)")
    correlations = _correlate_benchmarks(run.benchmarks, run.evidence.ids, predictions) if run.benchmarks else {}
    with_slot = ""
    if slot and slot.correlation is not None:
        correlations[f"slot {slot.name} now"] = slot.correlation
        with_slot = " and with the pickle that the slot runs now"
    if correlations:
        name, value = max(correlations.items(), key=lambda item: abs(item[1]))
        caption = f"Rank correlation with each benchmark model{with_slot}; the strongest is {value:.3f}, {name}"
        yield _to_plot(plots.draw_correlations(correlations), caption)


def _to_plot(svg: str, caption: str) -> dict[str, Any]:
    return {"svg": markupsafe.Markup(svg), "caption": caption}  # noqa: S704 - matplotlib escapes what it writes


def _read_eras(live: Path) -> list[str]:
    with pq.ParquetFile(live) as file:
        if "era" not in file.schema_arrow.names:
            return []
        eras = file.read(columns=["era"], use_pandas_metadata=False).column("era").to_pylist()
    return [sanitize(str(era)) for era in eras]


def _correlate_benchmarks(benchmarks: Path, ids: Sequence[str], predictions: NDArray[np.float64]) -> dict[str, float]:
    """Return the rank correlation with each benchmark model, of the rows that both have."""
    frame = pd.read_parquet(benchmarks).select_dtypes("number").iloc[:, :_MAX_BENCHMARKS]
    frame.index = frame.index.map(str)
    frame = frame[~frame.index.duplicated()].reindex(ids)
    own = pd.Series(predictions, index=frame.index).rank()
    frame = frame.loc[:, frame.max() > frame.min()]  # no correlation with a constant
    correlations = frame.rank().corrwith(own)
    return {sanitize(str(name)): float(value) for name, value in correlations.items() if np.isfinite(value)}
