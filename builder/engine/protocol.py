"""The interface to a container engine; ``builder.engine.docker_engine`` implements it.

All values are frozen. Files are exchanged as tar streams, because the engine may run on another machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable, Iterator, Mapping

    from builder.progress import Progress

PLATFORM = "linux/amd64"
WORKDIR = "/box"
"""Where a locked container starts, and finds the files of its volume, which is read-only there."""
RESULTS = "/results"
"""The folder of a locked container for its results: in memory, and of :data:`RESULTS_BYTES` bytes at most."""
RESULTS_BYTES = 128 << 20  # as in inside/supervise.py; a CSV of a million rows has 40 MB
LOG_BYTES = 1 << 16
"""How much of a log is read, from its end."""
RUN_LABEL = "numerai-builder.run"


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """An image on the engine.

    ``id`` identifies it during one run only: engines compute it in different ways, so it is never recorded.
    """

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
    """The version and platform of the engine."""

    version: str
    api: str
    platform: str


@dataclass(frozen=True, kw_only=True)
class BuildOutcome:
    """A finished build: the image's id, and the end of the output of its steps."""

    image: str
    log: str


@dataclass(frozen=True, kw_only=True)
class ContainerLimits:
    """Limits of a locked container: ``cpus`` in cores, ``memory`` in bytes (there is no swap)."""

    cpus: float
    memory: int


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a container ended, as the engine reports it.

    Attributes:
        code: Its exit code; None if it was killed because it exceeded its time.
        out_of_memory: Whether the kernel killed a process of the container because memory ran out.
        seconds: How long it ran.
        peak_bytes: The most memory that the engine saw, which looks about once a second; None if it never did.
    """

    code: int | None
    out_of_memory: bool
    seconds: float = field(default=0.0, compare=False)
    peak_bytes: int | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A container, image or volume with a label of this tool."""

    kind: str
    id: str
    labels: Mapping[str, str]


class Container(Protocol):
    """A locked container, from its creation to its removal."""

    def start(self) -> None:
        """Start it before :meth:`run`; until then it gets only CPU time that no other container wants."""

    def run(self, seconds: float, /) -> Exit:
        """Start it, unless it is started, and wait until it ends; kill it after ``seconds``."""

    def read_output(self, max_bytes: int, /) -> bytes:
        """Return its standard output, and no more than the first ``max_bytes`` bytes of it."""

    def read_log(self, *, output: bool = True) -> str:
        """Return the last :data:`LOG_BYTES` that it printed; only to standard error if ``output`` is false."""


class Engine(Protocol):
    """A container engine; every method raises ``errors.EngineError`` if the engine does not answer."""

    def get_facts(self) -> EngineFacts:
        """Return the engine's version and platform."""

    def get_free_disk(self) -> int | None:
        """Return the free bytes of the disk with the engine's images; None if it runs on another machine."""

    def get_memory(self) -> int:
        """Return the bytes of memory of the machine that the engine runs on."""

    def find_image(self, reference: str, /) -> ImageFacts | None:
        """Return the image with a tag, digest or id, or None if it is not on the engine."""

    def find_images_by_label(self, key: str, value: str, /) -> list[ImageFacts]:
        """Return the images whose label ``key`` is ``value``."""

    def pull(self, reference: str, /, *, platform: str, seconds: float, progress: Progress) -> ImageFacts:
        """Pull an image; fail after ``seconds`` without data from the registry."""

    def import_image(self, tar: Iterable[bytes], /, *, tag: str, changes: Iterable[str]) -> ImageFacts:
        """Create an image from a root file system; ``changes`` are Dockerfile instructions such as ``LABEL a=b``."""

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
        limits: ContainerLimits | None = None,
    ) -> BuildOutcome:
        """Build the context's ``Dockerfile`` without network; ``run`` becomes the build argument ``RUN_ID``.

        ``limits`` are those of each step. The builder has no limit for the number of processes or for the disk.

        Raises:
            errors.BuildError: A step failed.
        """

    def create_volume(self, image: str, tar: Iterable[bytes], /, *, run: str) -> contextlib.AbstractContextManager[str]:
        """Create a volume with the files of a tar stream, and yield its name; remove it when the context ends.

        An engine fills a volume through a container, so ``image`` is any image; it is not run.
        """

    def fill_volume(self, volume: str, image: str, tar: Iterable[bytes], /, *, run: str) -> None:
        """Add files to a volume from :meth:`create_volume`; a container that runs with it finds them."""

    def create_container(
        self,
        image: str,
        command: tuple[str, ...],
        /,
        *,
        run: str,
        limits: ContainerLimits,
        network: bool,
        volume: str | None = None,
    ) -> contextlib.AbstractContextManager[Container]:
        """Create a locked container; remove it when the context ends.

        It cannot write to the disk of the engine: only to the folders for results and temporary files, which are in its
        memory, and to its log, which is bounded.

        Args:
            image: The image.
            command: The command, instead of the entry point of the image.
            run: The run that the container is labelled with.
            limits: Its limits.
            network: Whether it has a network.
            volume: The volume whose files it finds in :data:`WORKDIR`.
        """

    def copy_out(self, image: str, path: str, /, *, run: str) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        """Stream ``path`` of an image as a tar; the image is not run, so it need not contain a program."""

    def tag_image(self, image: str, tag: str, /) -> None:
        """Add a tag to an image."""

    def remove_image(self, reference: str, /) -> None:
        """Remove an image, or one of its tags; do nothing if it does not exist."""

    def list_leftovers(self) -> list[Leftover]:
        """Return everything with :data:`RUN_LABEL`, in an order in which it can be removed."""

    def remove(self, leftover: Leftover, /) -> None:
        """Remove a leftover; do nothing if it no longer exists."""
