"""Benchmarks of whole commands: alone, or against the docker commands that a person would type instead."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import project, table
from builder import paths
from builder.bundle.storage import read
from builder.validate import data

if TYPE_CHECKING:
    from collections.abc import Iterator

_IMPORTS = "import numpy, pandas, cloudpickle"
_RUNS = 7


def time_help() -> Iterator[table.Row]:
    """Time ``--help``."""
    yield _time_command("--help", [sys.executable, "-m", "builder", "--help"], 0.5)


def time_unchanged_build() -> Iterator[table.Row]:
    """Time ``make pickle`` with nothing changed."""
    yield _time_command("make pickle, nothing changed", ["make", "-s", "pickle", "CONFIG=configs/mlp.yaml"], 0.9)


def _time_command(name: str, command: list[str], target: float) -> table.Row:
    seconds = []
    for _ in range(_RUNS + 1):
        started = time.perf_counter()
        project.run(command, cwd=project.ROOT)
        seconds.append(time.perf_counter() - started)
    seconds = seconds[1:]  # the first run may have had to build
    return table.Row(
        name=name,
        against="(seconds)",
        value=statistics.median(seconds),
        unit="s",
        target=target,
        detail=f"{min(seconds):.2f} to {max(seconds):.2f} s over {_RUNS} runs",
    )


def time_changed_build() -> Iterator[table.Row]:
    """Time ``pickle`` with a changed bundle against a container that only imports the libraries."""
    with project.create_project() as root:
        image = project.build_pickle(root, "mlp")["image"]["base"]
        bundle = root / "configs" / "bundles" / "mlp" / "bundle.json"
        numbers = itertools.count()

        def build() -> None:
            content = json.loads(bundle.read_bytes())
            content["trained"]["change"] = next(numbers)
            bundle.write_text(json.dumps(content))
            project.run_builder(root, "pickle", "configs/mlp.yaml")

        def import_libraries() -> None:
            project.run_docker("run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", _IMPORTS)

        ours, baseline, ratio = table.time_pairs(build, import_libraries, _RUNS)
    yield table.Row(
        name="pickle, changed bundle",
        against="docker run ... -c 'import ...'",
        value=ratio,
        unit="x",
        target=2.5,
        detail=f"{ours:.2f} s, {baseline:.2f} s",
    )


def time_validate() -> Iterator[table.Row]:
    """Time ``validate`` at full width against the documented local test, on the same files and with the same limits.

    A second row compares its scenarios with its own run of the entry point.
    """
    reports: list[dict[str, Any]] = []
    with project.create_project() as root:
        image = project.build_pickle(root, "wide")["image"]["base"]
        bundle = read.read(root / "configs" / "bundles" / "wide")
        cache = paths.cache_folder() / "shaped"
        files = data.make_shaped_data(features=bundle.features, benchmarks=bundle.benchmarks, cache=cache)
        inputs = {"live.parquet": files.live, "benchmarks.parquet": files.benchmarks or files.live}
        inputs["model.pkl"] = root / "dist" / "wide" / "model.pkl"
        for name, path in inputs.items():
            shutil.copyfile(path, root / name)

        def run_documented_test() -> None:
            limits = ("--cpus", "1", "--memory", "4g", "--memory-swap", "4g", "--network", "none")
            options = ("--debug", "--model", f"{root}/model.pkl", "--output_dir", str(root))
            data_options = ("--dataset", f"{root}/live.parquet", "--benchmarks", f"{root}/benchmarks.parquet")
            project.run_docker("run", "-i", "--rm", *limits, "-v", f"{root}:{root}", image, *options, *data_options)

        def run_validate() -> None:
            reports.append(json.loads(project.run_builder(root, "validate", "configs/wide.yaml", "--json")))

        ours, baseline, ratio = table.time_pairs(run_validate, run_documented_test, _RUNS)
        assert list(Path(root).glob("live_predictions-*.csv")), "the documented test wrote nothing"
    yield table.Row(
        name="validate, 3,555 features",
        against="docker run ... --debug",
        value=ratio,
        unit="x",
        target=2.5,
        detail=f"{ours:.2f} s, {baseline:.2f} s",
    )
    entry = [report["usage"]["seconds"] for report in reports[1:]]
    scenarios = [report["scenarios"]["seconds"] for report in reports[1:]]
    yield table.Row(
        name="its scenarios, 3,555 features",
        against="the entry point's own run",
        value=statistics.median(a / b for a, b in zip(scenarios, entry, strict=True)),
        unit="x",
        target=2,
        detail=f"{statistics.median(scenarios):.2f} s, {statistics.median(entry):.2f} s",
    )
