"""Export CatBoost models, as the cbm file that CatBoost saves a model as.

A classifier predicts the expected value of its classes, the sum of p(class) * class: for the classes 0 and 1 that is
the probability of 1.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors
from builder.bundle import model as bundle_model
from builder.export import boosters, conversion, frameworks
from builder.text import format_list

if TYPE_CHECKING:
    from builder.export.conversion import Array

OPTIONS = boosters.OutputOptions
OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"

_CATEGORY_ROWS = 500
_UNSEEN = -(2**31) + 1
"""A category that no model was trained on."""
_MULTILABEL = ("MultiLogloss", "MultiCrossEntropy")
# What CatBoostRegressor.predict returns, by loss function; for all others it is the raw value.
_PREDICTION_TYPES: dict[str, bundle_model.PredictionType] = {
    "Poisson": "Exponent",
    "Tweedie": "Exponent",
    "RMSEWithUncertainty": "RMSEWithUncertainty",
}


def feature_names(model: Any, _options: boosters.OutputOptions | None = None) -> tuple[str, ...] | None:
    """Return the model's feature names; None if it was trained on an array, so that CatBoost numbered them.

    Raises:
        errors.ExportError: The model is not trained.
    """
    if not model.is_fitted():
        raise errors.ExportError(f"the {type(model).__name__} is not trained; train it first")
    names = tuple(model.feature_names_)
    return None if names == tuple(map(str, range(len(names)))) else names


def convert(
    model: Any, spec: conversion.InputSpec, options: boosters.OutputOptions | None = None
) -> conversion.ConvertedModel:
    """Convert the model.

    Raises:
        errors.ExportError: The model has other inputs, text features or categories that are not whole numbers, its
            classes are not numeric, or it has several outputs and ``output`` does not choose one.
    """
    import catboost  # noqa: PLC0415 - this module is also imported if CatBoost is not installed

    output = (options or OPTIONS()).output
    boosters.check_inputs(feature_names(model), len(model.feature_names_), spec)
    boosters.check_methods(model, "CatBoost", "a CatBoost that loads the saved model")
    categorical = _find_categorical(model, spec)
    # A sum of models (catboost.sum_models) has none.
    loss_function = json.loads(model.get_metadata().get("params") or "{}").get("loss_function", {"type": ""})
    loss = loss_function["type"]
    is_classifier = hasattr(model, "predict_proba")
    prediction_type: bundle_model.PredictionType = "Probability" if is_classifier else "RawFormulaVal"
    if isinstance(model, catboost.CatBoostRegressor):
        prediction_type = _PREDICTION_TYPES.get(loss, prediction_type)
    has_classes = is_classifier and loss not in _MULTILABEL
    classes = boosters.parse_classes(model.classes_, output) if has_classes else None

    def predict_outputs(inputs: Array) -> Any:
        frame = _to_frame(inputs, model.feature_names_, categorical)
        return model.predict_proba(frame) if is_classifier else model.predict(frame)

    _check_category_text(model, spec, categorical)
    outputs = int(np.prod(np.shape(predict_outputs(spec.sample[:1]))[1:]))
    return conversion.ConvertedModel(
        model=bundle_model.CatBoost(
            content=_dump(model, loss_function),
            prediction=prediction_type,
            outputs=outputs,
            parameters=len(model.get_leaf_values()),
            categorical=categorical,
            head=boosters.build_head(outputs, classes, output),
        ),
        predict=lambda inputs: boosters.combine(predict_outputs(inputs), classes, output),
        takes_missing=True,
        facts={"framework": "catboost", "version": str(catboost.__version__), "iterations": int(model.tree_count_)},
        packages=(f"catboost {catboost.__version__}",),
    )


def _find_categorical(model: Any, spec: conversion.InputSpec) -> tuple[int, ...]:
    """Return the indices of the categorical features."""
    other = [*model.get_text_feature_indices(), *model.get_embedding_feature_indices()]
    if other:
        names = format_list([spec.names[index] for index in other])
        raise errors.ExportError(f"{names} are features of text or embeddings, but live features are numbers")
    categorical = tuple(int(index) for index in model.get_cat_feature_indices())
    for index in categorical:
        column = spec.sample[:, index]
        fractions = column[~np.isnan(column) & (column != np.round(column))]
        if fractions.size:
            raise conversion.InputsError(
                f"the category {spec.names[index]!r} has {fractions[0]:g} in the sample; expected whole numbers, which "
                "CatBoost accepts as categories"
            )
    return categorical


def _check_category_text(model: Any, spec: conversion.InputSpec, categorical: tuple[int, ...]) -> None:
    """Refuse categories that were strings such as "3.0" in training.

    A model has only hashes of its categories. But if it treats 3 like a number that it has never seen, and "3.0" in
    another way, it was trained on the latter, and would predict wrongly for live features.
    """
    rows = spec.sample[:_CATEGORY_ROWS]
    frame = _to_frame(rows, model.feature_names_, categorical)
    for index in categorical:
        name, column = model.feature_names_[index], frame.iloc[:, index]
        number, text, unknown = (
            model.predict(frame.assign(**{name: values}), prediction_type="RawFormulaVal")
            for values in (column, column.astype(float).astype(str), _UNSEEN)
        )
        if (number == unknown).all() and (text != unknown).any():
            raise errors.ExportError(
                f"the category {spec.names[index]!r} was trained as strings such as {column.iloc[0]:.1f}, which "
                "CatBoost does not match with whole numbers, as live features have; train on whole numbers: "
                f"X[{spec.names[index]!r}].astype(int)"
            )


def _to_frame(inputs: Array, names: list[str], categorical: tuple[int, ...]) -> Any:
    """Return a frame like that of the training; a missing category is -1, as in the pickle."""
    import pandas as pd  # noqa: PLC0415 - as in convert

    frame = pd.DataFrame(inputs, columns=names)
    for index in categorical:
        frame[names[index]] = frame[names[index]].fillna(-1).astype("int64")
    return frame


def _dump(model: Any, loss_function: dict[str, Any]) -> bytes:
    """Return the content of the model's file, with only the metadata that predicting needs.

    The rest is the time and the folder of the training, and its metrics.
    """
    import catboost  # noqa: PLC0415 - as in convert

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.cbm"
        model.save_model(str(path))
        reduced = catboost.CatBoost()
        reduced.load_model(str(path))
        metadata = reduced.get_metadata()
        for key in [key for key in metadata.keys() if key != "class_params"]:  # noqa: SIM118 - not a dict
            del metadata[key]
        if loss_function["type"]:
            metadata["params"] = json.dumps({"loss_function": loss_function}, sort_keys=True)
        reduced.save_model(str(path))
        return path.read_bytes()
