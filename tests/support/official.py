"""The four official example models in a few lines of pandas, LightGBM and ``numpy.linalg.pinv``."""

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
    """Load the boosters in a bundle's folder, in order."""
    paths = sorted(bundle.glob("*model.txt.gz"))
    return [lightgbm.Booster(model_str=gzip.decompress(path.read_bytes()).decode()) for path in paths]


def example_model(models: list[Any], live: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return predictions before and after post-processing: raw."""
    raw = _predict(models, live)[0]
    return raw, raw


def hello(models: list[Any], live: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return predictions before and after post-processing: ranked."""
    raw = _predict(models, live)[0]
    return raw, raw.rank(pct=True)


def neutralization(models: list[Any], live: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return predictions before and after post-processing: neutralized to a group of features, ranked."""
    raw = _predict(models, live)[0]
    return raw, neutralise(raw, live[GROUP]).rank(pct=True)


def target_ensemble(models: list[Any], live: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return predictions before and after post-processing: the mean of ranks, ranked in the order of the rows."""
    ensemble = _predict(models, live).rank(pct=True).mean(axis=1)
    return ensemble, ensemble.rank(pct=True, method="first")


def neutralise(scores: pd.Series, exposures: pd.DataFrame) -> pd.Series:
    """Subtract the least-squares projection of the scores on the columns, with means for missing values, and on 1."""
    filled = exposures.astype("float64")
    columns = np.column_stack([filled.fillna(filled.mean()).to_numpy(), np.ones(len(exposures))])
    return scores - columns @ (np.linalg.pinv(columns) @ scores.to_numpy())


def _predict(models: list[Any], live: pd.DataFrame) -> pd.DataFrame:
    names = models[0].feature_name()
    columns = {index: model.predict(live[names], num_threads=1) for index, model in enumerate(models)}
    return pd.DataFrame(columns, index=live.index)
