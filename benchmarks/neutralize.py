"""Benchmark of neutralization in a container with one CPU, against a pseudo-inverse of all rows."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import in_container, project, table
from builder import paths
from builder.bundle import activations, model, post, prediction
from builder.bundle.storage import write
from builder.validate import data

_NAME = "neutral"
_ROWS, _COLUMNS, _INPUTS, _RUNS = 7_000, 800, 50, 9
_MAX_DIFFERENCE = 1e-10


def measure_rows() -> list[table.Row]:
    """Measure both in one container.

    Raises:
        RuntimeError: The results differ by more than 1e-10, or the container failed.
    """
    bundle = _create_bundle()
    with project.create_project() as root:
        write.write(root / "configs" / "bundles" / _NAME, bundle)
        text = (root / "configs" / "wide.yaml").read_text()
        text = text.replace("name: wide", f"name: {_NAME}").replace("/wide", f"/{_NAME}")
        (root / "configs" / f"{_NAME}.yaml").write_text(text)
        project.build_pickle(root, _NAME)
        measured = _measure(root / "dist" / _NAME / "model.pkl", bundle)
    if not measured["difference"] <= _MAX_DIFFERENCE:
        raise RuntimeError(f"the step differs from the pseudo-inverse by {measured['difference']:.2g}")
    ours, baseline = measured["step"], measured["pinv"]
    return [
        table.Row(
            name=f"neutralize, {_ROWS:,} x {_COLUMNS}",
            against="a pseudo-inverse of all rows",
            value=statistics.median(a / b for a, b in zip(ours, baseline, strict=True)),
            unit="x",
            target=0.15,
            detail=f"{statistics.median(ours):.3f} s, {statistics.median(baseline):.3f} s; "
            f"differ by {measured['difference']:.1g}",
        )
    ]


def _create_bundle() -> model.Bundle:
    """Return a small network whose inputs are the first of the features that it is neutralized to."""
    names = tuple(f"feature_{index:04d}" for index in range(_COLUMNS))
    random = np.random.default_rng(8)
    layers = tuple(
        model.make_node(
            "dense",
            weights=random.normal(0, 0.2, shape).astype(np.float32),
            bias=np.zeros(shape[1], dtype=np.float32),
            activation=activations.Activation(name=name),
        )
        for shape, name in (((_INPUTS, 16), "tanh"), ((16, 1), "identity"))
    )
    centre = np.full(_INPUTS, 2.0)
    network = model.Network(layers=layers, imputation=centre, centre=centre, scale=centre)
    rows = random.integers(0, 5, (8, _INPUTS)).astype(np.float64)
    return model.Bundle(
        features=names[:_INPUTS],
        model=network,
        golden=model.GoldenRows(inputs=rows, predictions=prediction.predict(network, rows)),
        post=(post.make_step("neutralize", features=names, scope="frame"), post.make_step("rank")),
        trained={"framework": "numpy", "note": "random weights, for speed; not trained"},
    )


def _measure(pickle: Path, bundle: model.Bundle) -> dict[str, Any]:
    """Run ``neutralize_in_image.py``; return its result."""
    features = post.find_required_columns(bundle.post).features
    frames = data.make_shaped_data(features=features, benchmarks=(), rows=_ROWS, cache=paths.cache_folder() / "shaped")
    workdir = in_container.WORKDIR
    plan = {"model": f"{workdir}/model.pkl", "frame": f"{workdir}/live.parquet", "runs": _RUNS}
    files: dict[str, bytes | Path] = {"model.pkl": pickle, "live.parquet": frames.live}
    result: dict[str, Any] = in_container.measure("neutralize_in_image.py", plan, files)
    return result
