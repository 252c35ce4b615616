"""Whole commands against what a person would type by hand."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import project, table
from builder import paths
from builder.bundle.storage import read
from builder.validate import data

if TYPE_CHECKING:
    from collections.abc import Iterator

_IMPORTS = "import numpy, pandas, cloudpickle"
_RUNS = 7


def show_help() -> Iterator[table.Row]:
    """``--help``."""
    yield _timed("--help", [sys.executable, "-m", "builder", "--help"], 0.5)


def unchanged() -> Iterator[table.Row]:
    """``make pickle`` with nothing changed."""
    yield _timed("make pickle, nothing changed", ["make", "-s", "pickle", "CONFIG=configs/mlp.yaml"], 0.9)


def _timed(name: str, command: list[str], target: float) -> table.Row:
    seconds = []
    for _ in range(_RUNS + 1):
        started = time.perf_counter()
        project.run(command, cwd=project.ROOT)
        seconds.append(time.perf_counter() - started)
    seconds = seconds[1:]  # what had changed before was made in the first
    return table.Row(
        name=name,
        against="(seconds)",
        value=statistics.median(seconds),
        unit="s",
        target=target,
        detail=f"{min(seconds):.2f} to {max(seconds):.2f} s over {_RUNS} runs",
    )


def changed() -> Iterator[table.Row]:
    """``pickle`` with a changed bundle."""
    with project.folder() as root:
        image = project.pickle(root, "mlp")["image"]["base"]
        bundle = root / "configs" / "bundles" / "mlp" / "bundle.json"
        numbers = itertools.count()

        def make() -> None:
            content = json.loads(bundle.read_bytes())
            content["trained"]["change"] = next(numbers)
            bundle.write_text(json.dumps(content))
            project.builder(root, "pickle", "configs/mlp.yaml")

        def bare() -> None:
            project.docker("run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", _IMPORTS)

        ours, theirs, ratio = table.pairs(make, bare, _RUNS)
    yield table.Row(
        name="pickle, changed bundle",
        against="docker run ... -c 'import ...'",
        value=ratio,
        unit="x",
        target=2.5,
        detail=f"{ours:.2f} s, {theirs:.2f} s",
    )


def validate() -> Iterator[table.Row]:
    """``validate`` at full width against the documented local test, on the same files under the same limits."""
    with project.folder() as root:
        image = project.pickle(root, "wide")["image"]["base"]
        bundle = read.read(root / "configs" / "bundles" / "wide")
        cache = paths.cache_folder() / "shaped"
        files = data.make_shaped_data(features=bundle.features, benchmarks=bundle.benchmarks, cache=cache)
        given = {"live.parquet": files.live, "benchmarks.parquet": files.benchmarks or files.live}
        given["model.pkl"] = root / "dist" / "wide" / "model.pkl"
        for name, path in given.items():
            shutil.copyfile(path, root / name)

        def documented() -> None:
            limits = ("--cpus", "1", "--memory", "4g", "--memory-swap", "4g", "--network", "none")
            options = ("--debug", "--model", f"{root}/model.pkl", "--output_dir", str(root))
            inputs = ("--dataset", f"{root}/live.parquet", "--benchmarks", f"{root}/benchmarks.parquet")
            project.docker("run", "-i", "--rm", *limits, "-v", f"{root}:{root}", image, *options, *inputs)

        def ours() -> None:
            project.builder(root, "validate", "configs/wide.yaml")

        mine, theirs, ratio = table.pairs(ours, documented, _RUNS)
        assert list(Path(root).glob("live_predictions-*.csv")), "the documented test wrote nothing"
    yield table.Row(
        name="validate, 2,748 features",
        against="docker run ... --debug",
        value=ratio,
        unit="x",
        target=2.5,
        detail=f"{mine:.2f} s, {theirs:.2f} s",
    )
