"""Every post-processing step with its options, and what the reference makes of some rows: for ``post_case``."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from builder.bundle import post
from tests.support import bundles
from tests.support.formulas import post as reference

if TYPE_CHECKING:
    from pathlib import Path

    from builder.bundle import model

NAMES = tuple(f"feature_{index}" for index in range(8))
STEPS: tuple[post.Step, ...] = (
    post.make_step("rank"),
    post.make_step("rank", scope="frame", ties="first"),
    post.make_step("gaussianize"),
    post.make_step("standardize"),
    post.make_step("neutralize", features=NAMES),
    post.make_step("neutralize", features=NAMES, scope="frame", proportion=0.5),
    post.make_step("neutralize", benchmarks=("bench_a", "bench_b")),
    post.make_step("blend", benchmark="bench_a"),
    post.make_step("blend", benchmark="bench_a", transform="gaussian", scope="frame"),
    post.make_step("blend", benchmark="bench_b", transform="raw"),
    post.make_step("clip", low=0.4, high=0.6),
)


def make_bundle() -> model.Bundle:
    """Return a bundle whose pickle has every step."""
    return dataclasses.replace(bundles.make_bundle(), post=(*STEPS, post.make_step("rank")))


def write(folder: Path) -> Path:
    """Write ``post.npz``: rows with ties, collinear and constant features, benchmarks with holes; return its path."""
    random = np.random.default_rng(12)
    rows = 200
    columns = random.integers(0, 5, (rows, len(NAMES)))
    columns[:, 5] = columns[:, 0] + columns[:, 1]
    columns[:, 6] = 2
    benchmarks = random.random((rows, 2))
    benchmarks[3, 0] = benchmarks[7, 1] = np.nan
    values = np.round(random.normal(0.5, 0.1, rows), 2)
    era = (np.arange(rows) % 3).astype(str)
    live = pd.DataFrame(columns, columns=list(NAMES)).assign(era=era)
    others = pd.DataFrame(benchmarks, columns=["bench_a", "bench_b"])
    expected = [reference.apply_steps((step,), values, live, others) for step in STEPS]
    texts = [json.dumps(step) for step in post.as_data(STEPS)]
    path = folder / "post.npz"
    np.savez(
        path, columns=columns, benchmarks=benchmarks, values=values, era=era, steps=texts, expected=np.array(expected)
    )
    return path
