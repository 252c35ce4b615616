"""Export any fitted object that predicts, if its own exporter cannot write it as numbers, or if it has none.

It is stored as a pickle, which the image's version of its library loads, with a function that calls it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import errors
from builder.export import boosters, conversion, frameworks
from builder.export.function import functions, objects, stored_model
from builder.inside import predict_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.export.conversion import Array

OPTIONS = boosters.OutputOptions
OPTION_HINT = ""
DEFAULT_RANK: frameworks.Rank = "era"


def feature_names(model: Any, _options: frameworks.Options | None = None) -> tuple[str, ...] | None:
    """Return the feature names that scikit-learn's estimators and those like them have; None if there are none.

    Raises:
        errors.ExportError: The object is not a model.
    """
    if objects.is_instance(model, "lightgbm", "Booster") or objects.is_instance(model, "xgboost", "Booster"):
        raise errors.ExportError(
            "export: a Booster is not stored as data; export its trees, or a function that calls it"
        )
    predicts = callable(getattr(model, "predict", None)) or objects.is_instance(model, "torch.nn", "Module")
    if isinstance(model, type) or not predicts:
        raise errors.ExportError(_describe_invalid(model))
    for attribute in ("feature_names_in_", "feature_name_", "feature_names_"):
        names: Any = getattr(model, attribute, None)
        if np.ndim(names) == 1 and len(names) and not _are_default_names(names):
            return tuple(str(name) for name in names)
    return None


def convert(
    model: Any, spec: conversion.InputSpec, options: frameworks.Options | None = None
) -> conversion.ConvertedModel:
    """Convert the model to a function that calls its ``predict``; or ``predict_proba`` for the expected class.

    Raises:
        errors.ExportError: It has no such method or other inputs, cannot be stored, or predicts several numbers for
            each row and ``output`` does not choose one.
    """
    function = wrap(model, spec, getattr(options, "output", None))
    converted = functions.convert(function, spec, functions.OPTIONS())
    library, version = _find_library(model)
    note = f"stored as data: in the image, {library or 'your class'} predicts with it"
    return dataclasses.replace(
        converted,
        notes=(note, *converted.notes),
        facts={"framework": library or "python", "version": version or "", "model": type(model).__qualname__},
    )


def wrap(model: Any, spec: conversion.InputSpec, output: Any = None) -> Any:
    """Return a callable that predicts with the model from the two frames of a live round; raises as ``convert``."""
    if objects.is_instance(model, "torch.nn", "Module"):
        model = model.eval()
        stored: Any = stored_model.StoredModule(
            model, list(spec.features), list(spec.benchmarks), spec.imputation, None, has_names=False, method="forward"
        )
        _check_rows(stored, spec)
        if not spec.explicit_imputation and _predicts(stored, _set_missing(spec), spec):
            stored.imputation = None  # the module replaces missing values itself
        return _choose_output(stored, model, spec, output)
    names = feature_names(model)
    if names is None and not _is_library_class(type(model)):
        return _wrap_own(model, spec)
    _check_inputs(model, names, spec)
    classes = getattr(model, "classes_", None) if hasattr(model, "predict_proba") else None
    is_keras = objects.is_instance(model, "keras", "Model")
    stored = (stored_model.StoredKeras if is_keras else stored_model.StoredModel)(
        model,
        list(spec.features),
        list(spec.benchmarks),
        None,
        None if classes is None else np.asarray(boosters.parse_classes(classes, output), dtype=np.float64),
        has_names=names is not None,
        method="predict" if classes is None else "predict_proba",
    )
    if not _predicts(stored, _set_missing(spec), spec):
        stored.imputation = spec.imputation
    if names is None and not _predicts(stored, _impute(spec), spec):
        # The model may be of a class of the user that takes columns by their names.
        stored.has_names = True
    return stored if classes is not None else _choose_output(stored, model, spec, output)


def _are_default_names(names: Sequence[Any]) -> bool:
    """Return whether a library made up the names, because the model was trained on an array."""
    return any(all(str(name) == f"{prefix}{index}" for index, name in enumerate(names)) for prefix in ("Column_", ""))


def _describe_invalid(model: Any) -> str:
    """Return what to pass instead of an object that is not a model: a path, a class, nothing."""
    if model is None:
        return "export: the model is None; pass the trained model (fit() returns it, a training loop may not)"
    if isinstance(model, (str, bytes)) or hasattr(model, "__fspath__"):
        return (
            f"export: {str(model)[:100]!r} is a path; load the model first (joblib.load, torch.load, "
            "lightgbm.Booster(model_file=...)) and pass it; a finished pickle is taken over by `adopt`"
        )
    if isinstance(model, type):
        return f"export: {model.__qualname__} is a class; pass a trained instance of it"
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    return (
        f"export: {name} is not a model of {', '.join(frameworks.MODULES)}, has no method `predict` and "
        "cannot be called; pass a trained model, or a function that predicts"
    )


def _is_library_class(kind: type) -> bool:
    """Return whether a class, or the nearest of its bases, is of a library, so that it takes arrays or plain frames."""
    for base in kind.__mro__:
        file = getattr(sys.modules.get(base.__module__), "__file__", None)
        if base is not object and file and objects.is_library_file(file):
            return True
    return False


def _find_library(model: Any) -> tuple[str, str]:
    """Return the package of a model's class, and its version."""
    for base in type(model).__mro__:
        package = base.__module__.partition(".")[0]
        version = getattr(sys.modules.get(package), "__version__", None)
        if version is not None and package != "numpy":
            return package, str(version)
    return "", ""


def _check_inputs(model: Any, names: Sequence[str] | None, spec: conversion.InputSpec) -> None:
    count = len(names) if names is not None else getattr(model, "n_features_in_", None)
    if isinstance(count, (int, np.integer)) and count != len(spec.names):
        raise errors.ExportError(
            f"export: the {type(model).__name__} takes {count:,} inputs, but features= and benchmark= have "
            f"{len(spec.names):,} together; pass the columns that it was trained on"
        )
    if names is not None and tuple(names) != spec.names:
        index = next(index for index, name in enumerate(names) if name != spec.names[index])
        raise errors.ExportError(
            f"export: input {index} is {spec.names[index]!r}, but that of the {type(model).__name__} is "
            f"{names[index]!r}; pass features= and benchmark= in the order of the training"
        )


def _call(stored: Any, inputs: Array, spec: conversion.InputSpec) -> Any:
    """Return what the model predicts for inputs float64 (rows, n): (rows,) or (rows, outputs)."""
    pandas: Any = importlib.import_module("pandas")
    return np.asarray(stored.predict_outputs(pandas.DataFrame(inputs, columns=list(spec.names))), dtype=np.float64)


def _set_missing(spec: conversion.InputSpec) -> Array:
    """Return rows of the sample, of which some have no first input."""
    inputs = spec.sample[:8].copy()
    inputs[::2, 0] = np.nan
    return inputs


def _impute(spec: conversion.InputSpec) -> Array:
    """Return rows of the sample without missing inputs."""
    return np.where(np.isnan(spec.sample[:8]), spec.imputation, spec.sample[:8])


def _predicts(stored: Any, inputs: Array, spec: conversion.InputSpec) -> bool:
    """Return whether the model predicts finite numbers for the inputs."""
    try:
        return bool(np.isfinite(_call(stored, inputs, spec)).all())
    except Exception:  # noqa: BLE001 - a library may raise anything
        return False


def _check_rows(stored: Any, spec: conversion.InputSpec) -> None:
    """Refuse a module whose prediction of a row depends on the other rows, since it is called for blocks of rows."""
    inputs = _impute(spec)
    if not _predicts(stored, inputs, spec):
        return  # reported by what calls it next
    together, rows = _call(stored, inputs, spec), [inputs[index : index + 1] for index in range(len(inputs))]
    if not all(_predicts(stored, row, spec) for row in rows) or not np.allclose(
        together, np.concatenate([_call(stored, row, spec) for row in rows]), rtol=1e-3, atol=1e-4
    ):
        raise errors.ExportError(
            "export: the module predicts something else for a row when the other rows are missing, but a round has "
            "other rows than your sample; export a function that calls it with the rows that it expects, such as those "
            "of an era"
        )


def _wrap_own(model: Any, spec: conversion.InputSpec) -> Any:
    """Return a callable that predicts with a model of a class of the user; raises as ``convert``."""
    parameters = inspect.signature(model.predict).parameters.values()
    required = [item for item in parameters if item.default is item.empty and item.kind is item.POSITIONAL_OR_KEYWORD]
    if len(required) == 2:  # the two frames of a live round
        return model.predict
    own = stored_model.OwnModel(model, None, list(spec.benchmarks))
    frames = predict_inputs.to_frames(_impute(spec), list(spec.features), list(spec.benchmarks))
    for features, has_names in ((None, True), (list(spec.features), True), (list(spec.features), False)):
        own.features, own.has_names = features, has_names
        with contextlib.suppress(Exception):  # a class of the user may raise anything
            own(*frames)
            return own
    own.features, own.has_names = None, True  # functions.convert reports the error
    return own


def _choose_output(stored: Any, model: Any, spec: conversion.InputSpec, output: Any) -> Any:
    """Set which of several outputs is the prediction."""
    try:
        shape = _call(stored, _impute(spec), spec).shape
    except Exception as error:
        raise errors.ExportError(
            f"export: {type(model).__name__} cannot predict rows of the sample ({type(error).__name__}: "
            f"{str(error)[:200]}); is it trained, and on these columns?"
        ) from error
    outputs = int(np.prod(shape[1:]))
    if outputs > 1 or output is not None:
        boosters.build_head(outputs, output=output)  # refuses a missing or invalid output
        stored.weights = np.full(outputs, 1 / outputs) if output == "mean" else np.eye(outputs)[output]
    return stored
