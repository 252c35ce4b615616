# Shape 4: a factory around a booster that removes a proportion of a benchmark; by position, and corrected.
# %%
import numpy as np
import pandas as pd
import xgboost as xgb

train = pd.read_parquet("train.parquet")
names = [c for c in train.columns if c.startswith("feature_")]
split = len(train) * 3 // 4

# %%
dtrain = xgb.DMatrix(train[names][:split], label=train["target"][:split], missing=np.nan)
dvalid = xgb.DMatrix(train[names][split:], label=train["target"][split:], missing=np.nan)
params = {"objective": "reg:squarederror", "eta": 0.1, "max_depth": 4, "nthread": 1, "seed": 7}
booster = xgb.train(
    params, dtrain, num_boost_round=20, evals=[(dvalid, "valid")], early_stopping_rounds=3, verbose_eval=False
)


# %%
def make(booster, names, benchmark, proportion):
    def predict(live_features, live_benchmark_models):
        matrix = xgb.DMatrix(live_features[names], missing=np.nan)
        values = booster.predict(matrix, iteration_range=(0, booster.best_iteration + 1)).astype(float)
        other = live_benchmark_models[benchmark].to_numpy()
        columns = np.column_stack([other, np.ones(len(other))])
        coefficients, *_ = np.linalg.lstsq(columns, values, rcond=None)
        values = values - proportion * columns @ coefficients
        return pd.Series(values, index=live_features.index).rank(pct=True).to_frame("prediction")

    return predict


predict_by_position = make(booster, names, "v53_lgbm_ender20", 0.5)


# %%
def make_corrected(booster, names, benchmark, proportion):
    def predict(live_features, live_benchmark_models):
        matrix = xgb.DMatrix(live_features[names], missing=np.nan)
        values = booster.predict(matrix, iteration_range=(0, booster.best_iteration + 1)).astype(float)
        other = live_benchmark_models[benchmark].reindex(live_features.index).fillna(0.5).to_numpy()
        columns = np.column_stack([other, np.ones(len(other))])
        coefficients, *_ = np.linalg.lstsq(columns, values, rcond=None)
        values = values - proportion * columns @ coefficients
        return pd.Series(values, index=live_features.index).rank(pct=True).to_frame("prediction")

    return predict


predict = make_corrected(booster, names, "v53_lgbm_ender20", 0.5)
