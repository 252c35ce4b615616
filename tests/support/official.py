"""The four official example models as a person writes them: pandas, LightGBM and ``numpy.linalg.pinv``."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

GROUP = [f"feature_x{number}" for number in range(1, 21)]


def load_boosters(bundle: Path) -> list[lightgbm.Booster]:
    """Return the boosters in a bundle's folder, in their order."""
    paths = sorted(bundle.glob("*model.txt.gz"))
    return [lightgbm.Booster(model_str=gzip.decompress(path.read_bytes()).decode()) for path in paths]


def example_model(models: list[Any], live: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return predictions before and after post-processing: raw."""
    raw = _predictions(models, live)[0]
    return raw, raw


def hello(models: list[Any], live: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return predictions before and after post-processing: ranked."""
    raw = _predictions(models, live)[0]
    return raw, raw.rank(pct=True)


def neutralization(models: list[Any], live: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return predictions before and after post-processing: neutralised to a group of features, ranked."""
    raw = _predictions(models, live)[0]
    return raw, neutralise(raw, live[GROUP]).rank(pct=True)


def target_ensemble(models: list[Any], live: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return predictions before and after post-processing: the mean of ranks, ranked in the order of the rows."""
    ensemble = _predictions(models, live).rank(pct=True).mean(axis=1)
    return ensemble, ensemble.rank(pct=True, method="first")


def neutralise(scores: pd.Series, exposures: pd.DataFrame) -> pd.Series:
    """Return scores without their least-squares projection on columns, a missing value being the mean, and 1."""
    filled = exposures.astype("float64")
    columns = np.column_stack([filled.fillna(filled.mean()).to_numpy(), np.ones(len(exposures))])
    return scores - columns @ (np.linalg.pinv(columns) @ scores.to_numpy())


def _predictions(models: list[Any], live: pd.DataFrame) -> pd.DataFrame:
    names = models[0].feature_name()
    found = {place: model.predict(live[names], num_threads=1) for place, model in enumerate(models)}
    return pd.DataFrame(found, index=live.index)
