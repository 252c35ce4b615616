"""``manifest.json``, format 1: what a pickle was made of, and in. No time, host, user or folder has a part in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from builder import commands, errors, json_text, typed

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
Hash = Annotated[str, typed.pattern(r"[0-9a-f]{64}", "a sha256 in hexadecimal")]
Identity = Annotated[str, typed.pattern(r"sha256:[0-9a-f]{64}", "sha256: and 64 hexadecimal digits")]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """The tool that made it.

    Attributes:
        version: Its release.
        inside: Hash of the files that it put into the image.
    """

    version: str
    inside: Hash


@dataclass(frozen=True, kw_only=True)
class RunnerImage:
    """The image it was made in.

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
    ref: str
    base: str
    identity: Identity
    platform: str
    python: str
    packages: dict[str, str]


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
    kind: str
    features: int
    parameters: int


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

    file: str
    line: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Pickle:
    """The result.

    Attributes:
        sha256: Hash of its bytes.
        size: Bytes.
        protocol: Pickle protocol.
        parameters: Names of the parameters of predict.
        findings: Why another make may give other bytes; only a custom model has any.
    """

    sha256: Hash
    size: int
    protocol: int
    parameters: tuple[str, ...]
    findings: tuple[Finding, ...] = ()


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
    name: str
    tool: Tool
    image: RunnerImage
    bundle: ModelBundle
    config: ConfigPart
    pickle: Pickle


def to_bytes(manifest: Manifest) -> bytes:
    """Return the file: sorted, indented JSON, so that two manifests compare line by line."""
    return (json.dumps(dataclasses.asdict(manifest), sort_keys=True, indent=2) + "\n").encode()


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        errors.ArtifactError: it is no manifest of format 1.
        OSError: it cannot be read.
    """
    data = json_text.read(path.read_bytes())
    # A list is faults, never a manifest: the JSON reader's, or the types'.
    value: Any = data if isinstance(data, list) else typed.parse(Manifest, data)
    if isinstance(value, Manifest):
        return value
    faults = "; ".join(f"{'.'.join(map(str, fault.path))}: {fault.text}" for fault in value[:3])
    again = commands.with_config("pickle", path.parent)
    raise errors.ArtifactError(f"{path}: is no manifest of format {FORMAT} ({faults}); build it again: `{again}`")


def schema_text() -> str:
    """Return the JSON Schema of a manifest, as ``builder/manifest.schema.json`` holds it."""
    from builder import typed_schema  # noqa: PLC0415 - no run needs it

    schema = typed_schema.json_schema(Manifest, title="What a pickle of numerai-builder was made of, and in")
    return json.dumps(schema, indent=2) + "\n"


def config_hash(build_inputs: object) -> str:
    """Return the hash of the part of a config that a build depends on."""
    return hashlib.sha256(json_text.canonical(build_inputs)).hexdigest()


if __name__ == "__main__":
    # To remake it: python -m builder.manifest > builder/manifest.schema.json
    sys.stdout.write(schema_text())
