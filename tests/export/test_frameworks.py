"""The modules that export one kind of model: each has what ``export`` uses."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from sklearn import linear_model

from builder import errors
from builder.export import catboost_models, ensembles, export, frameworks, lightgbm_models, xgboost_models
from builder.export.function import functions
from builder.export.pytorch import models as torch_models
from builder.export.sklearn import models as sklearn_models

if TYPE_CHECKING:
    from pathlib import Path

    from builder.export.frameworks import Framework, OptionsT


def check_type(module: Framework[OptionsT]) -> Framework[Any]:
    """Return the module; mypy checks that it implements the protocol, with one type of options."""
    return module


FRAMEWORKS = {
    "builder.export.ensembles": check_type(ensembles),
    "builder.export.function.functions": check_type(functions),
    "builder.export.catboost_models": check_type(catboost_models),
    "builder.export.xgboost_models": check_type(xgboost_models),
    "builder.export.lightgbm_models": check_type(lightgbm_models),
    "builder.export.sklearn.models": check_type(sklearn_models),
    "builder.export.pytorch.models": check_type(torch_models),
}
COMMON = {parameter.name for parameter in inspect.signature(export).parameters.values()}


@pytest.mark.parametrize("name", sorted({*FRAMEWORKS, *frameworks.MODULES.values()}))
def test_module_has_what_export_reads(name: str) -> None:
    framework = FRAMEWORKS[name]
    assert framework is importlib.import_module(name)
    assert isinstance(framework.OPTION_HINT, str)
    assert framework.DEFAULT_RANK in ("era", "frame", None)
    option_names = {field.name for field in fields(framework.OPTIONS())}
    assert not option_names & COMMON, "export would never pass these on"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"benchmarks": "v5_lgbm"},
            "benchmarks (did you mean benchmark?); this kind of model accepts output",
        ),
        ({"Target": "target"}, "Target (did you mean target?); this"),
        ({"neutralise": None, "zzz": 1}, "neutralise (did you mean neutralize?), zzz; this"),
        ({"weigths": 2}, "weigths; this"),
    ],
)
def test_misspelt_option_is_shown_with_nearest_name(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = linear_model.Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(errors.ExportError) as caught:
        export(model, tmp_path / "bundle", sample=[[0.0], [1.0]], features=["a"], **options)
    assert f"export: unknown option: {message}" in str(caught.value)
