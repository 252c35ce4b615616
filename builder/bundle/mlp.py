"""The ``mlp`` kind: dense layers, over inputs that are imputed, centred and scaled.

Its arrays, with n inputs and the layers counted from 0: ``imputation``, ``centre`` and ``scale`` (n,); ``w0``, ``w1``
and so on (n_in, n_out); ``b0``, ``b1`` and so on (n_out,). The last n_out is 1.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import numpy as np

from builder import typed, typed_kinds
from builder.bundle import activations
from builder.bundle import model as bundle_model
from builder.bundle import text as bundle_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST_INPUT = 1e6
"""Imputations and centres lie within this of zero: a live feature is 0 to 4, a benchmark 0 to 1."""
SCALES = (1e-9, 1e9)
"""Beyond these, a weight divided by the scale leaves float32."""

_OF_INPUTS = ("imputation", "centre", "scale")


@dataclass(frozen=True, kw_only=True)
class Text(bundle_text.Text):
    """``bundle.json`` of an ``mlp``.

    Attributes:
        layers: For each layer its activation and the activation's constants.
    """

    MODEL: ClassVar[type] = bundle_model.Mlp

    layers: Annotated[tuple[dict[str, object], ...], typed_kinds.length(1, 1_000)]

    @classmethod
    def own_keys(cls, model: bundle_model.Mlp) -> dict[str, object]:
        """Return ``layers``."""
        return {"layers": [activations.as_data(layer.activation) for layer in model.layers]}

    @classmethod
    def own_arrays(cls, model: bundle_model.Mlp) -> dict[str, bundle_model.Numbers]:
        """Return the arrays under their names."""
        arrays = {"imputation": model.imputation, "centre": model.centre, "scale": model.scale}
        for place, layer in enumerate(model.layers):
            arrays |= {f"w{place}": layer.weights, f"b{place}": layer.bias}
        return arrays

    @classmethod
    def parameters(cls, model: bundle_model.Mlp) -> int:
        """Return how many weights and biases there are."""
        return sum(layer.weights.size + layer.bias.size for layer in model.layers)

    @classmethod
    def is_bounded(cls, model: bundle_model.Mlp) -> bool:
        """Tell whether a sigmoid is last."""
        return model.layers[-1].activation.name == "sigmoid"

    def own_faults(self) -> list[typed.Fault]:
        """Return what is wrong with the activations, and with the names and shapes of the arrays."""
        found = []
        for place, entry in enumerate(self.layers):
            activation = activations.from_data(entry)
            if isinstance(activation, list):
                found += [typed.Fault(path=("layers", place), text=text) for text in activation]
        return found + self._name_faults() + self._input_faults() + self._chain_faults()

    def value_faults(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        """Return what is not finite or out of its range."""
        found = []
        for name, array in arrays.items():
            if name in _OF_INPUTS:
                found += self._range_faults(name, array)
            else:
                cure = "export a model whose training has not diverged"
                found += bundle_text.bad_numbers(name, array, ~np.isfinite(array), cure)
        return found

    def model(
        self,
        arrays: Mapping[str, bundle_model.Numbers],
        contents: Mapping[str, bytes | Path],  # noqa: ARG002 - none here
    ) -> bundle_model.Mlp:
        """Return the model."""
        layers = tuple(
            bundle_model.Layer(
                weights=arrays[f"w{place}"],
                bias=arrays[f"b{place}"],
                # own_faults has seen that it is no list of faults.
                activation=cast("activations.Activation", activations.from_data(entry)),
            )
            for place, entry in enumerate(self.layers)
        )
        return bundle_model.Mlp(
            layers=layers, imputation=arrays["imputation"], centre=arrays["centre"], scale=arrays["scale"]
        )

    def _name_faults(self) -> list[typed.Fault]:
        wanted = [*_OF_INPUTS, *(f"{letter}{place}" for place in range(len(self.layers)) for letter in "wb")]
        missing = [name for name in wanted if name not in self.arrays]
        extra = [name for name in self.arrays if name not in wanted]
        found = []
        if missing:
            text = (
                f"{bundle_text.listed(missing)}: missing; {len(self.layers)} layers have {bundle_text.listed(wanted)}"
            )
            found.append(typed.Fault(path=("arrays",), text=text))
        for name in extra[:10]:
            near = difflib.get_close_matches(name[:40], missing or wanted, n=1)
            hint = f"did you mean {near[0]}?" if near else "remove it, or add its layer"
            text = f"an mlp of {len(self.layers)} layers has no such array; {hint}"
            found.append(typed.Fault(path=("arrays", name), text=text))
        return found

    def _input_faults(self) -> list[typed.Fault]:
        count = len(self.columns)
        made = f"{len(self.features):,} features and {len(self.benchmarks):,} benchmarks make {count:,} inputs"
        found = []
        for name in _OF_INPUTS:
            if name in self.arrays and self.arrays[name].shape != (count,):
                text = f"{self.arrays[name].shape}; {made}: ({count},) is needed"
                found.append(typed.Fault(path=("arrays", name, "shape"), text=text))
        first = self._shape("w0", 2)
        if first and first[0] != count:
            text = f"{made} ({bundle_text.listed(self.columns)}), but w0 {first} takes {first[0]:,}; make them agree"
            found.append(typed.Fault(path=("features",), text=text))
        return found

    def _chain_faults(self) -> list[typed.Fault]:
        found = []
        before: tuple[int, ...] | None = None
        for place in range(len(self.layers)):
            name, bias = f"w{place}", f"b{place}"
            shape = self._shape(name, 2)
            if name in self.arrays and not shape:
                text = f"{self.arrays[name].shape}; (inputs, outputs) is needed"
                found.append(typed.Fault(path=("arrays", name, "shape"), text=text))
            if before and shape and before[1] != shape[0]:
                text = f"w{place - 1} {before} to {name} {shape} does not chain; {name} needs {before[1]:,} rows"
                found.append(typed.Fault(path=("arrays", name, "shape"), text=text))
            if shape and bias in self.arrays and self.arrays[bias].shape != shape[1:]:
                text = f"{self.arrays[bias].shape} beside {name} {shape}; {shape[1:]} is needed"
                found.append(typed.Fault(path=("arrays", bias, "shape"), text=text))
            before = shape
        if before and before[1] != 1:
            name = f"w{len(self.layers) - 1}"
            text = f"{before} gives {before[1]:,} values a row; the last layer gives 1"
            found.append(typed.Fault(path=("arrays", name, "shape"), text=text))
        return found

    def _shape(self, name: str, dimensions: int) -> tuple[int, ...] | None:
        declared = self.arrays.get(name)
        return declared.shape if declared and len(declared.shape) == dimensions else None

    def _range_faults(self, name: str, array: bundle_model.Floats) -> list[str]:
        low, high = SCALES if name == "scale" else (-MOST_INPUT, MOST_INPUT)
        bad = np.flatnonzero(~((array >= low) & (array <= high)))
        if not bad.size:
            return []
        at = int(bad[0])
        value = array[at]
        # Where the lengths disagree, which is a fault of its own, a value may have no column.
        column = self.columns[at] if at < len(self.columns) else "no column"
        count = f"{bad.size:,} of {array.size:,} values do" if bad.size > 1 else "one value does"
        return [f"{name}: {value} for {column} (at [{at}]; {count} not fit); from {low:g} to {high:g} is needed"]
