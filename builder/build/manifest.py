"""``manifest.json``, format 1: the inputs of a pickle, its image and its hash.

It contains no time, host, user or folder: the same inputs give the same manifest on every machine.
"""

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
ADOPTED = "adopted"
"""``bundle.kind`` of a finished pickle, which was not built from a bundle."""
MAX_BYTES = 1 << 22
"""Largest file that is read: a hundred times the size for an image with 500 packages."""
# Readers of JSON that use doubles are exact up to 2^53.
Count = Annotated[int, schema.require_between(0, 1 << 53)]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """The version of this tool.

    Attributes:
        version: The release.
        inside: Hash of the files of ``builder/inside``, which build the pickle in the image.
    """

    version: runner_image.Line
    inside: schema.Sha256


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """The model's numbers.

    Attributes:
        hash: Hash of the bundle's files; of an adopted pickle, its own hash.
        kind: The kind of model, such as ``mlp``; ``adopted`` for a finished pickle, which was not built from a bundle.
        features: Number of features; of an adopted pickle, how many it names.
        parameters: Number of trained parameters; 0 if not known.
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
    """A reason why another build of a custom model may give other bytes.

    Attributes:
        file: A code file of the bundle.
        line: The line, from 1.
        text: The problem and its fix.
    """

    file: runner_image.Line
    line: Count
    text: Annotated[str, schema.require_line(2_000)]


@dataclass(frozen=True, kw_only=True)
class PickleRecord:
    """The pickle.

    Attributes:
        sha256: Hash of its bytes.
        size: Size in bytes.
        protocol: Pickle protocol.
        parameters: Names of the parameters of ``predict``.
        findings: Reasons why another build may give other bytes; only custom models have any.
    """

    sha256: schema.Sha256
    size: Count
    protocol: Annotated[int, schema.require_between(0, 5)]
    parameters: Annotated[tuple[runner_image.Line, ...], schema.require_length(0, 100)]
    findings: Annotated[tuple[Finding, ...], schema.require_length(0, 1_000)] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole file.

    Attributes:
        format: Format of this file.
        name: The model's name.
        tool: The version of this tool.
        image: The image that the pickle was built in, or that it was adopted for.
        bundle: The model's numbers.
        config: The part of the config that a build depends on.
        pickle: The pickle.
    """

    format: Annotated[int, schema.require_equal(1)] = 1
    name: config_values.Name
    tool: Tool
    image: runner_image.RunnerImage
    bundle: ModelBundle
    config: ConfigPart
    pickle: PickleRecord

    def __post_init__(self) -> None:
        # A forged kind would skip the comparison of the golden rows; no bundle has the hash of a pickle.
        if self.is_adopted and self.bundle.hash != self.pickle.sha256:
            raise ValueError("bundle.hash is not the adopted pickle's; expected the value of pickle.sha256")

    @property
    def is_adopted(self) -> bool:
        """Whether it is a finished pickle, which cannot be built again."""
        return self.bundle.kind == ADOPTED


def to_bytes(manifest: Manifest) -> bytes:
    """Return the file: sorted, indented JSON, so that two manifests can be compared line by line."""
    return (json.dumps(dataclasses.asdict(manifest), sort_keys=True, indent=2) + "\n").encode()


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        errors.ArtifactError: It is not a manifest of format 1, or not a regular file.
        OSError: It cannot be read.
    """
    data = schema.read_json(untrusted_files.read_bytes(path, max_bytes=MAX_BYTES))
    # Both return a list of problems if there are any.
    result: Any = data if isinstance(data, list) else schema.parse(Manifest, data)
    if isinstance(result, Manifest):
        return result
    problems = "; ".join(escape(str(problem)[:500]) for problem in result[:3])
    raise errors.ArtifactError(
        f"{escape(path)}: is not a manifest of format {FORMAT} ({problems}); {commands.suggest_rebuild(path.parent)}"
    )


def render_schema() -> str:
    """Return the JSON Schema of a manifest, the text of ``builder/build/manifest.schema.json``."""
    json_schema = schema.build_json_schema(
        Manifest, title="The inputs, the image and the hash of a pickle of numerai-builder"
    )
    return json.dumps(json_schema, indent=2) + "\n"


def describe_bundle(bundle: model.Bundle, content_hash: str) -> ModelBundle:
    """Return the manifest's entry for a bundle."""
    from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415 - numpy

    return ModelBundle(
        hash=content_hash,
        kind=kinds.get_kind_name(bundle.model),
        features=len(bundle.features),
        parameters=kinds.count_parameters(bundle.model),
    )


def hash_config(build_inputs: object) -> str:
    """Return the hash of :func:`builder.config.model.select_build_inputs`."""
    return hashlib.sha256(schema.canonical_json(build_inputs)).hexdigest()


if __name__ == "__main__":
    # To write it again: python -m builder.build.manifest > builder/build/manifest.schema.json
    sys.stdout.write(render_schema())
