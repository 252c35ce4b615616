"""A fake engine for the fast tests: images are folders, and their programs run with this machine's Python.

It passes the same cases as a real engine (``tests/support/engine_cases.py``), so that the two cannot diverge. It has no
isolation, layers or network. ``registry`` contains the images that can be pulled, ``down`` makes every call fail like
an engine that has stopped, ``programs`` replace scripts that run in a container.
"""
# ruff: noqa: ARG002 - same parameters as the protocol

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import secrets
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors
from builder.engine import protocol
from tests.support import fake_dockerfile, fork_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from builder.progress import Progress

NO_PYTHON = "no-python"
"""Label of images without a ``python``."""
_NOT_FOUND_EXIT = 127


@dataclass(frozen=True, kw_only=True)
class Program:
    """A replacement for a script in a container: how it ends, and what it prints to its two streams.

    ``then`` replaces it from the next run on.
    """

    output: bytes = b""
    code: int | None = 0
    out_of_memory: bool = False
    seconds: float = 1.5
    log: str = ""
    then: Program | None = None


@dataclass
class _Image:
    facts: protocol.ImageFacts
    root: Path
    environment: dict[str, str]


class FakeEngine:
    """See :class:`builder.engine.protocol.Engine`."""

    def __init__(self, folder: Path) -> None:
        self.registry: dict[str, protocol.ImageFacts] = {}
        self.asked: list[str] = []
        self.programs: dict[str, Program] = {}
        self.down = False
        self.free: int | None = None
        self.total_memory = 8 << 30
        self.platform = protocol.PLATFORM
        self._folder = folder
        self._images: dict[str, _Image] = {}
        self._leftovers: dict[str, protocol.Leftover] = {}

    def add_image(self, *tags: str, **changes: object) -> protocol.ImageFacts:
        """Add an image with this machine's Python; ``changes`` are fields of its facts."""
        self._check()
        identity = f"sha256:{secrets.token_hex(32)}"
        facts = protocol.ImageFacts(
            id=identity,
            tags=(),
            digests=(),
            labels={},
            entrypoint=("python", "predict.py"),
            workdir="/",
            platform=protocol.PLATFORM,
            size=1,
            layers=(f"sha256:{hashlib.sha256(identity.encode()).hexdigest()}",),
        )
        return self._add(dataclasses.replace(facts, **changes), self._new_folder(), {}, tags)  # type: ignore[arg-type]

    def break_python(self, image: str) -> None:
        """Make every RUN step of builds from this image fail."""
        self._images[image].environment["PYTHONHOME"] = "/nowhere"

    def get_facts(self) -> protocol.EngineFacts:
        self._check()
        return protocol.EngineFacts(version="0", api="1.41", platform=self.platform)

    def get_free_disk(self) -> int | None:
        self._check()
        return self.free

    def get_memory(self) -> int:
        self._check()
        return self.total_memory

    def find_image(self, reference: str, /) -> protocol.ImageFacts | None:
        self._check()
        image = self._find(reference)
        return image.facts if image else None

    def find_images_by_label(self, key: str, value: str, /) -> list[protocol.ImageFacts]:
        self._check()
        return [image.facts for image in self._images.values() if image.facts.labels.get(key) == value]

    def pull(self, reference: str, /, *, platform: str, seconds: float, progress: Progress) -> protocol.ImageFacts:
        self._check()
        self.asked.append(reference)
        if reference not in self.registry:
            raise errors.EngineError(f"could not pull {reference}: the engine says: no route to the registry")
        progress.report_bytes(1, 1)
        facts = self.registry[reference]
        return self._add(facts, self._new_folder(), {}, () if "@" in reference else (reference,))

    def import_image(self, tar: Iterable[bytes], /, *, tag: str, changes: Iterable[str]) -> protocol.ImageFacts:
        self._check()
        root = self._new_folder()
        _unpack(tar, root)
        stage = fake_dockerfile.Stage(root=root)
        for change in changes:
            fake_dockerfile.apply(stage, change, {})
        return self._commit(stage, (tag,))

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
        limits: protocol.ContainerLimits | None = None,
    ) -> protocol.BuildOutcome:
        self._check()
        folder = self._new_folder()
        _unpack(context, folder)
        stages: list[fake_dockerfile.Stage] = []
        log = io.StringIO()
        try:
            fake_dockerfile.run(
                folder, {**arguments, "RUN_ID": run}, stages=stages, start=self._start_stage, log=log, progress=progress
            )
        finally:
            # As with a real engine, the images of a failed build remain and are found by their label.
            identities = [self._commit(stage, ()).id for stage in stages]
            shutil.rmtree(folder)
        if tag:
            self.tag_image(identities[-1], tag)
        return protocol.BuildOutcome(image=identities[-1], log=log.getvalue())

    @contextlib.contextmanager
    def create_volume(self, image: str, tar: Iterable[bytes], /, *, run: str) -> Iterator[str]:
        with self._create(image, run):
            folder = self._new_folder()
        self.fill_volume(str(folder), image, tar, run=run)
        volume = self._add_leftover("volume", run)
        try:
            yield str(folder)
        finally:
            self.remove(volume)
            shutil.rmtree(folder)

    def fill_volume(self, volume: str, image: str, tar: Iterable[bytes], /, *, run: str) -> None:
        with self._create(image, run):
            _unpack(tar, Path(volume))

    @contextlib.contextmanager
    def create_container(
        self,
        image: str,
        command: tuple[str, ...],
        /,
        *,
        run: str,
        limits: protocol.ContainerLimits,
        network: bool,
        volume: str | None = None,
    ) -> Iterator[protocol.Container]:
        with self._create(image, run) as source:
            folders = {name: self._new_folder() for name in (protocol.WORKDIR, protocol.RESULTS)}
            yield _Container(self, source, command, folders | ({protocol.WORKDIR: Path(volume)} if volume else {}))
            for folder in folders.values():
                shutil.rmtree(folder)

    @contextlib.contextmanager
    def copy_out(self, image: str, path: str, /, *, run: str) -> Iterator[Iterator[bytes]]:
        with self._create(image, run) as source:
            yield _pack(source.root / path.removeprefix("/"), f"copy {path} out of {image}")

    def tag_image(self, image: str, tag: str, /) -> None:
        self._check()
        self._untag(tag)
        target = self._find(image)
        if target is None:
            raise errors.EngineError(f"could not tag {image} as {tag}: the engine says: no such image")
        target.facts = dataclasses.replace(target.facts, tags=(*target.facts.tags, tag))

    def remove_image(self, reference: str, /) -> None:
        self._check()
        image = self._find(reference)
        if image is None:
            return
        if reference in image.facts.tags and len(image.facts.tags) > 1:
            self._untag(reference)
            return
        del self._images[image.facts.id]
        shutil.rmtree(image.root)

    def list_leftovers(self) -> list[protocol.Leftover]:
        self._check()
        return [
            *(leftover for leftover in self._leftovers.values() if leftover.kind == "container"),
            *(
                protocol.Leftover(kind="image", id=image.facts.id, labels=image.facts.labels)
                for image in reversed(self._images.values())
                if protocol.RUN_LABEL in image.facts.labels
            ),
            *(leftover for leftover in self._leftovers.values() if leftover.kind == "volume"),
        ]

    def remove(self, leftover: protocol.Leftover, /) -> None:
        self._check()
        if leftover.kind == "image":
            self.remove_image(leftover.id)
        else:
            self._leftovers.pop(leftover.id, None)

    def _check(self) -> None:
        if self.down:
            raise errors.EngineError("could not ask: the container engine does not answer; start it")

    def _find(self, reference: str) -> _Image | None:
        for image in self._images.values():
            if reference in (image.facts.id, *image.facts.tags, *image.facts.digests):
                return image
        return None

    def _untag(self, tag: str) -> None:
        for image in self._images.values():
            image.facts = dataclasses.replace(
                image.facts, tags=tuple(other for other in image.facts.tags if other != tag)
            )

    def _add(
        self, facts: protocol.ImageFacts, root: Path, environment: dict[str, str], tags: tuple[str, ...]
    ) -> protocol.ImageFacts:
        self._images[facts.id] = _Image(facts=facts, root=root, environment=environment)
        for tag in tags:
            self.tag_image(facts.id, tag)
        return self._images[facts.id].facts

    def _commit(self, stage: fake_dockerfile.Stage, tags: tuple[str, ...]) -> protocol.ImageFacts:
        identity = f"sha256:{secrets.token_hex(32)}"
        facts = protocol.ImageFacts(
            id=identity,
            tags=(),
            digests=(),
            labels=stage.labels,
            entrypoint=tuple(stage.entrypoint),
            workdir=stage.workdir,
            platform=protocol.PLATFORM,
            size=sum(path.stat().st_size for path in stage.root.rglob("*")),
            layers=(identity,),
        )
        return self._add(facts, stage.root, stage.environment, tags)

    def _start_stage(self, base: str) -> fake_dockerfile.Stage:
        root = self._new_folder()
        if base == "scratch":
            return fake_dockerfile.Stage(root=root)
        image = self._find(base)
        if image is None:
            raise fake_dockerfile.StepError(f"pull access denied for {base}")
        shutil.copytree(image.root, root, dirs_exist_ok=True)
        return fake_dockerfile.Stage(
            root=root,
            labels=dict(image.facts.labels),
            environment=dict(image.environment),
            workdir=image.facts.workdir,
            entrypoint=list(image.facts.entrypoint),
        )

    @contextlib.contextmanager
    def _create(self, image: str, run: str) -> Iterator[_Image]:
        self._check()
        source = self._find(image)
        if source is None:
            raise errors.EngineError(f"could not create a container of {image}: the engine says: no such image")
        container = self._add_leftover("container", run)
        try:
            yield source
        finally:
            self.remove(container)

    def _add_leftover(self, kind: str, run: str) -> protocol.Leftover:
        leftover = protocol.Leftover(kind=kind, id=secrets.token_hex(32), labels={protocol.RUN_LABEL: run})
        self._leftovers[leftover.id] = leftover
        return leftover

    def _new_folder(self) -> Path:
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder


class _Container:
    """See :class:`builder.engine.protocol.Container`; its folders are folders here."""

    def __init__(
        self, engine: FakeEngine, image: _Image, command: tuple[str, ...], folders: Mapping[str, Path]
    ) -> None:
        self._engine, self._image, self._command, self._folders = engine, image, command, folders
        self._output, self._log = b"", b""

    def start(self) -> None:
        self._engine.get_facts()

    def run(self, seconds: float, /) -> protocol.Exit:
        self._engine.get_facts()
        for name, program in list(self._engine.programs.items()):
            if any(Path(argument).name == name for argument in self._command):
                self._output, self._log = program.output, program.log.encode()
                self._engine.programs[name] = program.then or program
                return protocol.Exit(code=program.code, out_of_memory=program.out_of_memory, seconds=program.seconds)
        if NO_PYTHON in self._image.facts.labels:
            self._log = f"exec {self._command[0]} failed: No such file or directory".encode()
            return protocol.Exit(code=_NOT_FOUND_EXIT, out_of_memory=False)
        return self._execute(seconds)

    def read_output(self, max_bytes: int, /) -> bytes:
        self._engine.get_facts()
        return self._output[:max_bytes]

    def read_log(self, *, output: bool = True) -> str:
        self._engine.get_facts()
        content = self._output + self._log if output else self._log
        return content[-protocol.LOG_BYTES :].decode("utf-8", "replace")

    def _execute(self, seconds: float) -> protocol.Exit:
        command = [sys.executable if self._command[0] == "python" else self._command[0]]
        for argument in self._command[1:]:
            for name, folder in self._folders.items():
                argument = argument.replace(name, str(folder))  # noqa: PLW2901
            command.append(argument)
        with fork_server.Popen(
            command,
            cwd=self._folders[protocol.WORKDIR],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                self._output, self._log = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                self._output, self._log = process.communicate()
                return protocol.Exit(code=None, out_of_memory=False, seconds=seconds)
        code = process.returncode
        return protocol.Exit(code=128 - code if code < 0 else code, out_of_memory=False)


def _unpack(tar: Iterable[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar))) as archive:
        archive.extractall(folder, filter="data")


def _pack(path: Path, action: str) -> Iterator[bytes]:
    if not path.exists():
        raise errors.EngineError(f"could not {action}: the engine says: no such file")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(path, arcname=path.name)
    content = buffer.getvalue()
    return iter([content[start : start + 4096] for start in range(0, len(content), 4096)])
