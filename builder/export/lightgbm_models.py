"""LightGBM: Booster and the scikit-learn wrappers, by the library's own text.

A classifier's prediction is one number a row: the probability of the second of two classes 0 and 1, or else what the
classes come to on average, each weighted by its probability.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle.kinds import lightgbm_text
from builder.export import conversion, frameworks, overrides
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export.conversion import Array

Options = frameworks.Options
OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"

_PLACED = re.compile(r"Column_[0-9]+")
_PROBABILITIES = frozenset({"binary", "multiclass", "multiclassova"})
_BLANK = re.compile(r"\s")


def feature_names(model: Any, _options: frameworks.Options | None = None) -> tuple[str, ...] | None:
    """Return the booster's feature names; None where it was trained on an array and has numbered them itself.

    Raises:
        errors.ExportError: It is not trained, or several boosters in one.
    """
    names = tuple(_booster(model).feature_name())
    return None if all(_PLACED.fullmatch(name) for name in names) else names


def convert(
    model: Any, given: conversion.InputSpec, _options: frameworks.Options | None = None
) -> conversion.ConvertedModel:
    """Return the booster's text, up to its best iteration.

    Raises:
        errors.ExportError: Its inputs are not those given, its categories or classes are no numbers, or it gives
            several numbers a row that have no meaning as one.
    """
    import lightgbm  # noqa: PLC0415 - whose version is asked for; it is loaded, since the model is its own

    booster = _booster(model)
    try:
        smaller = lightgbm_text.strip_text(booster.model_to_string())
    except lightgbm_text.BoosterTextError as error:
        raise errors.ExportError(f"the booster's text {error}") from error
    header = smaller.header
    _check_inputs(booster, header, given)
    _check_methods(model)
    categories = _categories(booster, header, given)
    classes = _classes(model, header)
    return conversion.ConvertedModel(
        model=bundle_model.LightGbm(
            text=smaller.text,
            objective=header.objective,
            outputs=header.outputs,
            trees=len(header.sizes),
            leaves=smaller.leaves,
            averaged=header.averaged,
            categories=categories,
            head=_finish(classes),
        ),
        predict=_predictor(booster, categories, classes),
        takes_missing=True,
        facts={
            "framework": "lightgbm",
            "version": str(lightgbm.__version__),
            "iterations": len(header.sizes) // header.outputs,
        },
    )


def _booster(model: Any) -> Any:
    """Return the booster inside a model."""
    import lightgbm  # noqa: PLC0415 - as above

    if isinstance(model, lightgbm.CVBooster):
        raise errors.ExportError(
            f"CVBooster holds {len(model.boosters)} boosters; export model.boosters, which makes an ensemble of them"
        )
    if isinstance(model, lightgbm.Booster):
        return model
    try:
        return model.booster_
    except (AttributeError, lightgbm.basic.LightGBMError) as error:
        name = type(model).__name__
        raise errors.ExportError(f"{name} has no booster ({error}); export a trained Booster or estimator") from error


def _check_methods(model: Any) -> None:
    """Make sure that the model predicts as LightGBM does.

    Raises:
        errors.ExportError: A subclass has its own way, or its parameters have it stop before the last tree.
    """
    own = overrides.find_override(model, ("predict", "predict_proba"))
    if own:
        raise errors.ExportError(
            f"{own} is not LightGBM's own, and a bundle holds the booster alone; export model.booster_, with post= for "
            "what follows, or a function that does all of it (docs/export/custom.md)"
        )
    parameters: dict[str, Any] = model.get_params() if hasattr(model, "get_params") else {}
    if parameters.get("pred_early_stop"):
        raise errors.ExportError(
            f"{type(model).__name__} has pred_early_stop, so that its predict leaves out trees, and a bundle sums all "
            "of them; export model.booster_, or set_params(pred_early_stop=False)"
        )


def _check_inputs(booster: Any, header: lightgbm_text.Header, given: conversion.InputSpec) -> None:
    """Make sure that the columns said are the booster's, in its order."""
    said = (*given.features, *given.benchmarks)
    known = header.features
    if len(said) != len(known):
        raise errors.ExportError(
            f"the booster takes {len(known):,} features, and {len(given.features):,} features with "
            f"{len(given.benchmarks):,} benchmarks are given; pass features= with the columns that it was trained on"
        )
    if feature_names(booster) is None:
        return
    unlike = [place for place, name in enumerate(said) if _BLANK.sub("_", name) != known[place]]
    if unlike:
        place = unlike[0]
        raise errors.ExportError(
            f"input {place} of the booster is {known[place]!r}, and {said[place]!r} is given in its place "
            f"({len(unlike):,} differ); the inputs are the features, then the benchmark columns: train on columns in "
            "that order, or pass features= with their names"
        )


def _categories(
    booster: Any, header: lightgbm_text.Header, given: conversion.InputSpec
) -> tuple[bundle_model.Categories, ...]:
    """Return what becomes of columns that were pandas categories: of a frame, LightGBM takes the codes."""
    lists: list[list[Any]] = booster.pandas_categorical or []
    if not lists:
        return ()
    places = _category_places(booster, header)
    names = (*given.features, *given.benchmarks)
    said = {place for place, name in enumerate(names) if name in given.categories and not given.categories[name]}
    unlike = any(given.categories.values()) or (said and said != set(places))
    if len(places) != len(lists) or unlike:
        raise errors.ExportError(
            f"the booster was trained on {len(lists):,} columns of pandas categories and takes {len(places):,} as "
            "categorical, so nobody can tell which they are; train on numbers, with categorical_feature= for those "
            "that are categories"
        )
    groups: dict[tuple[float, ...], list[int]] = {}
    for place, values in zip(places, lists, strict=True):
        name = header.features[place]
        if not all(isinstance(value, (int, float)) for value in values):
            shown = next(value for value in values if not isinstance(value, (int, float)))
            raise errors.ExportError(
                f"categories of {name!r} are no numbers ({shown!r}), and live features are; train on numbers, or "
                "export a function (docs/export/custom.md)"
            )
        codes = [int(code) for code in header.infos[place].split(":") if code.lstrip("-").isdigit()]
        if max(codes, default=0) >= len(values):
            raise errors.ExportError(
                f"{name!r} has {len(values):,} pandas categories and codes up to {max(codes):,}, so they are not its "
                "own; train on numbers, with categorical_feature= for those that are categories"
            )
        there = given.sample[:, place]
        foreign = there[~np.isnan(there) & ~np.isin(there, np.asarray(values, dtype=np.float64))]
        if foreign.size:
            raise errors.ExportError(
                f"{name!r} has {foreign[0]:g} in the sample, which is none of the {len(values):,} pandas categories "
                "that it would have been trained on; pass a sample with the columns as they were then, or train on "
                "numbers, with categorical_feature= for those that are categories"
            )
        groups.setdefault(tuple(float(value) for value in values), []).append(place)
    return tuple(bundle_model.Categories(inputs=tuple(inputs), values=values) for values, inputs in groups.items())


def _category_places(booster: Any, header: lightgbm_text.Header) -> list[int]:
    """Return which features LightGBM took as categorical."""
    parameters = re.search(
        r"^\[categorical_feature: ([0-9,]*)\]$", booster.model_to_string(num_iteration=1), re.MULTILINE
    )
    if parameters:
        return sorted(int(place) for place in parameters.group(1).split(",") if place)
    return [place for place, info in enumerate(header.infos) if info != "none" and not info.startswith("[")]


def _classes(model: Any, header: lightgbm_text.Header) -> tuple[float, ...] | None:
    """Return the number that each output stands for; None where the one output is the prediction."""
    name = header.objective.partition(" ")[0]
    labels = getattr(model, "classes_", None)
    if header.outputs > 1 and name not in _PROBABILITIES:
        raise errors.ExportError(
            f"the booster gives {header.outputs} numbers a row that are no probabilities (objective "
            f"{name or 'of your own'!r}); export a function that makes one of them (docs/export/custom.md)"
        )
    if name not in _PROBABILITIES:
        return None
    if labels is None:
        return tuple(float(place) for place in range(header.outputs)) if header.outputs > 1 else None
    try:
        numbers = tuple(float(label) for label in labels)
    except (TypeError, ValueError) as error:
        raise errors.ExportError(
            f"classes {_some(labels)} are no numbers, so their mean is none either; train on numbers"
        ) from error
    return None if numbers == (0.0, 1.0) else numbers


def _finish(classes: tuple[float, ...] | None) -> tuple[bundle_model.Node, ...]:
    """Return the mean of the classes: of two, from the one probability that the booster gives."""
    if classes is None:
        return ()
    if len(classes) == 2:
        weights, bias = [[classes[1] - classes[0]]], [classes[0]]
    else:
        weights, bias = [[one] for one in classes], [0.0]
    return (bundle_model.make_node("dense", weights=np.array(weights), bias=np.array(bias)),)


def _predictor(
    booster: Any, categories: Sequence[bundle_model.Categories], classes: tuple[float, ...] | None
) -> Callable[[Array], Array]:
    """Return the library's own prediction for an array of inputs."""

    def predict(inputs: Array) -> Array:
        outputs: Array = np.asarray(booster.predict(_frame(inputs, categories) if categories else inputs))
        if classes is None:
            return outputs
        if outputs.ndim == 1:
            outputs = np.stack([1 - outputs, outputs], axis=1)
        mean: Array = outputs @ np.array(classes)
        return mean

    return predict


def _frame(inputs: Array, categories: Sequence[bundle_model.Categories]) -> Any:
    """Return inputs as the frame that the booster was trained on: some columns pandas categories."""
    import pandas as pd  # noqa: PLC0415 - with LightGBM it may be absent

    frame = pd.DataFrame(inputs)
    for group in categories:
        for place in group.inputs:
            frame[place] = pd.Categorical(frame[place])
    return frame


def _some(values: Any) -> str:
    return format_list([repr(value) for value in values], most=3)
