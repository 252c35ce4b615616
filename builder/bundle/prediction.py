"""What a model predicts in float64, and how far a prediction in float32 may be from it.

The numbers are those of the predict source (``builder.inside.predict``), run in this process with nothing folded to
float32. It takes frames, so it needs pandas; some models need more: LightGBM its library, a few activations SciPy.
"""

from __future__ import annotations

import contextlib
import io
import math
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from builder import errors, paths
from builder.bundle import model as bundle_model
from builder.bundle.kinds import catalog as kinds
from builder.inside import fold, source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

Array = NDArray[np.float64]
Eras = NDArray[np.generic] | None

RELATIVE_TOLERANCE = 1e-5  # of the range of the predictions
FLOOR_ULP = 8  # float32 sums of a wide layer end a few units in the last place away even when done well
UNKNOWN_STEPS = 3
"""Rank steps that a member may be away by whose predictions cannot be had here."""


def predict(model: bundle_model.Model, inputs: Array, *, eras: Eras = None) -> Array:
    """Predict before post-processing, in float64.

    Args:
        model: Any but a custom one.
        inputs: float64 (rows, n): features, then benchmark columns, in their own units; NaN where missing.
        eras: The era of each row (rows,), for ensembles that rank within eras; None: all rows are one era.

    Returns:
        float64 (rows,). Not finite where the numbers leave float64's range: the caller judges that.

    Raises:
        errors.LibraryError: pandas is not installed, or a library that this model needs.
        errors.BundleError: LightGBM refuses the booster's text.
    """
    if isinstance(model, bundle_model.Ensemble):
        return combine(model.members, _predict_members(model, inputs), eras=eras)
    features = [f"input_{index}" for index in range(inputs.shape[1])]
    return _run(fold_model(model, features=features, exact=True), inputs, eras)


def predict_with_tolerances(model: bundle_model.Model, inputs: Array, *, eras: Eras = None) -> tuple[Array, Array]:
    """Predict in float64, and say how far float32 predictions may be away in each row.

    That is ``bound`` for every row, except for ensembles that rank: there it is more in rows whose rank the bounds of
    the members leave open.

    Args:
        model: As of ``predict``, which see for what is raised.
        inputs: As of ``predict``.
        eras: As of ``predict``.

    Returns:
        Two of float64 (rows,): predictions, and the largest differences; NaN where predictions are not finite.
    """
    if not isinstance(model, bundle_model.Ensemble):
        expected = predict(model, inputs, eras=eras)
        return expected, np.full(len(expected), compute_tolerance(expected))
    values = _predict_members(model, inputs)
    expected = combine(model.members, values, eras=eras)
    return expected, _compute_ensemble_tolerances(model.members, values, expected, eras)


def compute_golden_tolerances(model: bundle_model.Model, golden: bundle_model.GoldenRows) -> Array:
    """Return how far a pickle's predictions of the golden rows may be from the framework's: float64 (rows,).

    A member of an ensemble that does not run here, above all for want of its library, may be three rank steps away.
    """
    if not isinstance(model, bundle_model.Ensemble):
        return np.full(len(golden.predictions), compute_tolerance(golden.predictions))
    values: list[Array | None] = []
    for member in model.members:
        try:
            values.append(_predict_member(member, model, golden.inputs.astype(np.float64)))
        except (errors.LibraryError, errors.BundleError):
            values.append(None)
    return _compute_ensemble_tolerances(model.members, values, golden.predictions, None)


def combine(members: Sequence[bundle_model.Member], predictions: Sequence[Array], *, eras: Eras = None) -> Array:
    """Return what an ensemble makes of its members' predictions: float64 (rows,).

    Args:
        members: Their weights, transforms and scopes are used, not their models.
        predictions: For each member, float64 (rows,).
        eras: As of ``predict``.

    Raises:
        errors.LibraryError: pandas is not installed; or SciPy, where a member is gaussianised.
    """
    folded = {
        "kind": "ensemble",
        "features": [],
        "members": [
            {
                "kind": "predicted",
                "values": values,
                "weight": member.weight,
                "transform": member.transform,
                "scope": member.scope,
            }
            for member, values in zip(members, predictions, strict=True)
        ],
    }
    return _run(folded, np.empty((len(predictions[0]), 0)), eras)


def fold_model(
    model: bundle_model.Model, *, features: Sequence[str], benchmarks: Sequence[str] = (), exact: bool = False
) -> dict[str, Any]:
    """Return a model as the predict source takes it, without post-processing.

    Args:
        model: Any.
        features: Names of the first inputs.
        benchmarks: Names of the others.
        exact: Keep every number float64; else what is large is float32, as in a pickle.
    """
    kind = kinds.get_kind(model)
    header = {
        "kind": kinds.get_kind_name(model),
        "features": features,
        "benchmarks": benchmarks,
        "exact": exact,
        **kind.dump_keys(model),
    }
    with tempfile.TemporaryDirectory() as name:
        for file, content in kind.dump_files(model).items():
            path = Path(name) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        return fold.fold_model(header, dict(kind.dump_arrays(model)), Path(name))


def compute_tolerance(expected: Array) -> float:
    """Return the largest difference that float32 predictions may have from these.

    It is 1e-5 of the range of ``expected``, but not below 8 float32 steps at its largest magnitude: rows that are
    (nearly) alike have no range to speak of, and float32 cannot come closer than its own steps.

    Args:
        expected: float64 (rows,), at least one.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite has NaN for a bound, which nothing meets
        step = float(np.spacing(np.float32(np.abs(expected).max())))
        return max(FLOOR_ULP * step, RELATIVE_TOLERANCE * float(np.ptp(expected)))


def find_worst_difference(got: Array, expected: Array, bounds: Array) -> tuple[float, float]:
    """Return the difference in the row that is nearest to its bound, or farthest beyond it, and that bound.

    All is well where the first is at most the second; a difference that is NaN never is.

    Args:
        got: float64 (rows,), at least one.
        expected: float64 (rows,).
        bounds: float64 (rows,): the largest differences that are allowed.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # too far is too far
        differences = np.abs(got - expected)
        parts = np.nan_to_num(differences / bounds, nan=np.inf)
    worst = int(np.lexsort((bounds, -parts))[0])  # of rows without any difference, the one with the least bound
    return float(differences[worst]), float(bounds[worst])


def _run(folded: dict[str, Any], inputs: Array, eras: Eras) -> Array:
    """Run the predict source on rows of inputs; drop what it prints for the tournament's log."""
    try:
        from builder.inside import collect_results  # noqa: PLC0415 - pandas

        live, benchmarks = collect_results.to_frames(inputs, folded["features"], folded.get("benchmarks", []))
        module = _load_source(folded)
        if eras is not None:
            live = live.assign(era=eras)
        # An overflow shows in the result as infinity or NaN; a warning on top would be about the source's line.
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(over="ignore", invalid="ignore"):
            predictions: Array = module.predict_raw(live, benchmarks)
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        raise errors.LibraryError(
            f"{library} is not installed, and this model does not predict without it; run `pip install {library}`",
            library=library,
        ) from error
    except (ImportError, OSError) as error:
        raise errors.LibraryError(
            f"a library that this model takes to predict does not load: {error}; install it again"
        ) from error
    except Exception as error:
        if not type(error).__module__.startswith("lightgbm."):
            raise
        raise errors.BundleError([f"LightGBM refuses the booster's text: {error}; export the model again"]) from error
    return predictions


def _load_source(folded: dict[str, Any]) -> ModuleType:
    """Return the functions of the predict source that a folded model needs, the model among them."""
    kinds_used = {folded["kind"], *(member["kind"] for member in folded.get("members", ()))} - {"predicted"}
    folder = paths.inside_folder() / "predict"
    module = source.load_module(source.resolve_files([fold.KINDS[kind].predict for kind in kinds_used], folder), folder)
    module.__dict__["MODEL"] = folded
    module.__dict__["RUNNERS"]["predicted"] = _get_member_values
    return module


def _get_member_values(member: dict[str, Any], _live: object, _benchmarks: object) -> Array:
    """Run a member whose predictions are there already."""
    values: Array = member["values"]
    return values


def _predict_members(model: bundle_model.Ensemble, inputs: Array) -> list[Array]:
    return [_predict_member(member, model, inputs) for member in model.members]


def _predict_member(member: bundle_model.Member, model: bundle_model.Ensemble, inputs: Array) -> Array:
    columns = {name: index for index, name in enumerate((*model.features, *model.benchmarks))}
    return predict(member.model, inputs[:, [columns[name] for name in (*member.features, *member.benchmarks)]])


def _compute_ensemble_tolerances(
    members: Sequence[bundle_model.Member], predictions: Sequence[Array | None], expected: Array, eras: Eras
) -> Array:
    """Return how far an ensemble's prediction may be away in each row, given its members' predictions: float64 (rows,).

    A rank turns a difference in the last digit into a whole step where two rows are (nearly) alike. So the bound is
    one for each row: what its members' bounds can make of that row's rank, and nothing where they cannot.
    """
    total = sum(abs(member.weight) for member in members)
    raw, moved = 0.0, np.zeros(len(expected))
    for member, values in zip(members, predictions, strict=True):
        share = abs(member.weight) / total
        if values is None:
            steps = _compute_rank_tolerance(member, np.arange(len(expected), dtype=np.float64), None, UNKNOWN_STEPS / 2)
            moved += share * steps.max()
            continue
        own = compute_tolerance(values)
        raw += share * own if member.transform == "raw" else 0.0
        moved += share * _compute_rank_tolerance(member, values, eras, own)
    # Members that cancel leave a sum whose range is smaller than what each may be away by.
    return max(raw, compute_tolerance(expected)) + moved


def _compute_rank_tolerance(member: bundle_model.Member, values: Array, eras: Eras, compute_tolerance: float) -> Array:
    """Return how far a member's ranks may be away in each row, its predictions being right to ``bound``.

    Two rows may change places where they are within two bounds of one another.

    Returns:
        float64 (rows,): 0 where no row is near, and for members that are not ranked.
    """
    result = np.zeros_like(values)
    if member.transform == "raw":
        return result
    for rows in _split_rank_groups(member, len(values), eras):
        own = values[rows]
        ordered = np.sort(own)
        count = len(own)
        lowest = np.searchsorted(ordered, own - 2 * compute_tolerance, side="left") + 1
        highest = np.searchsorted(ordered, own + 2 * compute_tolerance, side="right")
        below, upto = (np.searchsorted(ordered, own, side=side) for side in ("left", "right"))
        middle, low, high = (below + 1 + upto) / 2.0, lowest.astype(np.float64), highest.astype(np.float64)
        if member.transform == "rank":
            result[rows] = np.maximum(high - middle, middle - low) / count
        else:
            at, lower, upper = (_to_normal_quantiles(ranks, count) for ranks in (middle, low, high))
            mean, spread = float(np.mean(at)), float(np.std(at)) or 1.0
            shifted = np.maximum(upper - at, at - lower)
            # The mean and the deviation of all rows move with them.
            of_all = np.mean(shifted) + np.abs(at - mean) / spread * math.sqrt(np.mean(shifted**2))
            result[rows] = (shifted + of_all) / spread
    return result


def _split_rank_groups(member: bundle_model.Member, count: int, eras: Eras) -> list[NDArray[np.intp]]:
    """Return the rows that are ranked together."""
    if eras is None or member.scope == "frame":
        return [np.arange(count)]
    return [np.flatnonzero(eras == era) for era in np.unique(eras)]


def _to_normal_quantiles(ranks: Array, count: int) -> Array:
    normal = statistics.NormalDist()
    return np.array([normal.inv_cdf(share) for share in (ranks - 0.5) / count])
