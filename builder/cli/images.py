"""``images``: list the tournament's images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.cli import terminal
from builder.cli.parameters import Json
from builder.image import lockfile
from builder.registry import reference
from builder.tournament import images as tournament_images
from builder.tournament import session, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.tournament import DockerImage


def run(*, json_wanted: Json = False) -> int:
    """List the tournament's images."""
    root = Path.cwd()
    lock, registry = lockfile.read(root), session.read_registry(root)
    with terminal.progress() as progress, session.connect(progress, root=root) as api:
        images = api.list_images()
    rows = [_describe_image(image, lock, registry) for image in _sort_images(images)]
    if json_wanted:
        terminal.print_json({"format": 1, "registry": registry, "images": rows})
    elif rows:
        cells = [(row["name"], row["reference"], ", ".join(row["state"]), row["pinned"] or "-") for row in rows]
        terminal.print_list(("name", "reference", "", "pinned here"), cells)
    else:
        terminal.print_lines("the tournament lists no images")
    return 0


def _sort_images(images: Sequence[DockerImage]) -> list[DockerImage]:
    """Sort images: the default first, deprecated ones last."""
    return sorted(
        images, key=lambda image: (not image.default, image.deprecated, image.experimental, image.name, image.tag)
    )


def _describe_image(image: DockerImage, lock: lockfile.LockFile, registry: str) -> dict[str, Any]:
    try:
        text = tournament_images.get_reference(image, registry)
        key = str(reference.parse(text))
    except ValueError:
        text = key = f"{registry}/{image.image}:{image.tag}"
    # A config's reference may contain the default registry while the API's was made with the configured one.
    keys = [name for name in lock.images if settings.to_pull_reference(name, registry) == key]
    pinned = [lock.images[name].digest for name in keys]
    resolved_defaults = [(pin.ref, pin.digest) for pin in lock.images.values()]
    pinned += [
        digest for ref, digest in resolved_defaults if ref and settings.to_pull_reference(ref, registry) in {text, key}
    ]
    words = {"default": image.default, "deprecated": image.deprecated, "experimental": image.experimental}
    return {
        "name": image.name,
        "reference": text,
        "state": [word for word, is_set in words.items() if is_set] or ["offered"],
        "pinned": pinned[0] if pinned else None,
    }
