"""Select the tournament's runner images and build their references."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import commands, errors, published_pins
from builder.registry import reference as image_ref
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.tournament.types import DockerImage


LIST = f"`{commands.suggest_plain('images')}` lists the available ones"


def get_default_reference(images: Sequence[DockerImage]) -> str:
    """Return the reference of the tournament's current default image.

    It always has the tournament's own registry: it is written to the lock file, which must not depend on
    ``NUMERAI_REGISTRY``.

    Raises:
        errors.ApiError: There is no default image, or its reference is invalid.
    """
    default = next((image for image in images if image.default), None)
    if default is None:
        raise errors.ApiError(f"the tournament has no default image; set image.ref in the config: {LIST}")
    try:
        return get_reference(default, settings.DEFAULT_REGISTRY)
    except ValueError as error:
        raise errors.ApiError(
            f"the tournament's default image is invalid ({error}); set image.ref in the config"
        ) from error


def get_reference(image: DockerImage, registry: str) -> str:
    """Return the reference to pull an image of the tournament by.

    Raises:
        ValueError: The API's name or tag is not valid in a reference.
    """
    ref = f"{registry}/{image.image}:{image.tag}"
    image_ref.parse(ref)
    return ref


def find_published(python: str, registry: str) -> str | None:
    """Return the reference of the image with a Python, such as ``3.12``, whose packages are published; or None."""
    tag = published_pins.find_tag(python)
    return f"{registry}/numerai_predict_py_{python.replace('.', '_')}:{tag}" if tag else None


def find_image(ref: str, images: Sequence[DockerImage], registry: str) -> DockerImage | None:
    """Return the tournament's image, deprecated or not, that has the repository and tag of ``ref``, or None."""
    full = image_ref.parse(settings.to_pull_reference(str(image_ref.parse(ref)), registry))
    return next((image for image in images if _matches(full, image, registry)), None)


def find_image_notes(ref: str, images: Sequence[DockerImage], registry: str) -> tuple[str, ...]:
    """Return what a person should know about an image's status at the tournament; each note says what to do.

    Args:
        ref: A reference with a tag; there are no notes about a digest.
        images: All images of the tournament.
        registry: Registry and folder that its images are pulled from.
    """
    image = find_image(ref, images, registry)
    default = next((image for image in images if image.default), None)
    alternative = f"{default.image}:{default.tag} is" if default else "none is"
    if image is None:
        if image_ref.parse(ref).tag is None:
            return ()
        return (f"it is not among the tournament's images, and pickles built in it cannot be uploaded: {LIST}",)
    if image.deprecated:
        steps = f"`{commands.suggest_plain('pin')}`, `{commands.suggest('pickle', None)}`"
        return (f"it is deprecated ({alternative} the default): set the default in the config; {steps}",)
    if image.experimental:
        return (f"it is experimental ({alternative} the default): use the default for models in production",)
    if not image.default:
        return (
            f"the tournament offers it, but {alternative} the default; to use that, set `ref: default` in the config",
        )
    return ()


def _matches(full: image_ref.ImageRef, image: DockerImage, registry: str) -> bool:
    try:
        ref = image_ref.parse(get_reference(image, registry))
    except ValueError:
        return False
    return (ref.name, ref.tag) == (full.name, full.tag)
