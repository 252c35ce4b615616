"""From a config, an image and a bundle to a Dockerfile and its build context. Pure: the same inputs, the same bytes."""

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

TEMPLATE, PLAN = "pickle.Dockerfile.j2", "plan.json"
# Docker's own rule for what may follow FROM, so that no value can end the line.
_REFERENCE = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9_.\-/:\[\]]*(@sha256:[0-9a-f]{64})?")


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """A Dockerfile, and the files of its build context by their names there."""

    dockerfile: str
    context: tuple[tar_stream.TarEntry, ...]


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """What to make of a bundle, as ``plan.json`` tells it to the image.

    Attributes:
        post: The post-processing steps in force, as plain data.
        config: The part of the config that the build depends on, for the record.
    """

    post: Sequence[object]
    config: object


def render(*, name: str, base: str, plan: BuildPlan, bundle_files: Sequence[Path]) -> BuildContext:
    """Render the Dockerfile and list the context.

    Args:
        name: The model's name, for the first line.
        base: What FROM names: ``repository@digest``, or a tag that this tool made.
        plan: What to make of the bundle.
        bundle_files: ``bundle.json``, ``arrays.safetensors``, ...: taken as they are, with the folders they lie in.

    Raises:
        errors.ImageError: ``base`` is no image reference.
    """
    folder = next((path.parent for path in bundle_files if path.name == "bundle.json"), Path())
    return BuildContext(
        dockerfile=dockerfile(name=name, base=base),
        context=(
            tar_stream.TarEntry(name=PLAN, content=plan_bytes(plan)),
            *(
                tar_stream.TarEntry(name=f"bundle/{path.relative_to(folder).as_posix()}", content=path)
                for path in bundle_files
            ),
            *list_inside_files(),
        ),
    )


def use_source(rendered: BuildContext, *, base: str, source: str) -> BuildContext:
    """Return a rendering whose FROM names an image as this engine has it, where that is another name."""
    text = rendered.dockerfile.replace(f"FROM {base} AS make\n", f"FROM {_checked_reference(source)} AS make\n")
    return replace(rendered, dockerfile=text)


def plan_bytes(plan: BuildPlan) -> bytes:
    """Return ``plan.json``."""
    return schema.canonical_json({"format": 1, "post": list(plan.post), "config": plan.config})


def list_inside_files() -> list[tar_stream.TarEntry]:
    """Return the files of ``builder/inside``: all of this tool that enters an image."""
    folder = paths.inside_folder()
    return [
        tar_stream.TarEntry(name=f"inside/{path.relative_to(folder).as_posix()}", content=path)
        for path in sorted(folder.rglob("*.py"))
    ]


def hash_entries(entries: Sequence[tar_stream.TarEntry]) -> str:
    """Return a sha256 over the names and contents of ``entries``."""
    total = hashlib.sha256()
    for entry in sorted(entries, key=lambda one: one.name):
        digest = hashlib.sha256()
        for chunk in _chunks(entry.content):
            digest.update(chunk)
        total.update(f"{entry.name}\0{digest.hexdigest()}\n".encode())
    return total.hexdigest()


def build_context(rendered: BuildContext) -> Iterator[bytes]:
    """Stream the context as the engine takes it: a tar with the Dockerfile in it."""
    dockerfile = tar_stream.TarEntry(name="Dockerfile", content=rendered.dockerfile.encode())
    return tar_stream.pack([dockerfile, *rendered.context])


def write(rendered: BuildContext, folder: Path) -> BuildContext:
    """Write ``Dockerfile`` and ``context/`` into an empty folder; return the same rendering, read from there.

    Raises:
        OSError: a file cannot be written.
    """
    (folder / "Dockerfile").write_text(rendered.dockerfile, encoding="utf-8")
    for entry in rendered.context:
        target = folder / "context" / entry.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry.content, bytes):
            target.write_bytes(entry.content)
        else:
            shutil.copyfile(entry.content, target)
    return read(folder)


def read(folder: Path) -> BuildContext:
    """Return what :func:`write` wrote."""
    context = folder / "context"
    return BuildContext(
        dockerfile=(folder / "Dockerfile").read_text(encoding="utf-8"),
        context=tuple(
            tar_stream.TarEntry(name=path.relative_to(context).as_posix(), content=path)
            for path in sorted(context.rglob("*"))
            if path.is_file()
        ),
    )


def dockerfile(*, name: str, base: str) -> str:
    """Return the Dockerfile's text.

    Raises:
        errors.ImageError: ``base`` is no image reference.
    """
    import jinja2  # noqa: PLC0415 - not needed when nothing has changed

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.docker_folder()),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - not HTML
    )
    environment.filters["reference"] = _checked_reference
    return environment.get_template(TEMPLATE).render(name=name, base=base)


def _checked_reference(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise errors.ImageError(f"{text!r} is no image reference that a Dockerfile could build FROM")
    return text


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
