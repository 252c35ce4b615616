"""Read a config file, ``configs/NAME.yaml``, into a typed value, reporting all problems of the file at once."""

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

from builder import commands, data_versions, errors, schema, secret_scan
from builder.bundle import post as postprocessing
from builder.config import feature_sets, strict_yaml
from builder.config import values as config_values
from builder.net import address
from builder.registry import reference
from builder.text import describe

if TYPE_CHECKING:
    from collections.abc import Mapping


_FOLDER = "configs"
_EXPECTED_BUNDLE = "a path relative to this file or a mapping with the keys url, sha256"

RelativePath = Annotated[
    Path, schema.ParsedText(parse=Path, text="a path relative to this file", schema={"minLength": 1})
]


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The image that builds and runs the pickle.

    Attributes:
        ref: The runner image, with a tag or a digest: registry/repository:tag or registry/repository@sha256:...
            Or the word default: the tournament's default image, requested once and then pinned in the lock file.
        stand_in: A Python version, in quotes. If the image is not available, a stand-in image with this Python is
            built here, for examples, tests and rehearsal only: a pickle built in it is never uploaded.
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
    """A bundle that is fetched once, and then read from the cache.

    Attributes:
        url: The address of NAME.bundle.zip: https, or a file (a path relative to this file, or file:).
        sha256: The sha256 of that file; another file is refused.
    """

    url: Annotated[
        str,
        schema.ParsedText(
            parse=address.check_address,
            text="an https address, or the path of a file relative to this one",
            schema={"minLength": 1},
        ),
    ] = dataclasses.field(repr=False)  # it may contain a token
    sha256: Annotated[
        str,
        schema.ParsedText(
            parse=config_values.parse_sha256,
            text="a sha256 in hexadecimal",
            schema={"pattern": "^(sha256:)?[0-9a-fA-F]{64}$"},
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class LivePaths:
    """Parquet files to validate on; they need not exist until validate reads them.

    Attributes:
        live: Live features, a parquet file, relative to this file.
        benchmarks: Predictions of the benchmark models for the same ids, a parquet file, relative to this file.
    """

    live: RelativePath
    benchmarks: RelativePath | None = None


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """The limits of the validated run; memory in bytes.

    Attributes:
        cpus: Number of CPUs, such as 1 or 0.5.
        memory: Memory without swap, in Docker's units: 4g, 512m.
        seconds: Seconds for the whole run.
    """

    cpus: Annotated[float, schema.require_above(0, 64)] = 1.0
    memory: Annotated[
        int,
        schema.ParsedText(
            parse=config_values.parse_memory,
            text="an amount of memory, like 4g or 512m",
            schema={"pattern": r"^[0-9]+(\.[0-9]+)?[bkmgBKMG]$"},
        ),
    ] = 4 << 30
    seconds: Annotated[int, schema.require_between(1, 86_400)] = 600


_Reason = Annotated[str, schema.require_pattern(r"\S(.{0,198}\S)?", "of 1 to 200 characters: the reason")]
_MAX_EXEMPT = 2


@dataclass(frozen=True, kw_only=True)
class ExemptConfig:
    """Relations that a custom function need not keep, each with the reason; at most two.

    Attributes:
        shuffle: Why predictions may depend on the order of the rows.
        types: Why features must be int8.
        era: Why the eras must be text.
        range: Why the golden rows have other values than live data.
    """

    shuffle: _Reason = ""
    types: _Reason = ""
    era: _Reason = ""
    range: _Reason = ""

    def __post_init__(self) -> None:
        if len(self.reasons) > _MAX_EXEMPT:
            raise ValueError(
                f"{len(self.reasons)} relations are exempt; expected at most {_MAX_EXEMPT}: fix the others"
            )

    @property
    def reasons(self) -> dict[str, str]:
        """The reasons by relation."""
        return {key: reason for key, reason in vars(self).items() if reason}


@dataclass(frozen=True, kw_only=True)
class ValidateConfig:
    """The data and limits of the validation.

    Attributes:
        data: The word shaped (generated data in the shape of live data, from a fixed seed), the word live (the live
            data of the last round, from the tournament) or parquet files.
        rows: Number of rows of shaped data.
        limits: The limits of the run.
        exempt: Relations that a custom function need not keep, each with the reason; at most two.
    """

    data: (
        Annotated[
            Literal["shaped", "live"],
            schema.ParsedText(
                parse=config_values.parse_data_word, text='"shaped" or "live"', schema={"enum": ["shaped", "live"]}
            ),
        ]
        | LivePaths
    ) = "shaped"
    rows: Annotated[int, schema.require_between(1, 1_000_000)] = 6_000
    limits: LimitsConfig = dataclasses.field(default_factory=LimitsConfig)
    exempt: ExemptConfig = dataclasses.field(default_factory=ExemptConfig)


@dataclass(frozen=True, kw_only=True)
class UploadConfig:
    """The slot to upload to.

    Attributes:
        model: The slot: its name, or its id (a UUID).
    """

    model: (
        Annotated[
            str,
            schema.ParsedText(
                parse=config_values.parse_model,
                text="a slot's name or a model id",
                schema={"pattern": "^[A-Za-z0-9_-]+$"},
            ),
        ]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """A model's config, as its file contains it.

    Attributes:
        name: The file's name without .yaml; the results go to dist/NAME. 1 to 40 of a-z 0-9 _ -
        image: The image that builds and runs the pickle.
        bundle: The model's bundle: a folder or a NAME.bundle.zip, relative to this file; or the address of one.
        pickle: A finished pickle instead of a bundle, relative to this file. It is not built: its bytes stay the same.
        post: Post-processing steps, in order, instead of the bundle's own. Loading replaces feature groups by names.
        data_version: The tournament's data version, for live data, the feature check and the upload.
        validate: The data and limits of the validation.
        upload: The slot to upload to.
    """

    name: config_values.Name
    image: ImageConfig
    bundle: RelativePath | RemoteBundle | None = None
    pickle: RelativePath | None = None
    post: tuple[postprocessing.Step, ...] | None = None
    data_version: Annotated[str, schema.require_pattern(data_versions.PATTERN, f"like {data_versions.DEFAULT}")] = (
        data_versions.DEFAULT
    )
    validate: ValidateConfig = dataclasses.field(default_factory=ValidateConfig)
    upload: UploadConfig | None = None


@dataclass(frozen=True, kw_only=True)
class Config(ConfigFile):
    """A checked config; its paths are absolute, with links resolved.

    Attributes:
        file: The config file.
        root: The folder that contains configs/; every path is below it.
    """

    file: Path = Path()
    root: Path = Path()


def load(path: Path) -> Config:
    """Read and check a config file.

    Raises:
        errors.ConfigError: The file is invalid; the error has all problems.
    """
    document = strict_yaml.read(_read_bytes(path))
    problems = _Problems(path, document)
    if any(not problem.path for _, problem in document.problems):
        # After a syntax error the data is incomplete: reporting keys as missing would be wrong.
        raise problems.to_error()
    parsed = schema.parse(ConfigFile, document.data, spelling=document.spelling)
    if isinstance(parsed, list):
        for problem in parsed:
            problems.add(problem.path, problem.text)
    # The rest is checked also if the values are invalid, so that all problems are reported at once.
    file = Path(os.path.realpath(path))
    _check_name(document.data.get("name"), file, problems)
    _check_source(document.data, problems)
    root = _find_root(file, problems)
    steps = () if isinstance(parsed, list) else _resolve_steps(parsed, root, problems)
    paths = {path: _resolve_path(path, document.data, file, root, problems) for path in _PATHS} if root else {}
    if isinstance(parsed, list) or root is None or problems:
        raise problems.to_error()
    return _create_config(dataclasses.replace(parsed, post=steps), file, root, paths)


def select_build_inputs(config: Config) -> dict[str, Any]:
    """Return the part of a config that a build depends on, as plain data for canonical JSON.

    It does not include the bundle, which has a hash of its own: the same bundle may be at another path.
    """
    post = None if config.post is None else postprocessing.as_data(config.post)
    image = {"ref": normalize_reference(config.image.ref), "stand_in": config.image.stand_in}
    return {"image": image, "post": post}


def normalize_reference(ref: str) -> str:
    """Return a config's ``image.ref`` in its canonical form, such as with the default registry written out."""
    return ref if ref == config_values.DEFAULT_IMAGE else str(reference.parse(ref))


def render_schema() -> str:
    """Return the text of ``configs/schema.json``, the JSON Schema with which editors check a config."""
    json_schema = schema.build_json_schema(ConfigFile, title="A model's config for numerai-builder")
    # As it is written in a config; the dataclass has bytes.
    json_schema["$defs"]["LimitsConfig"]["properties"]["memory"]["default"] = "4g"
    json_schema["oneOf"] = [{"required": ["bundle"]}, {"required": ["pickle"]}]  # no dataclass can say that
    return json.dumps(json_schema, indent=2, ensure_ascii=False) + "\n"


class _Problems:
    """The problems of one file with their positions; no message contains a secret of the file."""

    def __init__(self, path: Path, document: strict_yaml.Document) -> None:
        self._path = path
        self._document = document
        self._secrets = secret_scan.find(document.data, document.spelling)
        self._problems: list[tuple[tuple[int, int], schema.KeyPath, str]] = []
        self._paths: set[schema.KeyPath] = set()
        self._parents: set[schema.KeyPath] = set()
        for position, problem in document.problems:
            self._add(position, problem.path, problem.text)
        for key_path in self._secrets:
            self._append(document.position(key_path), key_path, secret_scan.MESSAGE)

    def __bool__(self) -> bool:
        return bool(self._problems)

    def add(self, key_path: schema.KeyPath, text: str) -> None:
        """Add a problem, unless its value or a part of it has one already: it would only be a consequence of that."""
        parents = {key_path[:length] for length in range(1, len(key_path) + 1)}
        if key_path not in self._parents and not parents & self._paths:
            self._add(self._document.position(key_path), key_path, text)

    def to_error(self) -> errors.ConfigError:
        """Return an error with all problems in the order of the file."""
        in_order = sorted(self._problems, key=lambda problem: problem[0])
        return errors.ConfigError([self._format(*problem) for problem in in_order])

    def _add(self, position: tuple[int, int], key_path: schema.KeyPath, text: str) -> None:
        if not secret_scan.is_hidden(self._secrets, key_path):
            self._append(position, key_path, text)

    def _append(self, position: tuple[int, int], key_path: schema.KeyPath, text: str) -> None:
        self._problems.append((position, key_path, text))
        if key_path:
            self._paths.add(key_path)
            self._parents.update(key_path[:length] for length in range(len(key_path)))

    def _format(self, position: tuple[int, int], key_path: schema.KeyPath, text: str) -> str:
        keys = "".join(_format_key(part) for part in key_path).removeprefix(".")
        return f"{self._path}:{position[0]}: {keys + ': ' if keys else ''}{text}"


def _format_key(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    if secret_scan.is_secret_part(part):
        return ".(hidden)"
    return "." + (part if re.fullmatch(r"[\w<-]{1,60}", part) else describe(part))


def _read_bytes(path: Path) -> bytes:
    """Return the content of the file, at most one byte more than is allowed."""
    try:
        # Opening a FIFO would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "is a folder" if path.is_dir() else "is not a file"
            raise errors.ConfigError([f"{path}: {kind}; pass a config file, such as {_FOLDER}/mlp.yaml"])
        if path.suffix == ".zip":
            init = commands.suggest_plain("init", f"--bundle={path}")
            raise errors.ConfigError([f"{path}: is a bundle, not a config; write its config with `{init}`"])
        with path.open("rb") as file:
            return file.read(strict_yaml.MAX_BYTES + 1)
    except FileNotFoundError as error:
        configs = sorted(item.name for item in path.parent.glob("*.yaml"))[:20] if path.parent.is_dir() else []
        fix = (
            f"pass one of the configs in {path.parent}: {', '.join(configs)}"
            if configs
            else f"pass a config file, such as {_FOLDER}/mlp.yaml"
        )
        raise errors.ConfigError([f"{path}: not found; {fix}"]) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise errors.ConfigError([f"cannot read {path}: {reason}; make it readable, or pass another file"]) from error


def _check_name(name: object, file: Path, problems: _Problems) -> None:
    if isinstance(name, str) and name != file.stem:
        text = f"{describe(name)} does not match the file name; expected {describe(file.stem)}"
        problems.add(("name",), f"{text}, or rename the file")


def _check_source(data: Mapping[str, Any], problems: _Problems) -> None:
    """Check that a config names a bundle or a pickle, and no post-processing for a pickle, which has its own."""
    pickle, bundle = data.get("pickle"), data.get("bundle")
    if pickle is None and bundle is None:
        problems.add(("bundle",), f"missing; expected {_EXPECTED_BUNDLE}; or pickle: PATH instead")
    elif pickle is not None and bundle is not None:
        problems.add(("pickle",), "a config has a bundle or a finished pickle; remove one of them")
    elif pickle is not None and data.get("post") is not None:
        problems.add(("post",), "a finished pickle is not changed; remove post, or export the model to a bundle")


def _find_root(file: Path, problems: _Problems) -> Path | None:
    for folder in file.parents:
        if folder.name == _FOLDER:
            return folder.parent
    root_note = f"the folder that contains {_FOLDER}/ is the root of all paths"
    problems.add((), f"{file} is not in a folder named {_FOLDER}; move it into one: {root_note}")
    return None


def _resolve_steps(
    config: ConfigFile, root: Path | None, problems: _Problems
) -> tuple[postprocessing.Step, ...] | None:
    """Return the steps with feature groups replaced by their features: a build depends only on the features."""
    steps = config.post
    if not steps:
        return steps
    groups = postprocessing.find_groups(steps) if root else {}
    names = {}
    for index, group in groups.items():
        try:
            names[group] = feature_sets.read_names(root or Path(), config.data_version, group)
        except ValueError as error:
            problems.add(("post", index, "neutralize", "group"), str(error))
    # With model_bounded, only steps that leave [0, 1] are found: whether the model does is known when it is built.
    unbounded = postprocessing.find_unbounded_step(steps, model_bounded=True)
    if unbounded is not None:
        problems.add(("post", unbounded), postprocessing.find_range_problem(steps, model_bounded=True) or "")
    return postprocessing.replace_groups(steps, names) if len(names) == len({*groups.values()}) else steps


_PATHS: Mapping[schema.KeyPath, config_values.PathKind] = {
    ("bundle",): "bundle",
    ("bundle", "url"): "archive",
    ("pickle",): "pickle",
    ("validate", "data", "live"): "parquet",
    ("validate", "data", "benchmarks"): "parquet",
}


def _resolve_path(key_path: schema.KeyPath, data: Any, file: Path, root: Path, problems: _Problems) -> Path | None:
    """Return the path at a key, absolute and without links; None if there is no path, or an invalid one."""
    for key in key_path:
        data = data.get(key) if isinstance(data, dict) else None
    written = _read_path(key_path, data, problems)
    if written is None:
        return None
    path = Path(os.path.realpath(file.parent / written))
    shown = f"{describe(data)} is {path}"
    is_address = key_path == ("bundle", "url") and data.lower().startswith("file:")
    if not data or (written.is_absolute() and not is_address):
        problems.add(key_path, f"{describe(data)} is not a relative path; write it relative to {file.parent}")
    elif not path.is_relative_to(root) or path == root:
        problems.add(key_path, f"{shown}, which is not below {root}; move it below the folder that contains {_FOLDER}/")
    elif problem := config_values.find_path_problem(path, kind=_PATHS[key_path]):
        problems.add(key_path, f"{shown}, which {problem}, relative to {file.parent}")
    return path


def _read_path(key_path: schema.KeyPath, data: Any, problems: _Problems) -> Path | None:
    """Return the path at a key as it is written; None if there is no path, or an invalid one."""
    if not isinstance(data, str) or strict_yaml.UNPRINTABLE.search(data):
        return None  # already a problem
    if key_path == ("bundle",) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", data):
        problems.add(key_path, "this is an address, not a path; write it as {url: ..., sha256: ...}")
        return None
    if key_path == ("bundle", "url"):
        try:
            return address.path_from_address(address.check_address(data))
        except ValueError:
            return None  # already a problem
    return Path(data)


def _create_config(config: ConfigFile, file: Path, root: Path, paths: Mapping[schema.KeyPath, Path | None]) -> Config:
    data = config.validate.data
    if isinstance(data, LivePaths):
        live, benchmarks = (paths["validate", "data", name] for name in ("live", "benchmarks"))
        data = LivePaths(live=live or data.live, benchmarks=benchmarks)
    bundle = config.bundle
    if isinstance(bundle, RemoteBundle):
        bundle = dataclasses.replace(bundle, url=str(paths["bundle", "url"] or bundle.url))
    else:
        bundle = paths["bundle",]
    return Config(
        **{
            **vars(config),
            "bundle": bundle,
            "pickle": paths["pickle",],
            "validate": dataclasses.replace(config.validate, data=data),
        },
        file=file,
        root=root,
    )


if __name__ == "__main__":
    # To write it again: python -m builder.config.model > configs/schema.json
    sys.stdout.write(render_schema())
