"""What a pickle was made of, read from its ``dist/NAME`` and trusted in nothing.

The folder may have come from a stranger, its manifest too. So what is built again is rendered again: the Dockerfile
and ``inside/`` are this tool's own, ``plan.json`` follows from the bundle and the config's part, and the bundle has the
hash that the manifest names. What lies in the folder is only compared with that, and nothing else may lie there.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import builder
from builder import commands, errors, schema
from builder.build import artifact, manifest, render, untrusted_files
from builder.bundle import post
from builder.bundle.storage import archive, files, read
from builder.config import model as config
from builder.config import values as config_values
from builder.text import escape, format_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from builder.bundle import model

_MOST_PLAN = 1 << 22
_BUNDLE, _INSIDE = "bundle/", "inside/"


@dataclass(frozen=True, kw_only=True)
class RecordedModel:
    """The model that is in a pickle.

    Attributes:
        bundle: Its numbers.
        steps: The post-processing steps in force.
        config: The part of the config that a build depends on, as plain data.
    """

    bundle: model.Bundle
    steps: tuple[post.Step, ...]
    config: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _ImagePart:
    """``image`` in the part of a config that a build depends on."""

    ref: str
    stand_in: str | None


@dataclass(frozen=True, kw_only=True)
class _Schema:
    """The part of a config that a build depends on, as :func:`builder.config.model.select_build_inputs` returns it."""

    image: _ImagePart
    post: tuple[post.Step, ...] | None


def read_model(made: artifact.Artifact) -> RecordedModel:
    """Return the model of a pickle, once what is recorded of it agrees with the manifest.

    Raises:
        errors.ArtifactError: Something is missing, changed, or no plain file.
        errors.BundleError: The bundle has faults.
    """
    context = made.folder / artifact.CONTEXT
    with _translated(context):
        untrusted_files.list_files(context, max_bytes=artifact.MAX_CONTEXT_ENTRIES)
        return _read_model(made, context / "bundle")


def read_inputs(made: artifact.Artifact, *, copy: Path) -> render.BuildContext:
    """Return the Dockerfile and the context of a pickle, rendered again, once they are what lies in its folder.

    Args:
        made: The pickle, its hash checked.
        copy: A folder to copy the bundle to: what was checked is then what is built, whoever writes to ``dist/NAME``
            meanwhile.

    Raises:
        errors.ArtifactError: Something is missing, changed, or does not belong there.
        errors.BundleError: The bundle has faults.
    """
    context, said = made.folder / artifact.CONTEXT, made.manifest
    with _translated(context):
        names = untrusted_files.list_files(context, max_bytes=artifact.MAX_CONTEXT_ENTRIES)
        if said.tool.inside != render.hash_entries(render.list_inside_files()):
            raise errors.ArtifactError(
                f"{made.folder}: was made by another version of this tool ({said.tool.version}; this is "
                f"{builder.__version__}), whose code is not run from there: use that version; or "
                f"{commands.suggest_rebuild(made.folder)}"
            )
        ours = {entry.name: entry.content for entry in render.list_inside_files()}
        _check_names(context, names, ours)
        _copy(context, (name for name in names if name.startswith(_BUNDLE)), copy)
        found = _read_model(made, copy / "bundle")
        again = render.render(
            name=said.name,
            base=said.image.base,
            plan=render.BuildPlan(post=post.as_data(found.steps), config=found.config),
            bundle_files=files.list_paths(copy / "bundle"),
        )
        changed = []
        if not all(_is_same(context / name, content) for name, content in ours.items()):
            changed.append(_INSIDE)
        if not _is_same(made.folder / artifact.DOCKERFILE, again.dockerfile.encode()):
            changed.append(artifact.DOCKERFILE)
        if changed:
            raise _changed(made, changed)
        return again


@contextlib.contextmanager
def _translated(context: Path) -> Iterator[None]:
    with untrusted_files.with_fix(commands.suggest_rebuild(context.parent)):
        try:
            yield
        except OSError as error:
            raise errors.FileTypeError(
                f"{escape(error.filename or context)}: cannot be read ({error.strerror or error})"
            ) from error


def _check_names(context: Path, names: Iterable[str], ours: Iterable[str]) -> None:
    """Refuse files that no manifest can name; empty folders were refused before."""
    own = {render.PLAN, *ours}
    extra = [name for name in names if name not in own and not _is_bundles(name)]
    if extra:
        raise errors.ArtifactError(
            f"{context}: holds what its manifest does not name: {format_list([escape(name[:200]) for name in extra])}; "
            f"nothing was built from it: {commands.suggest_rebuild(context.parent)}"
        )


def _is_bundles(name: str) -> bool:
    return name.startswith(_BUNDLE) and files.is_name(name.removeprefix(_BUNDLE))


def _copy(context: Path, names: Iterable[str], target: Path) -> None:
    left = archive.MOST_BYTES
    for name in names:
        copied = target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        untrusted_files.copy_file(context / name, copied, max_bytes=min(left, files.MOST_FILE))
        left -= copied.stat().st_size


def _read_model(made: artifact.Artifact, bundle_folder: Path) -> RecordedModel:
    said = made.manifest
    changed = []
    if files.hash_bundle(bundle_folder) != said.bundle.hash:
        changed.append(_BUNDLE)
    raw = untrusted_files.read_bytes(made.folder / artifact.CONTEXT / render.PLAN, max_bytes=_MOST_PLAN)
    data = _config_part(raw, said)
    parsed = None if data is None else schema.parse(_Schema, data)
    # What `default` stood for is in no config; the manifest's word for it is all there is.
    refs = {config_values.DEFAULT_IMAGE, config.normalize_reference(said.image.ref)}
    if changed or data is None or not isinstance(parsed, _Schema) or parsed.image.ref not in refs:
        raise _changed(made, changed or [render.PLAN])
    bundle = read.read(bundle_folder)
    if manifest.describe_bundle(bundle, said.bundle.hash) != said.bundle:
        raise _changed(made, [f"bundle in {artifact.MANIFEST}"])
    steps = bundle.post if parsed.post is None else parsed.post
    if render.plan_bytes(render.BuildPlan(post=post.as_data(steps), config=data)) != raw:
        raise _changed(made, [render.PLAN])
    return RecordedModel(bundle=bundle, steps=steps, config=data)


def _config_part(raw: bytes, said: manifest.Manifest) -> dict[str, Any] | None:
    """Return the config's part in a ``plan.json``; None if it is not the one that the manifest names."""
    plan = schema.read_json(raw)
    data = plan.get("config") if isinstance(plan, dict) else None
    return data if isinstance(data, dict) and manifest.hash_config(data) == said.config.hash else None


def _is_same(path: Path, content: bytes | Path) -> bool:
    expected = content if isinstance(content, bytes) else content.read_bytes()
    return untrusted_files.read_bytes(path, max_bytes=len(expected) + (1 << 20)) == expected


def _changed(made: artifact.Artifact, names: list[str]) -> errors.ArtifactError:
    return errors.ArtifactError(
        f"{made.folder}: {', '.join(names)} changed since the pickle was made; {commands.suggest_rebuild(made.folder)}"
    )
