"""What this tool asks of a container engine; ``builder.engine.docker_engine`` is the real one.

Values go in and come out frozen. Files travel as tar streams, so the engine may be on another machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable, Iterator, Mapping

    from builder.progress import Progress

PLATFORM = "linux/amd64"
WORKDIR = "/box"  # where a locked container's only writable volume is
RUN_LABEL = "numerai-builder.run"


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """An image as the engine has it. ``id`` is a handle within one run, never an identity."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    labels: Mapping[str, str]
    entrypoint: tuple[str, ...]
    workdir: str
    platform: str
    size: int
    layers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """The engine itself."""

    version: str
    api: str
    platform: str


@dataclass(frozen=True, kw_only=True)
class BuildOutcome:
    """A finished build: the image's id, and all that its steps printed."""

    image: str
    log: str


@dataclass(frozen=True, kw_only=True)
class ContainerLimits:
    """What a locked container may use. ``cpus`` in cores, ``memory`` in bytes (no swap on top)."""

    cpus: float
    memory: int


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a container ended. ``code`` is None when it was killed for being over its time."""

    code: int | None
    out_of_memory: bool


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A container, image or volume that carries a label of ours."""

    kind: str
    id: str
    labels: Mapping[str, str]


class Container(Protocol):
    """A locked container, from created to removed."""

    def put(self, tar: Iterable[bytes], /) -> None:
        """Unpack a tar stream into :data:`WORKDIR`."""

    def run(self, seconds: float, /) -> Exit:
        """Start it and wait; after ``seconds`` it is killed."""

    def get(self, path: str, /) -> Iterator[bytes]:
        """Stream a file or folder out, as a tar."""

    def read_log(self) -> str:
        """Return the end of what it printed."""


class Engine(Protocol):
    """What this tool asks of a container engine."""

    def get_facts(self) -> EngineFacts:
        """Return its version and platform."""

    def get_free_disk(self) -> int | None:
        """Return the free bytes of the disk that keeps its images; None where that is another machine's."""

    def get_memory(self) -> int:
        """Return the bytes of memory of the machine that it runs on."""

    def find_image(self, reference: str, /) -> ImageFacts | None:
        """Return the image that a tag, a digest or an id names here, or None."""

    def find_images_by_label(self, key: str, value: str, /) -> list[ImageFacts]:
        """Return the images whose label ``key`` is ``value``."""

    def pull(self, reference: str, /, *, platform: str, seconds: float, progress: Progress) -> ImageFacts:
        """Pull an image; give up after ``seconds`` without a word from the registry."""

    def import_image(self, tar: Iterable[bytes], /, *, tag: str, changes: Iterable[str]) -> ImageFacts:
        """Make an image of a root file system; ``changes`` are Dockerfile instructions such as ``LABEL a=b``."""

    def build(
        self,
        context: Iterable[bytes],
        /,
        *,
        run: str,
        arguments: Mapping[str, str],
        tag: str | None,
        cache: bool,
        progress: Progress,
    ) -> BuildOutcome:
        """Build the context's ``Dockerfile`` without network; ``RUN_ID`` is passed on as a build argument."""

    def create_container(
        self, image: str, command: tuple[str, ...], /, *, run: str, limits: ContainerLimits, network: bool
    ) -> contextlib.AbstractContextManager[Container]:
        """Create a locked container; it and its volume are gone when the context ends."""

    def copy_out(self, image: str, path: str, /, *, run: str) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        """Stream ``path`` of an image, which need not be able to run, as a tar."""

    def tag_image(self, image: str, tag: str, /) -> None:
        """Give an image a further name."""

    def remove_image(self, reference: str, /) -> None:
        """Remove an image, or one name of it; one that is not there is no error."""

    def list_leftovers(self) -> list[Leftover]:
        """Return all that carries :data:`RUN_LABEL`, in an order in which it can be removed."""

    def remove(self, leftover: Leftover, /) -> None:
        """Remove one of them; one that is gone already is no error."""
