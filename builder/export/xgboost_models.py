"""Export XGBoost boosters and their scikit-learn wrappers, as the UBJSON that XGBoost saves a model as.

A classifier predicts the probability of class 1; one of several classes, which XGBoost numbers from 0, the expected
value of the class.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors
from builder.bundle import model as bundle_model
from builder.export import boosters, conversion, frameworks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builder.export.conversion import Array

OPTIONS = boosters.OutputOptions
OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"

_ADVICE = 'with "c" in feature_types= for those that are categories'
# A string in UBJSON: its key, S, L, its length in 8 bytes (https://ubjson.org).
_BASE_SCORE = re.compile(rb"base_scoreSL(.{8})", re.DOTALL)
_NODES = re.compile(rb"num_nodesSL.{8}([0-9]+)", re.DOTALL)
# The margin of a base score, by objective; for all others it is the score itself. See `ProbToMargin` in
# https://github.com/dmlc/xgboost/tree/master/src/objective.
_TO_MARGIN: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("binary:logistic", "reg:logistic"), lambda score: np.log(score / (1 - score))),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), np.log),
}


def feature_names(model: Any, _options: boosters.OutputOptions | None = None) -> tuple[str, ...] | None:
    """Return the booster's feature names; None if it was trained on an array.

    Raises:
        errors.ExportError: The model is not trained.
    """
    names = _get_booster(model).feature_names
    return None if names is None else tuple(names)


def convert(
    model: Any, spec: conversion.InputSpec, options: boosters.OutputOptions | None = None
) -> conversion.ConvertedModel:
    """Convert the booster: the trees that the model's own ``predict`` uses.

    Raises:
        errors.ExportError: The booster has other inputs, its categories are not numeric, or it has several outputs and
            ``output`` does not choose one.
    """
    import xgboost  # noqa: PLC0415 - this module is also imported if XGBoost is not installed

    output = (options or OPTIONS()).output
    booster = _get_booster(model)
    boosters.check_inputs(feature_names(model), booster.num_features(), spec)
    boosters.check_methods(model, "XGBoost", "model.get_booster()")
    learner = json.loads(booster.save_config())["learner"]
    is_linear = learner["learner_train_param"]["booster"] == "gblinear"
    rounds, notes = _count_rounds(model, booster, is_linear=is_linear)
    used = booster.copy() if is_linear or rounds == booster.num_boosted_rounds() else booster[:rounds]
    categories = _read_categories(booster, spec)
    objective = learner["objective"]["name"]
    is_classifier = hasattr(model, "predict_proba")
    if is_classifier and objective == "multi:softmax":  # its booster predicts the class without the probabilities
        objective = "multi:softprob"
        used.set_param("objective", objective)
    outputs = int(np.prod(_predict_booster(used, _encode(spec.sample[:1], categories)).shape[1:]))
    has_classes = objective == "multi:softprob" or (is_classifier and outputs == 1)
    classes = boosters.parse_classes(range(max(outputs, 2)), output) if has_classes else None

    def predict(inputs: Array) -> Array:
        inputs = _encode(inputs, categories)
        if model is booster:
            return boosters.combine(_predict_booster(booster, inputs), classes, output)
        method = model.predict_proba if is_classifier else model.predict
        return boosters.combine(method(inputs, validate_features=False), classes, output)

    content, scores = _dump(used, is_linear=is_linear)
    to_margin = _TO_MARGIN.get(objective, np.asarray)
    return conversion.ConvertedModel(
        model=bundle_model.XgBoost(
            content=content,
            objective=objective,
            outputs=outputs,
            parameters=sum(map(int, _NODES.findall(content))) or outputs * (len(spec.names) + 1),
            linear=is_linear,
            missing=_get_missing(model),
            margins=tuple(to_margin(np.array(scores, dtype=np.float32)).tolist()) if scores else (),
            categories=categories,
            head=boosters.build_head(outputs, classes, output),
        ),
        predict=predict,
        takes_missing=True,
        facts={"framework": "xgboost", "version": str(xgboost.__version__), "iterations": rounds},
        packages=(f"xgboost {xgboost.__version__}",),
        notes=notes,
    )


def _get_booster(model: Any) -> Any:
    """Return the booster inside a model."""
    import xgboost  # noqa: PLC0415 - as in convert

    if isinstance(model, xgboost.Booster):
        booster = model
    else:
        try:
            booster = model.get_booster()
        except Exception as error:
            # NotFittedError, of scikit-learn if that is installed.
            raise errors.ExportError(
                f"{type(model).__name__} has no booster ({error}); export a trained Booster or estimator"
            ) from error
    if not booster.num_boosted_rounds():
        raise errors.ExportError(f"the {type(model).__name__} has no trees; train it first")
    return booster


def _count_rounds(model: Any, booster: Any, *, is_linear: bool) -> tuple[int, tuple[str, ...]]:
    """Return the number of boosting rounds that the model's own ``predict`` uses, and notes."""
    rounds = int(booster.num_boosted_rounds())
    best = booster.attr("best_iteration")
    if best is None or is_linear or int(best) + 1 >= rounds:
        return rounds, ()
    if model is not booster:
        return int(best) + 1, ()
    note = (
        f"all {rounds:,} iterations are exported, because Booster.predict uses all; to export those up to the best "
        "one, pass booster[: booster.best_iteration + 1]"
    )
    return rounds, (note,)


def _get_missing(model: Any) -> float | None:
    """Return the number that counts as missing; None if only NaN does."""
    missing = getattr(model, "missing", None)
    return None if missing is None or np.isnan(missing) else float(missing)


def _read_categories(booster: Any, spec: conversion.InputSpec) -> tuple[bundle_model.Categories, ...]:
    """Return the values of columns that were pandas categories.

    Versions before 3.1 do not store them, and take the indices in the categories of the frame that they predict for.
    """
    if "c" not in (booster.feature_types or ()):
        return ()
    # The whole booster, since a slice of it has no categories.
    gradient_booster = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]
    trees = gradient_booster.get("gbtree", gradient_booster)["model"]  # a dart has another one inside
    if "cats" in trees:
        # Strings have offsets, but no type.
        stored = {index: entry for index, entry in enumerate(trees["cats"]["enc"]) if entry["values"]}
        values = {index: entry["values"] if "type" in entry else ["text"] for index, entry in stored.items()}
    else:
        indices = {name: index for index, name in enumerate(spec.names)}
        values = {indices[name]: dtype.categories.tolist() for name, dtype in spec.categories.items()}
    return boosters.group_categories(values, spec, advice=_ADVICE)


def dump_booster(booster: Any) -> bytes:
    """Return the booster as UBJSON that earlier versions of XGBoost read too, with its names and attributes.

    Raises:
        errors.ExportError: Its outputs start at different base scores, which earlier versions cannot read.
    """
    content, scores = _normalize(booster, is_linear='"name":"gblinear"' in booster.save_config())
    if scores:
        raise errors.ExportError(
            "export: the Booster has several outputs with different base scores, which the images' XGBoost cannot "
            "read; export the model itself, or train with base_score=0.5"
        )
    return content


def _dump(booster: Any, *, is_linear: bool) -> tuple[bytes, tuple[float, ...]]:
    """Return the booster as UBJSON, and the base score of each output if they differ."""
    # Without names, which predict would compare with those of its data, and without the caller's attributes.
    booster.feature_names = booster.feature_types = None
    booster.set_attr(**dict.fromkeys(booster.attributes()))
    return _normalize(booster, is_linear=is_linear)


def _normalize(booster: Any, *, is_linear: bool) -> tuple[bytes, tuple[float, ...]]:
    """Return the booster as UBJSON that earlier versions read, and the base score of each output if they differ.

    XGBoost since 3.1 writes the base score as a list. Earlier versions, such as those in the images, read a list
    without an error as 0.5, so it is written as one number; what starts different sums is passed when predicting.
    See https://github.com/dmlc/xgboost/releases/tag/v3.1.0.
    """
    content = bytes(booster.save_raw("ubj"))
    if b"weight_drop" in content:
        content = bytes(_fold_weights(booster).save_raw("ubj"))
    (match,) = _BASE_SCORE.finditer(content)
    end = match.end() + int.from_bytes(match[1], "big")
    scores = content[match.end() : end].strip(b"[]").split(b",")
    is_same = len(set(scores)) == 1 or is_linear  # a gblinear uses the first for all outputs
    score = scores[0] if is_same else b"5E-1"  # valid for each objective
    length = len(score).to_bytes(8, "big")
    content = content[: match.start(1)] + length + score + content[end:]
    return content, () if is_same else tuple(map(float, scores))


def _fold_weights(booster: Any) -> Any:
    """Return a dart as a gbtree whose leaves are multiplied by the weights of their trees.

    Version 3.4 writes the weights where 3.2 and earlier ignore them without an error.
    """
    import xgboost  # noqa: PLC0415 - as in convert

    document = json.loads(bytes(booster.save_raw("json")))
    outer = document["learner"]["gradient_booster"]
    model = outer.get("gbtree", outer)["model"]
    weights = outer["weight_drop"] if "weight_drop" in outer else model.pop("weight_drop")
    for tree, weight in zip(model["trees"], weights, strict=True):
        if tree["tree_param"]["size_leaf_vector"] not in {"0", "1"}:
            raise errors.ExportError("a dart with multi_output_tree is not supported; train with one_output_per_tree")
        values, left_children = tree["split_conditions"], tree["left_children"]  # at a leaf, its value and -1
        tree["split_conditions"] = [
            value * weight if child < 0 else value for value, child in zip(values, left_children, strict=True)
        ]
    document["learner"]["gradient_booster"] = {"name": "gbtree", "model": model}
    folded = xgboost.Booster()
    folded.load_model(bytearray(json.dumps(document).encode()))
    return folded


def _predict_booster(booster: Any, inputs: Array) -> Any:
    """Return what XGBoost predicts: float32 (rows,) or (rows, outputs)."""
    import xgboost  # noqa: PLC0415 - as in convert

    data = xgboost.DMatrix(inputs, feature_types=booster.feature_types, enable_categorical=True)
    return booster.predict(data, validate_features=False)


def _encode(inputs: Array, categories: Sequence[bundle_model.Categories]) -> Array:
    """Return the inputs with the index of each category in its list; NaN if it is not in it."""
    encoded = inputs.copy()
    for group in categories:
        for index in group.inputs:
            matches = inputs[:, index, None] == np.array(group.values)
            encoded[:, index] = np.where(matches.any(axis=1), matches.argmax(axis=1), np.nan)
    return encoded
