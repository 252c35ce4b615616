"""The ``ensemble`` kind: a weighted sum of other models' predictions.

``members`` lists the models. Each entry has ``kind``, ``features``, ``benchmarks``, ``weight``, ``transform`` and
``scope``, and the keys of its kind. The names of arrays and files of the first member begin with ``m0.``, those of the
second with ``m1.``. The bundle's features are those of the members, in the order of their first appearance, and so are
its benchmarks.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, cast

from builder import errors, schema
from builder.bundle import header as bundle_header
from builder.bundle import model as bundle_model
from builder.bundle import post as postprocessing
from builder.bundle.kinds import member_kinds
from builder.text import describe, find_nearest, format_list

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

T = TypeVar("T")

_FIT = schema.Constraint(
    text="of a magnitude from 1e-9 to 1e9, and not 0", holds=lambda weight: 1e-9 <= abs(weight) <= 1e9
)
_OF_THE_BUNDLE = frozenset({"format", "post", "arrays", "files", "golden", "checksums", "trained"})
_SHARE = ("weight", "transform", "scope")


@dataclass(frozen=True, kw_only=True)
class Share:
    """The part of a member in the sum; see ``model.Member``."""

    weight: Annotated[float, _FIT] = 1.0
    transform: bundle_model.Transform = "raw"
    scope: postprocessing.Scope = "era"


@dataclass(frozen=True, kw_only=True)
class _ParsedMember:
    """One member as far as it could be parsed.

    Attributes:
        header: Header as if the bundle had only this model; None if invalid.
        share: None if invalid.
        problems: Why they are invalid, with key paths inside the member.
    """

    header: bundle_header.BundleHeader | None
    share: Share | None
    problems: tuple[schema.Problem, ...]


@dataclass(frozen=True, kw_only=True)
class EnsembleHeader(bundle_header.BundleHeader):
    """``bundle.json`` of an ``ensemble``.

    Attributes:
        members: For each member, the keys of its kind and its part in the sum.
    """

    MODEL: ClassVar[type] = bundle_model.Ensemble

    members: Annotated[tuple[dict[str, object], ...], schema.require_length(1, 1_000)]

    @classmethod
    def dump_keys(cls, model: bundle_model.Ensemble) -> dict[str, object]:
        return {"members": [_dump_member(index, member) for index, member in enumerate(model.members)]}

    @classmethod
    def dump_arrays(cls, model: bundle_model.Ensemble) -> dict[str, bundle_model.Numbers]:
        return {
            f"m{index}.{name}": array
            for index, member in enumerate(model.members)
            for name, array in member_kinds.KINDS[_get_kind_name(index, member)].dump_arrays(member.model).items()
        }

    @classmethod
    def dump_files(cls, model: bundle_model.Ensemble) -> dict[str, bytes | Path]:
        return {
            f"m{index}.{name}": content
            for index, member in enumerate(model.members)
            for name, content in member_kinds.KINDS[_get_kind_name(index, member)].dump_files(member.model).items()
        }

    @classmethod
    def count_parameters(cls, model: bundle_model.Ensemble) -> int:
        return sum(
            member_kinds.KINDS[_get_kind_name(index, member)].count_parameters(member.model)
            for index, member in enumerate(model.members)
        )

    @classmethod
    def is_bounded(cls, model: bundle_model.Ensemble) -> bool:
        """Return whether it is a mean with positive weights of ranks and of predictions that are in [0, 1]."""
        return all(
            member.weight > 0
            and (
                member.transform == "rank"
                or (
                    member.transform == "raw"
                    and member_kinds.KINDS[_get_kind_name(index, member)].is_bounded(member.model)
                )
            )
            for index, member in enumerate(model.members)
        )

    @classmethod
    def needs_era(cls, model: bundle_model.Ensemble) -> bool:
        """Return whether a member is ranked or gaussianised within eras."""
        return any(member.transform != "raw" and member.scope == "era" for member in model.members)

    def find_kind_problems(self) -> list[schema.Problem]:
        problems = []
        for index, member in enumerate(self._parsed):
            problems += [
                schema.Problem(path=("members", index, *problem.path), text=problem.text) for problem in member.problems
            ]
            problems += [
                _to_bundle_path(index, problem) for problem in (member.header.find_problems() if member.header else ())
            ]
        return (
            problems
            + self._find_unused_names()
            + self._find_column_problems("features")
            + self._find_column_problems("benchmarks")
        )

    def find_value_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        return [
            f"m{index}.{problem}"
            for index, member in enumerate(self._parsed)
            if member.header
            for problem in member.header.find_value_problems(_select_member(index, arrays))
        ]

    def find_file_problems(self, contents: Mapping[str, bytes | Path]) -> list[str]:
        return [
            f"m{index}.{problem}"
            for index, member in enumerate(self._parsed)
            if member.header
            for problem in member.header.find_file_problems(_select_member(index, contents))
        ]

    def build_model(
        self, arrays: Mapping[str, bundle_model.Numbers], contents: Mapping[str, bytes | Path]
    ) -> bundle_model.Ensemble:
        members = []
        for index, parsed in enumerate(self._parsed):
            # Neither is None: find_kind_problems found no problem.
            header, share = cast("bundle_header.BundleHeader", parsed.header), cast("Share", parsed.share)
            model = header.build_model(_select_member(index, arrays), _select_member(index, contents))
            members.append(
                bundle_model.Member(
                    model=cast("bundle_model.Single", model),
                    features=header.features,
                    benchmarks=header.benchmarks,
                    weight=share.weight,
                    transform=share.transform,
                    scope=share.scope,
                )
            )
        return bundle_model.Ensemble(members=tuple(members))

    @functools.cached_property
    def _parsed(self) -> list[_ParsedMember]:
        return [self._parse(index, entry) for index, entry in enumerate(self.members)]

    def _parse(self, index: int, entry: Mapping[str, object]) -> _ParsedMember:
        """Parse one member as if it were a bundle, with the keys that it shares with the bundle added."""
        foreign = [key for key in entry if key in _OF_THE_BUNDLE]
        problems = [
            schema.Problem(path=(key,), text="a key of the bundle, not of a member; remove it") for key in foreign
        ]
        share = schema.parse(Share, {key: entry[key] for key in _SHARE if key in entry})
        problems += share if isinstance(share, list) else []
        kind = entry.get("kind")
        if not isinstance(kind, str) or kind not in member_kinds.KINDS:
            shown = "missing" if kind is None else describe(kind)
            near = find_nearest(kind, member_kinds.KINDS)
            hint = f"did you mean {near}? " if near else ""
            valid = ", ".join(member_kinds.KINDS)
            problems.append(schema.Problem(path=("kind",), text=f"{shown}; {hint}expected one of {valid}"))
            header: bundle_header.BundleHeader | list[schema.Problem] = []
        else:
            kind_keys = {key: item for key, item in entry.items() if key not in _SHARE and key not in _OF_THE_BUNDLE}
            header = self._parse_header(
                member_kinds.KINDS[kind], {**kind_keys, **self._share_with_member(index, entry)}
            )
        return _ParsedMember(
            header=None if isinstance(header, list) else header,
            share=None if isinstance(share, list) else share,
            problems=(*problems, *(header if isinstance(header, list) else ())),
        )

    def _parse_header(
        self, kind: type[bundle_header.BundleHeader], data: Mapping[str, object]
    ) -> bundle_header.BundleHeader | list[schema.Problem]:
        """Parse a member's header.

        Only one of the names of its columns is parsed if they all are columns of the bundle, which are parsed already:
        with thousands of features and many members, parsing them again takes seconds.
        """
        shared: dict[str, Any] = {
            key: tuple(names)
            for key in ("features", "benchmarks")
            if isinstance(names := data.get(key), list)
            and names
            and all(_is_among(name, self._names) for name in names)
        }
        header = schema.parse(kind, {**data, **{key: list(names[:1]) for key, names in shared.items()}})
        return header if isinstance(header, list) else dataclasses.replace(header, **shared)

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.columns)

    def _share_with_member(self, index: int, entry: Mapping[str, object]) -> dict[str, object]:
        """Return the keys that a member's header takes from the bundle: arrays, files, golden rows of its width."""
        inputs = sum(len(names) for key in ("features", "benchmarks") if isinstance(names := entry.get(key), list))
        declared = {
            name: {"dtype": array.dtype, "shape": list(array.shape)}
            for name, array in _select_member(index, self.arrays).items()
        }
        files = {
            name: {"sha256": file.sha256, "size": file.size} for name, file in _select_member(index, self.files).items()
        }
        # A bundle has golden rows of the whole ensemble only; these replace the rows that a member's header must have.
        golden = {
            "inputs": {"dtype": "float64", "shape": [1, max(inputs, 1)]},
            "predictions": {"dtype": "float64", "shape": [1]},
        }
        return {"format": self.format, "arrays": declared, "files": files, "golden": golden}

    def _find_unused_names(self) -> list[schema.Problem]:
        """Find arrays and files that do not belong to a member."""
        prefixes = tuple(f"m{index}." for index in range(len(self.members)))
        hint = f"does not belong to a member; expected a name that begins with {format_list(prefixes)}"
        return [
            schema.Problem(path=(key, name), text=hint)
            for key, names in (("arrays", self.arrays), ("files", self.files))
            for name in [name for name in names if not name.startswith(prefixes)][:10]
        ]

    def _find_column_problems(self, key: Literal["features", "benchmarks"]) -> list[schema.Problem]:
        """Find columns that differ from those of the members, in the order of their first appearance."""
        headers = [member.header for member in self._parsed]
        if None in headers:
            return []  # the columns of an invalid member are unknown
        required = tuple(dict.fromkeys(name for header in headers if header for name in getattr(header, key)))
        listed: tuple[str, ...] = getattr(self, key)
        listed_set, required_set = frozenset(listed), frozenset(required)
        missing = [name for name in required if name not in listed_set]
        unused = [name for name in listed if name not in required_set]
        problems = []
        if missing:
            text = f"{format_list(missing)} missing; list every column that a member takes"
            problems.append(schema.Problem(path=(key,), text=text))
        if unused:
            text = f"unused columns: {format_list(unused)}; remove them"
            problems.append(schema.Problem(path=(key,), text=text))
        if not problems and len(listed) == len(required) and listed != required:
            index = next(index for index, pair in enumerate(zip(listed, required, strict=True)) if pair[0] != pair[1])
            text = (
                f"{listed[index]}; expected {required[index]}: keep the order in which members first take the columns"
            )
            problems.append(schema.Problem(path=(key, index), text=text))
        return problems


def _dump_member(index: int, member: bundle_model.Member) -> dict[str, object]:
    kind = _get_kind_name(index, member)
    return {
        "kind": kind,
        "features": list(member.features),
        "benchmarks": list(member.benchmarks),
        "weight": float(member.weight),
        "transform": member.transform,
        "scope": member.scope,
        **member_kinds.KINDS[kind].dump_keys(member.model),
    }


def _get_kind_name(index: int, member: bundle_model.Member) -> str:
    """Return the name of a member's kind.

    Raises:
        errors.BundleError: A member cannot have this type.
    """
    for name, kind in member_kinds.KINDS.items():
        if kind.MODEL is type(member.model):
            return name
    shown = type(member.model).__name__
    raise errors.BundleError(
        [f"members.{index}: has a model of type {shown}; expected one of {', '.join(member_kinds.KINDS)}"]
    )


def _is_among(name: object, names: frozenset[str]) -> bool:
    return isinstance(name, str) and name in names


def _select_member(index: int, items: Mapping[str, T]) -> dict[str, T]:
    """Select the items of one member, their names without its prefix."""
    prefix = f"m{index}."
    return {name.removeprefix(prefix): value for name, value in items.items() if name.startswith(prefix)}


def _to_bundle_path(index: int, problem: schema.Problem) -> schema.Problem:
    """Return a member's problem with its key path in the bundle, where arrays and files are not below the member."""
    if problem.path[0] in {"arrays", "files"}:
        key, *rest = problem.path
        name = f"m{index}.{rest[0]}" if rest else f"m{index}"
        return schema.Problem(path=(key, name, *rest[1:]), text=problem.text)
    return schema.Problem(path=("members", index, *problem.path), text=problem.text)
