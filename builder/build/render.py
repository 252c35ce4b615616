"""Render the Dockerfile and build context of a pickle. Pure: the same inputs give the same bytes."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, paths, schema
from builder.engine import tar_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TEMPLATE, PLAN, GOLDEN = "pickle.Dockerfile.j2", "plan.json", "bundle/golden.safetensors"
# Only characters that may follow FROM in a Dockerfile, so that no value can end the line and add an instruction.
_REFERENCE = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9_.\-/:\[\]]*(@sha256:[0-9a-f]{64})?")


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """A Dockerfile, and the other files of its build context with their names there."""

    dockerfile: str
    files: tuple[tar_stream.TarEntry, ...]


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """The content of ``plan.json``, which ``builder/inside`` reads in the image.

    Attributes:
        post: The post-processing steps of the pickle, as plain data.
        config: The part of the config that the build depends on; only recorded.
    """

    post: Sequence[object]
    config: object


def render(*, name: str, base: str, plan: BuildPlan, bundle_files: Sequence[Path]) -> BuildContext:
    """Render the Dockerfile and collect the files of its context.

    Args:
        name: The model's name, for the first line.
        base: The image for FROM: ``repository@digest``, or a tag that this tool created.
        plan: The build plan.
        bundle_files: The bundle's files, one of them ``bundle.json``; they keep their paths relative to it.

    Raises:
        errors.ImageError: ``base`` is not an image reference.
    """
    folder = next((path.parent for path in bundle_files if path.name == "bundle.json"), Path())
    return BuildContext(
        dockerfile=render_dockerfile(name=name, base=base),
        files=(
            tar_stream.TarEntry(name=PLAN, content=dump_plan(plan)),
            *(
                tar_stream.TarEntry(name=f"bundle/{path.relative_to(folder).as_posix()}", content=path)
                for path in bundle_files
            ),
            *list_inside_files(),
        ),
    )


def use_source(context: BuildContext, *, base: str, source: str) -> BuildContext:
    """Return the context with ``source``, the image's name on this engine, in place of ``base`` after FROM."""
    # Only the build sees this name: the Dockerfile in dist/NAME keeps `base`, which is valid on every machine.
    text = context.dockerfile.replace(f" {base} AS make\n", f" {_check_reference(source)} AS make\n")
    return replace(context, dockerfile=text)


def dump_plan(plan: BuildPlan) -> bytes:
    """Return the bytes of ``plan.json``."""
    return schema.canonical_json({"format": 1, "post": list(plan.post), "config": plan.config})


def list_inside_files() -> list[tar_stream.TarEntry]:
    """Return the files of ``builder/inside``, the only code of this tool that is copied into an image."""
    folder = paths.inside_folder()
    return [
        tar_stream.TarEntry(name=f"inside/{path.relative_to(folder).as_posix()}", content=path)
        for path in sorted(folder.rglob("*.py"))  # the order of rglob depends on the file system
    ]


def hash_entries(entries: Sequence[tar_stream.TarEntry]) -> str:
    """Return a sha256 of the names and contents of ``entries``, in any order."""
    total = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.name):
        digest = hashlib.sha256()
        for chunk in _iter_chunks(entry.content):
            digest.update(chunk)
        total.update(f"{entry.name}\0{digest.hexdigest()}\n".encode())
    return total.hexdigest()


def pack_context(context: BuildContext) -> Iterator[bytes]:
    """Stream the context as the engine's API expects it: a tar that includes the Dockerfile.

    The golden rows stay here: the code of a custom model runs in the build, and could put them into its pickle.
    """
    dockerfile = tar_stream.TarEntry(name="Dockerfile", content=context.dockerfile.encode())
    return tar_stream.pack([dockerfile, *(entry for entry in context.files if entry.name != GOLDEN)])


def write(context: BuildContext, folder: Path) -> BuildContext:
    """Write ``Dockerfile`` and ``context/`` into an empty folder; return the same context, read from there.

    Raises:
        OSError: A file cannot be written.
    """
    (folder / "Dockerfile").write_text(context.dockerfile, encoding="utf-8")
    for entry in context.files:
        target = folder / "context" / entry.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry.content, bytes):
            target.write_bytes(entry.content)
        else:
            shutil.copyfile(entry.content, target)
    return read(folder)


def read(folder: Path) -> BuildContext:
    """Return the context that :func:`write` wrote into a folder."""
    context = folder / "context"
    return BuildContext(
        dockerfile=(folder / "Dockerfile").read_text(encoding="utf-8"),
        files=tuple(
            tar_stream.TarEntry(name=path.relative_to(context).as_posix(), content=path)
            for path in sorted(context.rglob("*"))
            if path.is_file()
        ),
    )


def render_dockerfile(*, name: str, base: str) -> str:
    """Return the text of the Dockerfile.

    Raises:
        errors.ImageError: ``base`` is not an image reference.
    """
    import jinja2  # noqa: PLC0415 - only a build needs it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.docker_folder()),
        undefined=jinja2.StrictUndefined,  # a misspelled variable is an error, not an empty text
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - not HTML
    )
    environment.filters["reference"] = _check_reference
    return environment.get_template(TEMPLATE).render(name=name, base=base)


def _check_reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise errors.ImageError(f"{text!r} is not an image reference that a Dockerfile can build FROM")
    return text


def _iter_chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
