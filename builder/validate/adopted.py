"""What a validation takes from a pickle without a bundle: the columns that it names, and no golden rows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from builder import data_versions, errors
from builder.bundle import model as bundle_model
from builder.text import format_list
from builder.validate import checks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.validate import data, scenario_run
    from builder.validate.reading.read import Reading

_GOLDEN = checks.Check(
    name="golden rows",
    good=None,
    detail="not compared: a finished pickle has none, so nothing here shows that it predicts what its model did at "
    "training",
)
_MADE_UP = tuple(f"feature_{number}" for number in range(20))


def make_bundle(features: Sequence[str], benchmarks: Sequence[str]) -> bundle_model.Bundle:
    """Return a bundle for the scenarios of a pickle that reads these columns: it is judged as a custom function is."""
    golden = bundle_model.GoldenRows(inputs=np.zeros((1, len(features) + len(benchmarks))), predictions=np.zeros(1))
    return bundle_model.Bundle(
        features=tuple(features),
        benchmarks=tuple(benchmarks),
        model=bundle_model.Custom(files={}),
        golden=golden,
    )


def drop_golden(inputs: scenario_run.Inputs) -> scenario_run.Inputs:
    """Return the inputs without the scenario that judges the golden rows themselves, which is the one without input."""
    return dataclasses.replace(inputs, planned=[scenario for scenario in inputs.planned if scenario.inputs])


def list_columns(path: Path, prefix: str) -> tuple[str, ...]:
    """Return the names of the columns of a parquet file that begin with a prefix."""
    return tuple(dict.fromkeys(name for name in pq.read_schema(path).names if name.startswith(prefix)))


def choose_generated_columns(reading: Reading, known: Sequence[str] = ()) -> bundle_model.Bundle:
    """Return a bundle with the columns that generated rows must have.

    Args:
        reading: The pickle.
        known: The features of the data version, for a pickle that names none; if there are none, they are made up.
    """
    benchmarks = reading.benchmarks or (data_versions.DEFAULT_BENCHMARK,)
    return make_bundle(reading.features or tuple(known) or _MADE_UP, benchmarks)


def choose_columns(reading: Reading, files: data.LiveFiles) -> bundle_model.Bundle:
    """Return a bundle with the columns of the files that the pickle names; if it names none of them, with all.

    Raises:
        errors.DataError: The files have no features.
    """
    features = list_columns(files.live, "feature_")
    if not features:
        raise errors.DataError([f"{files.live}: has no column whose name begins with feature_; set other files"])
    benchmarks = list_columns(files.benchmarks, "v") if files.benchmarks else ()
    named, named_benchmarks = set(reading.features), set(reading.benchmarks)
    return make_bundle(
        tuple(name for name in features if name in named) or features,
        tuple(name for name in benchmarks if name in named_benchmarks) or benchmarks,
    )


def make_notes(reading: Reading, bundle: bundle_model.Bundle) -> tuple[checks.Check, ...]:
    """Return notes on what a validation of the pickle with these columns cannot show."""
    missing = [name for name in reading.features if name not in set(bundle.features)]
    detail, fix = "", ""
    if not reading.features:
        names = format_list(list(bundle.features), most=3)
        detail = f"the pickle names no features: it was tried with {len(bundle.features):,} ({names})"
        fix = "if it needs others, set `validate.data` to rows that have them"
    elif missing:
        detail = (
            f"{len(missing):,} of {len(reading.features):,} features that the pickle names are not in the rows: "
            f"{format_list(missing, most=3)}"
        )
    return (_GOLDEN, *([checks.Check(name="columns", good=None, detail=detail, fix=fix)] if detail else []))
