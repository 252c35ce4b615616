"""The values that pass between ``export`` and the modules that convert one framework's models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.bundle import model as bundle_model

Array = NDArray[np.float64]


class InputsError(errors.ExportError):
    """The inputs that the caller describes are not those of the model, however it is stored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InputSpec:
    """The inputs of a model, as the caller describes them.

    Attributes:
        features: Names of the feature columns, in the order of the model's inputs.
        benchmarks: Names of the benchmark columns, which are inputs after the features.
        sample: float64 (rows, n), at least one row: real inputs, NaN if missing.
        imputation: float64 (n,), finite: replaces a missing input if the framework's model accepts no NaN.
        explicit_imputation: Whether the caller passed ``imputation=``; else it is the median of the sample's column.
        categories: The pandas dtypes of the inputs that are categories in the sample.
    """

    features: tuple[str, ...]
    benchmarks: tuple[str, ...]
    sample: Array
    imputation: Array
    explicit_imputation: bool = False
    categories: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all inputs: the features, then the benchmark columns."""
        return (*self.features, *self.benchmarks)


@dataclass(frozen=True, kw_only=True)
class ParityResult:
    """How closely the bundle's predictions match the framework's.

    Attributes:
        rows: Number of rows of the sample that were compared.
        difference: The largest absolute difference.
        bound: The largest difference that is allowed.
    """

    rows: int
    difference: float
    bound: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvertedModel:
    """A framework's model, converted to a bundle's model.

    Attributes:
        model: The bundle's model.
        predict: The framework's own prediction: from float64 (rows, n) inputs in their order to float64 (rows,).
        takes_missing: Whether ``predict`` accepts NaN. If not, the caller replaces missing inputs first.
        golden_missing: Whether some inputs of golden rows are set to NaN; None means as ``takes_missing``.
        facts: Framework, version and other provenance, for the bundle's ``trained``.
        packages: The packages that predict in the image, with the versions here, each ``name version``. None for a
            model that is stored as numbers. Also for ``trained``.
        notes: Notes for the user, a line each.
        columns: The columns of what a function returns; without post-processing, the tournament sees them.
        parity: The result of a comparison that the module has already made, as for functions.
    """

    model: bundle_model.Model
    predict: Callable[[Array], Array]
    takes_missing: bool
    golden_missing: bool | None = None
    facts: Mapping[str, bundle_model.Fact] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ("prediction",)
    parity: ParityResult | None = None
