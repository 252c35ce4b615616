"""Predicts with a model in float64, and computes the tolerance for the float32 predictions of its pickle.

The code that predicts is the predict source of the pickle (``builder.inside.predict``), run in this process with all
numbers in float64. It needs pandas; some models need more: LightGBM models the library, some activations SciPy.
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

BOOSTER_LIBRARIES = {"lightgbm": "LightGBM", "xgboost": "XGBoost", "catboost": "CatBoost"}
"""The names of the libraries that only boosters need to predict, by their packages."""
RELATIVE_TOLERANCE = 1e-5
"""Fraction of the range of the predictions."""
FLOOR_ULP = 8
"""Float32 steps (units in the last place): rounding in the sums of a wide layer costs a few of them."""
UNKNOWN_STEPS = 3
"""Tolerance, in rank steps, for a member whose predictions cannot be computed here."""


def predict(model: bundle_model.Model, inputs: Array, *, eras: Eras = None) -> Array:
    """Predict before post-processing, in float64.

    Args:
        model: Any model except a custom one.
        inputs: float64 (rows, n): features, then benchmark columns, in the units of live data; NaN if missing.
        eras: The era of each row (rows,), for ensembles that rank within eras; None: all rows are one era.

    Returns:
        float64 (rows,); infinite or NaN after an overflow.

    Raises:
        errors.LibraryError: pandas, or a library that this model needs, is not installed.
        errors.BundleError: LightGBM cannot read the booster's text.
    """
    if isinstance(model, bundle_model.Ensemble):
        return combine(model.members, _predict_members(model, inputs), eras=eras)
    features = [f"input_{index}" for index in range(inputs.shape[1])]
    return _run(fold_model(model, features=features, exact=True), inputs, eras)


def predict_with_tolerances(model: bundle_model.Model, inputs: Array, *, eras: Eras = None) -> tuple[Array, Array]:
    """Predict in float64, and compute the tolerance of float32 predictions in each row.

    The tolerance is that of ``compute_tolerance`` in every row, except for ensembles that rank: it is larger in rows
    whose rank can change within the tolerance of the members' predictions. Arguments and errors: see ``predict``.

    Returns:
        Predictions and tolerances, both float64 (rows,); the tolerance of a prediction that is not finite is NaN.
    """
    if not isinstance(model, bundle_model.Ensemble):
        expected = predict(model, inputs, eras=eras)
        return expected, np.full(len(expected), compute_tolerance(expected))
    values = _predict_members(model, inputs)
    expected = combine(model.members, values, eras=eras)
    return expected, _compute_ensemble_tolerances(model.members, values, expected, eras)


def needs_image(model: bundle_model.Model) -> bool:
    """Return whether only a container may predict with a model of unknown origin: it has code, or a binary file.

    The libraries check such a file less than a bundle is checked here.
    """
    if isinstance(model, bundle_model.Ensemble):
        return any(needs_image(member.model) for member in model.members)
    return isinstance(model, (bundle_model.Custom, bundle_model.XgBoost, bundle_model.CatBoost))


def compute_golden_tolerances(model: bundle_model.Model, golden: bundle_model.GoldenRows) -> Array:
    """Compute the tolerance between a pickle's and the framework's predictions of the golden rows: float64 (rows,).

    For a member of an ensemble that cannot run here, for example because its library is not installed, the tolerance is
    ``UNKNOWN_STEPS`` rank steps.
    """
    if not isinstance(model, bundle_model.Ensemble):
        return np.full(len(golden.predictions), compute_tolerance(golden.predictions))
    values: list[Array | None] = []
    for member in model.members:
        try:
            is_known = not needs_image(member.model)
            values.append(_predict_member(member, model, golden.inputs.astype(np.float64)) if is_known else None)
        except (errors.LibraryError, errors.BundleError):
            values.append(None)
    return _compute_ensemble_tolerances(model.members, values, golden.predictions, None)


def combine(members: Sequence[bundle_model.Member], predictions: Sequence[Array], *, eras: Eras = None) -> Array:
    """Combine the predictions of an ensemble's members: float64 (rows,).

    Args:
        members: Only their weights, transforms and scopes are used, not their models.
        predictions: For each member, float64 (rows,).
        eras: See ``predict``.

    Raises:
        errors.LibraryError: pandas is not installed, or SciPy if a member is gaussianised.
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
    """Convert a model to the form that the predict source takes, without post-processing.

    Args:
        model: Any model.
        features: Names of the first inputs.
        benchmarks: Names of the other inputs.
        exact: Keep all numbers in float64; otherwise large arrays are float32, as in a pickle.
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
    """Compute the largest difference that float32 predictions may have from the expected ones.

    It is 1e-5 of the range of ``expected``, but at least 8 float32 steps at the largest magnitude: if the rows are
    (nearly) equal, the range is (nearly) 0, and float32 cannot be more precise than its own steps.

    Args:
        expected: float64 (rows,), at least one row.
    """
    # Predictions that are not finite have the tolerance NaN, which no difference meets.
    with np.errstate(over="ignore", invalid="ignore"):
        step = float(np.spacing(np.float32(np.abs(expected).max())))
        return max(FLOOR_ULP * step, RELATIVE_TOLERANCE * float(np.ptp(expected)))


def find_worst_difference(actual: Array, expected: Array, tolerances: Array) -> tuple[float, float]:
    """Find the row whose difference is the largest in relation to its tolerance.

    Args:
        actual: float64 (rows,), at least one row.
        expected: float64 (rows,).
        tolerances: float64 (rows,): the largest allowed differences.

    Returns:
        Difference and tolerance in that row. The predictions agree if ``difference <= tolerance``, which is False if
        the difference is NaN.
    """
    # NaN and infinity are sorted last, so that they are the worst.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        differences = np.abs(actual - expected)
        ratios = np.nan_to_num(differences / tolerances, nan=np.inf)
    worst = int(np.lexsort((tolerances, -ratios))[0])  # in a tie (all differences are 0), the smallest tolerance
    return float(differences[worst]), float(tolerances[worst])


def _run(folded: dict[str, Any], inputs: Array, eras: Eras) -> Array:
    """Run the predict source on rows of inputs; what it prints for the tournament's log is discarded."""
    try:
        from builder.inside import predict_inputs  # noqa: PLC0415 - pandas

        live, benchmarks = predict_inputs.to_frames(inputs, folded["features"], folded.get("benchmarks", []))
        module = _load_source(folded)
        if eras is not None:
            live = live.assign(era=eras)
        # An overflow is visible in the result (infinity or NaN); numpy's warning would only show a line of the source.
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(over="ignore", invalid="ignore"):
            predictions: Array = module.predict_raw(live, benchmarks)
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        raise errors.LibraryError(
            f"{library} is not installed, but this model needs it to predict; run `pip install {library}`",
            library=library,
        ) from error
    except (ImportError, OSError) as error:
        raise errors.LibraryError(
            f"cannot load a library that this model needs to predict: {error}; install it again"
        ) from error
    except Exception as error:
        library = type(error).__module__.partition(".")[0].lstrip("_")  # CatBoost's own is _catboost
        if library not in BOOSTER_LIBRARIES:
            raise
        raise errors.BundleError(
            [f"{BOOSTER_LIBRARIES[library]} cannot read the booster: {error}; export the model again"]
        ) from error
    return predictions


def _load_source(folded: dict[str, Any]) -> ModuleType:
    """Load the modules of the predict source that a folded model needs, as one module with the model in it."""
    kinds_used = {folded["kind"], *(member["kind"] for member in folded.get("members", ()))} - {"predicted"}
    folder = paths.inside_folder() / "predict"
    module = source.load_module(source.resolve_files([fold.KINDS[kind].predict for kind in kinds_used], folder), folder)
    module.__dict__["MODEL"] = folded
    module.__dict__["RUNNERS"]["predicted"] = _get_member_values
    return module


def _get_member_values(member: dict[str, Any], _live: object, _benchmarks: object) -> Array:
    """Return the values of a member whose predictions were computed before: the runner of the kind ``predicted``."""
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
    """Compute the tolerance of an ensemble's prediction in each row from its members' predictions: float64 (rows,).

    If two rows are (nearly) equal, ranking turns a difference in the last digit into a whole rank step. So the
    tolerance differs by row: it includes the rank steps that are possible within the members' tolerances.
    """
    total = sum(abs(member.weight) for member in members)
    raw, rank_tolerances = 0.0, np.zeros(len(expected))
    for member, values in zip(members, predictions, strict=True):
        share = abs(member.weight) / total
        if values is None:
            steps = _compute_rank_tolerance(member, np.arange(len(expected), dtype=np.float64), None, UNKNOWN_STEPS / 2)
            rank_tolerances += share * steps.max()
            continue
        member_tolerance = compute_tolerance(values)
        raw += share * member_tolerance if member.transform == "raw" else 0.0
        rank_tolerances += share * _compute_rank_tolerance(member, values, eras, member_tolerance)
    # Members that cancel each other leave a sum whose range is smaller than the members' own tolerances.
    return max(raw, compute_tolerance(expected)) + rank_tolerances


def _compute_rank_tolerance(member: bundle_model.Member, values: Array, eras: Eras, tolerance: float) -> Array:
    """Compute how much a member's ranks can change in each row if its predictions change by up to ``tolerance``.

    Two rows can swap their ranks if their predictions differ by no more than twice the tolerance.

    Returns:
        float64 (rows,): 0 if no other row is that near, and for members that are not ranked.
    """
    result = np.zeros_like(values)
    if member.transform == "raw":
        return result
    for rows in _split_rank_groups(member, len(values), eras):
        group = values[rows]
        ordered = np.sort(group)
        count = len(group)
        lowest = np.searchsorted(ordered, group - 2 * tolerance, side="left") + 1
        highest = np.searchsorted(ordered, group + 2 * tolerance, side="right")
        before, through = (np.searchsorted(ordered, group, side=side) for side in ("left", "right"))
        middle, low, high = (before + 1 + through) / 2.0, lowest.astype(np.float64), highest.astype(np.float64)
        if member.transform == "rank":
            result[rows] = np.maximum(high - middle, middle - low) / count
        else:
            quantile, lower, upper = (_to_normal_quantiles(ranks, count) for ranks in (middle, low, high))
            mean, deviation = float(np.mean(quantile)), float(np.std(quantile)) or 1.0
            shift = np.maximum(upper - quantile, quantile - lower)
            # Every row's value also changes because the mean and the deviation of all rows change.
            shift_of_scaling = np.mean(shift) + np.abs(quantile - mean) / deviation * math.sqrt(np.mean(shift**2))
            result[rows] = (shift + shift_of_scaling) / deviation
    return result


def _split_rank_groups(member: bundle_model.Member, count: int, eras: Eras) -> list[NDArray[np.intp]]:
    """Return the indices of the rows that are ranked together, one array for each group."""
    if eras is None or member.scope == "frame":
        return [np.arange(count)]
    return [np.flatnonzero(eras == era) for era in np.unique(eras)]


def _to_normal_quantiles(ranks: Array, count: int) -> Array:
    normal = statistics.NormalDist()
    return np.array([normal.inv_cdf(share) for share in (ranks - 0.5) / count])
