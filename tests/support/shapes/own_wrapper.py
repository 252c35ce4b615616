# Shape 8: weights over instances of a class in a custom package, which take features, era and a benchmark.
# %%
import cloudpickle
import pandas as pd

import era_models
from era_models import wrapper

cloudpickle.register_pickle_by_value(era_models)

train = pd.read_parquet("train.parquet")
benchmarks = pd.read_parquet("train_benchmark_models.parquet")
features = [c for c in train.columns if c.startswith("feature_")]
BENCHMARK = "v53_lgbm_ender20"

# %%
data = train.join(benchmarks[[BENCHMARK]])
weighted = []
for weight, target in [(0.5, "target"), (0.3, "target_cyrusd_20"), (0.2, "target_victor_20")]:
    model = wrapper.EraModel(features, benchmark_col=BENCHMARK, seed=len(weighted))
    weighted.append((weight, model.fit(data, data[target])))


# %%
def predict(live_features, live_benchmark_models):
    frame = live_features[[*features, "era"]].copy()
    frame[BENCHMARK] = live_benchmark_models[BENCHMARK].reindex(frame.index).fillna(0.5)
    total = sum(weight * model.predict(frame) for weight, model in weighted)
    return total.groupby(frame["era"]).rank(pct=True).to_frame("prediction")
