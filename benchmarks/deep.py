"""Benchmark the recommended deep LightGBM model, 30,000 trees of depth 10, and an ensemble of four.

The baseline is the tournament's limits, 4 GB and 600 seconds on one CPU. The model repeats a hundred trained trees:
training all of them would take days (``tests.support.deep_lightgbm``).
"""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from benchmarks import project, table
from builder import export
from tests.support import deep_lightgbm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TREES, _DEPTH, _FEATURES = 30_000, 10, 42
_MEMBERS = 4


def measure_usage() -> Iterator[table.Row]:
    """Build and validate both; fails if a pickle is not valid."""
    with project.create_project() as root:
        for name, count in (("deep", 1), ("deep_ensemble", _MEMBERS)):
            _write_bundle(root, name, count)
            manifest = project.build_pickle(root, name)
            report = json.loads(project.run_builder(root, "validate", f"configs/{name}.yaml", "--json"))
            yield from _create_rows(f"lightgbm, {count} x {_TREES:,} trees", manifest, report)


def _write_bundle(root: Path, name: str, count: int) -> None:
    """Write the bundle of one booster or of several different ones, and a config for it."""
    sample = np.random.default_rng(1).integers(0, 5, (32, _FEATURES))
    boosters = [
        lightgbm.Booster(model_str=deep_lightgbm.deep_text(_TREES, _DEPTH, _FEATURES, seed=seed).decode())
        for seed in range(count)
    ]
    model: Any = boosters if count > 1 else boosters[0]
    options: dict[str, Any] = {"transform": "rank"} if count > 1 else {}
    export.export(model, root / "configs" / "bundles" / name, sample=sample, **options)
    del model, boosters
    gc.collect()
    config = (root / "configs" / "wide.yaml").read_text()
    (root / "configs" / f"{name}.yaml").write_text(
        config.replace("name: wide", f"name: {name}").replace("/wide", f"/{name}")
    )


def _create_rows(name: str, manifest: dict[str, Any], report: dict[str, Any]) -> list[table.Row]:
    limits = report["limits"]
    usage = {**report["usage"], **report["usage"]["reported_from_inside"]}
    size = manifest["pickle"]["size"] / 1e6
    return [
        table.Row(
            name=f"{name}, memory",
            against=f"the limit, {limits['memory'] / 1e9:.1f} GB",
            value=usage["peak_bytes"] / limits["memory"],
            unit="x",
            target=1.0,
            detail=f"{usage['peak_bytes'] / 1e6:,.0f} MB; pickle {size:,.0f} MB; {report['data']['rows']:,} rows",
        ),
        table.Row(
            name=f"{name}, time",
            against=f"the limit, {limits['seconds']:g} s",
            value=usage["seconds"] / limits["seconds"],
            unit="x",
            target=1.0,
            detail=f"{usage['seconds']:.0f} s, {usage['cpu_seconds']:.0f} s of CPU",
        ),
    ]
