# Shape 6: an instance of a class of the notebook; features that are missing are left out.
# %%
from typing import List, Optional

import lightgbm as lgb
import numpy as np
import pandas as pd
from scipy.stats import rankdata

train = pd.read_parquet("train.parquet")
feature_cols = [c for c in train.columns if c.startswith("feature_")]


# %%
class EnsembleModel:
    """Averages the ranks of several models."""

    def __init__(
        self,
        models: List[lgb.LGBMRegressor],
        feature_cols: List[str],
        use_neutralization: bool = False,
        proportion: float = 0.5,
        neutral_features: Optional[List[str]] = None,
    ):
        self.models = models
        self.feature_cols = feature_cols
        self.use_neutralization = use_neutralization
        self.proportion = proportion
        self.neutral_features = neutral_features or []

    def _neutralize(self, values: np.ndarray, by: np.ndarray) -> np.ndarray:
        by = np.hstack([by, np.ones((len(by), 1))])
        return values - self.proportion * by @ (np.linalg.pinv(by, rcond=1e-6) @ values)

    def __call__(
        self, live_features: pd.DataFrame, live_benchmark_models: Optional[pd.DataFrame] = None
    ) -> pd.DataFrame:
        cols = [c for c in self.feature_cols if c in live_features.columns]
        X = live_features[cols].fillna(2)
        ranks = []
        for model in self.models:
            preds = model.predict(X)
            ranks.append((rankdata(preds) - 0.5) / len(preds))
        combined = np.mean(ranks, axis=0)
        if self.use_neutralization:
            by = live_features[[c for c in self.neutral_features if c in live_features.columns]]
            combined = self._neutralize(combined, by.fillna(2).to_numpy(dtype=float))
        final = (rankdata(combined) - 0.5) / len(combined)
        return pd.DataFrame({"prediction": final}, index=live_features.index)


# %%
models = [
    lgb.LGBMRegressor(
        n_estimators=20, num_leaves=15, colsample_bytree=0.5, random_state=seed, n_jobs=1, verbose=-1
    ).fit(train[feature_cols], train["target"])
    for seed in (1, 2)
]
predictor = EnsembleModel(
    models, feature_cols, use_neutralization=True, proportion=0.5, neutral_features=feature_cols[:4]
)
