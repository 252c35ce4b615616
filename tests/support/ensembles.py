"""Ensembles to test with: their members, frames for them, and the same sum written out with pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from builder.bundle import model
from tests.support import bundles, formulas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def make_member(features: str, benchmarks: str = "", *, seed: int = 1, **share: Any) -> model.Member:
    """Return a network over the features and benchmarks that single letters name."""
    return model.Member(
        model=bundles.make_network(len(features) + len(benchmarks), seed=seed),
        features=tuple(f"feature_{letter}" for letter in features),
        benchmarks=tuple(f"bench_{letter}" for letter in benchmarks),
        **share,
    )


def make_bundle(members: Sequence[model.Member], *, inputs: NDArray[np.float64] | None = None) -> model.Bundle:
    """Return a bundle of members, without steps; its golden predictions are the reference's."""
    ensemble = model.Ensemble(members=tuple(members))
    count = len(ensemble.features) + len(ensemble.benchmarks)
    if inputs is None:
        inputs = np.random.default_rng(count).normal(2, 1, size=(12, count))
    return model.Bundle(
        features=ensemble.features,
        benchmarks=ensemble.benchmarks,
        model=ensemble,
        golden=model.GoldenRows(inputs=inputs, predictions=formulas.predict(ensemble, inputs)),
        trained={"framework": "numpy"},
    )


def frames(
    bundle: model.Bundle, inputs: NDArray[Any], eras: Sequence[object] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return live features, with an era unless it is None, and benchmarks in another order of rows."""
    index = pd.Index([f"n{row:015x}" for row in range(len(inputs))], name="id")
    count = len(bundle.features)
    live = pd.DataFrame(inputs[:, :count], index=index, columns=list(bundle.features))
    if eras is not None:
        live.insert(0, "era", np.asarray(eras, dtype=object))
    return live, pd.DataFrame(inputs[:, count:], index=index, columns=list(bundle.benchmarks)).iloc[::-1]


def by_pandas(bundle: model.Bundle, predictions: Sequence[NDArray[np.float64]], eras: Sequence[object]) -> Any:
    """Return the sum of members' predictions as a person would write it: float64 (rows,)."""
    total, weights = 0.0, 0.0
    for item, values in zip(bundle.model.members, predictions, strict=True):
        series = pd.Series(values)
        groups = np.asarray(eras if item.scope == "era" else ["all"] * len(series), dtype=object)
        if item.transform == "rank":
            series = series.groupby(groups).rank(pct=True)
        elif item.transform == "gaussian":
            series = series.groupby(groups).transform(_gaussianised)
        total, weights = total + item.weight * series.to_numpy(), weights + abs(item.weight)
    return total / weights


def _gaussianised(series: pd.Series) -> pd.Series:
    if series.min() == series.max():
        return series * 0.0
    quantiles = stats.norm.ppf((series.rank() - 0.5) / len(series))
    return pd.Series((quantiles - np.mean(quantiles)) / np.std(quantiles), series.index)
