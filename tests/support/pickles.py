"""Build pickles of bundles, in this process or in a new one as in the image."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder import paths
from builder.build import render
from builder.bundle import activations, post, prediction
from builder.bundle import model as bundle_model
from builder.bundle.storage import files as bundle_files
from builder.bundle.storage import write
from builder.export import conversion, lightgbm_models
from builder.export.sklearn import tree_arrays
from builder.inside import build_pickle, serialize
from tests.support import bundles, formulas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCENARIO_BUNDLES = ("narrow", "linear", "wide", "nodes", "trees", "lightgbm", "ensemble", "mixed")


class Calls:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def fold_bundle(bundle: bundle_model.Bundle) -> dict[str, Any]:
    """Return the folded model of a bundle, for the predict source."""
    model = prediction.fold_model(bundle.model, features=bundle.features, benchmarks=bundle.benchmarks)
    steps: list[Any] = list(post.as_data(bundle.post))
    return {**model, "post": [[name, options] for step in steps for name, options in step.items()]}


def pickle_bundle(bundle: bundle_model.Bundle) -> bytes:
    """Return the bundle's pickle, built in this process."""
    content, _ = serialize.serialize_model(fold_bundle(bundle), paths.inside_folder() / "predict")
    return content


def load_predict(bundle: bundle_model.Bundle) -> Any:
    """Return ``predict``, loaded from the bundle's pickle."""
    return pickle.loads(pickle_bundle(bundle))


def get_predict_raw(predict: Any) -> Any:
    """Return the function that predicts before post-processing."""
    return predict.__globals__["predict_raw"]


def render_bundle(folder: Path, bundle: bundle_model.Bundle, *, base: str = "scratch") -> render.BuildContext:
    """Write ``Dockerfile`` and ``context/`` for a bundle into ``folder``, and the bundle beside them."""
    bundle_folder = folder / "bundle"
    write.write(bundle_folder, bundle)
    plan = render.BuildPlan(post=post.as_data(bundle.post), config={})
    files = bundle_files.list_paths(bundle_folder)
    return render.write(render.render(name="test", base=base, plan=plan, bundle_files=files), folder)


def build_in(folder: Path, environment: Mapping[str, str], **options: Any) -> bytes:
    """Build the pickle as the Dockerfile does, in a new process; ``options`` are for ``subprocess.run``."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    result = subprocess.run(
        [sys.executable, "-m", "inside.build_pickle"],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(build_pickle.MARK)
    return (folder / "out" / "model.pkl").read_bytes()


def scenario_bundle(name: str) -> bundle_model.Bundle:
    """Return one of :data:`SCENARIO_BUNDLES`: the kinds of model that the scenarios are run on."""
    if name == "narrow":  # all layers float64; gelu uses scipy
        return bundles.make_bundle(
            12, ("bench_a", "bench_b"), network=bundles.make_network(14, widths=(16, 8), names=("gelu", "mish"))
        )
    if name == "linear":
        return bundles.make_bundle(9, network=bundles.make_network(9, widths=(), names=(), dtype="float64"))
    if name in _FACTORIES:
        return _FACTORIES[name]()
    network = bundles.make_network(301, widths=(160, 24), names=("relu", "tanh"))
    centre, scale = network.centre.copy(), network.scale.copy()
    centre[-1], scale[-1] = 0.5, 0.01  # a benchmark with little spread: its centre is far away
    centre[3], scale[3] = 2, 0.25
    return bundles.make_bundle(300, ("bench",), network=dataclasses.replace(network, centre=centre, scale=scale))


def _make_training_data(count: int) -> tuple[Any, Any]:
    """Return rows like live features, and a target."""
    random = np.random.default_rng(8)
    rows = random.integers(0, 5, size=(400, count)).astype(np.float64)
    return rows, rows @ random.normal(size=count) + random.normal(size=400)


def _make_forest(count: int) -> bundle_model.Trees:
    """Return a scikit-learn forest; missing values are imputed first, so that it gets no NaN."""
    from sklearn.ensemble import RandomForestRegressor

    estimator = RandomForestRegressor(9, max_depth=6, random_state=1).fit(*_make_training_data(count))
    arrays = tree_arrays.from_sklearn_trees([tree.tree_ for tree in estimator.estimators_])
    plain = bundle_model.Preprocessing(imputation=np.full(count, 2.0), centre=np.zeros(count), scale=np.ones(count))
    return bundle_model.Trees(**arrays, base=np.zeros(1), rounded=True, averaged=True, preprocessing=plain)


def _make_booster(count: int) -> bundle_model.LightGbm:
    """Return a booster, which handles missing values itself."""
    import lightgbm

    rows, target = _make_training_data(count)
    estimator = lightgbm.train(
        {"objective": "l2", "num_leaves": 7, "verbosity": -1, "num_threads": 1}, lightgbm.Dataset(rows, target), 12
    )
    names = tuple(f"feature_{index}" for index in range(count))
    inputs = conversion.InputSpec(features=names, benchmarks=(), sample=rows, imputation=np.full(count, 2.0))
    bundle = lightgbm_models.convert(estimator, inputs).model
    assert isinstance(bundle, bundle_model.LightGbm)
    return bundle


def _make_nodes() -> bundle_model.Bundle:
    """Return a network with a norm, a residual sum and a concatenation."""
    random, wide = np.random.default_rng(2), activations.Activation(name="tanh")

    def dense(inputs: int, outputs: int, *sources: int) -> bundle_model.Node:
        weights, bias = random.normal(size=(inputs, outputs)) / inputs**0.5, random.normal(size=outputs)
        return bundle_model.make_node("dense", weights=weights, bias=bias, activation=wide, sources=sources)

    network = bundle_model.Network(
        layers=(
            dense(12, 8),
            bundle_model.make_node("norm", gain=random.normal(size=8), shift=random.normal(size=8), epsilon=1e-5),
            dense(8, 8),
            bundle_model.make_node("sum", sources=(1, 2)),
            bundle_model.make_node("concat", sources=(3, -1)),
            dense(20, 1),
        ),
        imputation=np.full(12, 2.0),
        centre=np.full(12, 2.0),
        scale=np.full(12, 1.5),
    )
    return bundles.make_bundle(12, network=network)


def _make_mixed() -> bundle_model.Bundle:
    """Return an ensemble of three kinds of members."""
    names = tuple(f"feature_{index}" for index in range(12))
    members = (
        bundle_model.Member(model=_make_forest(6), features=names[:6], weight=0.5),
        bundle_model.Member(model=_make_booster(6), features=names[6:], weight=1.5),
        bundle_model.Member(model=bundles.make_network(4), features=names[3::-1]),
    )
    return bundles.make_bundle(12, network=bundle_model.Ensemble(members=members))


def _make_two_networks() -> bundle_model.Bundle:
    """Return an ensemble whose members take different features in different orders."""
    names, columns = tuple(f"feature_{index}" for index in range(12)), ("bench_a", "bench_b")
    large, small = bundles.make_network(14, widths=(160,), seed=3), bundles.make_network(6, widths=(), names=(), seed=4)
    ensemble = bundle_model.Ensemble(
        members=(
            bundle_model.Member(model=large, features=names, benchmarks=columns, weight=2.0),
            bundle_model.Member(model=small, features=names[4::-1], benchmarks=columns[1:], weight=-0.5),
        )
    )
    return bundles.make_bundle(12, columns, network=ensemble)


_FACTORIES: Mapping[str, Callable[[], bundle_model.Bundle]] = {
    "ensemble": _make_two_networks,
    "lightgbm": lambda: bundles.make_bundle(12, network=_make_booster(12)),
    "mixed": _make_mixed,
    "nodes": _make_nodes,
    "trees": lambda: bundles.make_bundle(12, network=_make_forest(12)),
}


def write_scenario_case(folder: Path, bundle: bundle_model.Bundle, *, rows: int = 90) -> Path:
    """Write ``model.pkl`` and ``case.npz``, as ``tests.support.scenarios`` reads them; return the folder."""
    random = np.random.default_rng(11)
    features = random.integers(0, 5, size=(rows, len(bundle.features))).astype(np.float64)
    inputs = np.concatenate([features, random.random((rows, len(bundle.benchmarks)))], axis=1)
    expected = formulas.predict(bundle.model, inputs)
    (folder / "model.pkl").write_bytes(pickle_bundle(bundle))
    np.savez(folder / "case.npz", inputs=inputs, expected=expected, bound=prediction.compute_tolerance(expected))
    return folder
