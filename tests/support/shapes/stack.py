# Shape 5: scikit-learn's stack of LightGBM and CatBoost in a closure, and the same by hand.
# %%
import numpy as np
import pandas as pd
from catboost import CatBoostRegressor
from lightgbm import LGBMRegressor
from sklearn.ensemble import StackingRegressor

train = pd.read_parquet("train.parquet")
features = [c for c in train.columns if c.startswith("feature_")]
lgb_params = {"n_estimators": 20, "learning_rate": 0.1, "num_leaves": 15, "n_jobs": 1, "verbose": -1}
cat_params = {"iterations": 20, "depth": 4, "thread_count": 1, "verbose": 0, "allow_writing_files": False}

# %%
stack = StackingRegressor(
    [("lgb", LGBMRegressor(**lgb_params)), ("cat", CatBoostRegressor(**cat_params))],
    final_estimator=LGBMRegressor(**lgb_params),
    cv=2,
)
stack.fit(train[features], train["target"])


# %%
def build_predict(stack, features):
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        preds = stack.predict(live_features[features])
        return pd.DataFrame({"prediction": preds}, index=live_features.index).rank(pct=True)

    return predict


predict_stack = build_predict(stack, features)

# %%
base_models = [
    LGBMRegressor(**lgb_params).fit(train[features], train["target"]),
    CatBoostRegressor(**cat_params).fit(train[features], train["target"]),
]
meta_model = LGBMRegressor(**lgb_params).fit(
    np.column_stack([m.predict(train[features]) for m in base_models]), train["target"]
)


# %%
def predict_by_hand(live_features: pd.DataFrame) -> pd.DataFrame:
    columns = np.column_stack([m.predict(live_features[features]) for m in base_models])
    return pd.DataFrame({"prediction": meta_model.predict(columns)}, index=live_features.index).rank(pct=True)
