"""Ensembles: a list or dict of trained models, of one framework or of several.

Each member is translated by its own framework's module, over the columns that it takes itself.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import numpy as np

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle import post as postprocessing
from builder.bundle import prediction
from builder.export import arguments, conversion, frameworks, known, parity
from builder.text import find_nearest, format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export.conversion import Array

T = TypeVar("T")

OPTION_HINT = "wrap what belongs to one member, such as centre and scale of a module, into the member itself"
DEFAULT_RANK: frameworks.Rank = "era"


@dataclass(frozen=True, kw_only=True)
class Options(frameworks.Options):
    """What ``export`` takes for an ensemble: one value for all members, or one each, as a list or by their names.

    Attributes:
        weights: What each member's predictions are multiplied by.
        transform: ``raw``, ``rank`` or ``gaussian``, done to each member's predictions before the sum.
        scope: ``era`` or ``frame``, within which they are ranked or gaussianised.
        member_features: The columns each member takes, in its own order. A member that neither knows its columns nor
            has them here takes all features, then all benchmarks. One list of names is for all members.
    """

    weights: float | Sequence[float] | Mapping[str, float] = 1.0
    transform: str | Sequence[str] | Mapping[str, str] = "raw"
    scope: str | Sequence[str] | Mapping[str, str] = "era"
    member_features: Sequence[str] | Sequence[Sequence[str] | None] | Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True, kw_only=True)
class _Member:
    """A member as it came.

    Attributes:
        name: Its key, or its place in the list.
        model: The framework's object.
        framework: The module that exports it.
        columns: What it takes, in its order, by name; None where nobody said.
    """

    name: str
    model: Any
    framework: frameworks.Framework[Any]
    columns: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """A member translated.

    Attributes:
        found: What its framework's module returned.
        places: intp (its inputs,): where its inputs stand among those of the ensemble.
        member: It, as the bundle has it.
    """

    found: conversion.ConvertedModel
    places: Any
    member: bundle_model.Member


def feature_names(model: Any, options: Options) -> tuple[str, ...] | None:
    """Return the columns of all members in the order of their first appearance; None where one's are not known.

    Raises:
        errors.ExportError: No module knows a member's framework, or ``member_features`` does not fit the members.
    """
    members = _members(model, options)
    if any(member.columns is None for member in members):
        return None
    return tuple(dict.fromkeys(name for member in members for name in member.columns or ()))


def convert(model: Any, given: conversion.InputSpec, options: Options) -> conversion.ConvertedModel:
    """Return an ensemble of what the members are translated to.

    Raises:
        errors.ExportError: A member cannot be expressed or takes a column that is not there, or an option does not
            fit; the member is named.
    """
    members = _members(model, options)
    names = [member.name for member in members]
    weights = _each("weights", options.weights, names)
    transforms = _each("transform", options.transform, names)
    scopes = _each("scope", options.scope, names)
    for name, weight, transform, scope in zip(names, weights, transforms, scopes, strict=True):
        _check_share(name, weight, transform, scope)
    parts = []
    for member, weight, transform, scope in zip(members, weights, transforms, scopes, strict=True):
        found, features, benchmarks = _translate_member(member, given)
        places = _places((*features, *benchmarks), given)
        share = bundle_model.Member(
            model=cast("bundle_model.Single", found.model),
            features=features,
            benchmarks=benchmarks,
            weight=float(weight),
            transform=transform,
            scope=scope,
        )
        parts.append(_Part(found=found, places=places, member=share))
    ensemble = bundle_model.Ensemble(members=tuple(part.member for part in parts))
    _check_idle(ensemble, given)
    return conversion.ConvertedModel(
        model=ensemble,
        predict=_together(parts, given.imputation),
        takes_missing=any(part.found.takes_missing for part in parts),
        facts=_facts(names, parts),
    )


def _members(model: Any, options: Options) -> list[_Member]:
    """Return the members, with what is known of their columns."""
    pairs = list(model.items()) if isinstance(model, Mapping) else list(enumerate(model))
    if not pairs:
        raise errors.ExportError("export: an ensemble without members; pass [model, ...] or {'name': model, ...}")
    names = [str(name) for name, _ in pairs]
    bad = [name for name in names if not (name.isprintable() and 0 < len(name) <= 100)]
    if bad:
        raise errors.ExportError(
            f"export: the member's name {bad[0][:100]!r} cannot be kept; expected 1 to 100 printable characters"
        )
    said = _own_columns(options.member_features, names)
    members = []
    for name, (_, one), own in zip(names, pairs, said, strict=True):
        if isinstance(one, (list, tuple, dict)):
            raise errors.ExportError(f"export: member {name} is an ensemble itself; put its members into the outer one")
        if isinstance(one, types.FunctionType):
            raise errors.ExportError(
                f"export: member {name} is a function, which an ensemble does not take; export one function that does "
                "all of it, as docs/export/custom.md shows"
            )
        framework = _of_member(name, known.find, one)
        model_names = _of_member(name, framework.feature_names, one, framework.Options())
        if own and model_names is not None and set(model_names) == set(own) and model_names != own:
            raise errors.ExportError(
                f"export: member_features has the features of member {name} in another order; leave them out: the "
                "model knows its own"
            )
        members.append(_Member(name=name, model=one, framework=framework, columns=own or model_names))
    return members


def _own_columns(member_features: Any, names: Sequence[str]) -> list[tuple[str, ...] | None]:
    """Return each member's columns as they were said; one list of names is for all."""
    own = list(member_features) if isinstance(member_features, Iterable) else []
    if own and not isinstance(member_features, (str, Mapping)) and all(isinstance(one, str) for one in own):
        said = [own] * len(names)
    else:
        said = _each("member_features", member_features, names, optional=True)
    return [
        None if one is None else arguments.names_of(f"member_features of {name}", one)
        for name, one in zip(names, said, strict=True)
    ]


def _each(option: str, value: Any, names: Sequence[str], *, optional: bool = False) -> list[Any]:
    """Return an option's value for each member."""
    if isinstance(value, Mapping):
        told = {str(key): item for key, item in value.items()}
        foreign = [key for key in told if key not in names]
        if foreign:
            near = find_nearest(foreign[0], names)
            hint = f"did you mean {near}?" if near else f"the members are {format_list(names)}"
            raise errors.ExportError(f"export: {option} names {foreign[0]}, which is no member; {hint}")
        absent = [name for name in names if name not in told]
        if absent and not optional:
            raise errors.ExportError(f"export: {option} lacks {format_list(absent)}; expected one for each member")
        return [told.get(name) for name in names]
    if isinstance(value, str) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        return [value] * len(names)
    values = list(value)
    if len(values) != len(names):
        raise errors.ExportError(f"export: {option} has {len(values):,} values for {len(names):,} members")
    return values


def _check_share(name: str, weight: Any, transform: Any, scope: Any) -> None:
    """Make sure that a member's weight, transform and scope are such.

    Raises:
        errors.ExportError: One is not.
    """
    try:
        fits = 1e-9 <= abs(float(weight)) <= 1e9
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise errors.ExportError(
            f"export: weights: {weight!r} for member {name}; expected a number that is not 0: leave out a member that "
            "counts for nothing"
        )
    for option, word, kind in (
        ("transform", transform, bundle_model.Transform),
        ("scope", scope, postprocessing.Scope),
    ):
        words = get_args(kind)
        if word not in words:
            near = find_nearest(word, words)
            hint = f"did you mean {near}? " if near else ""
            raise errors.ExportError(f"export: {option}: {word!r} for member {name}; {hint}valid: {', '.join(words)}")


def _translate_member(
    member: _Member, given: conversion.InputSpec
) -> tuple[conversion.ConvertedModel, tuple[str, ...], tuple[str, ...]]:
    """Return what a member's framework makes of it, its features and its benchmarks."""
    columns = member.columns if member.columns is not None else (*given.features, *given.benchmarks)
    absent = [name for name in columns if name not in set(given.features) | set(given.benchmarks)]
    if absent:
        raise errors.ExportError(
            f"export: member {member.name} takes {format_list(absent)}, which features= and benchmark= do not have"
        )
    benchmarks = tuple(name for name in columns if name in set(given.benchmarks))
    features = tuple(name for name in columns if name not in set(given.benchmarks))
    places = _places((*features, *benchmarks), given)
    own = conversion.InputSpec(
        features=features,
        benchmarks=benchmarks,
        sample=np.ascontiguousarray(given.sample[:, places]),
        imputation=given.imputation[places],
        imputed=given.imputed,
        categories={name: given.categories[name] for name in (*features, *benchmarks) if name in given.categories},
    )
    framework = member.framework
    found = _of_member(member.name, framework.convert, member.model, own, framework.Options())
    if not isinstance(found.model, get_args(bundle_model.Single)):
        raise errors.ExportError(
            f"export: member {member.name} becomes a model of type {type(found.model).__name__}, which an ensemble "
            "does not take; put what it is made of into the outer one"
        )
    # Each by itself: among the ranks of all of them, a small difference of one would not show.
    rows = parity.checked(own.sample)

    def predict(inputs: Array) -> Array:
        return _predict(found, inputs, own.imputation)

    _of_member(member.name, parity.compare, found.model, rows, predict(rows), predict)
    return found, features, benchmarks


def _of_member(name: str, ask: Callable[..., T], *arguments: Any) -> T:
    """Return what a framework's module answers; its refusals name the member."""
    try:
        return ask(*arguments)
    except errors.ExportError as error:
        text = str(error).removeprefix("export: ")
        raise errors.ExportError(f"export: member {name}: {text}") from error


def _places(columns: Sequence[str], given: conversion.InputSpec) -> Any:
    """Return where columns stand among the ensemble's inputs."""
    places = {name: place for place, name in enumerate((*given.features, *given.benchmarks))}
    return np.array([places[name] for name in columns], dtype=np.intp)


def _check_idle(ensemble: bundle_model.Ensemble, given: conversion.InputSpec) -> None:
    """Make sure that the ensemble's inputs are the bundle's, in the same order.

    Raises:
        errors.ExportError: A column is taken by no member, or they are in another order.
    """
    for option, said, taken in (
        ("features", given.features, ensemble.features),
        ("benchmark", given.benchmarks, ensemble.benchmarks),
    ):
        idle = [name for name in said if name not in set(taken)]
        if idle:
            raise errors.ExportError(f"export: no member takes {format_list(idle)}; leave that out of {option}=")
        if said != taken:
            raise errors.ExportError(
                f"export: {option}= is in another order than that in which members first take the columns; "
                f"it would begin with {format_list(taken)}"
            )


def _together(parts: Sequence[_Part], imputation: Array) -> Callable[[Array], Array]:
    """Return the frameworks' predictions put together, all rows being one era."""

    def predict(inputs: Array) -> Array:
        values = [_predict(part.found, inputs[:, part.places], imputation[part.places]) for part in parts]
        return prediction.combine([part.member for part in parts], values)

    return predict


def _predict(found: conversion.ConvertedModel, inputs: Array, imputation: Array) -> Array:
    """Return what a member's framework predicts: float64 (rows,)."""
    if not found.takes_missing:
        inputs = np.where(np.isnan(inputs), imputation, inputs)
    values: Array = np.asarray(found.predict(inputs), dtype=np.float64).reshape(-1)
    if values.shape != (len(inputs),) or not np.isfinite(values).all():
        raise errors.ExportError(
            f"export: a member predicts {len(values):,} values for {len(inputs):,} rows of the sample, "
            f"{int((~np.isfinite(values)).sum()):,} of them not finite; expected one finite number a row"
        )
    return values


def _facts(names: Sequence[str], parts: Sequence[_Part]) -> dict[str, bundle_model.Fact]:
    """Return each member's framework and version, and what else its module told."""
    made = [(str(part.found.facts.get("framework", "")), str(part.found.facts.get("version", ""))) for part in parts]
    different = list(dict.fromkeys(made))
    facts: dict[str, bundle_model.Fact] = {
        "framework": ", ".join(framework for framework, _ in different),
        "version": ", ".join(version for _, version in different),
        "members": tuple(
            f"{name}: {framework} {version}".rstrip() for name, (framework, version) in zip(names, made, strict=True)
        ),
    }
    for name, part in zip(names, parts, strict=True):
        own = {key: fact for key, fact in part.found.facts.items() if key not in {"framework", "version"}}
        facts |= {f"members.{name}.{key}": fact for key, fact in own.items()}
    return facts
