"""``bundle check``: list every problem of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, paths
from builder.bundle.storage import files, store
from builder.cli import terminal
from builder.cli.parameters import BundlePath, Json

if TYPE_CHECKING:
    from builder.bundle import model as bundle_model


def run(*, path: BundlePath, json_wanted: Json = False) -> int:
    """Print every problem of a bundle; exit 1 if there is one."""
    from builder.bundle.storage import read  # noqa: PLC0415 - numpy

    try:
        folder = store.resolve_folder(path, paths.cache_folder())
        with store.report_as(path, folder):
            bundle = read.read(folder)
            _check_golden_rows(folder, bundle)
            digest = files.hash_bundle(folder)
    except errors.BundleError as error:
        if not json_wanted:
            raise
        terminal.print_json({"format": 1, "path": str(path), "good": False, "faults": error.problems})
        return error.exit_code
    if json_wanted:
        terminal.print_json({"format": 1, "path": str(path), "good": True, "faults": [], "hash": digest})
    else:
        terminal.print_lines(f"ok: {path}: {_format_kind(bundle)}; {digest}")
    return 0


def _check_golden_rows(folder: Path, bundle: bundle_model.Bundle) -> None:
    """Compare the predictions of the bundle's arrays with the framework's own predictions for the golden rows.

    Raises:
        errors.BundleError: They differ by more than the tolerance.
    """
    import numpy as np  # noqa: PLC0415

    from builder.bundle import prediction  # noqa: PLC0415

    if prediction.needs_image(bundle.model):
        return  # `validate` compares its golden rows in the image
    golden = bundle.golden.predictions
    try:
        expected, bounds = prediction.predict_with_tolerances(bundle.model, bundle.golden.inputs.astype(np.float64))
    except errors.LibraryError as error:
        if error.library not in prediction.BOOSTER_LIBRARIES:
            raise
        # Only these models need lightgbm to predict, and the image has it: do not require it on this machine.
        note = f"note: the golden rows are not compared here: {error}; `validate` compares them in the image"
        terminal.show(note)
        return
    except errors.BundleError as error:
        raise errors.BundleError([f"{folder}: {problem}" for problem in error.problems]) from error
    difference, bound = prediction.find_worst_difference(golden, expected, bounds)
    if not difference <= bound:
        with np.errstate(invalid="ignore"):
            beyond = np.flatnonzero(~(np.abs(golden - expected) <= bounds))
        more = f" and {len(beyond) - 1:,} more" if len(beyond) > 1 else ""
        text = (
            f"{folder / files.GOLDEN}: predictions: the bundle's predictions differ from the framework's by up to "
            f"{difference:.2g} (row {beyond[0]}{more}); at most {bound:.2g} is allowed; export the model again"
        )
        raise errors.BundleError([text])


def _format_kind(bundle: bundle_model.Bundle) -> str:
    from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415

    count = kinds.count_parameters(bundle.model)
    return f"{kinds.get_kind_name(bundle.model)}, {len(bundle.features):,} features, {count:,} parameters"
