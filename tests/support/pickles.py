"""Pickles of bundles, made in this process or as the image makes them; and a fresh process to run one in."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import paths, post, reference, render
from builder.bundle import files as bundle_files
from builder.bundle import kinds, write
from builder.bundle import model as bundle_model
from builder.inside import fold, make
from tests.support import bundles

if TYPE_CHECKING:
    from collections.abc import Mapping

SCENARIO_BUNDLES = ("narrow", "linear", "wide", "ensemble")


def folded(made: bundle_model.Bundle) -> dict[str, Any]:
    """Return what the predict source takes: the bundle's numbers folded."""
    kind = kinds.KINDS[kinds.name_of(made.model)]
    header = {
        "kind": kinds.name_of(made.model),
        "features": made.features,
        "benchmarks": made.benchmarks,
        **kind.own_keys(made.model),
    }
    steps: list[Any] = list(post.as_data(made.post))
    with tempfile.TemporaryDirectory() as folder:
        for name, content in kind.own_files(made.model).items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        return fold.fold(header, dict(kind.own_arrays(made.model)), steps, Path(folder))


def pickled(made: bundle_model.Bundle) -> bytes:
    """Return the bundle's pickle, made in this process."""
    content, _ = make.dump(folded(made), paths.inside_folder() / "predict")
    return content


def predict_of(made: bundle_model.Bundle) -> Any:
    """Return ``predict`` as whoever loads the pickle gets it."""
    return pickle.loads(pickled(made))


def raw_of(predict: Any) -> Any:
    """Return the function that predicts before post-processing."""
    return predict.__globals__["predict_raw"]


def rendered(folder: Path, made: bundle_model.Bundle, *, base: str = "scratch") -> render.Rendered:
    """Write ``Dockerfile`` and ``context/`` for a bundle into ``folder``, and the bundle beside them."""
    bundle = folder / "bundle"
    write.write(bundle, made)
    plan = render.Plan(post=post.as_data(made.post), config={})
    files = bundle_files.paths(bundle)
    return render.write(render.render(name="test", base=base, plan=plan, bundle_files=files), folder)


def make_in(folder: Path, environment: Mapping[str, str], **options: Any) -> bytes:
    """Make the pickle as the Dockerfile does, in a fresh process; ``options`` go to ``subprocess.run``."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "inside.make"],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(make.MARK)
    return (folder / "out" / "model.pkl").read_bytes()


def scenario_bundle(name: str) -> bundle_model.Bundle:
    """Return one of :data:`SCENARIO_BUNDLES`: the kinds of model that the scenarios are run on."""
    if name == "narrow":  # every layer float64; gelu takes scipy
        return bundles.bundle(
            12, ("bench_a", "bench_b"), network=bundles.mlp(14, widths=(16, 8), names=("gelu", "mish"))
        )
    if name == "linear":
        return bundles.bundle(9, network=bundles.mlp(9, widths=(), names=(), dtype="float64"))
    if name == "ensemble":
        return _two_networks()
    network = bundles.mlp(301, widths=(160, 24), names=("relu", "tanh"))
    centre, scale = network.centre.copy(), network.scale.copy()
    centre[-1], scale[-1] = 0.5, 0.01  # a benchmark with little spread: its centre is far away
    centre[3], scale[3] = 2, 0.25
    return bundles.bundle(300, ("bench",), network=dataclasses.replace(network, centre=centre, scale=scale))


def _two_networks() -> bundle_model.Bundle:
    """Return an ensemble: of some features, each member has others, in an order of its own."""
    names, columns = tuple(f"feature_{place}" for place in range(12)), ("bench_a", "bench_b")
    large, small = bundles.mlp(14, widths=(160,), seed=3), bundles.mlp(6, widths=(), names=(), seed=4)
    ensemble = bundle_model.Ensemble(
        members=(
            bundle_model.Member(model=large, features=names, benchmarks=columns, weight=2.0),
            bundle_model.Member(model=small, features=names[4::-1], benchmarks=columns[1:], weight=-0.5),
        )
    )
    return bundles.bundle(12, columns, network=ensemble)


def write_case(folder: Path, made: bundle_model.Bundle, *, rows: int = 90) -> Path:
    """Write ``model.pkl`` and ``case.npz``, as ``tests.support.scenarios`` reads them; return the folder."""
    random = np.random.default_rng(11)
    features = random.integers(0, 5, size=(rows, len(made.features))).astype(np.float64)
    inputs = np.concatenate([features, random.random((rows, len(made.benchmarks)))], axis=1)
    expected = reference.predict(made.model, inputs)
    (folder / "model.pkl").write_bytes(pickled(made))
    np.savez(folder / "case.npz", inputs=inputs, expected=expected, bound=reference.bound(expected))
    return folder
