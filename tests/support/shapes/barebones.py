# Shape 1: a global model and a global list of names.
# %%
import lightgbm as lgb
import pandas as pd

train = pd.read_parquet("train.parquet")
feature_cols = [c for c in train.columns if c.startswith("feature_")]

# %%
model = lgb.LGBMRegressor(
    n_estimators=20, learning_rate=0.01, max_depth=5, num_leaves=2**4 - 1, colsample_bytree=0.1, n_jobs=1, verbose=-1
)
model.fit(train[feature_cols], train["target"])


# %%
def predict(live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> pd.DataFrame:
    live_predictions = model.predict(live_features[feature_cols])
    submission = pd.Series(live_predictions, index=live_features.index)
    return submission.to_frame("prediction")
