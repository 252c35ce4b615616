# Shape 3: a helper that neutralizes with numpy.linalg.pinv, and a second global list of features.
# %%
import lightgbm as lgb
import numpy as np
import pandas as pd

train = pd.read_parquet("train.parquet")
features = [c for c in train.columns if c.startswith("feature_")]
risky_features = features[2:8]

# %%
model = lgb.LGBMRegressor(n_estimators=20, learning_rate=0.05, max_depth=5, num_leaves=31, n_jobs=1, verbose=-1)
model.fit(train[features], train["target"])


# %%
def neutralize(df, neutralizers, proportion=1.0):
    neutralizer_array = df[neutralizers].values.astype(np.float64)
    neutralizer_array = np.hstack([neutralizer_array, np.ones((len(neutralizer_array), 1))])
    scores = df["prediction"].values.reshape(-1, 1)
    inverse_neutralizers = np.linalg.pinv(neutralizer_array, rcond=1e-6)
    adjustments = proportion * neutralizer_array.dot(inverse_neutralizers.dot(scores))
    return (scores - adjustments).ravel()


def predict_neutral(live_features: pd.DataFrame) -> pd.DataFrame:
    df = live_features[risky_features].fillna(2)
    df["prediction"] = model.predict(live_features[features])
    neutralized = pd.Series(neutralize(df, risky_features), index=live_features.index)
    return neutralized.rank(pct=True).to_frame("prediction")
