"""The modules that export one kind of model: each has what ``export`` reads of it."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from sklearn import linear_model

from builder import errors
from builder.export import ensembles, export, known, lightgbm_models
from builder.export.function import functions
from builder.export.pytorch import models as torch_models
from builder.export.sklearn import models as sklearn_models

if TYPE_CHECKING:
    from pathlib import Path

    from builder.export.frameworks import Framework, OptionsT


def checked(module: Framework[OptionsT]) -> Framework[Any]:
    """Return a module; mypy makes sure that it has what the protocol declares, all for one type of options."""
    return module


FRAMEWORKS = {
    "builder.export.ensembles": checked(ensembles),
    "builder.export.function.functions": checked(functions),
    "builder.export.lightgbm_models": checked(lightgbm_models),
    "builder.export.sklearn.models": checked(sklearn_models),
    "builder.export.pytorch.models": checked(torch_models),
}
COMMON = {one.name for one in inspect.signature(export).parameters.values()}


@pytest.mark.parametrize("name", sorted({*FRAMEWORKS, *known.MODULES.values()}))
def test_each_module_has_all_that_export_reads(name: str) -> None:
    framework = FRAMEWORKS[name]
    assert framework is importlib.import_module(name)
    assert isinstance(framework.OPTION_HINT, str)
    assert framework.DEFAULT_RANK in ("era", "frame", None)
    own = {field.name for field in fields(framework.Options())}
    assert not own & COMMON, "export would never pass these on"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmarks": "v5_lgbm"}, "benchmarks (did you mean benchmark?); this kind of model takes none of its own"),
        ({"Target": "target"}, "Target (did you mean target?); this"),
        ({"neutralise": None, "zzz": 1}, "neutralise (did you mean neutralize?), zzz; this"),
        ({"weigths": 2}, "weigths; this"),
    ],
)
def test_a_misspelt_option_of_any_model_is_shown_with_its_nearest_name(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = linear_model.Ridge().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(errors.ExportError) as refused:
        export(model, tmp_path / "made", sample=[[0.0], [1.0]], features=["a"], **options)
    assert f"export: no such option: {message}" in str(refused.value)
