"""``manifest.json``, format 1: what a pickle was made of, and in. No time, host, user or folder has a part in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from builder import commands, errors, schema
from builder.build import untrusted_files
from builder.config import values as config_values  # noqa: TC001 - annotations are read at run time
from builder.image import runner_image  # noqa: TC001 - annotations are read at run time
from builder.text import escape

if TYPE_CHECKING:
    from pathlib import Path

    from builder.bundle import model

FORMAT = 1
MOST_BYTES = 1 << 22
"""Of the file: a hundred times what an image with 500 packages takes."""
Count = Annotated[int, schema.require_between(0, 1 << 53)]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """The tool that made it.

    Attributes:
        version: Its release.
        inside: Hash of the files that it put into the image.
    """

    version: runner_image.Line
    inside: schema.Sha256


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """The model's numbers.

    Attributes:
        hash: Hash of the bundle's files.
        kind: Which sort of model it is.
        features: How many features it takes.
        parameters: How many trained numbers it has.
    """

    hash: schema.Sha256
    kind: runner_image.Line
    features: Count
    parameters: Count


@dataclass(frozen=True, kw_only=True)
class ConfigPart:
    """The part of the config that a build depends on.

    Attributes:
        hash: Hash of its canonical JSON.
    """

    hash: schema.Sha256


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Why another make of a custom model may give other bytes.

    Attributes:
        file: A code file of the bundle.
        line: The line in it.
        text: What is there, and what to do about it.
    """

    file: runner_image.Line
    line: Count
    text: Annotated[str, schema.require_line(2_000)]


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

    sha256: schema.Sha256
    size: Count
    protocol: Annotated[int, schema.require_between(0, 5)]
    parameters: Annotated[tuple[runner_image.Line, ...], schema.require_length(0, 100)]
    findings: Annotated[tuple[Finding, ...], schema.require_length(0, 1_000)] = ()


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

    format: Annotated[int, schema.require_equal(1)] = 1
    name: config_values.Name
    tool: Tool
    image: runner_image.RunnerImage
    bundle: ModelBundle
    config: ConfigPart
    pickle: PickleRecord


def to_bytes(manifest: Manifest) -> bytes:
    """Return the file: sorted, indented JSON, so that two manifests compare line by line."""
    return (json.dumps(dataclasses.asdict(manifest), sort_keys=True, indent=2) + "\n").encode()


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        errors.ArtifactError: it is not a manifest of format 1, or no plain file.
        OSError: it cannot be read.
    """
    data = schema.read_json(untrusted_files.read_bytes(path, max_bytes=MOST_BYTES))
    # A list is faults, never a manifest: the JSON reader's, or the types'.
    value: Any = data if isinstance(data, list) else schema.parse(Manifest, data)
    if isinstance(value, Manifest):
        return value
    faults = "; ".join(escape(str(fault)[:500]) for fault in value[:3])
    raise errors.ArtifactError(
        f"{escape(path)}: is not a manifest of format {FORMAT} ({faults}); {commands.suggest_rebuild(path.parent)}"
    )


def schema_text() -> str:
    """Return the JSON Schema of a manifest, as ``builder/build/manifest.schema.json`` holds it."""
    found = schema.build_json_schema(Manifest, title="What a pickle of numerai-builder was made of, and in")
    return json.dumps(found, indent=2) + "\n"


def describe_bundle(bundle: model.Bundle, content_hash: str) -> ModelBundle:
    """Return what a manifest says of a bundle."""
    from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415 - numpy

    return ModelBundle(
        hash=content_hash,
        kind=kinds.get_kind_name(bundle.model),
        features=len(bundle.features),
        parameters=kinds.count_parameters(bundle.model),
    )


def hash_config(build_inputs: object) -> str:
    """Return the hash of the part of a config that a build depends on."""
    return hashlib.sha256(schema.canonical_json(build_inputs)).hexdigest()


if __name__ == "__main__":
    # To remake it: python -m builder.build.manifest > builder/build/manifest.schema.json
    sys.stdout.write(schema_text())
