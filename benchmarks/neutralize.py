"""Neutralisation in a container of one CPU, against a pseudo-inverse of all the rows."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import project, table
from builder import data, docker_engine, engine, paths, post, progress, reference, run, stand_in, tar_stream
from builder.bundle import activations, model, write

_NAME = "neutral"
_ROWS, _COLUMNS, _INPUTS, _RUNS = 7_000, 800, 50, 9
_MOST_DIFFERENCE = 1e-10


def in_container() -> list[table.Row]:
    """The figure, from one container.

    Raises:
        RuntimeError: The two differ by more than 1e-10, or the container failed.
    """
    bundle = _bundle()
    with project.folder() as root:
        write.write(root / "configs" / "bundles" / _NAME, bundle)
        text = (root / "configs" / "wide.yaml").read_text()
        text = text.replace("name: wide", f"name: {_NAME}").replace("/wide", f"/{_NAME}")
        (root / "configs" / f"{_NAME}.yaml").write_text(text)
        project.pickle(root, _NAME)
        measured = _measure(root / "dist" / _NAME / "model.pkl", bundle)
    if not measured["difference"] <= _MOST_DIFFERENCE:
        raise RuntimeError(f"the step is {measured['difference']:.2g} away from the pseudo-inverse")
    ours, theirs = measured["step"], measured["pinv"]
    return [
        table.Row(
            name=f"neutralize, {_ROWS:,} x {_COLUMNS}",
            against="a pseudo-inverse of all rows",
            value=statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
            unit="x",
            target=0.15,
            detail=f"{statistics.median(ours):.3f} s, {statistics.median(theirs):.3f} s; "
            f"differ by {measured['difference']:.1g}",
        )
    ]


def _bundle() -> model.Bundle:
    """Return a small network over the first of the features that it is neutralised to."""
    names = tuple(f"feature_{place:04d}" for place in range(_COLUMNS))
    random = np.random.default_rng(8)
    layers = tuple(
        model.Layer(
            weights=random.normal(0, 0.2, shape).astype(np.float32),
            bias=np.zeros(shape[1], dtype=np.float32),
            activation=activations.Activation(name=name),
        )
        for shape, name in (((_INPUTS, 16), "tanh"), ((16, 1), "identity"))
    )
    centre = np.full(_INPUTS, 2.0)
    network = model.Mlp(layers=layers, imputation=centre, centre=centre, scale=centre)
    rows = random.integers(0, 5, (8, _INPUTS)).astype(np.float64)
    return model.Bundle(
        features=names[:_INPUTS],
        model=network,
        golden=model.Golden(inputs=rows, predictions=reference.predict(network, rows)),
        post=(post.Neutralize(features=names, scope="frame"), post.Rank()),
        trained={"framework": "numpy", "note": "random weights, for speed; not trained"},
    )


def _measure(pickle: Path, bundle: model.Bundle) -> dict[str, Any]:
    """Run ``neutralize_in_image.py`` on one CPU and 4 GB; return what it printed."""
    on = docker_engine.connect()
    look_alike = stand_in.make(on, "3.11", progress.Silent())
    features = post.needs(bundle.post).features
    files = data.shaped(features=features, benchmarks=(), rows=_ROWS, cache=paths.cache_folder() / "shaped")
    box = engine.BOX
    plan = {"model": f"{box}/model.pkl", "frame": f"{box}/live.parquet", "runs": _RUNS}
    named: dict[str, bytes | Path] = {
        "neutralize_in_image.py": Path(__file__).with_name("neutralize_in_image.py"),
        "model.pkl": pickle,
        "live.parquet": files.live,
        "plan.json": json.dumps(plan).encode(),
    }
    entries = [tar_stream.Entry(name=name, content=content) for name, content in named.items()]
    command = ("python", f"{box}/neutralize_in_image.py", f"{box}/plan.json")
    limits = engine.Limits(cpus=1, memory=4 << 30)
    with (
        run.start(on) as identity,
        on.container(look_alike.image.id, command, run=identity, limits=limits, network=False) as container,
    ):
        container.put(tar_stream.pack(entries))
        ended = container.run(600)
        printed = container.log()
    if ended.code != 0:
        raise RuntimeError(f"the measurement ended with exit {ended.code}: {printed[-1500:]}")
    found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return found
