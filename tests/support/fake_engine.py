"""An engine in memory, for the fast tests: images are folders, and what an image runs, this machine's Python runs.

It keeps the same shared cases as the real one (``tests/support/engine_cases.py``), so that it cannot drift. What it
does not have: isolation, layers, a network. ``registry`` is what can be pulled, ``down`` makes every call fail as an
engine that is gone does, ``programs`` stand in for scripts that run in a container.
"""
# ruff: noqa: ARG002 - its methods have the real one's parameters

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors
from builder.engine import protocol as engine
from tests.support import fake_dockerfile, fork_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from builder.progress import Progress

NO_PYTHON = "no-python"
"""A label of images whose ``python`` is not there."""
_NOT_FOUND_EXIT = 127


@dataclass(frozen=True, kw_only=True)
class Program:
    """What stands in for a script in a container: what it writes to the box, how it ends, and what it prints.

    ``then`` stands in for it from the next run on.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    code: int | None = 0
    out_of_memory: bool = False
    log: str = ""
    then: Program | None = None


@dataclass
class _Image:
    facts: engine.ImageFacts
    root: Path
    environment: dict[str, str]


class FakeEngine:
    """See :class:`builder.engine.protocol.Engine`."""

    def __init__(self, folder: Path) -> None:
        self.registry: dict[str, engine.ImageFacts] = {}
        self.asked: list[str] = []
        self.programs: dict[str, Program] = {}
        self.down = False
        self.free: int | None = None
        self.total_memory = 8 << 30
        self.platform = engine.PLATFORM
        self._folder = folder
        self._images: dict[str, _Image] = {}
        self._others: dict[str, engine.Leftover] = {}

    def add_image(self, *tags: str, **changes: object) -> engine.ImageFacts:
        """Put an image on the engine, with this machine's Python in it; ``changes`` are fields of its facts."""
        self._check()
        identity = f"sha256:{secrets.token_hex(32)}"
        facts = engine.ImageFacts(
            id=identity,
            tags=(),
            digests=(),
            labels={},
            entrypoint=("python", "predict.py"),
            workdir="/",
            platform=engine.PLATFORM,
            size=1,
            layers=(f"sha256:{hashlib.sha256(identity.encode()).hexdigest()}",),
        )
        return self._keep(dataclasses.replace(facts, **changes), self._new_folder(), {}, tags)  # type: ignore[arg-type]

    def break_python(self, image: str) -> None:
        """Have whatever a build runs in this image fail."""
        self._images[image].environment["PYTHONHOME"] = "/nowhere"

    def get_facts(self) -> engine.EngineFacts:
        self._check()
        return engine.EngineFacts(version="0", api="1.41", platform=self.platform)

    def get_free_disk(self) -> int | None:
        self._check()
        return self.free

    def get_memory(self) -> int:
        self._check()
        return self.total_memory

    def find_image(self, reference: str, /) -> engine.ImageFacts | None:
        self._check()
        found = self._find(reference)
        return found.facts if found else None

    def find_images_by_label(self, key: str, value: str, /) -> list[engine.ImageFacts]:
        self._check()
        return [image.facts for image in self._images.values() if image.facts.labels.get(key) == value]

    def pull(self, reference: str, /, *, platform: str, seconds: float, progress: Progress) -> engine.ImageFacts:
        self._check()
        self.asked.append(reference)
        if reference not in self.registry:
            raise errors.EngineError(f"could not pull {reference}: the engine says: no route to the registry")
        progress.report_bytes(1, 1)
        facts = self.registry[reference]
        return self._keep(facts, self._new_folder(), {}, () if "@" in reference else (reference,))

    def import_image(self, tar: Iterable[bytes], /, *, tag: str, changes: Iterable[str]) -> engine.ImageFacts:
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
    ) -> engine.BuildOutcome:
        self._check()
        folder = self._new_folder()
        _unpack(context, folder)
        made: list[fake_dockerfile.Stage] = []
        log = io.StringIO()
        try:
            fake_dockerfile.run(
                folder, {**arguments, "RUN_ID": run}, stages=made, start=self._start_stage, log=log, progress=progress
            )
        finally:
            # As with the real one, what there was when it failed stays, and is found by its label.
            identities = [self._commit(stage, ()).id for stage in made]
            shutil.rmtree(folder)
        if tag:
            self.tag_image(identities[-1], tag)
        return engine.BuildOutcome(image=identities[-1], log=log.getvalue())

    @contextlib.contextmanager
    def create_container(
        self, image: str, command: tuple[str, ...], /, *, run: str, limits: engine.ContainerLimits, network: bool
    ) -> Iterator[engine.Container]:
        with self._created(image, run) as found:
            box = self._new_folder()
            volume = self._remember("volume", run)
            try:
                yield _Container(self, found, command, box)
            finally:
                self.remove(volume)
                shutil.rmtree(box)

    @contextlib.contextmanager
    def copy_out(self, image: str, path: str, /, *, run: str) -> Iterator[Iterator[bytes]]:
        with self._created(image, run) as found:
            yield _pack(found.root / path.removeprefix("/"), f"copy {path} out of {image}")

    def tag_image(self, image: str, tag: str, /) -> None:
        self._check()
        self._untag(tag)
        found = self._find(image)
        if found is None:
            raise errors.EngineError(f"could not tag {image} as {tag}: the engine says: no such image")
        found.facts = dataclasses.replace(found.facts, tags=(*found.facts.tags, tag))

    def remove_image(self, reference: str, /) -> None:
        self._check()
        found = self._find(reference)
        if found is None:
            return
        if reference in found.facts.tags and len(found.facts.tags) > 1:
            self._untag(reference)
            return
        del self._images[found.facts.id]
        shutil.rmtree(found.root)

    def list_leftovers(self) -> list[engine.Leftover]:
        self._check()
        return [
            *(other for other in self._others.values() if other.kind == "container"),
            *(
                engine.Leftover(kind="image", id=image.facts.id, labels=image.facts.labels)
                for image in reversed(self._images.values())
                if engine.RUN_LABEL in image.facts.labels
            ),
            *(other for other in self._others.values() if other.kind == "volume"),
        ]

    def remove(self, leftover: engine.Leftover, /) -> None:
        self._check()
        if leftover.kind == "image":
            self.remove_image(leftover.id)
        else:
            self._others.pop(leftover.id, None)

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
            image.facts = dataclasses.replace(image.facts, tags=tuple(one for one in image.facts.tags if one != tag))

    def _keep(
        self, facts: engine.ImageFacts, root: Path, environment: dict[str, str], tags: tuple[str, ...]
    ) -> engine.ImageFacts:
        self._images[facts.id] = _Image(facts=facts, root=root, environment=environment)
        for tag in tags:
            self.tag_image(facts.id, tag)
        return self._images[facts.id].facts

    def _commit(self, stage: fake_dockerfile.Stage, tags: tuple[str, ...]) -> engine.ImageFacts:
        identity = f"sha256:{secrets.token_hex(32)}"
        facts = engine.ImageFacts(
            id=identity,
            tags=(),
            digests=(),
            labels=stage.labels,
            entrypoint=tuple(stage.entrypoint),
            workdir=stage.workdir,
            platform=engine.PLATFORM,
            size=sum(path.stat().st_size for path in stage.root.rglob("*")),
            layers=(identity,),
        )
        return self._keep(facts, stage.root, stage.environment, tags)

    def _start_stage(self, base: str) -> fake_dockerfile.Stage:
        root = self._new_folder()
        if base == "scratch":
            return fake_dockerfile.Stage(root=root)
        found = self._find(base)
        if found is None:
            raise fake_dockerfile.StepError(f"pull access denied for {base}")
        shutil.copytree(found.root, root, dirs_exist_ok=True)
        return fake_dockerfile.Stage(
            root=root,
            labels=dict(found.facts.labels),
            environment=dict(found.environment),
            workdir=found.facts.workdir,
            entrypoint=list(found.facts.entrypoint),
        )

    @contextlib.contextmanager
    def _created(self, image: str, run: str) -> Iterator[_Image]:
        self._check()
        found = self._find(image)
        if found is None:
            raise errors.EngineError(f"could not create a container of {image}: the engine says: no such image")
        container = self._remember("container", run)
        try:
            yield found
        finally:
            self.remove(container)

    def _remember(self, kind: str, run: str) -> engine.Leftover:
        made = engine.Leftover(kind=kind, id=secrets.token_hex(32), labels={engine.RUN_LABEL: run})
        self._others[made.id] = made
        return made

    def _new_folder(self) -> Path:
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder


class _Container:
    """See :class:`builder.engine.protocol.Container`; its box is a folder, which is also where its command starts."""

    def __init__(self, on: FakeEngine, image: _Image, command: tuple[str, ...], box: Path) -> None:
        self._on, self._image, self._command, self._box = on, image, command, box
        self._log = ""

    def put(self, tar: Iterable[bytes], /) -> None:
        self._on.get_facts()
        _unpack(tar, self._box)

    def run(self, seconds: float, /) -> engine.Exit:
        self._on.get_facts()
        for name, program in list(self._on.programs.items()):
            if any(Path(argument).name == name for argument in self._command):
                for path, content in program.files.items():
                    (self._box / path).parent.mkdir(parents=True, exist_ok=True)
                    (self._box / path).write_bytes(content)
                self._log = program.log
                self._on.programs[name] = program.then or program
                return engine.Exit(code=program.code, out_of_memory=program.out_of_memory)
        if NO_PYTHON in self._image.facts.labels:
            self._log = f"exec {self._command[0]} failed: No such file or directory"
            return engine.Exit(code=_NOT_FOUND_EXIT, out_of_memory=False)
        return self._execute(seconds)

    def get(self, path: str, /) -> Iterator[bytes]:
        self._on.get_facts()
        yield from _pack(self._box / path.removeprefix(engine.WORKDIR).lstrip("/"), f"copy {path} out of a container")

    def read_log(self) -> str:
        self._on.get_facts()
        return self._log

    def _execute(self, seconds: float) -> engine.Exit:
        command = [sys.executable if self._command[0] == "python" else self._command[0]]
        command += [argument.replace(engine.WORKDIR, str(self._box)) for argument in self._command[1:]]
        with fork_server.Popen(
            command,
            cwd=self._box,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                self._log, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                self._log, _ = process.communicate()
                return engine.Exit(code=None, out_of_memory=False)
        code = process.returncode
        return engine.Exit(code=128 - code if code < 0 else code, out_of_memory=False)


def _unpack(tar: Iterable[bytes], folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar))) as archive:
        archive.extractall(folder, filter="data")


def _pack(path: Path, what: str) -> Iterator[bytes]:
    if not path.exists():
        raise errors.EngineError(f"could not {what}: the engine says: no such file")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(path, arcname=path.name)
    whole = packed.getvalue()
    return iter([whole[start : start + 4096] for start in range(0, len(whole), 4096)])
