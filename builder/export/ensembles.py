"""Export ensembles: a list or dict of trained models, of one framework or several.

Each member is converted by its own framework's module, from the columns that it takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import numpy as np

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle import post as postprocessing
from builder.bundle import prediction
from builder.export import arguments, conversion, frameworks, parity
from builder.text import find_nearest, format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export.conversion import Array

T = TypeVar("T")

OPTION_HINT = "apply an option of one member, such as centre and scale of a module, in the member itself"
DEFAULT_RANK: frameworks.Rank = "era"


@dataclass(frozen=True, kw_only=True)
class EnsembleOptions(frameworks.Options):
    """The options of an ensemble: one value for all members, or one for each, as a list or by their names.

    Attributes:
        weights: Factors of the members' predictions.
        transform: ``raw``, ``rank`` or ``gaussian``: applied to each member's predictions before the sum.
        scope: ``era`` or ``frame``: the rows among which predictions are ranked or gaussianized.
        member_features: The columns of each member, in the order of its inputs. A member that neither knows its columns
            nor has them here takes all features, then all benchmark columns. One list of names is for all members.
        output: The ``output`` of the members that predict several numbers for each row: see their frameworks' pages.
    """

    weights: float | Sequence[float] | Mapping[str, float] = 1.0
    transform: str | Sequence[str] | Mapping[str, str] = "raw"
    scope: str | Sequence[str] | Mapping[str, str] = "era"
    member_features: Sequence[str] | Sequence[Sequence[str] | None] | Mapping[str, Sequence[str]] | None = None
    output: int | str | Sequence[int | str | None] | Mapping[str, int | str] | None = None


OPTIONS = EnsembleOptions


@dataclass(frozen=True, kw_only=True)
class EnsembleMember:
    """A member as the caller passed it.

    Attributes:
        name: Its key in the dict, or its index in the list.
        model: The framework's model.
        framework: The module that exports it.
        options: The options of the framework.
        columns: The columns that it takes, in order; None if unknown.
    """

    name: str
    model: Any
    framework: frameworks.Framework[Any]
    options: frameworks.Options
    columns: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _ConvertedMember:
    """A converted member.

    Attributes:
        converted: What its framework's module returned.
        indices: intp (its inputs,): the indices of its inputs among those of the ensemble.
        member: The bundle's member.
    """

    converted: conversion.ConvertedModel
    indices: Any
    member: bundle_model.Member


def feature_names(model: Any, options: EnsembleOptions) -> tuple[str, ...] | None:
    """Return the columns of all members in the order of first appearance; None if those of a member are unknown.

    Raises:
        errors.ExportError: A member is of an unknown framework, or ``member_features`` does not fit the members.
    """
    members = list_members(model, options)
    if any(member.columns is None for member in members):
        return None
    return tuple(dict.fromkeys(name for member in members for name in member.columns or ()))


def convert(model: Any, spec: conversion.InputSpec, options: EnsembleOptions) -> conversion.ConvertedModel:
    """Convert the members, and compare each with its framework.

    Raises:
        errors.ExportError: A member, which is named, cannot be expressed or takes a column that is not an input; or an
            option is invalid.
    """
    members = list_members(model, options)
    names = [member.name for member in members]
    weights = expand_option("weights", options.weights, names)
    transforms = expand_option("transform", options.transform, names)
    scopes = expand_option("scope", options.scope, names)
    for name, weight, transform, scope in zip(names, weights, transforms, scopes, strict=True):
        check_member_options(name, weight, transform, scope)
    parts = []
    for member, weight, transform, scope in zip(members, weights, transforms, scopes, strict=True):
        converted, features, benchmarks = _convert_member(member, spec)
        bundle_member = bundle_model.Member(
            model=cast("bundle_model.Single", converted.model),  # or an ensemble: see _flatten
            features=features,
            benchmarks=benchmarks,
            weight=float(weight),
            transform=transform,
            scope=scope,
        )
        indices = _find_indices((*features, *benchmarks), spec)
        parts.append(_ConvertedMember(converted=converted, indices=indices, member=bundle_member))
    ensemble = bundle_model.Ensemble(
        members=tuple(inner for name, part in zip(names, parts, strict=True) for inner in _flatten(name, part.member))
    )
    _check_inputs(ensemble, spec)
    return conversion.ConvertedModel(
        model=ensemble,
        predict=_combine(parts, spec.imputation),
        takes_missing=any(part.converted.takes_missing for part in parts),
        facts=_collect_facts(names, parts),
        packages=tuple(dict.fromkeys(package for part in parts for package in part.converted.packages)),
    )


def list_members(model: Any, options: EnsembleOptions) -> list[EnsembleMember]:
    """Return the members, with their columns if known."""
    pairs = list(model.items()) if isinstance(model, Mapping) else list(enumerate(model))
    if not pairs:
        raise errors.ExportError("export: the ensemble has no members; pass [model, ...] or {'name': model, ...}")
    names = [str(name) for name, _ in pairs]
    invalid = [name for name in names if not (name.isprintable() and 0 < len(name) <= 100)]
    if invalid:
        raise errors.ExportError(
            f"export: invalid member name {invalid[0][:100]!r}; expected 1 to 100 printable characters"
        )
    explicit_columns = _parse_member_features(options.member_features, names)
    outputs = expand_option("output", options.output, names, optional=True)
    members = []
    for name, (_, member), columns, output in zip(names, pairs, explicit_columns, outputs, strict=True):
        if isinstance(member, (list, tuple, dict)):
            raise errors.ExportError(f"export: member {name} is itself an ensemble; put its members into the outer one")
        framework = call_for_member(name, frameworks.find_framework, member)
        member_options = call_for_member(name, _make_options, framework, output)
        model_names = call_for_member(name, framework.feature_names, member, member_options)
        # Another set of names is allowed: the data may have renamed columns. Another order is a mistake.
        if columns and model_names is not None and set(model_names) == set(columns) and model_names != columns:
            raise errors.ExportError(
                f"export: member_features has the features of member {name} in another order than the model; leave "
                "them out, since the model knows its own"
            )
        members.append(
            EnsembleMember(
                name=name,
                model=member,
                framework=framework,
                options=member_options,
                columns=columns or model_names,
            )
        )
    return members


def _make_options(framework: frameworks.Framework[Any], output: Any) -> frameworks.Options:
    """Return the framework's options, with ``output`` if it is passed."""
    if output is not None and not any(field.name == "output" for field in dataclasses.fields(framework.OPTIONS)):
        raise errors.ExportError(
            f"invalid value {output!r} for output; a function has no outputs to choose from: omit it"
        )
    options: frameworks.Options = framework.OPTIONS() if output is None else framework.OPTIONS(output=output)
    return options


def _parse_member_features(member_features: Any, names: Sequence[str]) -> list[tuple[str, ...] | None]:
    """Return each member's columns in ``member_features``; one list of names is for all."""
    items = list(member_features) if isinstance(member_features, Iterable) else []
    if items and not isinstance(member_features, (str, Mapping)) and all(isinstance(item, str) for item in items):
        columns = [items] * len(names)
    else:
        columns = expand_option("member_features", member_features, names, optional=True)
    return [
        None if value is None else arguments.parse_names(f"member_features of {name}", value)
        for name, value in zip(names, columns, strict=True)
    ]


def expand_option(option: str, value: Any, names: Sequence[str], *, optional: bool = False) -> list[Any]:
    """Return an option's value for each member."""
    if isinstance(value, Mapping):
        values_by_name = {str(key): item for key, item in value.items()}
        unknown = [key for key in values_by_name if key not in names]
        if unknown:
            nearest = find_nearest(unknown[0], names)
            hint = f"did you mean {nearest}?" if nearest else f"the members are {format_list(names)}"
            raise errors.ExportError(f"export: unknown member {unknown[0]} in {option}; {hint}")
        missing = [name for name in names if name not in values_by_name]
        if missing and not optional:
            raise errors.ExportError(f"export: missing in {option}: {format_list(missing)}; pass one for each member")
        return [values_by_name.get(name) for name in names]
    # A 0-dimensional array counts as one value: it has __iter__, which raises TypeError.
    if isinstance(value, str) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        return [value] * len(names)
    values = list(value)
    if len(values) != len(names):
        raise errors.ExportError(f"export: {option} has {len(values):,} values for {len(names):,} members")
    return values


def check_member_options(name: str, weight: Any, transform: Any, scope: Any) -> None:
    """Refuse a member's weight, transform or scope if it is invalid."""
    try:
        is_valid = 1e-9 <= abs(float(weight)) <= 1e9
    except (TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise errors.ExportError(
            f"export: invalid value {weight!r} in weights for member {name}; expected a number other than 0; leave out "
            "a member without weight"
        )
    for option, value, kind in (
        ("transform", transform, bundle_model.Transform),
        ("scope", scope, postprocessing.Scope),
    ):
        valid = get_args(kind)
        if value not in valid:
            nearest = find_nearest(value, valid)
            hint = f"; did you mean {nearest}?" if nearest else ""
            raise errors.ExportError(
                f"export: invalid value {value!r} in {option} for member {name}; expected one of {', '.join(valid)}"
                f"{hint}"
            )


def _convert_member(
    member: EnsembleMember, spec: conversion.InputSpec
) -> tuple[conversion.ConvertedModel, tuple[str, ...], tuple[str, ...]]:
    """Return the converted member, its features and its benchmark columns."""
    member_spec = select_inputs(member, spec)
    features, benchmarks = member_spec.features, member_spec.benchmarks
    framework = member.framework
    converted = call_for_member(member.name, framework.convert, member.model, member_spec, member.options)
    # Each member is compared alone: after ranks of the whole ensemble, a small difference of one would not show.
    rows = parity.select_rows(member_spec.sample)

    def predict(inputs: Array) -> Array:
        return _predict(converted, inputs, member_spec.imputation)

    call_for_member(member.name, parity.compare, converted.model, rows, predict(rows), predict)
    return converted, features, benchmarks


def select_inputs(member: EnsembleMember, spec: conversion.InputSpec) -> conversion.InputSpec:
    """Return the inputs of a member, which may take only some of those of the ensemble: features, then benchmarks.

    Raises:
        errors.ExportError: It takes a column that is not among them.
    """
    columns = member.columns if member.columns is not None else spec.names
    missing = [name for name in columns if name not in set(spec.names)]
    if missing:
        raise errors.ExportError(
            f"export: member {member.name} takes {format_list(missing)}, which features= and benchmark= do not contain"
        )
    benchmarks = tuple(name for name in columns if name in set(spec.benchmarks))
    features = tuple(name for name in columns if name not in set(spec.benchmarks))
    indices = _find_indices((*features, *benchmarks), spec)
    return conversion.InputSpec(
        features=features,
        benchmarks=benchmarks,
        sample=np.ascontiguousarray(spec.sample[:, indices]),
        imputation=spec.imputation[indices],
        explicit_imputation=spec.explicit_imputation,
        categories={name: spec.categories[name] for name in (*features, *benchmarks) if name in spec.categories},
    )


def _flatten(name: str, member: bundle_model.Member) -> tuple[bundle_model.Member, ...]:
    """Return the member, or the members of a member that is itself an ensemble, such as a VotingRegressor."""
    if not isinstance(member.model, bundle_model.Ensemble):
        return (member,)
    if member.transform != "raw":
        raise errors.ExportError(
            f"export: member {name} is itself an ensemble, whose sum cannot be ranked or gaussianized; pass "
            "transform='raw' for it, or put its members into the outer ensemble"
        )
    total = sum(abs(inner.weight) for inner in member.model.members)
    return tuple(
        dataclasses.replace(inner, weight=member.weight * inner.weight / total) for inner in member.model.members
    )


def call_for_member(name: str, function: Callable[..., T], *args: Any) -> T:
    """Call a function that knows nothing of ensembles; its errors are raised with the member's name."""
    try:
        return function(*args)
    except errors.ExportError as error:
        text = str(error).removeprefix("export: ")
        raise type(error)(f"export: member {name}: {text}") from error


def _find_indices(columns: Sequence[str], spec: conversion.InputSpec) -> Any:
    """Return the indices of columns among the ensemble's inputs: intp (columns,)."""
    indices = {name: index for index, name in enumerate(spec.names)}
    return np.array([indices[name] for name in columns], dtype=np.intp)


def _check_inputs(ensemble: bundle_model.Ensemble, spec: conversion.InputSpec) -> None:
    """Refuse inputs that no member takes, or in another order than that in which the members first take them."""
    for option, names, used in (
        ("features", spec.features, ensemble.features),
        ("benchmark", spec.benchmarks, ensemble.benchmarks),
    ):
        unused = [name for name in names if name not in set(used)]
        if unused:
            raise conversion.InputsError(f"export: no member takes {format_list(unused)}; leave it out of {option}=")
        if names != used:
            raise conversion.InputsError(
                f"export: {option}= has another order than that in which the members first take the columns; expected "
                f"it to begin with {format_list(used)}"
            )


def _combine(parts: Sequence[_ConvertedMember], imputation: Array) -> Callable[[Array], Array]:
    """Return a function that combines the frameworks' predictions; all rows count as one era."""

    def predict(inputs: Array) -> Array:
        values = [_predict(part.converted, inputs[:, part.indices], imputation[part.indices]) for part in parts]
        return prediction.combine([part.member for part in parts], values)

    return predict


def _predict(converted: conversion.ConvertedModel, inputs: Array, imputation: Array) -> Array:
    """Return what a member's framework predicts: float64 (rows,)."""
    if not converted.takes_missing:
        inputs = np.where(np.isnan(inputs), imputation, inputs)
    values: Array = np.asarray(converted.predict(inputs), dtype=np.float64).reshape(-1)
    if values.shape != (len(inputs),) or not np.isfinite(values).all():
        raise errors.ExportError(
            f"export: a member predicts {len(values):,} values for {len(inputs):,} rows of the sample, "
            f"{int((~np.isfinite(values)).sum()):,} of them not finite; expected one finite number for each row"
        )
    return values


def _collect_facts(names: Sequence[str], parts: Sequence[_ConvertedMember]) -> dict[str, bundle_model.Fact]:
    """Return the members' frameworks and versions, and the other facts of each member under its name."""
    facts_of_parts = [part.converted.facts for part in parts]
    versions = [(str(facts.get("framework", "")), str(facts.get("version", ""))) for facts in facts_of_parts]
    distinct = list(dict.fromkeys(versions))
    ensemble_facts: dict[str, bundle_model.Fact] = {
        "framework": ", ".join(framework for framework, _ in distinct),
        "version": ", ".join(version for _, version in distinct),
        "members": tuple(
            f"{name}: {framework} {version}".rstrip()
            for name, (framework, version) in zip(names, versions, strict=True)
        ),
    }
    for name, facts in zip(names, facts_of_parts, strict=True):
        others = {key: fact for key, fact in facts.items() if key not in {"framework", "version"}}
        ensemble_facts |= {f"members.{name}.{key}": fact for key, fact in others.items()}
    return ensemble_facts
