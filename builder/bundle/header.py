"""What ``bundle.json`` says: the keys that every kind of model has.

A kind adds its own keys and rules in a subclass (``builder.bundle.kinds.network``), and is entered in
``builder.bundle.kinds.catalog``.
"""

from __future__ import annotations

import abc
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from builder import schema
from builder.bundle import model as bundle_model
from builder.bundle import post as postprocessing
from builder.bundle.storage import files, tensors
from builder.text import describe, format_list

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


_RESERVED = frozenset({"id", "era", "data_type"})


@dataclass(frozen=True, kw_only=True)
class GoldenHeader:
    """What ``golden.safetensors`` holds.

    Attributes:
        inputs: float32 or float64 (rows, n).
        predictions: float64 (rows,).
    """

    inputs: tensors.ArraySpec
    predictions: tensors.ArraySpec

    def arrays(self) -> dict[str, tensors.ArraySpec]:
        """Return the arrays by name."""
        return {"inputs": self.inputs, "predictions": self.predictions}


@dataclass(frozen=True, kw_only=True)
class Checksums:
    """The sha256 of the files of arrays, in hexadecimal: safetensors has no checksum of its own."""

    arrays: schema.Sha256
    golden: schema.Sha256


@dataclass(frozen=True, kw_only=True)
class FileHeader:
    """A file beside ``bundle.json``.

    Attributes:
        sha256: Hash of its bytes.
        size: Its bytes.
    """

    sha256: schema.Sha256
    size: Annotated[int, schema.require_between(0, files.MOST_FILE)]


@dataclass(frozen=True, kw_only=True)
class BundleHeader(abc.ABC):
    """``bundle.json``.

    Attributes:
        format: Of the bundle.
        kind: Of the model.
        features: Feature columns, the first inputs of the model.
        benchmarks: Benchmark columns, the inputs after them.
        post: Steps done to the predictions.
        arrays: What ``arrays.safetensors`` holds, by name.
        files: What lies beside it, by name.
        golden: What ``golden.safetensors`` holds.
        checksums: Of the two files of arrays; without them, damage to a number goes unseen.
        trained: Where the model came from; no path, user or host.
    """

    MODEL: ClassVar[type]
    """The class of the models of this kind."""

    format: Annotated[int, schema.require_equal(2)]
    kind: str
    features: Annotated[tuple[postprocessing.Column, ...], schema.require_length(1, 100_000)]
    benchmarks: Annotated[tuple[postprocessing.Column, ...], schema.require_length(0, 1_000)] = ()
    post: Annotated[tuple[postprocessing.Step, ...], schema.require_length(0, 100)] = ()
    arrays: dict[str, tensors.ArraySpec]
    files: dict[str, FileHeader] = field(default_factory=dict)
    golden: GoldenHeader
    checksums: Checksums | None = None
    trained: dict[str, bundle_model.Fact] = field(default_factory=dict)

    @classmethod
    @abc.abstractmethod
    def dump_keys(cls, model: Any) -> dict[str, object]:
        """Return the keys of ``bundle.json`` that this kind adds, for a model of it."""

    @classmethod
    @abc.abstractmethod
    def dump_arrays(cls, model: Any) -> dict[str, bundle_model.Numbers]:
        """Return what ``arrays.safetensors`` holds for a model of this kind, as it came."""

    @classmethod
    def dump_files(cls, model: Any) -> dict[str, bytes | Path]:  # noqa: ARG003 - most have none
        """Return what lies beside the three files for a model of this kind, by name."""
        return {}

    @classmethod
    @abc.abstractmethod
    def count_parameters(cls, model: Any) -> int:
        """Return how many trained numbers a model of this kind has."""

    @classmethod
    @abc.abstractmethod
    def is_bounded(cls, model: Any) -> bool:
        """Tell whether the predictions of a model of this kind lie in [0, 1], whatever its inputs."""

    @classmethod
    def needs_era(cls, model: Any) -> bool:  # noqa: ARG003 - most do not
        """Tell whether a model of this kind looks at the ``era`` column."""
        return False

    @abc.abstractmethod
    def find_kind_problems(self) -> list[schema.Problem]:
        """Return what is wrong with this kind's keys and with the names and shapes of its arrays."""

    @abc.abstractmethod
    def find_value_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        """Return what is wrong with the numbers of those arrays that could be read, each ``array: what; what next``."""

    def find_file_problems(self, contents: Mapping[str, bytes | Path]) -> list[str]:  # noqa: ARG002 - most have no files
        """Return what is wrong inside the files, whose hashes are right, each ``file: what; what next``."""
        return []

    @abc.abstractmethod
    def build_model(
        self, arrays: Mapping[str, bundle_model.Numbers], contents: Mapping[str, bytes | Path]
    ) -> bundle_model.Model:
        """Return the model, its text, arrays and files being without fault."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The model's inputs: features, then benchmarks."""
        return self.features + self.benchmarks

    def find_problems(self) -> list[schema.Problem]:
        """Return all that is wrong with the text, taken by itself."""
        return [
            *_find_duplicates(("features",), self.features),
            *_find_duplicates(("benchmarks",), self.benchmarks),
            *_find_reserved_names(("features",), self.features),
            *_find_reserved_names(("benchmarks",), self.benchmarks),
            *_find_shared_names(self.features, self.benchmarks),
            *_find_group_problems(self.post),
            *self.find_kind_problems(),
            *_find_metadata_problems(self.arrays),
            *_find_file_name_problems(self.files),
            *self._find_golden_problems(),
            *(problem for key, value in self.trained.items() for problem in _find_private_facts(key, value)),
        ]

    def _find_golden_problems(self) -> list[schema.Problem]:
        problems = []
        inputs, predictions = self.golden.inputs, self.golden.predictions
        wanted = len(self.columns)
        if len(inputs.shape) != 2 or inputs.shape[1] != wanted:
            text = f"{inputs.shape}; expected (rows, {wanted}): a column for each feature, then each benchmark"
            problems.append(schema.Problem(path=("golden", "inputs", "shape"), text=text))
        if predictions.shape != inputs.shape[:1]:
            text = f"{predictions.shape}; expected {inputs.shape[:1]}: one for each row of the golden inputs"
            problems.append(schema.Problem(path=("golden", "predictions", "shape"), text=text))
        if predictions.dtype != "float64":
            text = f"{predictions.dtype}; expected float64: what the framework predicted, unrounded"
            problems.append(schema.Problem(path=("golden", "predictions", "dtype"), text=text))
        return problems


def find_bad_values(name: str, array: bundle_model.Numbers, bad: NDArray[np.bool_], cure: str) -> list[str]:
    """Return the fault of an array's bad numbers: the first, where it is, and how many; nothing when none is."""
    places = np.argwhere(bad)
    if not len(places):
        return []
    first = tuple(places[0].tolist())
    count = f"{len(places):,} of {array.size:,} values" if len(places) > 1 else "the only one"
    return [f"{name}: {array[first]} at [{', '.join(map(str, first))}] ({count}); {cure}"]


def _find_reserved_names(path: schema.KeyPath, names: tuple[str, ...]) -> list[schema.Problem]:
    """Return a fault when a name is that of another column of the tournament's frames."""
    problems = [name for name in names if name in _RESERVED or name.startswith("target")]
    if not problems:
        return []
    said = f"{', '.join(problems[:5])}: the tournament's frames use the name for something else; take the column out"
    return [schema.Problem(path=path, text=said)]


def _find_duplicates(path: schema.KeyPath, names: Sequence[str]) -> list[schema.Problem]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if not twice:
        return []
    text = f"{len(twice):,} of {len(set(names)):,} names are there more than once: {format_list(twice)}; each input has its own"
    return [schema.Problem(path=path, text=text)]


def _find_shared_names(features: Sequence[str], benchmarks: Sequence[str]) -> list[schema.Problem]:
    both = sorted(set(features) & set(benchmarks))
    if not both:
        return []
    text = f"{format_list(both)}: among the features too; a column is one or the other"
    return [schema.Problem(path=("benchmarks",), text=text)]


def _find_file_name_problems(names: Iterable[str]) -> list[schema.Problem]:
    """Return the faults of files that can be no part of a bundle: one that would lie outside it above all."""
    problems = []
    for name in sorted(names):
        if not files.is_extra_name(name):
            text = f"{describe(name)} cannot be a file of a bundle; {files.NAMING}: rename it"
            problems.append(schema.Problem(path=("files",), text=text))
    whole = set(names)
    for name in sorted(whole):
        above = {"/".join(name.split("/")[:end]) for end in range(1, name.count("/") + 1)} & whole
        if above:
            text = f"{describe(min(above))} is a file, and {describe(name)} lies in it; rename one"
            problems.append(schema.Problem(path=("files",), text=text))
    return problems


def _find_metadata_problems(names: Container[str]) -> list[schema.Problem]:
    """Return the problem of an array whose name means something else in a safetensors file."""
    if "__metadata__" not in names:
        return []
    return [schema.Problem(path=("arrays", "__metadata__"), text="not a name for an array in safetensors; rename it")]


def _find_group_problems(steps: Sequence[postprocessing.Step]) -> list[schema.Problem]:
    """Return a fault for each feature group: what it means stands in another file, and a bundle is whole by itself."""
    text = "a bundle names its features: write features: [...]; a group belongs in a config"
    return [
        schema.Problem(path=("post", index, "neutralize", "group"), text=f"{describe(group)}; {text}")
        for index, group in postprocessing.find_groups(steps).items()
    ]


_PRIVATE_KEYS = frozenset(
    {"user", "username", "login", "host", "hostname", "node", "cwd", "path", "folder", "directory", "home"}
)


def _find_private_facts(key: str, value: object) -> list[schema.Problem]:
    """Return the fault of a fact that tells whose computer it was: a bundle is passed on, and is the same from any."""
    if not (key.isprintable() and 0 < len(key) <= 200):
        return [schema.Problem(path=("trained", ascii(key)), text="not a key; expected 1 to 200 printable characters")]
    if key.lower() in _PRIVATE_KEYS:
        return [schema.Problem(path=("trained", key), text=f"{files.JSON} records no path, user or host; leave it out")]
    texts = value if isinstance(value, tuple) else (value,)
    for text in texts:
        if not isinstance(text, str):
            continue
        shown = describe(text)
        if looks_like_path(text):
            reason = f"{shown} looks like a path of one computer; {files.JSON} records none: leave it out"
            return [schema.Problem(path=("trained", key), text=reason)]
    return []


def looks_like_path(text: str) -> bool:
    """Tell whether a text looks like a path of one computer."""
    drive = len(text) > 2 and text[0].isalpha() and text[1] == ":" and text[2] in "\\/"
    return drive or text.startswith(("/", "~/", "\\\\", "file:")) or "/home/" in text or "/Users/" in text
