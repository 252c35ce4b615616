"""Trains the tournament's four example models on the fetched rows and exports them.

After ``make rows``, from the repository's root::

    .venv/bin/python -m configs.train.examples

writes, below ``configs/bundles``, the models of ``configs/examples``:

- ``example_model``: a LightGBM regressor, its predictions as they are. Nothing bounds those of a regressor, so they
  are clipped to [0, 1], which changes none: trained on targets of 0 and 1, it predicts about a half.
- ``hello``: the same model, ranked over the frame.
- ``neutralization``: the same model, neutralised over the frame to a group of features, then ranked over it.
- ``target_ensemble``: a model for each of the seven targets, the mean of their ranks over the frame, then ranked with
  ties in the order of the rows.

The official ones have 2,000 trees and more; these have few, so that the bundles are small. Training is on one thread
and from fixed seeds: the same LightGBM gives the same trees.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from builder import errors
from builder.export import export
from configs.train import mlp

try:
    import lightgbm
except ModuleNotFoundError as error:
    sys.exit(f"error: {error}; training needs more than the tool does: pip install -r requirements/train.txt")

SEED = 20180606
TREES = 120
SAMPLE_ROWS = 500
TARGETS = tuple(f"target_{name}" for name in ("bernie", "elizabeth", "jordan", "ken", "charles", "frank", "hillary"))
NEUTRALIZERS = tuple(f"feature_x{number}" for number in range(1, 21))


@dataclass(frozen=True, kw_only=True)
class Example:
    """One of the four.

    Attributes:
        name: Of the config and of the bundle.
        targets: What it is trained to predict: a model for each.
        post: What is done to the predictions.
        options: Options of ``export`` for an ensemble.
    """

    name: str
    targets: tuple[str, ...] = ("target",)
    post: tuple[dict[str, Any], ...]
    options: dict[str, Any] = field(default_factory=dict)


EXAMPLES = (
    Example(name="example_model", post=({"clip": {"low": 0.0, "high": 1.0}},)),
    Example(name="hello", post=({"rank": {"scope": "frame"}},)),
    Example(
        name="neutralization",
        post=(
            {"neutralize": {"features": list(NEUTRALIZERS), "proportion": 1.0, "scope": "frame"}},
            {"rank": {"scope": "frame"}},
        ),
    ),
    Example(
        name="target_ensemble",
        targets=TARGETS,
        post=({"rank": {"scope": "frame", "ties": "first"}},),
        options={"transform": "rank", "scope": "frame"},
    ),
)


def train(rows: pd.DataFrame, target: str) -> lightgbm.LGBMRegressor:
    """Fit a regressor on the rows whose target is known: the settings of the official example, and fewer trees."""
    train_rows = rows[rows[target].notna()]
    names = list(mlp.feature_names(rows))
    model = lightgbm.LGBMRegressor(
        n_estimators=TREES,
        learning_rate=0.02,
        max_depth=5,
        num_leaves=15,
        colsample_bytree=0.1,
        random_state=SEED,
        n_jobs=1,
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
    )
    return model.fit(train_rows[names], train_rows[target].to_numpy("float64"))


def sample(rows: pd.DataFrame) -> pd.DataFrame:
    """Draw rows from the features' ranges: golden rows come from them, since real rows may not be redistributed."""
    names = list(mlp.feature_names(rows))
    generator = np.random.default_rng(SEED)
    low, high = rows[names].min().to_numpy(), rows[names].max().to_numpy()
    return pd.DataFrame(generator.uniform(low, high, size=(SAMPLE_ROWS, len(names))).astype("float32"), columns=names)


def make(example: Example, rows: pd.DataFrame, out: Path) -> mlp.Score:
    """Train one example, write its bundle, and return its score on the validation rows in ``rows``."""
    train_rows = rows[rows["data_type"] == "train"]
    validation_rows = rows[rows["data_type"] == "validation"]
    models = {target.removeprefix("target_"): train(train_rows, target) for target in example.targets}
    model = models if example.options else next(iter(models.values()))
    summary = export(
        model,
        out,
        sample=sample(train_rows),
        post=example.post,
        eras=sorted(train_rows["era"].unique()),
        target=", ".join(example.targets),
        **example.options,
    )
    print(summary)
    names = list(mlp.feature_names(rows))
    predictions = pd.DataFrame({name: fitted.predict(validation_rows[names]) for name, fitted in models.items()})
    return mlp.score(validation_rows, predictions.rank(pct=True).mean(axis=1).to_numpy())


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = argparse.ArgumentParser(description="Train the four official example models and export them as bundles.")
    parser.add_argument(
        "--rows", type=Path, default=mlp.HERE / "fetched", metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, default=mlp.HERE.parent / "bundles", metavar="FOLDER", help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    try:
        rows = pd.concat([mlp.load(options.rows, stem) for stem in ("train", "validation")])
        for example in EXAMPLES:
            score = make(example, rows, options.out / example.name)
            print(
                f"  correlation with {mlp.TARGET}, era by era: "
                f"mean {score.mean:+.4f}, std {score.std:.4f}, {score.eras} eras"
            )
    except errors.BuilderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
