# Shape 9: torch modules of the notebook in a class, and one in a closure.
# %%
import numpy as np
import pandas as pd
import torch
from torch import nn

torch.set_num_threads(1)
torch.manual_seed(0)
train = pd.read_parquet("train.parquet")
features = [c for c in train.columns if c.startswith("feature_")]


# %%
class MLP(nn.Module):
    def __init__(self, n, hidden=16, dropout=0.1):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n, hidden), nn.BatchNorm1d(hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 1)
        )

    def forward(self, x):
        return self.net(x).squeeze(-1)


class TransformerModel(nn.Module):
    def __init__(self, n, d_model=16, nhead=2):
        super().__init__()
        self.embed = nn.Linear(n, d_model)
        layer = nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward=32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=1)
        self.head = nn.Linear(d_model, 1)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x).unsqueeze(1))[:, 0]).squeeze(-1)


class LSTMModel(nn.Module):
    def __init__(self, n, hidden=8):
        super().__init__()
        self.lstm = nn.LSTM(n, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x):
        output, _ = self.lstm(x.unsqueeze(1))
        return self.head(output[:, -1]).squeeze(-1)


# %%
def fit(model, epochs=3):
    x = torch.tensor(train[features].to_numpy(np.float32) / 4)
    y = torch.tensor(train["target"].to_numpy(np.float32))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    return model


# %%
class TorchPredictor:
    def __init__(self, models, features, batch_size=4096):
        self.models = [model.eval() for model in models]
        self.features = features
        self.batch_size = batch_size

    def __call__(self, live_features, live_benchmark_models=None):
        torch.set_num_threads(1)
        x = (live_features[self.features].astype("float32") / 4).fillna(0.5).to_numpy()
        outputs = []
        with torch.no_grad():
            for model in self.models:
                parts = [
                    model(torch.from_numpy(x[start : start + self.batch_size])).numpy()
                    for start in range(0, len(x), self.batch_size)
                ]
                outputs.append(pd.Series(np.concatenate(parts), index=live_features.index).rank(pct=True))
        return pd.concat(outputs, axis=1).mean(axis=1).rank(pct=True).to_frame("prediction")


predictor = TorchPredictor(
    [fit(MLP(len(features))), fit(TransformerModel(len(features))), fit(LSTMModel(len(features)))], features
)


# %%
def make_predict(model, features):
    model.eval()

    def predict(live_features):
        torch.set_num_threads(1)
        values = (live_features[features] / 4).fillna(0.5).to_numpy(dtype=np.float32)
        with torch.inference_mode():
            output = model(torch.from_numpy(values)).numpy()
        return pd.DataFrame({"prediction": 1 / (1 + np.exp(-output.astype(float)))}, index=live_features.index)

    return predict


predict_closure = make_predict(predictor.models[0], features)
