"""``images``: what the tournament offers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.cli import terminal
from builder.cli.parameters import Json
from builder.image import lockfile
from builder.registry import reference
from builder.text import escape
from builder.tournament import images as tournament_images
from builder.tournament import session, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.tournament import DockerImage


def run(*, json_wanted: Json = False) -> int:
    """List the tournament's images."""
    root = Path.cwd()
    lock, registry = lockfile.read(root), session.read_registry(root)
    with terminal.progress() as progress, session.connect(progress, root=root) as asked:
        images = asked.list_images()
    rows = [_row(docker_image, lock, registry) for docker_image in _sorted(images)]
    if json_wanted:
        print(json.dumps({"format": 1, "registry": registry, "images": rows}))
    elif rows:
        cells = [(row["name"], row["reference"], ", ".join(row["state"]), row["pinned"] or "-") for row in rows]
        terminal.print_list(("name", "reference", "", "pinned here"), cells)
    else:
        print("the tournament names no image")
    return 0


def _sorted(images: Sequence[DockerImage]) -> list[DockerImage]:
    """Return the default first, what is no longer offered last."""
    return sorted(
        images,
        key=lambda docker_image: (
            not docker_image.default,
            docker_image.deprecated,
            docker_image.experimental,
            docker_image.name,
            docker_image.tag,
        ),
    )


def _row(docker_image: DockerImage, lock: lockfile.LockFile, registry: str) -> dict[str, Any]:
    try:
        text = tournament_images.get_reference(docker_image, registry)
        key = str(reference.parse(text))
    except ValueError:
        text = key = f"{registry}/{docker_image.image}:{docker_image.tag}"
    # A config may name it at the tournament's own registry.
    keys = [name for name in lock.images if settings.to_pull_reference(name, registry) == key]
    pinned = [lock.images[name].digest for name in keys]
    stood_for = [(pin.ref, pin.digest) for pin in lock.images.values()]
    pinned += [digest for ref, digest in stood_for if ref and settings.to_pull_reference(ref, registry) in {text, key}]
    words = {
        "default": docker_image.default,
        "deprecated": docker_image.deprecated,
        "experimental": docker_image.experimental,
    }
    return {
        "name": escape(docker_image.name),
        "reference": escape(text),
        "state": [word for word, holds in words.items() if holds] or ["offered"],
        "pinned": pinned[0] if pinned else None,
    }
