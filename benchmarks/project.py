"""A folder of the benchmarks' own with configs and bundles in it, and the tool run there as a person runs it."""

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
BIG = "big"  # 2,748-512-128-1 with relu
_SIZES = (2748, 512, 128, 1)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Yield a root with ``configs/mlp.yaml``, ``configs/wide.yaml`` and ``configs/big.yaml``; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="numerai-builder-bench-") as name:
        root = Path(name)
        shutil.copytree(ROOT / "configs", root / "configs", ignore=shutil.ignore_patterns("train"))
        write.write(root / "configs" / "bundles" / BIG, big_bundle())
        text = (root / "configs" / "wide.yaml").read_text()
        (root / "configs" / f"{BIG}.yaml").write_text(
            text.replace("name: wide", f"name: {BIG}").replace("/wide", f"/{BIG}")
        )
        yield root


def builder(root: Path, *arguments: str) -> str:
    """Run the tool; return what it printed.

    Raises:
        RuntimeError: It failed; the message has what it printed.
    """
    return run([sys.executable, "-m", "builder", *arguments], cwd=root)


def pickle(root: Path, name: str) -> dict[str, Any]:
    """Make a config's pickle; return its manifest."""
    made: dict[str, Any] = json.loads(builder(root, "pickle", f"configs/{name}.yaml", "--json"))["manifest"]
    return made


def docker(*arguments: str) -> None:
    """Run the docker client; raises what :func:`run` raises."""
    run(["docker", *arguments])


def run(command: Sequence[str], cwd: Path = ROOT) -> str:
    """Run a program; return what it printed.

    Raises:
        RuntimeError: It failed; the message has its last lines on standard error.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)[:80]}` ended with exit {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout


def big_bundle() -> model.Bundle:
    """Return a network of today's width with random weights, float32, from a fixed seed."""
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
        features=tuple(f"feature_{place:04d}" for place in range(count)),
        model=network,
        golden=model.GoldenRows(inputs=rows, predictions=prediction.predict(network, rows)),
        post=(post.make_step("rank"),),
        trained={"framework": "numpy", "note": "random weights, for speed; not trained"},
    )
