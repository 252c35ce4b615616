"""The ``ensemble`` kind: a weighted sum of other models' predictions.

``members`` lists the models. Each entry has ``kind``, ``features``, ``benchmarks``, ``weight``, ``transform`` and
``scope``, and the keys of its kind. Arrays and files of the first member begin with ``m0.``, those of the second with
``m1.``, and so on. The bundle's features are the members', in the order in which they first appear; so are its
benchmarks.
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
    """What an ensemble does with the predictions of one member; as of ``model.Member``."""

    weight: Annotated[float, _FIT] = 1.0
    transform: bundle_model.Transform = "raw"
    scope: postprocessing.Scope = "era"


@dataclass(frozen=True, kw_only=True)
class _ParsedMember:
    """One member as far as it can be read.

    Attributes:
        header: As of a bundle that holds this model alone; None where that cannot be read.
        share: None where it cannot be read.
        faults: What keeps the two from being read, with places in the member.
    """

    header: bundle_header.BundleHeader | None
    share: Share | None
    problems: tuple[schema.Problem, ...]


@dataclass(frozen=True, kw_only=True)
class EnsembleHeader(bundle_header.BundleHeader):
    """``bundle.json`` of an ``ensemble``.

    Attributes:
        members: For each member what ``bundle.json`` says of a model of its kind, and its part in the sum.
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
        """Tell whether it is a mean, by positive weights, of ranks and of predictions that are bounded themselves."""
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
        """Tell whether a member is ranked or gaussianised within eras."""
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
            # own_faults has seen that both could be read.
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
        """Read one member as the bundle it would be by itself."""
        foreign = [key for key in entry if key in _OF_THE_BUNDLE]
        problems = [
            schema.Problem(path=(key,), text="a key of the bundle, not of a member; take it out") for key in foreign
        ]
        share = schema.parse(Share, {key: entry[key] for key in _SHARE if key in entry})
        problems += share if isinstance(share, list) else []
        kind = entry.get("kind")
        if not isinstance(kind, str) or kind not in member_kinds.KINDS:
            came = "missing" if kind is None else describe(kind)
            near = find_nearest(kind, member_kinds.KINDS)
            hint = f"did you mean {near}? " if near else ""
            valid = ", ".join(member_kinds.KINDS)
            problems.append(schema.Problem(path=("kind",), text=f"{came}; {hint}a member is one of {valid}"))
            header: bundle_header.BundleHeader | list[schema.Problem] = []
        else:
            own = {key: item for key, item in entry.items() if key not in _SHARE and key not in _OF_THE_BUNDLE}
            header = self._parse_header(member_kinds.KINDS[kind], {**own, **self._share_with_member(index, entry)})
        return _ParsedMember(
            header=None if isinstance(header, list) else header,
            share=None if isinstance(share, list) else share,
            problems=(*problems, *(header if isinstance(header, list) else ())),
        )

    def _parse_header(
        self, kind: type[bundle_header.BundleHeader], data: Mapping[str, object]
    ) -> bundle_header.BundleHeader | list[schema.Problem]:
        """Read a member's header.

        Names that are the bundle's have been read with it: to read thousands again for each member takes seconds.
        """
        known: dict[str, Any] = {
            key: tuple(names)
            for key in ("features", "benchmarks")
            if isinstance(names := data.get(key), list)
            and names
            and all(_is_among(name, self._names) for name in names)
        }
        header = schema.parse(kind, {**data, **{key: list(names[:1]) for key, names in known.items()}})
        return header if isinstance(header, list) else dataclasses.replace(header, **known)

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.columns)

    def _share_with_member(self, index: int, entry: Mapping[str, object]) -> dict[str, object]:
        """Return what a member takes from the bundle: its arrays and files, and golden rows of its width."""
        inputs = sum(len(names) for key in ("features", "benchmarks") if isinstance(names := entry.get(key), list))
        declared = {
            name: {"dtype": array.dtype, "shape": list(array.shape)}
            for name, array in _select_member(index, self.arrays).items()
        }
        files = {
            name: {"sha256": file.sha256, "size": file.size} for name, file in _select_member(index, self.files).items()
        }
        golden = {
            "inputs": {"dtype": "float64", "shape": [1, max(inputs, 1)]},
            "predictions": {"dtype": "float64", "shape": [1]},
        }
        return {"format": self.format, "arrays": declared, "files": files, "golden": golden}

    def _find_unused_names(self) -> list[schema.Problem]:
        """Return the faults of arrays and files that no member has."""
        prefixes = tuple(f"m{index}." for index in range(len(self.members)))
        hint = f"belongs to no member; the names of {len(prefixes)} members' begin with {format_list(prefixes)}"
        return [
            schema.Problem(path=(key, name), text=hint)
            for key, names in (("arrays", self.arrays), ("files", self.files))
            for name in [name for name in names if not name.startswith(prefixes)][:10]
        ]

    def _find_column_problems(self, key: Literal["features", "benchmarks"]) -> list[schema.Problem]:
        """Return the fault of columns that are not the members', in the order of their first appearance."""
        headers = [member.header for member in self._parsed]
        if None in headers:
            return []  # nobody can tell what that member takes
        taken = tuple(dict.fromkeys(name for header in headers if header for name in getattr(header, key)))
        said: tuple[str, ...] = getattr(self, key)
        given, among = frozenset(said), frozenset(taken)
        lacking = [name for name in taken if name not in given]
        idle = [name for name in said if name not in among]
        problems = []
        if lacking:
            text = f"lacks {format_list(lacking)}, which members take; all that members take are listed here"
            problems.append(schema.Problem(path=(key,), text=text))
        if idle:
            text = f"no member takes {format_list(idle)}; leave out what nothing reads"
            problems.append(schema.Problem(path=(key,), text=text))
        if not problems and len(said) == len(taken) and said != taken:
            at = next(index for index, pair in enumerate(zip(said, taken, strict=True)) if pair[0] != pair[1])
            text = f"{said[at]} stands where {taken[at]} does; they are in the order in which members first take them"
            problems.append(schema.Problem(path=(key, at), text=text))
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
        errors.BundleError: It is one that no member has.
    """
    for name, kind in member_kinds.KINDS.items():
        if kind.MODEL is type(member.model):
            return name
    came = type(member.model).__name__
    raise errors.BundleError(
        [f"members.{index}: is a model of type {came}; a member is {', '.join(member_kinds.KINDS)}"]
    )


def _is_among(name: object, names: frozenset[str]) -> bool:
    return isinstance(name, str) and name in names


def _select_member(index: int, named: Mapping[str, T]) -> dict[str, T]:
    """Return what belongs to one member, without its prefix."""
    prefix = f"m{index}."
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}


def _to_bundle_path(index: int, problem: schema.Problem) -> schema.Problem:
    """Return a member's fault with its place in the bundle: its arrays and files stand among those of the others."""
    if problem.path[0] in {"arrays", "files"}:
        key, *rest = problem.path
        name = f"m{index}.{rest[0]}" if rest else f"m{index}"
        return schema.Problem(path=(key, name, *rest[1:]), text=problem.text)
    return schema.Problem(path=("members", index, *problem.path), text=problem.text)
