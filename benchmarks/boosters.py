"""Benchmarks of LightGBM pickles in a container with one CPU, against the library's own predict."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from benchmarks import in_container, project, table
from builder import export, paths
from builder.validate import data
from tests.support import deep_lightgbm

_WORKDIR = in_container.WORKDIR
_RUNS = 5
_ROWS = (7_000, 70_000)
_MEGABYTE = 1e6
_MODELS = {
    # Trees, depth, features, rows: the official example model, and a tenth of the recommended deep one.
    "shallow": (2_000, 5, 780, 7_000),
    "deep": (3_000, 10, 42, 2_000),
}


def measure_rows() -> list[table.Row]:
    """Measure speed and memory in one container."""
    with project.create_project() as root:
        for name, (trees, depth, features, _) in _MODELS.items():
            _write_bundle(root, name, deep_lightgbm.deep_text(trees, depth, features, seed=3))
            project.build_pickle(root, name)
        measured = _measure({name: root / "dist" / name / "model.pkl" for name in _MODELS})
    rows = []
    for name, (trees, depth, features, count) in _MODELS.items():
        ours = measured[name]["ours"]
        # The library gets a prepared array, while ours converts the frame, which takes 1 to 2 % of the time.
        for against, target in (("frame", 1.0), ("array", 1.05)):
            baseline = measured[name][against]
            rows.append(
                table.Row(
                    name=f"lightgbm, {trees:,} trees of depth {depth}, {count:,} x {features}",
                    against=f"the library's predict, {against}",
                    value=statistics.median(a / b for a, b in zip(ours, baseline, strict=True)),
                    unit="x",
                    target=target,
                    detail=f"{statistics.median(ours):.3f} s, {statistics.median(baseline):.3f} s",
                )
            )
    rows += [
        table.Row(
            name=f"lightgbm, {count:,} rows, memory",
            against="(without frame and booster)",
            value=measured["memory"][str(count)] / _MEGABYTE,
            unit="MB",
            target=32,
            detail="peak of the process",
        )
        for count in _ROWS
    ]
    return rows


def _write_bundle(root: Path, name: str, text: bytes) -> None:
    """Write the bundle of a booster and a config for it."""
    booster = lightgbm.Booster(model_str=text.decode())
    sample = np.random.default_rng(1).integers(0, 5, (64, booster.num_feature()))
    export.export(booster, root / "configs" / "bundles" / name, sample=sample)
    config = (root / "configs" / "wide.yaml").read_text()
    (root / "configs" / f"{name}.yaml").write_text(
        config.replace("name: wide", f"name: {name}").replace("/wide", f"/{name}")
    )


def _measure(pickles: dict[str, Path]) -> dict[str, Any]:
    """Run ``boosters_in_image.py``; return its result."""
    cache = paths.cache_folder() / "shaped"
    wide = max(features for _, _, features, _ in _MODELS.values())
    names = tuple(f"feature_{index}" for index in range(wide))
    files: dict[str, bytes | Path] = {
        **{f"{name}.pkl": path for name, path in pickles.items()},
        **{
            f"{rows}.parquet": data.make_shaped_data(features=names, benchmarks=(), rows=rows, cache=cache).live
            for rows in _ROWS
        },
    }
    plan = {
        "models": {
            name: {
                "model": f"{_WORKDIR}/{name}.pkl",
                "frame": f"{_WORKDIR}/{_ROWS[0]}.parquet",
                "rows": _MODELS[name][3],
            }
            for name in pickles
        },
        "frames": {str(rows): f"{_WORKDIR}/{rows}.parquet" for rows in _ROWS},
        "runs": _RUNS,
    }
    result: dict[str, Any] = in_container.measure("boosters_in_image.py", plan, files, seconds=1_200)
    return result
