"""``manifest.json``, format 1: what a pickle was made of, and in. No time, host, user or folder has a part in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from builder import commands, errors
from builder.build import untrusted
from builder.config import values as config_values
from builder.image import resolve as image
from builder.image import stand_in
from builder.registry import reference
from builder.schema import json_read, parse
from builder.text import escape

if TYPE_CHECKING:
    from pathlib import Path

    from builder.bundle import model

FORMAT = 1
MOST_BYTES = 1 << 22
"""Of the file: a hundred times what an image with 500 packages takes."""
_MOST_PACKAGES = 10_000
Hash = Annotated[str, parse.pattern(r"[0-9a-f]{64}", "a sha256 in hexadecimal")]
Identity = Annotated[str, parse.pattern(r"sha256:[0-9a-f]{64}", "sha256: and 64 hexadecimal digits")]
Line = Annotated[str, parse.line(500)]
Count = Annotated[int, parse.between(0, 1 << 53)]


def _is_reference(text: str) -> bool:
    try:
        config_values.read_reference(text)
    except ValueError:
        return False
    return True


Reference = Annotated[str, parse.Rule(text="that is an image reference", holds=_is_reference)]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """The tool that made it.

    Attributes:
        version: Its release.
        inside: Hash of the files that it put into the image.
    """

    version: Line
    inside: Hash


@dataclass(frozen=True, kw_only=True)
class RunnerImage:
    """The image it was made in.

    A manifest may come from a stranger, so ``base`` is held to what ``ref``, ``kind`` and ``identity`` say.

    Attributes:
        kind: Whether it is the exact runner, somebody's local build, or a look-alike.
        ref: The reference that the config names.
        base: What the Dockerfile's FROM names.
        identity: The repository digest, the hash of the layers, or the spec hash, by kind.
        platform: Operating system and architecture.
        python: Its Python, to the patch release.
        packages: Every installed distribution and its version.
    """

    kind: Literal["exact", "local", "stand_in"]
    ref: Reference
    base: Reference
    identity: Identity
    platform: Annotated[str, parse.pattern(r"[a-z0-9]{1,20}(/[a-z0-9_]{1,20}){1,2}", "like linux/amd64")]
    python: Annotated[str, parse.pattern(r"3\.[0-9]{1,2}\.[0-9]{1,3}[0-9A-Za-z.+]{0,20}", "like 3.11.2")]
    packages: dict[str, Line]

    def __post_init__(self) -> None:
        if self.base == config_values.DEFAULT_IMAGE:
            raise ValueError("base is no image reference; expected what FROM names")
        base = reference.parse(self.base)
        is_refs = self.ref != config_values.DEFAULT_IMAGE and base.name == reference.parse(self.ref).name
        is_look_alike = self.kind == "stand_in" and self.base.startswith(f"{stand_in.REPOSITORY}:")
        if not (is_refs or is_look_alike):
            raise ValueError(f"base {self.base} is not an image of {self.ref}; expected the same repository")
        if self.kind == "exact" and base.digest != self.identity:
            raise ValueError(f"base {self.base} has another digest than {self.identity}; expected the same")
        if len(self.packages) > _MOST_PACKAGES or not all(_is_package(name) for name in self.packages):
            raise ValueError(f"packages are not names of distributions; expected at most {_MOST_PACKAGES:,} of those")
        lacking = [name for name in image.NEEDED if name not in self.packages]
        if lacking:
            raise ValueError(f"packages lack {', '.join(lacking)}; expected what making a pickle takes")


def _is_package(name: str) -> bool:
    return 0 < len(name) <= 200 and name.isprintable()


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """The model's numbers.

    Attributes:
        hash: Hash of the bundle's files.
        kind: Which sort of model it is.
        features: How many features it takes.
        parameters: How many trained numbers it has.
    """

    hash: Hash
    kind: Line
    features: Count
    parameters: Count


@dataclass(frozen=True, kw_only=True)
class ConfigPart:
    """The part of the config that a build depends on.

    Attributes:
        hash: Hash of its canonical JSON.
    """

    hash: Hash


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Why another make of a custom model may give other bytes.

    Attributes:
        file: A code file of the bundle.
        line: The line in it.
        text: What is there, and what to do about it.
    """

    file: Line
    line: Count
    text: Annotated[str, parse.line(2_000)]


@dataclass(frozen=True, kw_only=True)
class PickleRecord:
    """The result.

    Attributes:
        sha256: Hash of its bytes.
        size: Bytes.
        protocol: Pickle protocol.
        parameters: Names of the parameters of predict.
        findings: Why another make may give other bytes; only a custom model has any.
    """

    sha256: Hash
    size: Count
    protocol: Annotated[int, parse.between(0, 5)]
    parameters: Annotated[tuple[Line, ...], parse.length(0, 100)]
    findings: Annotated[tuple[Finding, ...], parse.length(0, 1_000)] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All of it.

    Attributes:
        format: Format of this file.
        name: The model's name.
        tool: The tool that made it.
        image: The image it was made in.
        bundle: The model's numbers.
        config: The part of the config that a build depends on.
        pickle: The result.
    """

    format: Literal[1] = 1
    name: config_values.Name
    tool: Tool
    image: RunnerImage
    bundle: ModelBundle
    config: ConfigPart
    pickle: PickleRecord


def to_bytes(manifest: Manifest) -> bytes:
    """Return the file: sorted, indented JSON, so that two manifests compare line by line."""
    return (json.dumps(dataclasses.asdict(manifest), sort_keys=True, indent=2) + "\n").encode()


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        errors.ArtifactError: it is no manifest of format 1, or no plain file.
        OSError: it cannot be read.
    """
    data = json_read.read(untrusted.read_bytes(path, most=MOST_BYTES))
    # A list is faults, never a manifest: the JSON reader's, or the types'.
    value: Any = data if isinstance(data, list) else parse.parse(Manifest, data)
    if isinstance(value, Manifest):
        return value
    faults = "; ".join(f"{_place(fault.path)}: {escape(fault.text[:500])}" for fault in value[:3])
    again = commands.with_config("pickle", path.parent)
    raise errors.ArtifactError(
        f"{escape(path)}: is no manifest of format {FORMAT} ({faults}); build it again: `{again}`"
    )


def _place(path: parse.Place) -> str:
    return escape(".".join(str(part)[:60] for part in path))


def schema_text() -> str:
    """Return the JSON Schema of a manifest, as ``builder/build/manifest.schema.json`` holds it."""
    from builder.schema import json_schema  # noqa: PLC0415 - no run needs it

    schema = json_schema.json_schema(Manifest, title="What a pickle of numerai-builder was made of, and in")
    return json.dumps(schema, indent=2) + "\n"


def describe_bundle(bundle: model.Bundle, content_hash: str) -> ModelBundle:
    """Return what a manifest says of a bundle."""
    from builder.bundle.kinds import known as kinds  # noqa: PLC0415 - numpy

    return ModelBundle(
        hash=content_hash,
        kind=kinds.name_of(bundle.model),
        features=len(bundle.features),
        parameters=kinds.parameters(bundle.model),
    )


def config_hash(build_inputs: object) -> str:
    """Return the hash of the part of a config that a build depends on."""
    return hashlib.sha256(json_read.canonical(build_inputs)).hexdigest()


if __name__ == "__main__":
    # To remake it: python -m builder.build.manifest > builder/build/manifest.schema.json
    sys.stdout.write(schema_text())
