"""Export LightGBM boosters and their scikit-learn wrappers, as the text that LightGBM saves a model as.

A classifier predicts the expected value of its classes, the sum of p(class) * class: for the classes 0 and 1 that is
the probability of 1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle.kinds import lightgbm_text
from builder.export import boosters, conversion, frameworks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.export.conversion import Array

OPTIONS = boosters.OutputOptions
OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"

_NUMBERED = re.compile(r"Column_[0-9]+")
_PROBABILITIES = frozenset({"binary", "multiclass", "multiclassova"})
_SPACE = re.compile(r"\s")


def feature_names(model: Any, _options: boosters.OutputOptions | None = None) -> tuple[str, ...] | None:
    """Return the booster's feature names; None if it was trained on an array, so that LightGBM numbered them.

    Raises:
        errors.ExportError: The model is not trained, or is a ``CVBooster``.
    """
    names = tuple(_booster(model).feature_name())
    return None if all(_NUMBERED.fullmatch(name) for name in names) else names


def convert(
    model: Any, spec: conversion.InputSpec, options: boosters.OutputOptions | None = None
) -> conversion.ConvertedModel:
    """Convert the booster, up to its best iteration.

    Raises:
        errors.ExportError: The booster has other inputs, its categories or classes are not numeric, or it predicts
            several numbers for each row that are not probabilities and ``output`` does not choose one.
    """
    import lightgbm  # noqa: PLC0415 - this module is also imported if LightGBM is not installed

    booster = _booster(model)
    try:
        smaller = lightgbm_text.strip_text(booster.model_to_string())
    except lightgbm_text.BoosterTextError as error:
        raise errors.ExportError(f"the booster's text {error}") from error
    header = smaller.header
    names = None if feature_names(booster) is None else header.features
    # LightGBM replaces spaces in names.
    boosters.check_inputs(names, len(header.features), spec, lambda name: _SPACE.sub("_", name))
    _check_methods(model)
    categories = _categories(booster, header, spec)
    output = (options or OPTIONS()).output
    classes = _classes(model, header, output)
    return conversion.ConvertedModel(
        model=bundle_model.LightGbm(
            text=smaller.text,
            objective=header.objective,
            outputs=header.outputs,
            trees=len(header.sizes),
            leaves=smaller.leaves,
            averaged=header.averaged,
            categories=categories,
            head=boosters.build_head(header.outputs, classes, output),
        ),
        predict=_wrap_predict(booster, categories, classes, output),
        takes_missing=True,
        facts={
            "framework": "lightgbm",
            "version": str(lightgbm.__version__),
            "iterations": len(header.sizes) // header.outputs,
        },
        packages=(f"lightgbm {lightgbm.__version__}",),
    )


def _booster(model: Any) -> Any:
    """Return the booster inside a model."""
    import lightgbm  # noqa: PLC0415 - as in convert

    if isinstance(model, lightgbm.CVBooster):
        raise conversion.InputsError(
            f"a CVBooster has {len(model.boosters)} boosters; export model.boosters, to make an ensemble of them"
        )
    if isinstance(model, lightgbm.Booster):
        return model
    try:
        return model.booster_
    except (AttributeError, lightgbm.basic.LightGBMError) as error:
        name = type(model).__name__
        raise errors.ExportError(f"{name} has no booster ({error}); export a trained Booster or estimator") from error


def _check_methods(model: Any) -> None:
    """Refuse a wrapper whose ``predict`` is overridden, or skips trees because of ``pred_early_stop``."""
    boosters.check_methods(model, "LightGBM", "model.booster_")
    parameters: dict[str, Any] = model.get_params() if hasattr(model, "get_params") else {}
    if parameters.get("pred_early_stop"):
        raise errors.ExportError(
            f"{type(model).__name__} has pred_early_stop, so that its predict skips trees, but a bundle sums all of "
            "them; export model.booster_, or call set_params(pred_early_stop=False)"
        )


def _categories(
    booster: Any, header: lightgbm_text.Header, spec: conversion.InputSpec
) -> tuple[bundle_model.Categories, ...]:
    """Return the values of columns that were pandas categories, of which LightGBM uses the codes."""
    lists: list[list[Any]] = booster.pandas_categorical or []
    if not lists:
        return ()
    # The booster has a list of values for each pandas category of the training frame, ordered ones too, but not the
    # names of the columns. It is clear which they are only if exactly these columns are categorical features.
    indices = _find_categorical(booster, header)
    is_ordered = [spec.categories[name].ordered for name in spec.names if name in spec.categories]
    unordered = {index for index, name in enumerate(spec.names) if name in spec.categories}
    is_ambiguous = any(is_ordered) or (unordered and unordered != set(indices))
    if len(indices) != len(lists) or is_ambiguous:
        raise conversion.InputsError(
            f"the booster was trained on {len(lists):,} columns of pandas categories and has {len(indices):,} "
            "categorical features, so that it is unknown which columns they are; train on numbers, with "
            "categorical_feature= for those that are categories"
        )
    for index, values in zip(indices, lists, strict=True):
        # The infos of a categorical feature are its codes in training.
        codes = [int(code) for code in header.infos[index].split(":") if code.lstrip("-").isdigit()]
        name = header.features[index]
        if max(codes, default=0) >= len(values):
            raise conversion.InputsError(
                f"{name!r} has {len(values):,} pandas categories but codes up to {max(codes):,}: they belong to "
                "another column; train on numbers, with categorical_feature= for those that are categories"
            )
    return boosters.group_categories(
        dict(zip(indices, lists, strict=True)), spec, advice="with categorical_feature= for those that are categories"
    )


def _find_categorical(booster: Any, header: lightgbm_text.Header) -> list[int]:
    """Return the indices of the categorical features, from the saved parameters or else from the feature infos."""
    # The saved text ends with the parameters; one iteration keeps the rest of it short.
    parameters = re.search(
        r"^\[categorical_feature: ([0-9,]*)\]$", booster.model_to_string(num_iteration=1), re.MULTILINE
    )
    if parameters:
        return sorted(int(index) for index in parameters.group(1).split(",") if index)
    return [index for index, info in enumerate(header.infos) if info != "none" and not info.startswith("[")]


def _classes(model: Any, header: lightgbm_text.Header, output: Any) -> tuple[float, ...] | None:
    """Return the number of each class; None if the booster's outputs are not probabilities."""
    if header.objective.partition(" ")[0] not in _PROBABILITIES:
        return None
    labels = getattr(model, "classes_", None)
    if labels is None:
        return boosters.parse_classes(range(header.outputs), output) if header.outputs > 1 else None
    return boosters.parse_classes(labels, output)


def _wrap_predict(
    booster: Any,
    categories: Sequence[bundle_model.Categories],
    classes: tuple[float, ...] | None,
    output: int | str | None,
) -> Callable[[Array], Array]:
    """Return a function that predicts with LightGBM for an array of inputs."""

    def predict(inputs: Array) -> Array:
        outputs = booster.predict(_to_frame(inputs, categories) if categories else inputs)
        return boosters.combine(outputs, classes, output)

    return predict


def _to_frame(inputs: Array, categories: Sequence[bundle_model.Categories]) -> Any:
    """Return a frame like that of the training: some columns are pandas categories."""
    import pandas as pd  # noqa: PLC0415 - LightGBM does not require it

    frame = pd.DataFrame(inputs)
    for group in categories:
        for index in group.inputs:
            frame[index] = pd.Categorical(frame[index])
    return frame
