"""Post-processing steps as values, shared by configs and bundles.

Written as a list of mappings with one key each, ``- rank: {scope: era, ties: average}``; ``- rank: {}`` means the
defaults. To add a step: one frozen dataclass here, one entry in ``KINDS``, one alternative in ``Step``, and what it
does in ``builder.reference.post`` and ``builder/inside/predict``.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from builder.schema import parse
from builder.text import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Column = Annotated[
    str, parse.pattern(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}", "of 1 to 200 characters, none a control character")
]
"""The name of a feature or of a benchmark model."""
Columns = Annotated[tuple[Column, ...], parse.length(1, 100_000)]
Scope = Literal["era", "frame"]

BOUNDING = "`- rank: {scope: era, ties: average}`, or `- clip: {low: 0, high: 1}`"
"""The steps whose results are in [0, 1] whatever comes before them, as a message offers them."""

_OTHER_COLUMNS = frozenset({"id", "era", "data_type"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rank:
    """Replace predictions by their percent ranks in (0, 1].

    Attributes:
        scope: Rank the rows of each era by themselves, or the whole frame at once.
        ties: Equal predictions get the mean of their ranks, or ranks in the order of the rows.
    """

    scope: Scope = "era"
    ties: Literal["average", "first"] = "average"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gaussianize:
    """Replace predictions by normal quantiles of their ranks: (rank - 1/2) / rows, ties sharing the mean rank.

    Attributes:
        scope: Within each era, or over the whole frame.
    """

    scope: Scope = "era"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standardize:
    """Bring predictions to mean 0 and standard deviation 1 (of all rows: divided by their number); equal ones to 0.

    Attributes:
        scope: Within each era, or over the whole frame.
    """

    scope: Scope = "era"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neutralize:
    """Take off a part of what least squares with an intercept explains by some columns; name one sort of them.

    Attributes:
        features: Feature columns.
        group: A feature set of the tournament's features.json, such as medium; its names go into the pickle.
        benchmarks: Benchmark columns.
        proportion: How much of the explained part is taken off: 1 is all of it.
        scope: Within each era, or over the whole frame as in the official example.
    """

    features: Columns | None = None
    group: Annotated[str, parse.pattern(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,100}", "of 1 to 100 characters")] | None = (
        None
    )
    benchmarks: Columns | None = None
    proportion: Annotated[float, parse.between(0, 1)] = 1.0
    scope: Scope = "era"

    def __post_init__(self) -> None:
        given = [key for key in ("features", "group", "benchmarks") if getattr(self, key) is not None]
        if len(given) != 1:
            came = " and ".join(given) if given else "no columns"
            raise ValueError(f"{came} stand here; one of features, group, benchmarks is needed")
        names = self.features or self.benchmarks or ()
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise ValueError(f"{given[0]} has {listed(twice)} more than once; leave one of each")
        other = [name for name in names if name in _OTHER_COLUMNS or name.startswith("target")]
        if other:
            raise ValueError(f"{listed(other)} cannot be neutralised to; {given[0]} are needed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blend:
    """Mix predictions with a benchmark model's: (1 - weight) * predictions + weight * benchmark.

    Attributes:
        benchmark: The benchmark's column.
        weight: The benchmark's part.
        transform: What is done to both first: rank (percent ranks), gaussian (normal quantiles of them), raw (nothing).
        scope: Within what they are ranked, and whose mean stands in for a benchmark that a row lacks.
    """

    benchmark: Column
    weight: Annotated[float, parse.between(0, 1)] = 0.5
    transform: Literal["rank", "gaussian", "raw"] = "rank"
    scope: Scope = "era"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """Hold predictions to [low, high].

    Attributes:
        low: What is below becomes this.
        high: What is above becomes this.
    """

    low: Annotated[float, parse.between(-1_000_000_000, 1_000_000_000)] = 0.0
    high: Annotated[float, parse.between(-1_000_000_000, 1_000_000_000)] = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}; low has to be below high")


KINDS: dict[str, type] = {
    "rank": Rank,
    "gaussianize": Gaussianize,
    "standardize": Standardize,
    "neutralize": Neutralize,
    "blend": Blend,
    "clip": Clip,
}
"""Every step by its key."""

Step = Annotated[Rank | Gaussianize | Standardize | Neutralize | Blend | Clip, parse.Keyed(kinds=KINDS)]
"""One step; in a file, a mapping with the one key that names it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """A list of steps by itself, to be read.

    Attributes:
        post: The steps, in order.
    """

    post: tuple[Step, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needs:
    """What steps read beside the predictions.

    Attributes:
        features: Columns of the live features, each once.
        benchmarks: Columns of the live benchmark models, each once.
        era: Whether the column ``era`` is one of them.
    """

    features: tuple[str, ...]
    benchmarks: tuple[str, ...]
    era: bool


def as_data(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the steps as JSON has them, every default written out."""
    return [parse.as_data(Step, step) for step in steps]


def name_of(step: Step) -> str:
    """Return the key that a step has in a file."""
    return next(name for name, kind in KINDS.items() if type(step) is kind)


def needs(steps: Sequence[Step]) -> Needs:
    """Return what steps read; feature groups have to be names already (``with_groups``)."""
    features: dict[str, None] = {}
    benchmarks: dict[str, None] = {}
    for step in steps:
        if isinstance(step, Neutralize):
            features |= dict.fromkeys(step.features or ())
            benchmarks |= dict.fromkeys(step.benchmarks or ())
        elif isinstance(step, Blend):
            benchmarks[step.benchmark] = None
    return Needs(
        features=tuple(features),
        benchmarks=tuple(benchmarks),
        era=any(getattr(step, "scope", "frame") == "era" for step in steps),
    )


def groups(steps: Sequence[Step]) -> dict[int, str]:
    """Return the feature groups that are named, by the place of their step."""
    found = {place: step.group for place, step in enumerate(steps) if isinstance(step, Neutralize)}
    return {place: group for place, group in found.items() if group is not None}


def with_groups(steps: Sequence[Step], names: Mapping[str, tuple[str, ...]]) -> tuple[Step, ...]:
    """Return the steps with feature groups replaced by the names of their features.

    Raises:
        KeyError: A group is not among ``names``.
    """
    return tuple(
        dataclasses.replace(step, group=None, features=names[step.group])
        if isinstance(step, Neutralize) and step.group is not None
        else step
        for step in steps
    )


def unbounded(steps: Sequence[Step], *, model_bounded: bool) -> int | None:
    """Return where predictions leave [0, 1] for good.

    Benchmark models are submissions, so theirs are in it.

    Args:
        steps: What is done to the model's predictions.
        model_bounded: Whether these lie in [0, 1] themselves.

    Returns:
        None when the result lies in [0, 1]; else the place of the step after which it is not sure to, -1 for the model.
    """
    place = None if model_bounded else -1
    for at, step in enumerate(steps):
        match step:
            case Rank():
                place = None
            case Clip(low=low, high=high):
                inside = low >= 0 and high <= 1
                if inside:
                    place = None
                elif low > 1 or high < 0:
                    place = at
            case Blend(transform="rank"):
                place = None
            case Blend(transform="raw"):
                pass
            case _:
                place = at
    return place


def unbounded_fault(steps: Sequence[Step], *, model_bounded: bool) -> str | None:
    """Return what is wrong with steps that do not keep predictions in [0, 1], without its place; None if they do."""
    place = unbounded(steps, model_bounded=model_bounded)
    if place is None:
        return None
    if not steps:
        why = "no step follows the model, whose predictions can leave [0, 1]"
    elif place < 0:
        why = "no step keeps the model's predictions in [0, 1]"
    else:
        why = f"nothing after {name_of(steps[place])} keeps the predictions in [0, 1]"
    return f"{why}, which the tournament refuses; add {BOUNDING}"
