"""LightGBM's pickles in a container of one CPU, against the library's own predict."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from benchmarks import project, table
from builder import data, docker_engine, engine, export, paths, progress, run, stand_in, tar_stream
from tests.support import deep_lightgbm

_BOX = engine.BOX
_RUNS = 5
_ROWS = (7_000, 70_000)
_MEGABYTE = 1e6
_MODELS = {
    # Trees, depth, features, rows: the official example model; a tenth of the recommended deep one.
    "shallow": (2_000, 5, 780, 7_000),
    "deep": (3_000, 10, 42, 2_000),
}


def in_container() -> list[table.Row]:
    """All figures of boosters, from one container."""
    with project.folder() as root:
        for name, (trees, depth, features, _) in _MODELS.items():
            _bundle(root, name, deep_lightgbm.deep_text(trees, depth, features, seed=3))
            project.pickle(root, name)
        measured = _measure({name: root / "dist" / name / "model.pkl" for name in _MODELS})
    rows = []
    for name, (trees, depth, features, count) in _MODELS.items():
        ours = measured[name]["ours"]
        # The array has been made before, from the frame that ours is given: that is a hundredth or two.
        for against, target in (("frame", 1.0), ("array", 1.05)):
            theirs = measured[name][against]
            rows.append(
                table.Row(
                    name=f"lightgbm, {trees:,} trees of depth {depth}, {count:,} x {features}",
                    against=f"the library's predict, {against}",
                    value=statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
                    unit="x",
                    target=target,
                    detail=f"{statistics.median(ours):.3f} s, {statistics.median(theirs):.3f} s",
                )
            )
    rows += [
        table.Row(
            name=f"lightgbm, {count:,} rows, memory",
            against="(over frame and booster)",
            value=measured["memory"][str(count)] / _MEGABYTE,
            unit="MB",
            target=32,
            detail="peak of the process",
        )
        for count in _ROWS
    ]
    return rows


def _bundle(root: Path, name: str, text: bytes) -> None:
    """Write the bundle of a booster, and a config for it."""
    booster = lightgbm.Booster(model_str=text.decode())
    sample = np.random.default_rng(1).integers(0, 5, (64, booster.num_feature()))
    export.export(booster, root / "configs" / "bundles" / name, sample=sample)
    config = (root / "configs" / "wide.yaml").read_text()
    (root / "configs" / f"{name}.yaml").write_text(
        config.replace("name: wide", f"name: {name}").replace("/wide", f"/{name}")
    )


def _measure(pickles: dict[str, Path]) -> dict[str, Any]:
    """Run ``boosters_in_image.py`` on one CPU and 4 GB; return what it printed."""
    on = docker_engine.connect()
    look_alike = stand_in.make(on, "3.11", progress.Silent())
    cache = paths.cache_folder() / "shaped"
    wide = max(features for _, _, features, _ in _MODELS.values())
    names = tuple(f"feature_{place}" for place in range(wide))
    named: dict[str, bytes | Path] = {
        "boosters_in_image.py": Path(__file__).with_name("boosters_in_image.py"),
        **{f"{name}.pkl": path for name, path in pickles.items()},
        **{
            f"{rows}.parquet": data.shaped(features=names, benchmarks=(), rows=rows, cache=cache).live for rows in _ROWS
        },
    }
    plan = {
        "models": {
            name: {"model": f"{_BOX}/{name}.pkl", "frame": f"{_BOX}/{_ROWS[0]}.parquet", "rows": _MODELS[name][3]}
            for name in pickles
        },
        "frames": {str(rows): f"{_BOX}/{rows}.parquet" for rows in _ROWS},
        "runs": _RUNS,
    }
    named["plan.json"] = json.dumps(plan).encode()
    entries = [tar_stream.Entry(name=name, content=content) for name, content in named.items()]
    limits = engine.Limits(cpus=1, memory=4 << 30)
    command = ("python", f"{_BOX}/boosters_in_image.py", f"{_BOX}/plan.json")
    with (
        run.start(on) as identity,
        on.container(look_alike.image.id, command, run=identity, limits=limits, network=False) as container,
    ):
        return _printed(container, entries)


def _printed(container: engine.Container, entries: list[tar_stream.Entry]) -> dict[str, Any]:
    container.put(tar_stream.pack(entries))
    ended = container.run(1_200)
    printed = container.log()
    if ended.code != 0:
        raise RuntimeError(f"the measurement ended with exit {ended.code}: {printed[-1500:]}")
    found: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return found
