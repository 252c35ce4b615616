"""Makes a bundle as wide as today's data: random weights, for size and speed; nothing is trained.

The 3,555 features of v5.3 and one benchmark column go into a network of a size that can be committed. From the
repository's root::

    .venv/bin/python -m configs.train.wide

writes ``configs/bundles/wide``, the same numbers on every machine.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder import data_versions, errors
from builder.bundle import activations, model, post
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import write

HERE = Path(__file__).resolve().parent
SEED = 3555
FEATURES = tuple(f"feature_{number:04d}" for number in range(3555))
BENCHMARKS = (data_versions.DEFAULT_BENCHMARK,)
WIDTHS = (len(FEATURES) + len(BENCHMARKS), 48, 16, 1)
GOLDEN_ROWS = 16
Array = NDArray[np.float64]


def network(generator: np.random.Generator) -> model.Network:
    """Draw a network of relu layers, float32; its values keep their size from layer to layer.

    Features are 0 to 4 and a missing one is 2; the benchmark is in [0, 1] and a missing one is 0.5.
    """
    layers = tuple(
        model.make_node(
            "dense",
            weights=(generator.standard_normal((wide, narrow)) * np.sqrt(2.0 / wide)).astype(np.float32),
            bias=(generator.standard_normal(narrow) * 0.1).astype(np.float32),
            activation=activations.Activation(name="identity" if narrow == 1 else "relu"),
        )
        for wide, narrow in itertools.pairwise(WIDTHS)
    )
    middle = np.array([2.0] * len(FEATURES) + [0.5] * len(BENCHMARKS), dtype=np.float32)
    # Standard deviations of five values that are equally frequent, and of a uniform value.
    scale = np.array([2.0**0.5] * len(FEATURES) + [12.0**-0.5] * len(BENCHMARKS), dtype=np.float32)
    return model.Network(layers=layers, imputation=middle, centre=middle, scale=scale)


def golden_inputs(generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw rows as live data has them: whole features 0 to 4, a benchmark in [0, 1], and some of each missing."""
    features = generator.integers(0, 5, size=(GOLDEN_ROWS, len(FEATURES))).astype(np.float32)
    benchmarks = generator.random((GOLDEN_ROWS, len(BENCHMARKS)), dtype=np.float32)
    rows = np.concatenate([features, benchmarks], axis=1)
    rows[generator.random(rows.shape) < 0.02] = np.nan
    rows[0, -1] = np.nan  # The one benchmark column would hardly ever be hit.
    return rows


def forward(mlp: Any, rows: NDArray[np.float32]) -> Array:
    """Predict in plain float64, with no code of the tool: the framework here is numpy."""
    values: Array = np.where(np.isnan(rows), mlp.imputation, rows).astype(np.float64)
    values = (values - mlp.centre.astype(np.float64)) / mlp.scale.astype(np.float64)
    for layer in mlp.layers:
        # einsum sums without BLAS: nothing here is shared with what these numbers will prove.
        products = np.einsum("ij,jk->ik", values, layer["weights"].astype(np.float64))
        values = products + layer["bias"].astype(np.float64)
        if layer.activation.name == "relu":
            values = np.maximum(values, 0.0)
    return values[:, 0].copy()


def make(out: Path) -> model.Bundle:
    """Write the bundle and return it."""
    generator = np.random.default_rng(SEED)
    mlp = network(generator)
    rows = golden_inputs(generator)
    bundle = model.Bundle(
        features=FEATURES,
        benchmarks=BENCHMARKS,
        model=mlp,
        golden=model.GoldenRows(inputs=rows, predictions=forward(mlp, rows)),
        post=(post.make_step("rank", scope="era", ties="average"),),
        trained={
            "framework": "numpy",
            "version": np.__version__,
            "seed": SEED,
            "note": "random weights at full width, for size and speed; not trained",
        },
    )
    write.write(out, bundle)
    return bundle


def main(arguments: list[str] | None = None) -> int:
    """Run the script and return its exit code."""
    parser = argparse.ArgumentParser(description="Make a bundle of random weights at full width.")
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "bundles" / "wide", metavar="FOLDER", help="default: %(default)s"
    )
    out: Path = parser.parse_args(arguments).out
    try:
        bundle = make(out)
    except errors.BuilderError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    size = sum(path.stat().st_size for path in out.iterdir())
    print(
        f"{out}: {len(bundle.features):,} features, {kinds.count_parameters(bundle.model):,} parameters, {size:,} bytes"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
