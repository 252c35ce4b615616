"""``bundle.json`` as typed values: the keys that all kinds of model have in common, and their checks.

A kind adds its own keys and checks in a subclass (``builder.bundle.kinds.network``) and is listed in
``builder.bundle.kinds.catalog``. A field of a header is a key of the file: its name cannot change.
"""

from __future__ import annotations

import abc
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from builder import schema, secret_scan
from builder.bundle import model as bundle_model
from builder.bundle import post as postprocessing
from builder.bundle.storage import files, tensors
from builder.text import describe, format_list

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


# Other columns of the live data (docs/export/custom.md); `target...` exists in training data only.
_RESERVED = frozenset({"id", "era", "data_type"})


@dataclass(frozen=True, kw_only=True)
class GoldenHeader:
    """The declared arrays of ``golden.safetensors``.

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
    """The sha256 of the two safetensors files, in hexadecimal: the format itself has no checksum."""

    arrays: schema.Sha256
    golden: schema.Sha256


@dataclass(frozen=True, kw_only=True)
class FileHeader:
    """An additional file: a booster, or the code and data of a custom model.

    Attributes:
        sha256: Of its content.
        size: In bytes.
    """

    sha256: schema.Sha256
    size: Annotated[int, schema.require_between(0, files.MOST_FILE)]


@dataclass(frozen=True, kw_only=True)
class BundleHeader(abc.ABC):
    """``bundle.json``; a subclass for each kind of model adds its keys.

    Attributes:
        format: Format of the bundle.
        kind: Kind of the model.
        features: Feature columns, the first inputs of the model.
        benchmarks: Benchmark columns, the inputs after them.
        post: Post-processing steps.
        arrays: Declared arrays of ``arrays.safetensors``, by name.
        files: Additional files, by name.
        golden: Declared arrays of ``golden.safetensors``.
        checksums: Of the two safetensors files; without them, a damaged number is not noticed.
        trained: Facts about the training; no path, user or host.
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
        """Return the keys that this kind adds to ``bundle.json``."""

    @classmethod
    @abc.abstractmethod
    def dump_arrays(cls, model: Any) -> dict[str, bundle_model.Numbers]:
        """Return the arrays for ``arrays.safetensors``, by name, not converted."""

    @classmethod
    def dump_files(cls, model: Any) -> dict[str, bytes | Path]:  # noqa: ARG003 - most have none
        """Return the additional files, by name."""
        return {}

    @classmethod
    @abc.abstractmethod
    def count_parameters(cls, model: Any) -> int:
        """Count the trained numbers of a model."""

    @classmethod
    @abc.abstractmethod
    def is_bounded(cls, model: Any) -> bool:
        """Return whether a model's predictions are in [0, 1] for any input."""

    @classmethod
    def needs_era(cls, model: Any) -> bool:  # noqa: ARG003 - most do not
        """Return whether a model reads the ``era`` column."""
        return False

    @abc.abstractmethod
    def find_kind_problems(self) -> list[schema.Problem]:
        """Find the problems of this kind's keys, and of the names, dtypes and shapes of its arrays."""

    @abc.abstractmethod
    def find_value_problems(self, arrays: Mapping[str, bundle_model.Numbers]) -> list[str]:
        """Find invalid numbers in the arrays that could be read, each ``array: what is wrong; what is expected``."""

    def find_file_problems(self, contents: Mapping[str, bytes | Path]) -> list[str]:  # noqa: ARG002 - most have no files
        """Find the problems in the contents of the files, whose hashes are correct, each ``file: problem; fix``."""
        return []

    @abc.abstractmethod
    def build_model(
        self, arrays: Mapping[str, bundle_model.Numbers], contents: Mapping[str, bytes | Path]
    ) -> bundle_model.Model:
        """Build the model. Only for a header, arrays and files in which the checks found no problem."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The model's inputs: features, then benchmarks."""
        return self.features + self.benchmarks

    def find_problems(self) -> list[schema.Problem]:
        """Find all problems that can be found without the arrays and the files."""
        # One list, so that a user can fix everything at once and not one problem after each try.
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
        width = len(self.columns)
        if len(inputs.shape) != 2 or inputs.shape[1] != width:
            text = f"{inputs.shape}; expected (rows, {width}): one column for each feature, then for each benchmark"
            problems.append(schema.Problem(path=("golden", "inputs", "shape"), text=text))
        if predictions.shape != inputs.shape[:1]:
            text = f"{predictions.shape}; expected {inputs.shape[:1]}: one value for each row of the golden inputs"
            problems.append(schema.Problem(path=("golden", "predictions", "shape"), text=text))
        if predictions.dtype != "float64":
            text = f"{predictions.dtype}; expected float64: the framework's predictions, not rounded"
            problems.append(schema.Problem(path=("golden", "predictions", "dtype"), text=text))
        return problems


def find_bad_values(name: str, array: bundle_model.Numbers, mask: NDArray[np.bool_], fix: str) -> list[str]:
    """Describe an array's bad values in one problem: the first value, its index, and how many there are.

    Args:
        name: Name of the array.
        array: The array.
        mask: True at bad values, in the shape of the array.
        fix: What is expected, for the message.

    Returns:
        One problem, or an empty list.
    """
    indices = np.argwhere(mask)
    if not len(indices):
        return []
    first = tuple(indices[0].tolist())
    count = f"{len(indices):,} of {array.size:,} values" if len(indices) > 1 else "the only one"
    return [f"{name}: {array[first]} at [{', '.join(map(str, first))}] ({count}); {fix}"]


def _find_reserved_names(path: schema.KeyPath, names: tuple[str, ...]) -> list[schema.Problem]:
    """Find names that the tournament's data uses for other columns."""
    reserved = [name for name in names if name in _RESERVED or name.startswith("target")]
    if not reserved:
        return []
    text = f"{', '.join(reserved[:5])}: reserved for another column of the tournament's data; remove the column"
    return [schema.Problem(path=path, text=text)]


def _find_duplicates(path: schema.KeyPath, names: Sequence[str]) -> list[schema.Problem]:
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if not duplicates:
        return []
    count = f"{len(duplicates):,} of {len(set(names)):,} names"
    return [schema.Problem(path=path, text=f"{count} are duplicates: {format_list(duplicates)}; list each once")]


def _find_shared_names(features: Sequence[str], benchmarks: Sequence[str]) -> list[schema.Problem]:
    shared = sorted(set(features) & set(benchmarks))
    if not shared:
        return []
    text = f"also in features: {format_list(shared)}; list each column in one of them"
    return [schema.Problem(path=("benchmarks",), text=text)]


def _find_file_name_problems(names: Iterable[str]) -> list[schema.Problem]:
    """Find invalid file names, above all paths that would be outside the bundle's folder."""
    problems = []
    for name in sorted(names):
        if not files.is_extra_name(name):
            text = f"{describe(name)} is not a valid name for a file of a bundle; expected {files.NAMING}; rename it"
            problems.append(schema.Problem(path=("files",), text=text))
    all_names = set(names)
    # A bundle may arrive as a zip, which can list `a` and `a/b`; no folder can contain both.
    for name in sorted(all_names):
        parents = {"/".join(name.split("/")[:end]) for end in range(1, name.count("/") + 1)} & all_names
        if parents:
            text = f"{describe(min(parents))} is a file, but {describe(name)} is inside it; rename one of them"
            problems.append(schema.Problem(path=("files",), text=text))
    return problems


def _find_metadata_problems(names: Container[str]) -> list[schema.Problem]:
    """Find the array name that safetensors reserves for its metadata."""
    # See the format in https://github.com/huggingface/safetensors#format.
    if "__metadata__" not in names:
        return []
    return [schema.Problem(path=("arrays", "__metadata__"), text="reserved by safetensors; rename the array")]


def _find_group_problems(steps: Sequence[postprocessing.Step]) -> list[schema.Problem]:
    """Find feature groups: their features are defined in another file, and a bundle must be complete by itself."""
    text = "a bundle cannot refer to a feature group; list the features: features: [...]"
    return [
        schema.Problem(path=("post", index, "neutralize", "group"), text=f"{describe(group)}; {text}")
        for index, group in postprocessing.find_groups(steps).items()
    ]


_PRIVATE_KEYS = frozenset(
    {"user", "username", "login", "host", "hostname", "node", "cwd", "path", "folder", "directory", "home"}
)


def _find_private_facts(key: str, value: object) -> list[schema.Problem]:
    """Find facts that reveal the computer: bundles are shared, and the same training must give the same bytes."""
    texts = [text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)]
    is_named = secret_scan.is_secret_key(key) and any(len(text) >= secret_scan.MIN_LENGTH for text in texts)
    if is_named or any(map(secret_scan.has_secret, (key, *texts))):
        shown = "(hidden)" if secret_scan.has_secret(key) else ascii(key)[1:-1]
        return [schema.Problem(path=("trained", shown), text="looks like a secret; remove it, and make a new key")]
    if not (key.isprintable() and 0 < len(key) <= 200):
        return [
            schema.Problem(path=("trained", ascii(key)), text="invalid key; expected 1 to 200 printable characters")
        ]
    if key.lower() in _PRIVATE_KEYS:
        return [
            schema.Problem(path=("trained", key), text=f"{files.JSON} must not contain a path, user or host; remove it")
        ]
    for text in texts:
        shown = describe(text)
        if looks_like_path(text):
            reason = f"{shown} looks like a local path; {files.JSON} must not contain one; remove it"
            return [schema.Problem(path=("trained", key), text=reason)]
    return []


def looks_like_path(text: str) -> bool:
    """Return whether a text looks like an absolute local path: POSIX, Windows, UNC, a home folder or a file URL."""
    # In any position only for home folders: a `/` occurs in many harmless facts, such as "train/validate".
    drive = len(text) > 2 and text[0].isalpha() and text[1] == ":" and text[2] in "\\/"
    return drive or text.startswith(("/", "~/", "\\\\", "file:")) or "/home/" in text or "/Users/" in text
