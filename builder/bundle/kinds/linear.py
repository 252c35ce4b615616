"""The ``linear`` kind: a weighted sum of the inputs, which are imputed, centred and scaled first.

Its arrays, with n inputs: ``imputation``, ``centre``, ``scale`` and ``weights`` (n,); ``bias`` (1,).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np

from builder import schema
from builder.bundle import activations, node_graph, nodes
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle.kinds import scaling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAMES = (*scaling.NAMES, "weights", "bias")


@dataclass(frozen=True, kw_only=True)
class LinearHeader(bundle_header.BundleHeader):
    """``bundle.json`` of a linear model.

    Attributes:
        output: Activation of the sum, with its constants.
    """

    MODEL: ClassVar[type] = bundle_model.Linear

    output: dict[str, object]

    @classmethod
    def dump_keys(cls, model: bundle_model.Linear) -> dict[str, object]:
        return {"output": activations.as_data(model.activation)}

    @classmethod
    def dump_arrays(cls, model: bundle_model.Linear) -> dict[str, bundle_model.Numbers]:
        return {**scaling.collect_arrays(model), "weights": model.weights, "bias": model.bias}

    @classmethod
    def count_parameters(cls, model: bundle_model.Linear) -> int:
        return model.weights.size + model.bias.size

    @classmethod
    def is_bounded(cls, model: bundle_model.Linear) -> bool:
        """Return whether the activation keeps the sum in [0, 1]."""
        return activations.is_bounded(model.activation)

    def find_kind_problems(self) -> list[schema.Problem]:
        activation = activations.from_data(self.output)
        problems = (
            [schema.Problem(path=("output",), text=text) for text in activation] if isinstance(activation, list) else []
        )
        problems += nodes.find_name_problems(self.arrays, _NAMES, owner="a linear model", fix="remove it")
        problems += scaling.find_problems(self)
        lengths = {"weights": len(self.columns), "bias": 1}
        for name in lengths.keys() & self.arrays.keys():
            declared = self.arrays[name]
            problems += scaling.find_dtype_problems(name, declared)
            if declared.shape != (lengths[name],):
                why = f"{scaling.describe_inputs(self)}: " if name == "weights" else ""
                text = f"{declared.shape}; expected {why}({lengths[name]},)"
                problems.append(schema.Problem(path=("arrays", name, "shape"), text=text))
        return problems

    def find_value_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        problems = scaling.find_value_problems(self.columns, arrays)
        for name in ("weights", "bias"):
            if name in arrays:
                problems += bundle_header.find_bad_values(
                    name, arrays[name], ~np.isfinite(arrays[name]), node_graph.DIVERGED
                )
        return problems

    def build_model(
        self,
        arrays: Mapping[str, bundle_model.Numbers],
        contents: Mapping[str, bytes | Path],  # noqa: ARG002 - none here
    ) -> bundle_model.Linear:
        return bundle_model.Linear(
            # Not a list of problems: find_kind_problems found none.
            activation=cast("activations.Activation", activations.from_data(self.output)),
            **{name: arrays[name] for name in _NAMES},
        )
