"""Draw the plots of the report as SVG, with the page's colours.

A colour of :data:`_COLORS` is drawn as a number that no other part of a plot has, and replaced by the page's variable
of that name, so that a plot follows the page in light and dark.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, MultipleLocator, PercentFormatter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_COLORS = {"ink": "#010203", "accent": "#010204", "line": "#010205", "bad": "#010206"}
_STYLE: Any = {  # matplotlib types each key
    "svg.fonttype": "none",  # text, which scales and can be searched
    "svg.hashsalt": "numerai-builder",  # the same plot has the same bytes
    "text.parse_math": False,  # a name may contain dollar signs
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.edgecolor": _COLORS["line"],
    "axes.labelcolor": _COLORS["ink"],
    "grid.color": _COLORS["line"],
    "grid.linewidth": 0.5,
    "text.color": _COLORS["ink"],
    "xtick.color": _COLORS["ink"],
    "ytick.color": _COLORS["ink"],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_WIDTH, _HEIGHT = 4.2, 2.6  # inches, at 72 points: legible at the width of a phone
_BINS = 50
_MAX_POINTS = 2_000
_MAX_ERAS = 60
_MAX_NAME = 22
_MARGIN = 0.2  # of an axis, for the number at the end of a bar


def draw_histogram(predictions: NDArray[np.float64]) -> str:
    """Draw how many predictions (rows,) there are in each fiftieth from 0 to 1."""
    with mpl.rc_context(_STYLE):
        figure, axes = _create_axes()
        axes.hist(predictions, bins=_BINS, range=(0, 1), color=_COLORS["accent"])
        axes.set(xlabel="prediction", ylabel="rows", xlim=(0, 1))
        axes.grid(visible=False, axis="x")
        return _to_svg(figure, "histogram")


def draw_eras(predictions: NDArray[np.float64], eras: Sequence[str]) -> str:
    """Draw the spread of the predictions (rows,) in each of the last eras: quartiles, median and range."""
    names = sorted(set(eras))[-_MAX_ERAS:]
    groups = np.array(eras)
    with mpl.rc_context(_STYLE):
        figure, axes = _create_axes()
        line = {"color": _COLORS["ink"]}
        axes.boxplot(
            [predictions[groups == name] for name in names],
            patch_artist=True,
            boxprops={"facecolor": _COLORS["accent"], "edgecolor": _COLORS["accent"]},
            whiskerprops=line,
            capprops=line,
            medianprops=line,
            flierprops={"marker": ".", "markersize": 2, "markeredgecolor": _COLORS["ink"]},
        )
        step = max(1, len(names) // 10)
        axes.set_xticks(range(1, len(names) + 1, step), names[::step])
        axes.set(xlabel="era", ylabel="prediction")
        return _to_svg(figure, "eras")


def draw_parity(expected: NDArray[np.float64], predicted: NDArray[np.float64]) -> str:
    """Draw the pickle's predictions (rows,) of golden rows against the framework's, both before post-processing."""
    with mpl.rc_context(_STYLE):
        figure, axes = _create_axes()
        step = -(-len(expected) // _MAX_POINTS)
        axes.axline((float(expected[0]), float(expected[0])), slope=1, color=_COLORS["line"], linewidth=1)
        axes.plot(expected[::step], predicted[::step], ".", color=_COLORS["accent"], markersize=4)
        axes.set(xlabel="framework", ylabel="pickle")
        return _to_svg(figure, "parity")


def draw_headroom(parts: Mapping[str, float]) -> str:
    """Draw a bar for each part of a limit, by name; 1 is the limit, which is drawn as a line."""
    with mpl.rc_context(_STYLE):
        figure, axes = _draw_bars(parts, "of the limit", form="{:.1%}")
        high = max(1.0, *parts.values())
        axes.set_xlim(0, high * (1 + _MARGIN))
        axes.xaxis.set_major_locator(MultipleLocator(0.25) if high < 2 else MaxNLocator(4))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.axvline(1, color=_COLORS["bad"], linewidth=1)
        return _to_svg(figure, "headroom")


def draw_correlations(correlations: Mapping[str, float]) -> str:
    """Draw a bar for each rank correlation, by name, the highest first."""
    values = dict(sorted(correlations.items(), key=lambda item: -item[1]))
    with mpl.rc_context(_STYLE):
        figure, axes = _draw_bars(values, "rank correlation", form="{:.3f}")
        low = -1.0 if min(values.values()) < 0 else 0.0
        axes.set_xlim(low * (1 + _MARGIN), 1 + _MARGIN)
        axes.xaxis.set_major_locator(FixedLocator([-1, -0.5, 0, 0.5, 1]))
        axes.axvline(0, color=_COLORS["ink"], linewidth=0.8)
        return _to_svg(figure, "correlation")


def _draw_bars(values: Mapping[str, float], label: str, *, form: str) -> tuple[Figure, Any]:
    """Draw a horizontal bar for each value, the first on top; those above 1 are marked.

    Args:
        values: Values by name.
        label: Of the axis.
        form: The format of the number at the end of a bar.
    """
    figure = Figure(figsize=(_WIDTH, 0.8 + 0.3 * len(values)), layout="constrained")
    axes = figure.subplots()
    colors = [_COLORS["bad" if number > 1 else "accent"] for number in values.values()]
    bars = axes.barh(range(len(values)), list(values.values()), color=colors, height=0.6)
    axes.set_yticks(range(len(values)), list(map(_shorten, values)))
    axes.invert_yaxis()
    axes.bar_label(bars, labels=[form.format(number) for number in values.values()], padding=3)
    axes.set(xlabel=label)
    axes.grid(visible=False, axis="y")
    return figure, axes


def _shorten(name: str) -> str:
    """Return a name that fits beside a plot: its start and its end, since names often differ at the end."""
    half = _MAX_NAME // 2
    return name if len(name) <= _MAX_NAME else f"{name[:half]}…{name[-half:]}"


def _create_axes() -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    return figure, figure.subplots()


def _to_svg(figure: Figure, name: str) -> str:
    """Return the ``<svg>`` element; its ids begin with ``name``, because a page has several plots."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    # The page's own style sets the size and the font.
    text = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", text, count=1, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;", "", text)
    prefix = re.sub(r"[^a-z]", "", name)
    text = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}-", text).replace("xlink:href", "href")
    for variable, color in _COLORS.items():
        text = text.replace(color, f"var(--{variable})")
    return text
