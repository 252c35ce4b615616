"""Read what a pickle was built from out of its ``dist/NAME``, without trusting the folder.

The folder and its manifest may come from somebody else. So nothing in it is built as it is: the Dockerfile is rendered
again, ``inside/`` is taken from this installation, ``plan.json`` follows from the bundle and the config's part, and the
bundle must have the hash that the manifest records. The folder's files are only compared with these; other files are
refused.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import builder
from builder import commands, errors, schema
from builder.build import artifact, manifest, render, untrusted_files
from builder.bundle import post
from builder.bundle.storage import files, read
from builder.config import model as config
from builder.config import values as config_values
from builder.text import escape, format_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from builder.bundle import model

_MAX_PLAN_BYTES = 1 << 22
_BUNDLE, _INSIDE = "bundle/", "inside/"


@dataclass(frozen=True, kw_only=True)
class RecordedModel:
    """The model of a pickle.

    Attributes:
        bundle: Its bundle.
        steps: The post-processing steps of the pickle.
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
class _ConfigPart:
    """The part of a config that :func:`builder.config.model.select_build_inputs` returns."""

    image: _ImagePart
    post: tuple[post.Step, ...] | None


def read_model(built: artifact.Artifact) -> RecordedModel:
    """Read the model of a pickle, and check that it matches the manifest.

    Raises:
        errors.ArtifactError: A file is missing, changed, or not a regular file.
        errors.BundleError: The bundle is invalid.
    """
    context = built.folder / artifact.CONTEXT
    with _convert_errors(context):
        untrusted_files.list_files(context, max_entries=artifact.MAX_CONTEXT_ENTRIES)
        return _read_model(built, context / "bundle")


def read_inputs(built: artifact.Artifact, *, copy: Path) -> render.BuildContext:
    """Render the Dockerfile and context of a pickle again, and check that its folder contains the same.

    Args:
        built: The pickle, its hash checked.
        copy: A folder to copy the bundle to, so that the checked files are the ones that are built, even if another
            process writes to ``dist/NAME``.

    Raises:
        errors.ArtifactError: A file is missing, changed, or does not belong there.
        errors.BundleError: The bundle is invalid.
    """
    context, recorded = built.folder / artifact.CONTEXT, built.manifest
    with _convert_errors(context):
        names = untrusted_files.list_files(context, max_entries=artifact.MAX_CONTEXT_ENTRIES)
        # First of all: the comparisons below are with the files of this version.
        if recorded.tool.inside != render.hash_entries(render.list_inside_files()):
            raise errors.ArtifactError(
                f"{built.folder}: built by another version of this tool ({recorded.tool.version}; this is "
                f"{builder.__version__}), whose code is not run from the folder: use that version; or "
                f"{commands.suggest_rebuild(built.folder)}"
            )
        inside = {entry.name: entry.content for entry in render.list_inside_files()}
        _check_names(context, names, inside)
        # Copied before it is read: the files that are hashed are then those that are built.
        _copy(context, (name for name in names if name.startswith(_BUNDLE)), copy)
        model = _read_model(built, copy / "bundle")
        rendered = render.render(
            name=recorded.name,
            base=recorded.image.base,
            plan=render.BuildPlan(post=post.as_data(model.steps), config=model.config),
            bundle_files=files.list_paths(copy / "bundle"),
        )
        changed = []
        if not all(_has_content(context / name, content) for name, content in inside.items()):
            changed.append(_INSIDE)
        if not _has_content(built.folder / artifact.DOCKERFILE, rendered.dockerfile.encode()):
            changed.append(artifact.DOCKERFILE)
        if changed:
            raise _create_change_error(built, changed)
        return rendered


@contextlib.contextmanager
def _convert_errors(context: Path) -> Iterator[None]:
    with untrusted_files.with_fix(commands.suggest_rebuild(context.parent)):
        try:
            yield
        except OSError as error:
            raise errors.FileTypeError(
                f"cannot read {escape(error.filename or context)}: {error.strerror or error}"
            ) from error


def _check_names(context: Path, names: Iterable[str], inside: Iterable[str]) -> None:
    """Refuse files that no build writes; ``list_files`` has refused empty folders."""
    expected = {render.PLAN, *inside}
    extra = [name for name in names if name not in expected and not _is_bundle_file(name)]
    if extra:
        shown = format_list([escape(name[:200]) for name in extra])
        raise errors.ArtifactError(
            f"{context}: contains files that its manifest does not list: {shown}; nothing was built from it: "
            f"{commands.suggest_rebuild(context.parent)}"
        )


def _is_bundle_file(name: str) -> bool:
    return name.startswith(_BUNDLE) and files.is_name(name.removeprefix(_BUNDLE))


def _copy(context: Path, names: Iterable[str], target: Path) -> None:
    remaining = files.MOST_BYTES
    for name in names:
        copied = target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        untrusted_files.copy_file(context / name, copied, max_bytes=min(remaining, files.MOST_FILE))
        remaining -= copied.stat().st_size


def _read_model(built: artifact.Artifact, bundle_folder: Path) -> RecordedModel:
    recorded = built.manifest
    changed = []
    if files.hash_bundle(bundle_folder) != recorded.bundle.hash:
        changed.append(_BUNDLE)
    plan = untrusted_files.read_bytes(built.folder / artifact.CONTEXT / render.PLAN, max_bytes=_MAX_PLAN_BYTES)
    data = _read_config_part(plan, recorded)
    config_part = None if data is None else schema.parse(_ConfigPart, data)
    # A config with `default` does not contain the reference that it resolved to; only the manifest does.
    refs = {config_values.DEFAULT_IMAGE, config.normalize_reference(recorded.image.ref)}
    if changed or data is None or not isinstance(config_part, _ConfigPart) or config_part.image.ref not in refs:
        raise _create_change_error(built, changed or [render.PLAN])
    bundle = read.read(bundle_folder)
    if manifest.describe_bundle(bundle, recorded.bundle.hash) != recorded.bundle:
        raise _create_change_error(built, [f"bundle in {artifact.MANIFEST}"])
    steps = bundle.post if config_part.post is None else config_part.post
    # Canonical JSON: a genuine plan has exactly these bytes.
    if render.dump_plan(render.BuildPlan(post=post.as_data(steps), config=data)) != plan:
        raise _create_change_error(built, [render.PLAN])
    return RecordedModel(bundle=bundle, steps=steps, config=data)


def _read_config_part(plan: bytes, recorded: manifest.Manifest) -> dict[str, Any] | None:
    """Return ``config`` of a ``plan.json``; None if it does not have the hash that the manifest records."""
    content = schema.read_json(plan)
    data = content.get("config") if isinstance(content, dict) else None
    return data if isinstance(data, dict) and manifest.hash_config(data) == recorded.config.hash else None


def _has_content(path: Path, content: bytes | Path) -> bool:
    expected = content if isinstance(content, bytes) else content.read_bytes()
    # A little more than expected, so that an edited file is reported as changed and a huge one is not read.
    return untrusted_files.read_bytes(path, max_bytes=len(expected) + (1 << 20)) == expected


def _create_change_error(built: artifact.Artifact, names: list[str]) -> errors.ArtifactError:
    return errors.ArtifactError(
        f"{built.folder}: {', '.join(names)} changed since the pickle was built; "
        f"{commands.suggest_rebuild(built.folder)}"
    )
