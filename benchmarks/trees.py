"""Benchmarks of forests in a container with one CPU, against scikit-learn's predict of the same forest there."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmarks import in_container, project, table
from builder.bundle import model, post
from builder.bundle.storage import write
from builder.export.sklearn import tree_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_WORKDIR = in_container.WORKDIR
_RUNS = 11
_ROWS, _FEATURES, _TREES, _DEPTH = 7_000, 50, 200, 10
_KINDS = {"whole": "int8 of 0 to 4", "continuous": "normal numbers"}


def measure_rows() -> Iterator[table.Row]:
    """Measure with features of five values, and with continuous ones."""
    return (_measure(name, description) for name, description in _KINDS.items())


def _measure(name: str, description: str) -> table.Row:
    inputs = _create_inputs(name)
    with project.create_project() as root:
        bundle = _create_bundle(inputs)
        write.write(root / "configs" / "bundles" / "trees", bundle)
        text = (root / "configs" / "wide.yaml").read_text()
        (root / "configs" / "trees.yaml").write_text(
            text.replace("name: wide", "name: trees").replace("/wide", "/trees")
        )
        project.build_pickle(root, "trees")
        times = _run(root / "dist" / "trees" / "model.pkl", bundle, inputs)
    ours, baseline = times["ours"], times["baseline"]
    return table.Row(
        name=f"trees, {_TREES} of depth {_DEPTH}, {description}",
        against="scikit-learn's predict",
        value=statistics.median(a / b for a, b in zip(ours, baseline, strict=True)),
        unit="x",
        target=1.0,
        detail=f"{statistics.median(ours):.3f} s, {statistics.median(baseline):.3f} s",
    )


def _create_inputs(name: str) -> NDArray[Any]:
    random = np.random.default_rng(7)
    if name == "whole":
        return random.integers(0, 5, (_ROWS, _FEATURES)).astype(np.int8)
    return random.normal(size=(_ROWS, _FEATURES)).astype(np.float32)


def _create_bundle(inputs: NDArray[Any]) -> model.Bundle:
    """Return a forest trained on these rows."""
    from sklearn import ensemble  # noqa: PLC0415 - slow to import, and only needed here

    random = np.random.default_rng(11)
    target = 0.1 * inputs[:, :10].astype(np.float64).sum(axis=1) + random.normal(size=len(inputs))
    forest = ensemble.RandomForestRegressor(_TREES, max_depth=_DEPTH, random_state=0, n_jobs=-1).fit(inputs, target)
    arrays = tree_arrays.from_sklearn_trees([estimator.tree_ for estimator in forest.estimators_])
    rows = inputs[:64].astype(np.float64)
    return model.Bundle(
        features=tuple(f"feature_{index:02d}" for index in range(_FEATURES)),
        model=model.Trees(**arrays, base=np.zeros(1), rounded=True, averaged=True),
        golden=model.GoldenRows(inputs=rows, predictions=forest.predict(rows)),
        post=(post.make_step("rank"),),
        trained={"framework": "scikit-learn", "note": "random rows, for speed"},
    )


def _run(pickle: Path, bundle: model.Bundle, inputs: NDArray[Any]) -> dict[str, list[float]]:
    """Run ``trees_in_image.py``; return its result."""
    with tempfile.TemporaryDirectory(prefix="numerai-builder-bench-") as folder:
        live, arrays = Path(folder) / "live.parquet", Path(folder) / "trees.npz"
        index = pd.Index([f"n{row:015x}" for row in range(len(inputs))], name="id")
        pd.DataFrame(inputs, index=index, columns=list(bundle.features)).assign(era="X").to_parquet(live)
        names = ("feature", "threshold", "left", "right", "missing_left", "value", "roots")
        np.savez(arrays, **{name: getattr(bundle.model, name) for name in names})
        files: dict[str, bytes | Path] = {"model.pkl": pickle, "live.parquet": live, "trees.npz": arrays}
        plan = {"folder": _WORKDIR, "runs": _RUNS}
        result: dict[str, list[float]] = in_container.measure("trees_in_image.py", plan, files)
    return result
