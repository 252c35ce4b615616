"""What passes between ``export`` and the modules that know a framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.bundle import model as bundle_model

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class InputSpec:
    """What the caller told of a model's inputs.

    Attributes:
        features: Names of the feature columns, in the order of the model's inputs.
        benchmarks: Names of benchmark columns, inputs after the features.
        sample: float64 (rows, n), at least one row: real inputs, NaN where missing.
        imputation: float64 (n,), finite: what a missing input becomes where the framework's model takes no NaN.
        imputed: Whether the caller said what it becomes; else it is the median of the sample's column.
        categories: Those of the inputs that are pandas categories in the sample, and whether they are ordered.
    """

    features: tuple[str, ...]
    benchmarks: tuple[str, ...]
    sample: Array
    imputation: Array
    imputed: bool = False
    categories: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ParityResult:
    """How near what goes into the bundle is to the framework.

    Attributes:
        rows: How many rows of the sample both predicted.
        difference: The largest difference on them.
        bound: The largest that is allowed.
    """

    rows: int
    difference: float
    bound: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvertedModel:
    """A framework's object in this tool's terms.

    Attributes:
        model: The numbers.
        predict: The framework's own prediction: from float64 (rows, n) inputs in their order to float64 (rows,).
        takes_missing: Whether that takes NaN by itself. Where it does not, a missing input has its imputation by then.
        holes: Whether some inputs of golden rows are made NaN; by default where it takes NaN.
        facts: Framework, version and the like, for the bundle's ``trained``.
        notes: What a person should know of it, a line each.
        compared: How near they are, of a kind without a reference: it was run to find out.
    """

    model: bundle_model.Model
    predict: Callable[[Array], Array]
    takes_missing: bool
    holes: bool | None = None
    facts: Mapping[str, bundle_model.Fact] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    compared: ParityResult | None = None
