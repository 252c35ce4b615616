"""Results of validations, for tests of how they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from builder.config import model as config
from builder.image import resolve
from builder.validate import container_run, data
from builder.validate import run as validate
from builder.validate.page import compose
from builder.validate.reading import read
from tests.support import bundles, clones, manifests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.validate import checks
    from builder.validate.page.content import SlotComparison

ROWS = 200
PICKLE = clones.ROOT / "tests" / "data" / "pickles" / "python3.12.pkl"


def compose_page(validation: validate.Validation, slot: SlotComparison | None = None) -> bytes:
    """Return the page of a validation of a recorded pickle."""
    return compose.compose(validation, read.read(PICKLE, image_python="3.12"), slot)


def make_validation(
    folder: Path, shown: Sequence[checks.Check], *, log: str = "", benchmark: str = "v53_lgbm_ender20", eras: int = 3
) -> validate.Validation:
    """Return a result with these checks, and predictions of 200 rows of some eras."""
    random = np.random.default_rng(1)
    ids = [f"n{number:015x}" for number in range(ROWS)]
    index = pd.Index(ids, name="id")
    pd.DataFrame({"era": [f"{row % eras:04d}" for row in range(ROWS)]}, index=index).to_parquet(folder / "live.parquet")
    benchmarks = pd.DataFrame({"era": "X", benchmark: random.random(ROWS)}, index=index)
    benchmarks.iloc[5:].to_parquet(folder / "benchmarks.parquet")
    limits = config.LimitsConfig()
    bundle = bundles.make_bundle()
    golden = bundle.golden.predictions.astype(np.float64)
    return validate.Validation(
        task=validate.ValidationTask(
            artifact=manifests.commit(folder / "dist", b"pickle"),
            bundle=bundle,
            image=resolve.ResolvedImage(
                kind="exact",
                ref="ghcr.io/a/b:c",
                identity=f"sha256:{'2' * 64}",
                base="ghcr.io/a/b:c",
                handle="",
                platform="linux/amd64",
                entrypoint=(),
                workdir="/",
            ),
            python="3.12.1",
            files=data.LiveFiles(live=folder / "live.parquet", benchmarks=folder / "benchmarks.parquet", rows=ROWS),
            source="live.parquet",
            data_version="v5.3",
            limits=limits,
        ),
        checks=tuple(shown),
        usage=container_run.Usage(seconds=2.5, peak_bytes=limits.memory // 2, cpu_seconds=1.0),
        log=log,
        evidence=validate.Evidence(ids=ids, predictions=random.random(ROWS), golden=(golden, golden)),
    )
