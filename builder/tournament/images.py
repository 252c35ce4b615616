"""The tournament's images: which is the default, where each is pulled from, what to know of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands, errors
from builder.registry import reference as image_ref
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.tournament.types import DockerImage


LIST = "`python -m builder images` lists those that are offered"


def get_default_reference(images: Sequence[DockerImage]) -> str:
    """Return what ``default`` stands for now, under its name at the tournament's own registry.

    It goes into the lock file, which must mean the same where ``NUMERAI_REGISTRY`` is set and where it is not.

    Raises:
        errors.ApiError: The tournament names none, or what is no image.
    """
    chosen = next((one for one in images if one.default), None)
    if chosen is None:
        raise errors.ApiError(f"the tournament names no default image; name one in the config: {LIST}")
    try:
        return get_reference(chosen, settings.DEFAULT_REGISTRY)
    except ValueError as error:
        raise errors.ApiError(
            f"the tournament's default image cannot be one ({error}); name one in the config"
        ) from error


def get_reference(offered: DockerImage, registry: str) -> str:
    """Return where an image of the tournament is pulled from.

    Raises:
        ValueError: It cannot be one.
    """
    text = f"{registry}/{offered.image}:{offered.tag}"
    image_ref.parse(text)
    return text


def find_image(ref: str, images: Sequence[DockerImage], registry: str) -> DockerImage | None:
    """Return the image of the tournament that a reference with a tag names, offered still or not; None for no such."""
    full = image_ref.parse(settings.to_pull_reference(str(image_ref.parse(ref)), registry))
    return next((one for one in images if _same(full, one, registry)), None)


def find_image_notes(ref: str, images: Sequence[DockerImage], registry: str) -> tuple[str, ...]:
    """Return what the tournament says of an image, where a person should know of it; each with what to do.

    Args:
        ref: A reference with a tag.
        images: All that the tournament names.
        registry: Where its images are pulled from.
    """
    offered = find_image(ref, images, registry)
    default = next((one for one in images if one.default), None)
    instead = f"{default.image}:{default.tag} is" if default else "none is"
    if offered is None:
        if image_ref.parse(ref).tag is None:
            return ()
        return (f"it is not among the tournament's images, so that nothing made in it is uploaded: {LIST}",)
    if offered.deprecated:
        steps = f"`{commands.suggest_plain('pin')}`, `{commands.suggest('pickle', None)}`"
        return (f"it is deprecated ({instead} the default): name that in the config; {steps}",)
    if offered.experimental:
        return (f"it is experimental ({instead} the default): good to try things out; name that for what must run",)
    if not offered.default:
        return (f"it is offered, and {instead} the default: name that in the config (or `ref: default`) to follow it",)
    return ()


def _same(full: image_ref.ImageRef, offered: DockerImage, registry: str) -> bool:
    try:
        theirs = image_ref.parse(get_reference(offered, registry))
    except ValueError:
        return False
    return (theirs.name, theirs.tag) == (full.name, full.tag)
