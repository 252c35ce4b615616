"""One config file, ``configs/NAME.yaml``, typed and checked; every fault of the file is reported at once."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from builder import errors, schema, secret_scan
from builder.bundle import post as postprocessing
from builder.config import feature_sets, strict_yaml
from builder.config import values as config_values
from builder.net import address
from builder.registry import reference
from builder.text import describe

if TYPE_CHECKING:
    from collections.abc import Mapping


_FOLDER = "configs"

RelativePath = Annotated[
    Path, schema.ParsedText(parse=Path, text="a path relative to this file", schema={"minLength": 1})
]


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """Which image makes and runs the pickle.

    Attributes:
        ref: The runner image, with a tag or a digest: registry/repository:tag or registry/repository@sha256:...
            Or the word default: the image that the tournament names, asked for once and then pinned in the lock file.
        stand_in: A Python version, in quotes. Where the image cannot be had, a look-alike with this Python is made
            here: for examples, tests and rehearsal only. What is made with it is never uploaded.
    """

    ref: Annotated[
        str,
        schema.ParsedText(
            parse=config_values.parse_reference,
            text="an image reference (registry/repository:tag, or default)",
            schema={"minLength": 1},
        ),
    ]
    stand_in: Literal["3.10", "3.11", "3.12", "3.13"] | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteBundle:
    """A bundle that is not kept here: fetched once, and then taken from the cache.

    Attributes:
        url: Where NAME.bundle.zip is: an https address, or a file (a path relative to this file, or file:).
        sha256: Of that file; nothing else is taken.
    """

    url: Annotated[
        str,
        schema.ParsedText(
            parse=address.check_address,
            text="an https address, or the path of a file relative to this one",
            schema={"minLength": 1},
        ),
    ] = dataclasses.field(repr=False)
    sha256: Annotated[
        str,
        schema.ParsedText(
            parse=config_values.read_sha256,
            text="a sha256 in hexadecimal",
            schema={"pattern": "^(sha256:)?[0-9a-fA-F]{64}$"},
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class LivePaths:
    """Parquet files to validate on; they are not looked for before they are read.

    Attributes:
        live: Live features, a parquet file, relative to this file.
        benchmarks: Predictions of the benchmark models for the same ids, a parquet file, relative to this file.
    """

    live: RelativePath
    benchmarks: RelativePath | None = None


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """What the validated run may use; memory in bytes.

    Attributes:
        cpus: CPUs, parts of one too.
        memory: Memory, without swap, in Docker's units: 4g, 512m.
        seconds: Seconds for the whole run.
    """

    cpus: Annotated[float, schema.require_above(0, 64)] = 1.0
    memory: Annotated[
        int,
        schema.ParsedText(
            parse=config_values.read_memory,
            text="an amount of memory, like 4g or 512m",
            schema={"pattern": r"^[0-9]+(\.[0-9]+)?[bkmgBKMG]$"},
        ),
    ] = 4 << 30
    seconds: Annotated[int, schema.require_between(1, 86_400)] = 600


@dataclass(frozen=True, kw_only=True)
class ValidateConfig:
    """What the pickle is proved on.

    Attributes:
        data: The word shaped (data made in the shape of live data, from a fixed seed) or parquet files.
        rows: Rows of shaped data.
        limits: What the run may use.
    """

    data: (
        Annotated[
            Literal["shaped"],
            schema.ParsedText(parse=config_values.read_data_word, text='"shaped"', schema={"const": "shaped"}),
        ]
        | LivePaths
    ) = "shaped"
    rows: Annotated[int, schema.require_between(1, 1_000_000)] = 6_000
    limits: LimitsConfig = dataclasses.field(default_factory=LimitsConfig)


@dataclass(frozen=True, kw_only=True)
class UploadConfig:
    """Where the pickle goes.

    Attributes:
        model: The slot: its name, or its id (a UUID).
    """

    model: (
        Annotated[
            str,
            schema.ParsedText(
                parse=config_values.read_model,
                text="a slot's name or a model id",
                schema={"pattern": "^[A-Za-z0-9_-]+$"},
            ),
        ]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """A model's config, as its file says it.

    Attributes:
        name: The file's name without .yaml; names dist/NAME. 1 to 40 of a-z 0-9 _ -
        image: Which image makes and runs the pickle.
        bundle: The model's bundle: a folder or a NAME.bundle.zip, relative to this file; or where to fetch one.
        post: Post-processing steps, in order, instead of the bundle's own. Once read, feature groups are names.
        data_version: The tournament's data version: one name for live data, the feature check and the upload.
        validate: What the pickle is proved on.
        upload: Where the pickle goes.
    """

    name: config_values.Name
    image: ImageConfig
    bundle: RelativePath | RemoteBundle
    post: tuple[postprocessing.Step, ...] | None = None
    data_version: Annotated[str, schema.require_pattern(r"v[0-9]+(\.[0-9]+)?", "like v5.2")] = "v5.2"
    validate: ValidateConfig = dataclasses.field(default_factory=ValidateConfig)
    upload: UploadConfig | None = None


@dataclass(frozen=True, kw_only=True)
class Config(ConfigFile):
    """A checked config; its paths are absolute, with links resolved.

    Attributes:
        file: The config file.
        root: The folder that holds configs/; every path is below it.
    """

    file: Path = Path()
    root: Path = Path()


def load(path: Path) -> Config:
    """Read and check a config file.

    Raises:
        errors.ConfigError: Everything that is wrong with it.
    """
    document = strict_yaml.read(_read_bytes(path))
    found = _Findings(path, document)
    if any(not fault.path for _, fault in document.problems):
        # What follows a break in the syntax is not known: no key can be said to be missing.
        raise found.error()
    parsed = schema.parse(ConfigFile, document.data, spelling=document.spelling)
    if isinstance(parsed, list):
        for fault in parsed:
            found.add(fault.path, fault.text)
    file = Path(os.path.realpath(path))
    _check_name(document.data.get("name"), file, found)
    root = _find_root(file, found)
    steps = () if isinstance(parsed, list) else _resolved_steps(parsed, root, found)
    paths = {place: _resolve(place, document.data, file, root, found) for place in _PATHS} if root else {}
    if isinstance(parsed, list) or root is None or found.any():
        raise found.error()
    return _resolved(dataclasses.replace(parsed, post=steps), file, root, paths)


def select_build_inputs(config: Config) -> dict[str, Any]:
    """Return the part of a config that a build depends on, as plain data for canonical JSON.

    The bundle is not in it: its own hash says what it is, wherever it lies.
    """
    post = None if config.post is None else postprocessing.as_data(config.post)
    image = {"ref": normalize_reference(config.image.ref), "stand_in": config.image.stand_in}
    return {"image": image, "post": post}


def normalize_reference(ref: str) -> str:
    """Return a config's ``image.ref`` in the one way to write it."""
    return ref if ref == config_values.DEFAULT_IMAGE else str(reference.parse(ref))


def schema_text() -> str:
    """Return the text of ``configs/schema.json``: the JSON Schema that editors check a config with as it is typed."""
    found = schema.build_json_schema(ConfigFile, title="A model's config for numerai-builder")
    found["$defs"]["LimitsConfig"]["properties"]["memory"]["default"] = "4g"  # as it is written
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


class _Findings:
    """What is wrong with one file, with its place in it; secrets are taken out of what is said."""

    def __init__(self, path: Path, document: strict_yaml.Document) -> None:
        self._path = path
        self._document = document
        self._secrets = secret_scan.find(document.data, document.spelling)
        self._found: list[tuple[tuple[int, int], schema.KeyPath, str]] = []
        for at, fault in document.problems:
            self._add(at, fault.path, fault.text)
        for place in self._secrets:
            self._found.append((document.position(place), place, secret_scan.MESSAGE))

    def add(self, place: schema.KeyPath, text: str) -> None:
        """Add a fault, unless its value is a fault already: what is made of such a value means nothing."""
        if not any(
            known[: len(place)] == place or place[: len(known)] == known for _, known, _ in self._found if known
        ):
            self._add(self._document.position(place), place, text)

    def any(self) -> bool:
        """Whether anything is wrong."""
        return bool(self._found)

    def error(self) -> errors.ConfigError:
        """Return the error with all faults in the order of the file."""
        return errors.ConfigError([self._line(*found) for found in sorted(self._found, key=lambda found: found[0])])

    def _add(self, at: tuple[int, int], place: schema.KeyPath, text: str) -> None:
        if not secret_scan.is_hidden(self._secrets, place):
            self._found.append((at, place, text))

    def _line(self, at: tuple[int, int], place: schema.KeyPath, text: str) -> str:
        key_path = "".join(_part(part) for part in place).removeprefix(".")
        return f"{self._path}:{at[0]}: {key_path + ': ' if key_path else ''}{text}"


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    if secret_scan.is_secret_part(part):
        return ".(hidden)"
    return "." + (part if re.fullmatch(r"[\w<-]{1,60}", part) else describe(part))


def _read_bytes(path: Path) -> bytes:
    """Return what is in the file, or a little more than may be; never waits on a pipe."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "a folder" if path.is_dir() else "not a file"
            raise errors.ConfigError([f"{path}: is {what}; name a config file, such as {_FOLDER}/mlp.yaml"])
        with path.open("rb") as file:
            return file.read(strict_yaml.MAX_BYTES + 1)
    except FileNotFoundError as error:
        beside = sorted(item.name for item in path.parent.glob("*.yaml"))[:20] if path.parent.is_dir() else []
        there = (
            f"name one that is in {path.parent}: {', '.join(beside)}"
            if beside
            else f"name a file, such as {_FOLDER}/mlp.yaml"
        )
        raise errors.ConfigError([f"{path}: no such file; {there}"]) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise errors.ConfigError([f"{path}: cannot be read ({why}); make it readable, or name another"]) from error


def _check_name(name: object, file: Path, found: _Findings) -> None:
    if isinstance(name, str) and name != file.stem:
        text = f"{describe(name)} is not the name of this file; expected {describe(file.stem)}"
        found.add(("name",), f"{text}, or rename the file")


def _find_root(file: Path, found: _Findings) -> Path | None:
    for folder in file.parents:
        if folder.name == _FOLDER:
            return folder.parent
    found.add(
        (), f"{file} is in no folder named {_FOLDER}; move it into one: what holds that folder is the root of all paths"
    )
    return None


def _resolved_steps(config: ConfigFile, root: Path | None, found: _Findings) -> tuple[postprocessing.Step, ...] | None:
    """Return the steps with feature groups replaced by their names, so that all that follows goes by the names."""
    steps = config.post
    if not steps:
        return steps
    groups = postprocessing.find_groups(steps) if root else {}
    names = {}
    for place, group in groups.items():
        try:
            names[group] = feature_sets.names(root or Path(), config.data_version, group)
        except ValueError as error:
            found.add(("post", place, "neutralize", "group"), str(error))
    # Where no step decides, it depends on the model, which is looked at when the pickle is made.
    unbounded = postprocessing.find_unbounded_step(steps, model_bounded=True)
    if unbounded is not None:
        found.add(("post", unbounded), postprocessing.find_range_problem(steps, model_bounded=True) or "")
    return postprocessing.replace_groups(steps, names) if len(names) == len({*groups.values()}) else steps


_PATHS: Mapping[schema.KeyPath, config_values.Sort] = {
    ("bundle",): "bundle",
    ("bundle", "url"): "archive",
    ("validate", "data", "live"): "parquet",
    ("validate", "data", "benchmarks"): "parquet",
}


def _resolve(place: schema.KeyPath, data: Any, file: Path, root: Path, found: _Findings) -> Path | None:
    """Return the path that is written at a place, absolute and without links."""
    for key in place:
        data = data.get(key) if isinstance(data, dict) else None
    named = _as_path(place, data, found)
    if named is None:
        return None
    path = Path(os.path.realpath(file.parent / named))
    said = f"{describe(data)} is {path}"
    is_address = place == ("bundle", "url") and data.lower().startswith("file:")
    if not data or (named.is_absolute() and not is_address):
        found.add(place, f"{describe(data)} is not a relative path; write it relative to {file.parent}")
    elif not path.is_relative_to(root) or path == root:
        found.add(place, f"{said}, which is not below {root}; every path stays below the folder that holds {_FOLDER}/")
    elif fault := config_values.path_fault(path, sort=_PATHS[place]):
        found.add(place, f"{said}, which {fault}, relative to {file.parent}")
    return path


def _as_path(place: schema.KeyPath, data: Any, found: _Findings) -> Path | None:
    """Return the path that is written at a place, as written; None where there is no path, or one with a fault."""
    if not isinstance(data, str) or strict_yaml.UNPRINTABLE.search(data):
        return None  # known already
    if place == ("bundle",) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", data):
        found.add(place, "this is an address, not a path; write it as {url: ..., sha256: ...}")
        return None
    if place == ("bundle", "url"):
        try:
            return address.path_from_address(address.check_address(data))
        except ValueError:
            return None  # known already
    return Path(data)


def _resolved(config: ConfigFile, file: Path, root: Path, paths: Mapping[schema.KeyPath, Path | None]) -> Config:
    data = config.validate.data
    if isinstance(data, LivePaths):
        live, benchmarks = (paths["validate", "data", name] for name in ("live", "benchmarks"))
        data = LivePaths(live=live or data.live, benchmarks=benchmarks)
    bundle = config.bundle
    if isinstance(bundle, RemoteBundle):
        bundle = dataclasses.replace(bundle, url=str(paths["bundle", "url"] or bundle.url))
    else:
        bundle = paths["bundle",] or bundle
    return Config(
        **{
            **vars(config),
            "bundle": bundle,
            "validate": dataclasses.replace(config.validate, data=data),
        },
        file=file,
        root=root,
    )


if __name__ == "__main__":
    # To remake it: python -m builder.config.model > configs/schema.json
    sys.stdout.write(schema_text())
