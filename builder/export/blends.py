"""Export an ensemble with members that are functions, or that are stored as data, as one function that calls them."""

from __future__ import annotations

import dataclasses
from typing import Any

from builder.export import conversion, ensembles, frameworks, stored
from builder.export.function import functions, source, stored_model

OPTIONS = ensembles.OPTIONS
OPTION_HINT = ensembles.OPTION_HINT
DEFAULT_RANK = ensembles.DEFAULT_RANK


def feature_names(model: Any, options: ensembles.EnsembleOptions) -> tuple[str, ...] | None:
    """Return the columns of all members in the order of first appearance; None if those of a member are unknown."""
    return ensembles.feature_names(model, options)


def convert(model: Any, spec: conversion.InputSpec, options: ensembles.EnsembleOptions) -> conversion.ConvertedModel:
    """Convert the ensemble to a function.

    Raises:
        errors.ExportError: A member, which is named, cannot be stored; or an option is invalid.
    """
    members = ensembles.list_members(model, options)
    names = [member.name for member in members]
    parts = []
    for member, weight, transform, scope in zip(
        members,
        ensembles.expand_option("weights", options.weights, names),
        ensembles.expand_option("transform", options.transform, names),
        ensembles.expand_option("scope", options.scope, names),
        strict=True,
    ):
        ensembles.check_member_options(member.name, weight, transform, scope)
        function = _wrap(member, spec)
        arguments, _ = source.count_arguments(function)
        parts.append(
            {
                "predict": function,
                "arguments": arguments,
                "weight": float(weight),
                "transform": transform,
                "scope": scope,
            }
        )
    converted = functions.convert(stored_model.Blend(parts), spec, functions.OPTIONS())
    note = "exported as one function that calls its members: the image's libraries predict with those that are models"
    return dataclasses.replace(
        converted, facts={**converted.facts, "members": tuple(names)}, notes=(note, *converted.notes)
    )


def _wrap(member: ensembles.EnsembleMember, spec: conversion.InputSpec) -> Any:
    """Return the callable of a member: the function itself, or one that calls a model with the columns it takes."""
    if frameworks.is_function(member.model):
        ensembles.call_for_member(member.name, functions.check_function, member.model, spec)
        return member.model
    inputs = ensembles.select_inputs(member, spec)
    output = getattr(member.options, "output", None)
    return ensembles.call_for_member(member.name, stored.wrap, member.model, inputs, output)
