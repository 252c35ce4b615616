"""What the kinds of boosters have in common, and the kinds ``xgboost`` and ``catboost``.

A booster is a file in the library's own format; those of XGBoost and CatBoost are not read on this machine, only by the
image's library. The only arrays are those of ``prepare`` (the preprocessing) and ``finish`` (the head), with these keys
as prefixes; see ``builder.bundle.nodes``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from builder import schema
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle import node_graph, nodes
from builder.bundle.kinds import preprocessing
from builder.bundle.kinds.preprocessing import PreprocessingHeader  # noqa: TC001 - annotations are read at run time
from builder.inside.fold import boosters as fold_boosters
from builder.text import format_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HEAD_PREFIX = "finish."

# See `objective` in https://xgboost.readthedocs.io/en/stable/parameter.html.
_SHARES = frozenset({"binary:logistic", "binary:hinge", "reg:logistic", "multi:softprob"})
"""Objectives of XGBoost whose outputs are in [0, 1]."""

_Index = Annotated[int, schema.require_between(0, 1 << 31)]


@dataclass(frozen=True, kw_only=True)
class CategoriesHeader:
    """Inputs that the booster takes as indices of their values in a list; see ``model.Categories``.

    Attributes:
        inputs: Indices of the inputs, after ``prepare``.
        values: The list; any other value counts as missing.
    """

    inputs: Annotated[tuple[_Index, ...], schema.require_length(1, 100_000)]
    values: Annotated[tuple[float, ...], schema.require_length(1, 100_000)]


@dataclass(frozen=True, kw_only=True)
class BoosterHeader(bundle_header.BundleHeader):
    """``bundle.json`` of a booster.

    Attributes:
        outputs: Values a row.
        categories: Inputs that are replaced by indices.
        prepare: Preprocessing of the inputs.
        finish: Head: nodes over the booster's outputs.
    """

    FILE: ClassVar[str]
    """The name of the booster's file."""

    outputs: Annotated[int, schema.require_between(1, 10_000)]
    categories: Annotated[tuple[CategoriesHeader, ...], schema.require_length(0, 100_000)] = ()
    prepare: PreprocessingHeader | None = None
    finish: Annotated[tuple[dict[str, object], ...], schema.require_length(0, 1_000)] = ()

    @classmethod
    def dump_keys(cls, model: Any) -> dict[str, object]:
        groups = [{"inputs": list(group.inputs), "values": list(group.values)} for group in model.categories]
        return {
            "outputs": model.outputs,
            **({"categories": groups} if groups else {}),
            **preprocessing.to_keys(model.preprocessing),
            **({"finish": nodes.as_data(model.head)} if model.head else {}),
        }

    @classmethod
    def dump_arrays(cls, model: Any) -> dict[str, bundle_model.Numbers]:
        return {
            **preprocessing.collect_arrays(model.preprocessing),
            **nodes.collect_arrays(model.head, prefix=HEAD_PREFIX),
        }

    def find_kind_problems(self) -> list[schema.Problem]:
        head = self._head_graph()
        names = [*(self.prepare.list_array_names(self) if self.prepare else []), *head.list_array_names()]
        problems = self._find_declared_problems()
        problems += nodes.find_name_problems(self.arrays, names, owner="this booster", fix="remove it, or add its node")
        problems += self.prepare.find_problems(self) if self.prepare else []
        return problems + head.find_problems(self.arrays) + self._find_category_problems()

    def find_value_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        problems = self.prepare.find_value_problems(self, arrays) if self.prepare else []
        return problems + self._head_graph().find_value_problems(self.arrays, arrays)

    def compute_width(self) -> int | None:
        """Compute how many values a row the booster takes; None if a problem hides it."""
        return self.prepare.compute_width(self) if self.prepare else len(self.columns)

    def build_categories(self) -> tuple[bundle_model.Categories, ...]:
        """Build the lists of categories."""
        return tuple(
            bundle_model.Categories(inputs=group.inputs, values=tuple(map(float, group.values)))
            for group in self.categories
        )

    def build_preprocessing(self, arrays: Mapping[str, bundle_model.Numbers]) -> bundle_model.Preprocessing | None:
        """Build the preprocessing; only if no check found a problem."""
        return self.prepare.prepare(self, arrays) if self.prepare else None

    def build_head(self, arrays: Mapping[str, bundle_model.Numbers]) -> tuple[bundle_model.Node, ...]:
        """Build the head; only if no check found a problem."""
        return self._head_graph().build_nodes(arrays)

    def find_index_problems(self, path: schema.KeyPath, indices: Sequence[int]) -> list[schema.Problem]:
        """Find an index that is not one of the booster's inputs."""
        width = self.compute_width()
        invalid = [index for index in indices if width is not None and index >= width]
        if not invalid:
            return []
        text = f"{invalid[0]:,}; expected the index of an input, from 0 to {(width or 1) - 1:,}"
        return [schema.Problem(path=path, text=text)]

    def _head_graph(self) -> node_graph.NodeGraph:
        source_text = f"the booster's {self.outputs:,} outputs"
        return node_graph.NodeGraph(
            entries=self.finish,
            path=("finish",),
            prefix=HEAD_PREFIX,
            inputs=self.outputs,
            source_text=source_text,
            source_path=("outputs",),
        )

    def _find_declared_problems(self) -> list[schema.Problem]:
        problems = [
            schema.Problem(path=("files", name), text=f"unexpected file; a booster has {self.FILE} only: remove it")
            for name in self.files
            if name != self.FILE
        ]
        if self.FILE not in self.files:
            problems.append(
                schema.Problem(path=("files",), text=f"the booster {self.FILE} is missing; export the model again")
            )
        return problems

    def _find_category_problems(self) -> list[schema.Problem]:
        problems = []
        for index, group in enumerate(self.categories):
            problems += self.find_index_problems(("categories", index, "inputs"), group.inputs)
            if len(set(group.values)) != len(group.values):
                text = "duplicate value; list each once"
                problems.append(schema.Problem(path=("categories", index, "values"), text=text))
        counts = Counter(index for group in self.categories for index in group.inputs)
        duplicates = [str(index) for index, count in counts.items() if count > 1]
        if duplicates:
            text = f"inputs in several lists: {format_list(duplicates)}; list each input once"
            problems.append(schema.Problem(path=("categories",), text=text))
        return problems


@dataclass(frozen=True, kw_only=True)
class LibraryHeader(BoosterHeader):
    """``bundle.json`` of a booster whose file only the image's library reads.

    Attributes:
        parameters: Number of trained numbers.
    """

    START: ClassVar[bytes]
    """How the file begins."""

    parameters: Annotated[int, schema.require_between(0, 1 << 40)]

    @classmethod
    def dump_keys(cls, model: Any) -> dict[str, object]:
        return {**super().dump_keys(model), "parameters": model.parameters}

    @classmethod
    def dump_files(cls, model: Any) -> dict[str, bytes | Path]:
        return {cls.FILE: model.content}

    @classmethod
    def count_parameters(cls, model: Any) -> int:
        parameters: int = model.parameters
        return parameters + nodes.count_parameters(model.head)

    def find_file_problems(self, contents: Mapping[str, bytes | Path]) -> list[str]:
        content = contents.get(self.FILE)
        if content is None:
            return []  # reported by find_kind_problems
        if isinstance(content, bytes):
            start = content[: len(self.START)]
        else:
            with content.open("rb") as file:
                start = file.read(len(self.START))
        if start != self.START:
            return [f"{self.FILE}: does not begin as such a file does; export the model again"]
        return []


@dataclass(frozen=True, kw_only=True)
class XgBoostHeader(LibraryHeader):
    """``bundle.json`` of an ``xgboost``; see ``model.XgBoost`` for the keys."""

    MODEL: ClassVar[type] = bundle_model.XgBoost
    FILE: ClassVar[str] = fold_boosters.XGBOOST_FILE
    START: ClassVar[bytes] = b"{L"  # an object, and the type of the length of its first key

    objective: Annotated[str, schema.require_length(0, 200)]
    linear: bool = False
    missing: float | None = None
    margins: Annotated[tuple[float, ...], schema.require_length(0, 10_000)] = ()

    @classmethod
    def dump_keys(cls, model: Any) -> dict[str, object]:
        return {
            **super().dump_keys(model),
            "objective": model.objective,
            "linear": model.linear,
            **({} if model.missing is None else {"missing": model.missing}),
            **({"margins": list(model.margins)} if model.margins else {}),
        }

    @classmethod
    def is_bounded(cls, model: bundle_model.XgBoost) -> bool:
        """Return whether the objective returns probabilities, or the head limits its results to [0, 1]."""
        return nodes.is_bounded(model.head, inputs=model.objective in _SHARES)

    def find_kind_problems(self) -> list[schema.Problem]:
        problems = super().find_kind_problems()
        # multi:softmax has sums for each class, and their largest one's index as its only output.
        if self.margins and len(self.margins) != self.outputs and self.objective != "multi:softmax":
            text = f"{len(self.margins):,} numbers; expected one for each of {self.outputs:,} outputs"
            problems.append(schema.Problem(path=("margins",), text=text))
        return problems

    def build_model(
        self, arrays: Mapping[str, bundle_model.Numbers], contents: Mapping[str, bytes | Path]
    ) -> bundle_model.XgBoost:
        return bundle_model.XgBoost(
            content=contents[self.FILE],
            objective=self.objective,
            outputs=self.outputs,
            parameters=self.parameters,
            linear=self.linear,
            missing=self.missing,
            margins=self.margins,
            categories=self.build_categories(),
            preprocessing=self.build_preprocessing(arrays),
            head=self.build_head(arrays),
        )


@dataclass(frozen=True, kw_only=True)
class CatBoostHeader(LibraryHeader):
    """``bundle.json`` of a ``catboost``; see ``model.CatBoost`` for the keys."""

    MODEL: ClassVar[type] = bundle_model.CatBoost
    FILE: ClassVar[str] = fold_boosters.CATBOOST_FILE
    START: ClassVar[bytes] = b"CBM1"

    prediction: bundle_model.PredictionType
    categorical: Annotated[tuple[_Index, ...], schema.require_length(0, 100_000)] = ()

    @classmethod
    def dump_keys(cls, model: Any) -> dict[str, object]:
        return {
            **super().dump_keys(model),
            "prediction": model.prediction,
            **({"categorical": list(model.categorical)} if model.categorical else {}),
        }

    @classmethod
    def is_bounded(cls, model: bundle_model.CatBoost) -> bool:
        """Return whether it predicts probabilities, or the head limits its results to [0, 1]."""
        return nodes.is_bounded(model.head, inputs=model.prediction == "Probability")

    def find_kind_problems(self) -> list[schema.Problem]:
        return super().find_kind_problems() + self.find_index_problems(("categorical",), self.categorical)

    def build_model(
        self, arrays: Mapping[str, bundle_model.Numbers], contents: Mapping[str, bytes | Path]
    ) -> bundle_model.CatBoost:
        return bundle_model.CatBoost(
            content=contents[self.FILE],
            prediction=self.prediction,
            outputs=self.outputs,
            parameters=self.parameters,
            categories=self.build_categories(),
            categorical=self.categorical,
            preprocessing=self.build_preprocessing(arrays),
            head=self.build_head(arrays),
        )
