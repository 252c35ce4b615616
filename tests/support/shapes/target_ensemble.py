# Shape 2: a global dict of models, a list of favourites in the function, ranks by first.
# %%
import lightgbm as lgb
import pandas as pd

train = pd.read_parquet("train.parquet")
feature_cols = [c for c in train.columns if c.startswith("feature_")]
TARGETS = ["target", "target_cyrusd_20", "target_victor_20"]

# %%
models = {}
for target in TARGETS:
    rows = train[train[target].notna()]
    model = lgb.LGBMRegressor(n_estimators=20, learning_rate=0.05, max_depth=5, num_leaves=31, n_jobs=1, verbose=-1)
    model.fit(rows[feature_cols], rows[target])
    models[target] = model


# %%
def predict_ensemble(live_features: pd.DataFrame) -> pd.DataFrame:
    favorite_targets = ["target_cyrusd_20", "target_victor_20"]
    predictions = pd.DataFrame(index=live_features.index)
    for target in favorite_targets:
        predictions[target] = models[target].predict(live_features[feature_cols])
    ensemble = predictions.rank(pct=True).mean(axis=1)
    submission = ensemble.rank(pct=True, method="first")
    return submission.to_frame("prediction")
