"""Create a temporary project with configs and bundles, and run the tool in it as a person does."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.bundle import activations, model, post, prediction
from builder.bundle.storage import write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
BIG = "big"  # 3,555-512-128-1 with relu
_SIZES = (3555, 512, 128, 1)


@contextlib.contextmanager
def create_project() -> Iterator[Path]:
    """Yield a folder with ``configs/mlp.yaml``, ``configs/wide.yaml`` and ``configs/big.yaml``, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="numerai-builder-bench-") as name:
        root = Path(name)
        shutil.copytree(ROOT / "configs", root / "configs", ignore=shutil.ignore_patterns("train"))
        write.write(root / "configs" / "bundles" / BIG, create_big_bundle())
        text = (root / "configs" / "wide.yaml").read_text()
        (root / "configs" / f"{BIG}.yaml").write_text(
            text.replace("name: wide", f"name: {BIG}").replace("/wide", f"/{BIG}")
        )
        yield root


def run_builder(root: Path, *arguments: str) -> str:
    """Run the tool; return its standard output.

    Raises:
        RuntimeError: It failed; the message has its last lines on standard error.
    """
    return run([sys.executable, "-m", "builder", *arguments], cwd=root)


def build_pickle(root: Path, name: str) -> dict[str, Any]:
    """Build the pickle of a config; return its manifest."""
    manifest: dict[str, Any] = json.loads(run_builder(root, "pickle", f"configs/{name}.yaml", "--json"))["manifest"]
    return manifest


def run_docker(*arguments: str) -> None:
    """Run the docker client; raises the errors of :func:`run`."""
    run(["docker", *arguments])


def run(command: Sequence[str], cwd: Path = ROOT) -> str:
    """Run a program; return its standard output.

    Raises:
        RuntimeError: It failed; the message has its last lines on standard error.
    """
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(
            f"`{' '.join(command)[:80]}` failed with exit code {result.returncode}: {result.stderr[-1000:]}"
        )
    return result.stdout


def create_big_bundle() -> model.Bundle:
    """Return a network with as many features as v5.3 has, and random float32 weights from a fixed seed."""
    random = np.random.default_rng(5)
    layers = tuple(
        model.make_node(
            "dense",
            weights=random.normal(0, 1 / np.sqrt(n_in), (n_in, n_out)).astype(np.float32),
            bias=random.normal(0, 0.1, n_out).astype(np.float32),
            activation=activations.Activation(name="relu" if n_out > 1 else "identity"),
        )
        for n_in, n_out in itertools.pairwise(_SIZES)
    )
    count = _SIZES[0]
    centre, scale = np.full(count, 2.0), np.full(count, np.sqrt(2.0))
    network = model.Network(layers=layers, imputation=centre, centre=centre, scale=scale)
    rows = random.integers(0, 5, (8, count)).astype(np.float64)
    return model.Bundle(
        features=tuple(f"feature_{index:04d}" for index in range(count)),
        model=network,
        golden=model.GoldenRows(inputs=rows, predictions=prediction.predict(network, rows)),
        post=(post.make_step("rank"),),
        trained={"framework": "numpy", "note": "random weights, for speed; not trained"},
    )
