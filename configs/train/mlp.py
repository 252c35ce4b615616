"""Trains the example network on the fetched rows and exports it as a bundle.

After ``make rows``, from the repository's root::

    .venv/bin/python -m configs.train.mlp

writes ``configs/bundles/mlp``. The network is scikit-learn's, from a fixed seed. Its score on the validation eras is
printed as it is: twelve eras of some 46 rows each say little, and nothing here was tuned to them. Training is not the
same to the last bit everywhere (BLAS sums differ between processors), so bundles are compared by their scores.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from builder import errors
from builder.bundle import activations, model, post
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import write

try:
    import sklearn
    from sklearn import exceptions, impute, neural_network, pipeline, preprocessing
except ModuleNotFoundError as error:
    sys.exit(f"error: {error}; training needs more than the tool does: pip install -r requirements/train.txt")

HERE = Path(__file__).resolve().parent
TARGET = "target"
SEED = 20180606
GOLDEN_ROWS = 64
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Score:
    """Correlation with the target, era by era: the mean, the standard deviation, and of how many eras."""

    mean: float
    std: float
    eras: int


def load(folder: Path, stem: str) -> pd.DataFrame:
    """Read one of the fetched files.

    Raises:
        errors.DataError: The file does not exist, cannot be read, or a column is missing.
    """
    path = folder / f"{stem}.parquet"
    advice = "fetch the rows first: make rows"
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise errors.DataError([f"{path}: cannot read the file: {error}; {advice}"]) from error
    missing = [name for name in ("era", "data_type", TARGET) if name not in frame]
    if missing or not feature_names(frame):
        raise errors.DataError([f"{path}: missing column {', '.join(missing) or 'feature_*'}; {advice}"])
    return frame


def feature_names(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of the feature columns, in the frame's order."""
    return tuple(name for name in frame.columns if name.startswith("feature_"))


def score(rows: pd.DataFrame, predictions: Array) -> Score:
    """Correlate predictions, ranked within each era, with the target.

    Args:
        rows: ``era`` and ``target``, known in every row.
        predictions: float64 (rows,), before or after ranking: only their order counts.
    """
    ranks = pd.Series(predictions, rows.index).groupby(rows["era"]).rank(pct=True)
    eras = [np.corrcoef(ranks[group.index], group[TARGET])[0, 1] for _, group in rows.groupby("era")]
    return Score(mean=float(np.mean(eras)), std=float(np.std(eras, ddof=1)), eras=len(eras))


def train(rows: pd.DataFrame) -> pipeline.Pipeline:
    """Fit imputation, scaling and the network on rows whose target is known, in float64."""
    # Few iterations and a strong penalty, or the network overfits 4,970 noisy rows. The warning is about max_iter.
    network = neural_network.MLPRegressor(
        hidden_layer_sizes=(64, 32), activation="relu", alpha=3.0, max_iter=30, random_state=SEED
    )
    steps = pipeline.make_pipeline(impute.SimpleImputer(strategy="mean"), preprocessing.StandardScaler(), network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        return steps.fit(inputs(rows), rows[TARGET].to_numpy("float64"))


def inputs(rows: pd.DataFrame) -> Array:
    """Return the features as float64 (rows, n)."""
    values: Array = rows[list(feature_names(rows))].to_numpy("float64")
    return values


def export(steps: pipeline.Pipeline, rows: pd.DataFrame, facts: dict[str, model.Fact]) -> model.Bundle:
    """Turn the fitted pipeline into a bundle: the same numbers, in float64 as scikit-learn holds them.

    Args:
        steps: What ``train`` returned.
        rows: The rows it was trained on.
        facts: Where the model came from.
    """
    imputer, scaler, network = (step for _, step in steps.steps)
    names = [network.activation] * (len(network.coefs_) - 1) + [network.out_activation_]
    layers = tuple(
        model.make_node("dense", weights=weights, bias=bias, activation=activations.Activation(name=name))
        for weights, bias, name in zip(network.coefs_, network.intercepts_, names, strict=True)
    )
    return model.Bundle(
        features=feature_names(rows),
        model=model.Network(layers=layers, imputation=imputer.statistics_, centre=scaler.mean_, scale=scaler.scale_),
        golden=golden(steps, inputs(rows)),
        post=(post.make_step("rank", scope="era", ties="average"),),
        trained=facts,
    )


def golden(steps: pipeline.Pipeline, train_rows: Array) -> model.GoldenRows:
    """Draw rows from the features' ranges, some values missing, and let the pipeline itself predict them.

    They are drawn, not taken: the rows of the tournament may not be redistributed.
    """
    generator = np.random.default_rng(SEED)
    drawn = generator.uniform(train_rows.min(axis=0), train_rows.max(axis=0), size=(GOLDEN_ROWS, train_rows.shape[1]))
    drawn[generator.random(drawn.shape) < 0.05] = np.nan
    # float32, as the columns of the rows are: what is predicted is what is kept.
    rows = drawn.astype(np.float32)
    return model.GoldenRows(inputs=rows, predictions=steps.predict(rows.astype(np.float64)))


def make(rows: Path, out: Path) -> tuple[model.Bundle, Score]:
    """Train on the rows of a folder, write the bundle, and return it with its validation score."""
    train_rows = load(rows, "train")
    validation_rows = load(rows, "validation")
    validation_rows = validation_rows[validation_rows["data_type"] == "validation"]
    steps = train(train_rows)
    result = score(validation_rows, steps.predict(inputs(validation_rows)))
    facts: dict[str, model.Fact] = {
        "framework": "scikit-learn",
        "version": sklearn.__version__,
        "data": "real tournament rows of 2018, from the source distribution of numerox 4.1.8",
        "target": TARGET,
        "seed": SEED,
        "train_rows": len(train_rows),
        "train_eras": int(train_rows["era"].nunique()),
        "validation_eras": result.eras,
        "validation_correlation_mean": round(result.mean, 6),
        "validation_correlation_std": round(result.std, 6),
    }
    bundle = export(steps, train_rows, facts)
    write.write(out, bundle)
    return bundle, result


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = argparse.ArgumentParser(description="Train the example network and export it as a bundle.")
    parser.add_argument("--rows", type=Path, default=HERE / "fetched", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "bundles" / "mlp", metavar="FOLDER", help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    try:
        bundle, result = make(options.rows, options.out)
    except errors.BuilderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"validation correlation with {TARGET}, era by era: "
        f"mean {result.mean:+.4f}, std {result.std:.4f}, {result.eras} eras"
    )
    print(f"{options.out}: {len(bundle.features)} features, {kinds.count_parameters(bundle.model):,} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
