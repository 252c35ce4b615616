"""Post-processing steps as typed values, for configs and bundles.

A step is written as a mapping with one key, ``- rank: {scope: era, ties: average}``; ``- rank: {}`` has the defaults.
The name, the options and the code of a step are defined in one place, its file in ``builder/inside/predict``; the
classes here are generated from these definitions.
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
"""The steps whose results are in [0, 1] for any input, as messages suggest them."""

_OTHER_COLUMNS = frozenset({"id", "era", "data_type"})
_LISTS = ("features", "benchmarks")
_TYPES: dict[str, Any] = {
    "scope": Scope,
    "features": Columns,
    "benchmarks": Columns,
    "benchmark": Column,
    "group": Annotated[str, schema.require_pattern(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,100}", "of 1 to 100 characters")],
}
"""Option types that steps share; ``builder/inside/predict/runners.py`` describes them."""


def _make_step_class(name: str, definition: Mapping[str, Any]) -> type:
    """Create the dataclass of a step; its fields are the step's options."""
    one_of = definition.get("one_of", ())
    # Made from the definition that the pickle's own code has, so that a step is described in one place only.
    fields = []
    for option, entry in definition["options"].items():
        kind, default = _resolve_type(entry), entry.get("default", dataclasses.MISSING)
        if entry["type"] == "scope":
            default = "era"
        elif option in one_of:  # each may be missing; `_check` requires exactly one
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
    literal: Any = Literal  # mypy accepts no computed values in it
    match entry["type"]:
        case "choice":
            return literal[tuple(entry["choices"])]
        case "number":
            return Annotated[float, schema.require_between(entry["minimum"], entry["maximum"])]
        case shared:
            return _TYPES[shared]


def _check(step: Step) -> None:
    """Check that a step's options are consistent.

    Raises:
        ValueError: They are not.
    """
    definition = get_definition(step)
    one_of = definition.get("one_of", ())
    selected = [option for option in one_of if getattr(step, option) is not None]
    if one_of and len(selected) != 1:
        shown = " and ".join(selected) if selected else "no columns"
        raise ValueError(f"has {shown}; expected one of {', '.join(one_of)}")
    for option, entry in definition["options"].items():
        names = getattr(step, option) if entry["type"] in _LISTS else None
        duplicates = [name for name, count in Counter(names or ()).items() if count > 1]
        if duplicates:
            raise ValueError(f"duplicates in {option}: {format_list(duplicates)}; list each once")
        reserved = [name for name in names or () if name in _OTHER_COLUMNS or name.startswith("target")]
        if reserved:
            raise ValueError(f"{format_list(reserved)} cannot be neutralised to; expected {option}")
    if isinstance(definition["range"], list):
        (low, least), (high, most) = ((option, getattr(step, option)) for option in definition["range"])
        if not least < most:
            raise ValueError(f"{low} is {least:g} and {high} is {most:g}; expected {low} to be below {high}")


KINDS: dict[str, type] = {name: _make_step_class(name, definition) for name, definition in source.read_steps().items()}
"""The class of each step, by its key in files."""

Step = Annotated[Any, schema.TaggedUnion(kinds=KINDS)]
"""A step; in files, a mapping whose only key is the step's name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """A list of steps, to parse steps without a config or a bundle.

    Attributes:
        post: The steps, in order.
    """

    post: tuple[Step, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequiredColumns:
    """The columns that steps read, apart from the predictions.

    Attributes:
        features: Distinct columns of the live features.
        benchmarks: Distinct columns of the live benchmark models.
        era: Whether they read the column ``era`` of the live features.
    """

    features: tuple[str, ...]
    benchmarks: tuple[str, ...]
    era: bool


def as_data(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Return the steps as plain data for JSON, with all defaults."""
    return [schema.to_data(Step, step) for step in steps]


def make_step(name: str, **options: object) -> Step:
    """Create a step; options that are not passed have their defaults: ``make_step("rank", scope="frame")``.

    Raises:
        ValueError: The step or an option is unknown, or a value is invalid.
    """
    # Parsed like a file, so that both ways check the same; files have lists where Python code may have tuples.
    data = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
    parsed = schema.parse(Steps, {"post": [{name: data}]})
    if isinstance(parsed, list):
        texts = (f"{'.'.join(map(str, problem.path[2:]))}: {problem.text}" for problem in parsed)
        raise ValueError("; ".join(texts))  # noqa: TRY004 - the list is of problems, not the wrong type
    return parsed.post[0]


def get_step_name(step: Step) -> str:
    """Return the key of a step in files."""
    return next(name for name, kind in KINDS.items() if type(step) is kind)


def get_definition(step: Step) -> Mapping[str, Any]:
    """Return the definition in the step's file; ``builder/inside/predict/runners.py`` describes its keys."""
    return source.read_steps()[get_step_name(step)]


def _get_options(step: Step, kind: str) -> dict[str, Any]:
    """Return the options of one type that are set in a step, by name."""
    options = get_definition(step)["options"].items()
    values = {option: getattr(step, option) for option, entry in options if entry["type"] == kind}
    return {option: value for option, value in values.items() if value is not None}


def find_required_columns(steps: Sequence[Step]) -> RequiredColumns:
    """Find the columns that steps read; feature groups must be replaced before (``replace_groups``)."""
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
    """Return the names of the feature groups, by the index of their step."""
    return {index: group for index, step in enumerate(steps) for group in _get_options(step, "group").values()}


def replace_groups(steps: Sequence[Step], names: Mapping[str, tuple[str, ...]]) -> tuple[Step, ...]:
    """Replace feature groups with the names of their features.

    Raises:
        KeyError: A group is not among ``names``.
    """
    result = []
    for step in steps:
        changes: dict[str, Any] = {}
        for option, group in _get_options(step, "group").items():
            changes = {option: None, "features": names[group]}
        result.append(dataclasses.replace(step, **changes))
    return tuple(result)


def find_unbounded_step(steps: Sequence[Step], *, model_bounded: bool) -> int | None:
    """Find the step after which predictions may be outside of [0, 1] and no later step moves them back.

    Predictions of benchmark models are in [0, 1], since they are submissions.

    Args:
        steps: Post-processing steps.
        model_bounded: Whether the model's own predictions are in [0, 1].

    Returns:
        The index of the step, -1 for the model; None if the result is in [0, 1].
    """
    index = None if model_bounded else -1
    for position, step in enumerate(steps):
        match _get_range(step):
            case "unit":
                index = None
            case "any":
                index = position
    return index


def _get_range(step: Step) -> str:
    """Return the range of a step's results: ``unit``: [0, 1]; ``kept``: [0, 1] if its input is; ``any``."""
    range_ = get_definition(step)["range"]
    if isinstance(range_, list):
        low, high = (getattr(step, option) for option in range_)
        if low >= 0 and high <= 1:
            return "unit"
        return "any" if low > 1 or high < 0 else "kept"
    if isinstance(range_, dict):
        ((option, choices),) = range_.items()
        range_ = choices[getattr(step, option)]
    return str(range_)


def find_range_problem(steps: Sequence[Step], *, model_bounded: bool) -> str | None:
    """Describe why the result of the steps may be outside of [0, 1], without a key path; None if it cannot be."""
    index = find_unbounded_step(steps, model_bounded=model_bounded)
    if index is None:
        return None
    if index < 0:
        reason = "no step limits the model's predictions to [0, 1]"
    else:
        reason = f"no step after {get_step_name(steps[index])} limits the predictions to [0, 1]"
    return f"{reason}, which the tournament requires; add {BOUNDING}"
