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
from builder.bundle.kinds import single
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
class _Parsed:
    """One member as far as it can be read.

    Attributes:
        header: As of a bundle that holds this model alone; None where that cannot be read.
        share: None where it cannot be read.
        faults: What keeps the two from being read, with places in the member.
    """

    header: bundle_header.BundleHeader | None
    share: Share | None
    faults: tuple[schema.Problem, ...]


@dataclass(frozen=True, kw_only=True)
class EnsembleHeader(bundle_header.BundleHeader):
    """``bundle.json`` of an ``ensemble``.

    Attributes:
        members: For each member what ``bundle.json`` says of a model of its kind, and its part in the sum.
    """

    MODEL: ClassVar[type] = bundle_model.Ensemble

    members: Annotated[tuple[dict[str, object], ...], schema.require_length(1, 1_000)]

    @classmethod
    def own_keys(cls, model: bundle_model.Ensemble) -> dict[str, object]:
        return {"members": [_member_keys(place, member) for place, member in enumerate(model.members)]}

    @classmethod
    def own_arrays(cls, model: bundle_model.Ensemble) -> dict[str, bundle_model.Numbers]:
        return {
            f"m{place}.{name}": array
            for place, member in enumerate(model.members)
            for name, array in single.KINDS[_kind_of(place, member)].own_arrays(member.model).items()
        }

    @classmethod
    def own_files(cls, model: bundle_model.Ensemble) -> dict[str, bytes | Path]:
        return {
            f"m{place}.{name}": content
            for place, member in enumerate(model.members)
            for name, content in single.KINDS[_kind_of(place, member)].own_files(member.model).items()
        }

    @classmethod
    def parameters(cls, model: bundle_model.Ensemble) -> int:
        return sum(
            single.KINDS[_kind_of(place, member)].parameters(member.model) for place, member in enumerate(model.members)
        )

    @classmethod
    def is_bounded(cls, model: bundle_model.Ensemble) -> bool:
        """Tell whether it is a mean, by positive weights, of ranks and of predictions that are bounded themselves."""
        return all(
            member.weight > 0
            and (
                member.transform == "rank"
                or (member.transform == "raw" and single.KINDS[_kind_of(place, member)].is_bounded(member.model))
            )
            for place, member in enumerate(model.members)
        )

    @classmethod
    def needs_era(cls, model: bundle_model.Ensemble) -> bool:
        """Tell whether a member is ranked or gaussianised within eras."""
        return any(member.transform != "raw" and member.scope == "era" for member in model.members)

    def own_faults(self) -> list[schema.Problem]:
        found = []
        for place, member in enumerate(self._parsed):
            found += [schema.Problem(path=("members", place, *fault.path), text=fault.text) for fault in member.faults]
            found += [_placed(place, fault) for fault in (member.header.faults() if member.header else ())]
        return found + self._stray_faults() + self._column_faults("features") + self._column_faults("benchmarks")

    def value_faults(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        return [
            f"m{place}.{fault}"
            for place, member in enumerate(self._parsed)
            if member.header
            for fault in member.header.value_faults(_part(place, arrays))
        ]

    def file_faults(self, contents: Mapping[str, bytes | Path]) -> list[str]:
        return [
            f"m{place}.{fault}"
            for place, member in enumerate(self._parsed)
            if member.header
            for fault in member.header.file_faults(_part(place, contents))
        ]

    def model(
        self, arrays: Mapping[str, bundle_model.Numbers], contents: Mapping[str, bytes | Path]
    ) -> bundle_model.Ensemble:
        members = []
        for place, parsed in enumerate(self._parsed):
            # own_faults has seen that both could be read.
            header, share = cast("bundle_header.BundleHeader", parsed.header), cast("Share", parsed.share)
            model = header.model(_part(place, arrays), _part(place, contents))
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
    def _parsed(self) -> list[_Parsed]:
        return [self._parse(place, entry) for place, entry in enumerate(self.members)]

    def _parse(self, place: int, entry: Mapping[str, object]) -> _Parsed:
        """Read one member as the bundle it would be by itself."""
        foreign = [key for key in entry if key in _OF_THE_BUNDLE]
        faults = [
            schema.Problem(path=(key,), text="a key of the bundle, not of a member; take it out") for key in foreign
        ]
        share = schema.parse(Share, {key: entry[key] for key in _SHARE if key in entry})
        faults += share if isinstance(share, list) else []
        kind = entry.get("kind")
        if not isinstance(kind, str) or kind not in single.KINDS:
            came = "missing" if kind is None else describe(kind)
            near = find_nearest(kind, single.KINDS)
            hint = f"did you mean {near}? " if near else ""
            valid = ", ".join(single.KINDS)
            faults.append(schema.Problem(path=("kind",), text=f"{came}; {hint}a member is one of {valid}"))
            header: bundle_header.BundleHeader | list[schema.Problem] = []
        else:
            own = {key: item for key, item in entry.items() if key not in _SHARE and key not in _OF_THE_BUNDLE}
            header = self._parse_header(single.KINDS[kind], {**own, **self._lent(place, entry)})
        return _Parsed(
            header=None if isinstance(header, list) else header,
            share=None if isinstance(share, list) else share,
            faults=(*faults, *(header if isinstance(header, list) else ())),
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

    def _lent(self, place: int, entry: Mapping[str, object]) -> dict[str, object]:
        """Return what a member takes from the bundle: its arrays and files, and golden rows of its width."""
        inputs = sum(len(names) for key in ("features", "benchmarks") if isinstance(names := entry.get(key), list))
        declared = {
            name: {"dtype": array.dtype, "shape": list(array.shape)}
            for name, array in _part(place, self.arrays).items()
        }
        files = {name: {"sha256": file.sha256, "size": file.size} for name, file in _part(place, self.files).items()}
        golden = {
            "inputs": {"dtype": "float64", "shape": [1, max(inputs, 1)]},
            "predictions": {"dtype": "float64", "shape": [1]},
        }
        return {"format": self.format, "arrays": declared, "files": files, "golden": golden}

    def _stray_faults(self) -> list[schema.Problem]:
        """Return the faults of arrays and files that no member has."""
        prefixes = tuple(f"m{place}." for place in range(len(self.members)))
        hint = f"belongs to no member; the names of {len(prefixes)} members' begin with {format_list(prefixes)}"
        return [
            schema.Problem(path=(key, name), text=hint)
            for key, names in (("arrays", self.arrays), ("files", self.files))
            for name in [name for name in names if not name.startswith(prefixes)][:10]
        ]

    def _column_faults(self, key: Literal["features", "benchmarks"]) -> list[schema.Problem]:
        """Return the fault of columns that are not the members', in the order of their first appearance."""
        headers = [member.header for member in self._parsed]
        if None in headers:
            return []  # nobody can tell what that member takes
        taken = tuple(dict.fromkeys(name for header in headers if header for name in getattr(header, key)))
        said: tuple[str, ...] = getattr(self, key)
        given, among = frozenset(said), frozenset(taken)
        lacking = [name for name in taken if name not in given]
        idle = [name for name in said if name not in among]
        found = []
        if lacking:
            text = f"lacks {format_list(lacking)}, which members take; all that members take are listed here"
            found.append(schema.Problem(path=(key,), text=text))
        if idle:
            text = f"no member takes {format_list(idle)}; leave out what nothing reads"
            found.append(schema.Problem(path=(key,), text=text))
        if not found and len(said) == len(taken) and said != taken:
            at = next(place for place, pair in enumerate(zip(said, taken, strict=True)) if pair[0] != pair[1])
            text = f"{said[at]} stands where {taken[at]} does; they are in the order in which members first take them"
            found.append(schema.Problem(path=(key, at), text=text))
        return found


def _member_keys(place: int, member: bundle_model.Member) -> dict[str, object]:
    kind = _kind_of(place, member)
    return {
        "kind": kind,
        "features": list(member.features),
        "benchmarks": list(member.benchmarks),
        "weight": float(member.weight),
        "transform": member.transform,
        "scope": member.scope,
        **single.KINDS[kind].own_keys(member.model),
    }


def _kind_of(place: int, member: bundle_model.Member) -> str:
    """Return the name of a member's kind.

    Raises:
        errors.BundleError: It is one that no member has.
    """
    for name, kind in single.KINDS.items():
        if kind.MODEL is type(member.model):
            return name
    came = type(member.model).__name__
    raise errors.BundleError([f"members.{place}: is a model of type {came}; a member is {', '.join(single.KINDS)}"])


def _is_among(name: object, names: frozenset[str]) -> bool:
    return isinstance(name, str) and name in names


def _part(place: int, named: Mapping[str, T]) -> dict[str, T]:
    """Return what belongs to one member, without its prefix."""
    prefix = f"m{place}."
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}


def _placed(place: int, fault: schema.Problem) -> schema.Problem:
    """Return a member's fault with its place in the bundle: its arrays and files stand among those of the others."""
    if fault.path[0] in {"arrays", "files"}:
        key, *rest = fault.path
        name = f"m{place}.{rest[0]}" if rest else f"m{place}"
        return schema.Problem(path=(key, name, *rest[1:]), text=fault.text)
    return schema.Problem(path=("members", place, *fault.path), text=fault.text)
