"""Compose ``report.html`` from a validation: one file without references to others or to the network.

What came from a container, a bundle or a data file is untrusted: jinja2 escapes it for HTML, and control characters are
replaced. Imports matplotlib, which takes half a second: only what writes a page imports this module.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jinja2
import markupsafe
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rich import filesize

from builder.text import escape_line, escape_lines, sanitize
from builder.validate import headroom
from builder.validate.page import plots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from builder.validate.run import Validation

_MAX_BENCHMARKS = 20
_MAX_DRAWN = 1e100  # matplotlib fails when the difference of two numbers is infinite
_WORDS = {True: "ok", False: "failed", None: "note"}
_CLASSES = {True: "good", False: "bad", None: "note"}
_LIMITED_PROOF = {
    "stand_in": "run in a stand-in, an image that imitates the runner: for tests, the pickle cannot be uploaded",
    "local": "run in an image of this computer, not one of the registry's: the pickle cannot be uploaded",
}
_CHECK = jinja2.Template(
    '<li class="{{ css }}"><b>{{ word }}</b><span>{{ name }}</span><span class="detail">{{ detail }}</span></li>',
    autoescape=True,
)


def compose(validation: Validation) -> bytes:
    """Return the page."""
    environment = jinja2.Environment(loader=jinja2.PackageLoader("builder.validate", "page"), autoescape=True)
    task = validation.task
    failed = [check for check in validation.checks if check.good is False]
    summary = [f"{len(failed)} of {len(validation.checks)} checks failed"] if failed else []
    source = "generated in the shape of live data" if task.source == "shaped" else task.source
    summary.append(escape_line(f"on {task.files.rows:,} rows: {source}"))
    summary += [task.limitation] if task.limitation else []
    summary += [escape_line(f"exempt from {key}: {reason}") for key, reason in task.exempt.items()]
    summary += [_LIMITED_PROOF[task.image.kind]] if task.image.kind in _LIMITED_PROOF else []
    text = environment.get_template("page.html.j2").render(
        name=task.artifact.manifest.name,
        verdict="valid" if validation.good else "not valid",
        good=validation.good,
        summary=summary,
        checks=validation.checks,
        show_check=_show_check,
        plots=list(_draw_plots(validation)),
        identities=list(_list_identities(validation)),
        log="" if validation.good else escape_lines(validation.log),
    )
    return text.encode()


def _show_check(check: Any) -> markupsafe.Markup:
    values = {"css": _CLASSES[check.good], "word": _WORDS[check.good]}
    text = _CHECK.render(name=escape_line(check.name), detail=escape_line(check.detail), **values)
    return markupsafe.Markup(re.sub("`([^`]+)`", r"<code>\1</code>", text))  # noqa: S704 - escaped by the template


def _list_identities(validation: Validation) -> Iterator[tuple[str, str]]:
    """Yield names and values of what was run, and of what it used."""
    task = validation.task
    manifest, limits = task.artifact.manifest, task.limits
    yield "pickle", f"sha256 {manifest.pickle.sha256}, {filesize.decimal(manifest.pickle.size)}"
    yield "image", escape_line(f"{task.image.ref} ({task.image.kind.replace('_', '-')}), Python {task.python}")
    yield "image identity", escape_line(task.image.identity)
    yield "bundle", f"{manifest.bundle.kind}, {manifest.bundle.features:,} features, sha256 {manifest.bundle.hash}"
    yield "data version", escape_line(task.data_version)
    yield "limits", f"{limits.cpus:g} CPU, {filesize.decimal(limits.memory)}, {limits.seconds:g} s"


def _draw_plots(validation: Validation) -> Iterator[dict[str, Any]]:
    """Yield the plots for which there is data, each with a caption that says the same in words."""
    evidence, usage, limits = validation.evidence, validation.usage, validation.task.limits
    if evidence.predictions is not None and np.isfinite(evidence.predictions).all():
        yield from _draw_predictions(validation, evidence.predictions)
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


def _draw_predictions(validation: Validation, predictions: NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    middle, low, high = np.median(predictions), predictions.min(), predictions.max()
    caption = f"{len(predictions):,} predictions from {low:.3g} to {high:.3g}, median {middle:.3g}"
    yield _to_plot(plots.draw_histogram(predictions), caption)
    files = validation.task.files
    eras = _read_eras(validation)
    count = len(set(eras))
    if count > 1:
        yield _to_plot(plots.draw_eras(predictions, eras), f"Spread in each of {count} eras (at most the last 60)")
    if files.benchmarks is not None:
        correlations = _correlate_benchmarks(validation, predictions)
        if correlations:
            name, value = max(correlations.items(), key=lambda item: abs(item[1]))
            svg = plots.draw_correlations(correlations)
            yield _to_plot(svg, f"Rank correlation with each benchmark model; the strongest is {value:.3f}, {name}")


def _to_plot(svg: str, caption: str) -> dict[str, Any]:
    return {"svg": markupsafe.Markup(svg), "caption": caption}  # noqa: S704 - matplotlib escapes what it writes


def _read_eras(validation: Validation) -> list[str]:
    with pq.ParquetFile(validation.task.files.live) as file:
        if "era" not in file.schema_arrow.names:
            return []
        eras = file.read(columns=["era"], use_pandas_metadata=False).column("era").to_pylist()
    return [sanitize(str(era)) for era in eras]


def _correlate_benchmarks(validation: Validation, predictions: NDArray[np.float64]) -> dict[str, float]:
    """Return the rank correlation with each benchmark model, of the rows that both have."""
    task = validation.task
    frame = pd.read_parquet(task.files.benchmarks).select_dtypes("number").iloc[:, :_MAX_BENCHMARKS]
    frame.index = frame.index.map(str)
    frame = frame[~frame.index.duplicated()].reindex(validation.evidence.ids)
    own = pd.Series(predictions, index=frame.index).rank()
    frame = frame.loc[:, frame.max() > frame.min()]  # no correlation with a constant
    correlations = frame.rank().corrwith(own)
    return {sanitize(str(name)): float(value) for name, value in correlations.items() if np.isfinite(value)}
