"""Post-processing steps as values, shared by configs and bundles.

Written as a list of mappings with one key each, ``- rank: {scope: era, ties: average}``; ``- rank: {}`` means the
defaults. What a step is called, takes and does is defined in its file of ``builder/inside/predict`` alone.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from builder import schema
from builder.inside import source
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Column = Annotated[
    str,
    schema.require_pattern(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}", "of 1 to 200 characters, none a control character"),
]
"""The name of a feature or of a benchmark model."""
Scope = Literal["era", "frame"]
Columns = Annotated[tuple[Column, ...], schema.require_length(1, 100_000)]

BOUNDING = "`- rank: {scope: era, ties: average}`, or `- clip: {low: 0, high: 1}`"
"""The steps whose results are in [0, 1] whatever comes before them, as a message offers them."""

_OTHER_COLUMNS = frozenset({"id", "era", "data_type"})
_LISTS = ("features", "benchmarks")
_TYPES: dict[str, Any] = {
    "scope": Scope,
    "features": Columns,
    "benchmarks": Columns,
    "benchmark": Column,
    "group": Annotated[str, schema.require_pattern(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,100}", "of 1 to 100 characters")],
}
"""Types of options that are the same in every step; ``builder/inside/predict/runners.py`` describes them."""


def _make_step_class(name: str, definition: Mapping[str, Any]) -> type:
    """Return the dataclass of a step, whose fields are its options."""
    one_of = definition.get("one_of", ())
    fields = []
    for option, entry in definition["options"].items():
        kind, default = _resolve_type(entry), entry.get("default", dataclasses.MISSING)
        if entry["type"] == "scope":
            default = "era"
        elif option in one_of:
            kind, default = kind | None, None
        fields.append((option, kind, dataclasses.field(default=default)))
    attributes = "".join(f"    {option}: {entry['text']}\n" for option, entry in definition["options"].items())
    namespace = {
        "__doc__": f"{definition['text']}\n\nAttributes:\n{attributes}",
        "__module__": __name__,
        "__post_init__": _check,
    }
    return dataclasses.make_dataclass(name.capitalize(), fields, namespace=namespace, frozen=True, kw_only=True)


def _resolve_type(entry: Mapping[str, Any]) -> Any:
    literal: Any = Literal
    match entry["type"]:
        case "choice":
            return literal[tuple(entry["choices"])]
        case "number":
            return Annotated[float, schema.require_between(entry["minimum"], entry["maximum"])]
        case shared:
            return _TYPES[shared]


def _check(step: Step) -> None:
    """Make sure that a step's options agree with one another.

    Raises:
        ValueError: They do not.
    """
    definition = get_definition(step)
    one_of = definition.get("one_of", ())
    given = [option for option in one_of if getattr(step, option) is not None]
    if one_of and len(given) != 1:
        came = " and ".join(given) if given else "no columns"
        raise ValueError(f"{came} stand here; expected one of {', '.join(one_of)}")
    for option, entry in definition["options"].items():
        names = getattr(step, option) if entry["type"] in _LISTS else None
        twice = [name for name, count in Counter(names or ()).items() if count > 1]
        if twice:
            raise ValueError(f"{option} has {format_list(twice)} more than once; leave one of each")
        other = [name for name in names or () if name in _OTHER_COLUMNS or name.startswith("target")]
        if other:
            raise ValueError(f"{format_list(other)} cannot be neutralised to; expected {option}")
    if isinstance(definition["range"], list):
        (low, least), (high, most) = ((option, getattr(step, option)) for option in definition["range"])
        if not least < most:
            raise ValueError(f"{low} is {least:g} and {high} {most:g}; {low} has to be below {high}")


KINDS: dict[str, type] = {name: _make_step_class(name, definition) for name, definition in source.read_steps().items()}
"""Every step by its key."""

Step = Annotated[Any, schema.TaggedUnion(kinds=KINDS)]
"""One step; in a file, a mapping with the one key that names it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """A list of steps by itself, to be read.

    Attributes:
        post: The steps, in order.
    """

    post: tuple[Step, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequiredColumns:
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
    return [schema.to_data(Step, step) for step in steps]


def make_step(name: str, **options: object) -> Step:
    """Return a step with these options and the defaults of the others: ``make_step("rank", scope="frame")``.

    Raises:
        ValueError: The step or an option is unknown, or a value is invalid.
    """
    data = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    parsed = schema.parse(Steps, {"post": [{name: data}]})
    if isinstance(parsed, list):
        texts = (f"{'.'.join(map(str, problem.path[2:]))}: {problem.text}" for problem in parsed)
        raise ValueError("; ".join(texts))  # noqa: TRY004 - a value in it is at fault
    return parsed.post[0]


def get_step_name(step: Step) -> str:
    """Return the key that a step has in a file."""
    return next(name for name, kind in KINDS.items() if type(step) is kind)


def get_definition(step: Step) -> Mapping[str, Any]:
    """Return what the step's file says of it; ``builder/inside/predict/runners.py`` describes the keys."""
    return source.read_steps()[get_step_name(step)]


def _get_options(step: Step, kind: str) -> dict[str, Any]:
    """Return the options of a type that a step has, by name."""
    options = get_definition(step)["options"].items()
    problems = {option: getattr(step, option) for option, entry in options if entry["type"] == kind}
    return {option: value for option, value in problems.items() if value is not None}


def find_required_columns(steps: Sequence[Step]) -> RequiredColumns:
    """Return what steps read; feature groups have to be names already (``with_groups``)."""
    features: dict[str, None] = {}
    benchmarks: dict[str, None] = {}
    for step in steps:
        for names in _get_options(step, "features").values():
            features |= dict.fromkeys(names)
        for names in _get_options(step, "benchmarks").values():
            benchmarks |= dict.fromkeys(names)
        benchmarks |= dict.fromkeys(_get_options(step, "benchmark").values())
    return RequiredColumns(
        features=tuple(features),
        benchmarks=tuple(benchmarks),
        era=any("era" in _get_options(step, "scope").values() for step in steps),
    )


def find_groups(steps: Sequence[Step]) -> dict[int, str]:
    """Return the feature groups that are named, by the place of their step."""
    return {index: group for index, step in enumerate(steps) for group in _get_options(step, "group").values()}


def replace_groups(steps: Sequence[Step], names: Mapping[str, tuple[str, ...]]) -> tuple[Step, ...]:
    """Return the steps with feature groups replaced by the names of their features.

    Raises:
        KeyError: A group is not among ``names``.
    """
    named = []
    for step in steps:
        changes: dict[str, Any] = {}
        for option, group in _get_options(step, "group").items():
            changes = {option: None, "features": names[group]}
        named.append(dataclasses.replace(step, **changes))
    return tuple(named)


def find_unbounded_step(steps: Sequence[Step], *, model_bounded: bool) -> int | None:
    """Return where predictions leave [0, 1] for good.

    Benchmark models are submissions, so theirs are in it.

    Args:
        steps: What is done to the model's predictions.
        model_bounded: Whether these lie in [0, 1] themselves.

    Returns:
        None when the result lies in [0, 1]; else the place of the step after which it is not sure to, -1 for the model.
    """
    index = None if model_bounded else -1
    for at, step in enumerate(steps):
        match _get_range(step):
            case "unit":
                index = None
            case "any":
                index = at
    return index


def _get_range(step: Step) -> str:
    """Return where a step's results lie: ``unit``, in [0, 1]; ``kept``, in it if what it is given does; ``any``."""
    range_ = get_definition(step)["range"]
    if isinstance(range_, list):
        low, high = (getattr(step, option) for option in range_)
        if low >= 0 and high <= 1:
            return "unit"
        return "any" if low > 1 or high < 0 else "kept"
    if isinstance(range_, dict):
        ((option, words),) = range_.items()
        range_ = words[getattr(step, option)]
    return str(range_)


def find_range_problem(steps: Sequence[Step], *, model_bounded: bool) -> str | None:
    """Return what is wrong with steps that do not keep predictions in [0, 1], without its place; None if they do."""
    index = find_unbounded_step(steps, model_bounded=model_bounded)
    if index is None:
        return None
    if not steps:
        why = "no step follows the model, whose predictions can leave [0, 1]"
    elif index < 0:
        why = "no step keeps the model's predictions in [0, 1]"
    else:
        why = f"nothing after {get_step_name(steps[index])} keeps the predictions in [0, 1]"
    return f"{why}, which the tournament refuses; add {BOUNDING}"
