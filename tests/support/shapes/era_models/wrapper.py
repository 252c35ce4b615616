import lightgbm as lgb
import pandas as pd

from .ranks import rank_by_era


class EraModel:
    def __init__(self, features, benchmark_col, era_col="era", seed=0):
        self.features = features
        self.benchmark_col = benchmark_col
        self.era_col = era_col
        self.seed = seed
        self.model_ = None

    def fit(self, frame, target):
        self.model_ = lgb.LGBMRegressor(n_estimators=20, num_leaves=15, random_state=self.seed, n_jobs=1, verbose=-1)
        self.model_.fit(frame[self._columns], target)
        return self

    @property
    def _columns(self):
        return [*self.features, self.benchmark_col]

    def predict(self, frame):
        raw = pd.Series(self.model_.predict(frame[self._columns]), index=frame.index)
        return rank_by_era(raw, frame[self.era_col])
