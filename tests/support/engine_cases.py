"""Test cases for every engine: the fast tests run them on the fake one, the tests in ``tests/engine`` on the real one.

A case takes a :class:`Subject`, raises AssertionError if the engine behaves in another way, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import io
import secrets
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from builder import errors, paths, progress
from builder.engine import protocol, run, tar_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.engine.protocol import Engine

ABSENT = "localhost:1/numerai-builder-test/absent:1"  # no registry listens there, so that a pull fails at once
LIMITS = protocol.ContainerLimits(cpus=1, memory=256 << 20)
LABEL = "numerai-builder-test"
SCRATCH = """\
FROM scratch
ARG RUN_ID
ARG WORD=none
LABEL numerai-builder.run=$RUN_ID numerai-builder-test=$WORD
COPY file /folder/file
"""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An engine, an image with Python on it, and how long that Python takes to start (``moment``, in seconds)."""

    engine: Engine
    image: str
    moment: float = 3.0


class Steps(progress.Silent):
    """Records the steps."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def step(self, text: str, /) -> None:
        """Record the text."""
        self.texts.append(text)


class Interrupting(progress.Silent):
    """Raises KeyboardInterrupt when a step begins, like Ctrl-C."""

    def __init__(self, text: str) -> None:
        self._text = text

    def step(self, text: str, /) -> None:
        """Interrupt if the step contains the text."""
        if self._text in text:
            raise KeyboardInterrupt


def pack(**files: str) -> Iterator[bytes]:
    """Return a tar of these files."""
    return tar_stream.pack(tar_stream.TarEntry(name=name, content=text.encode()) for name, text in files.items())


def build(
    subject: Subject,
    dockerfile: str,
    identity: str,
    steps: progress.Progress | None = None,
    *,
    tag: str | None = None,
) -> protocol.BuildOutcome:
    """Build a Dockerfile whose context has one file."""
    return subject.engine.build(
        pack(Dockerfile=dockerfile, file="content"),
        run=identity,
        arguments={"WORD": "spoken"},
        tag=tag,
        cache=False,
        progress=steps or progress.Silent(),
    )


def run_python(
    subject: Subject, identity: str, source: str, volume: str | None = None
) -> contextlib.AbstractContextManager[protocol.Container]:
    """Create a container that runs Python code."""
    command = ("python", "-c", source)
    return subject.engine.create_container(
        subject.image, command, run=identity, limits=LIMITS, network=False, volume=volume
    )


def list_kinds(subject: Subject, identity: str) -> list[str]:
    """Return the kinds of everything that has the label of a run."""
    return [
        leftover.kind
        for leftover in subject.engine.list_leftovers()
        if leftover.labels.get(protocol.RUN_LABEL) == identity
    ]


def look_while(
    context: contextlib.AbstractContextManager[object], error: BaseException, look: Callable[[], list[str]]
) -> list[str]:
    """Raise an error in a context, which must not change it; return the result of ``look`` just before."""
    kinds: list[str] = []
    try:
        with context:
            kinds += look()
            raise error
    except type(error) as raised:
        assert raised is error  # noqa: PT017 - the same object
    return sorted(kinds)


def read_files(chunks: Iterator[bytes]) -> dict[str, bytes]:
    """Return the contents of a tar's files by name."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        members = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read() for name, file in members.items() if file}


@contextlib.contextmanager
def import_image(subject: Subject, word: str = "one") -> Iterator[protocol.ImageFacts]:
    """Import a small image with a label and a unique tag; remove it afterwards."""
    tag = f"numerai-builder-test/small:{secrets.token_hex(6)}"
    image = subject.engine.import_image(pack(file=word), tag=tag, changes=[f"LABEL {LABEL}={word} other=x"])
    try:
        yield image
    finally:
        subject.engine.remove_image(image.id)


# ---- the machine


def memory_and_free_disk_are_reported(subject: Subject) -> None:
    assert subject.engine.get_memory() > LIMITS.memory
    free = subject.engine.get_free_disk()
    assert free is None or free > 0


# ---- images


def an_absent_image_is_not_found(subject: Subject) -> None:
    assert subject.engine.find_image(ABSENT) is None
    assert subject.engine.find_image(f"{ABSENT.rpartition(':')[0]}@sha256:{'0' * 64}") is None
    subject.engine.remove_image(ABSENT)


def an_imported_image_is_found_by_tag_and_id(subject: Subject) -> None:
    with import_image(subject) as image:
        (tag,) = image.tags
        assert subject.engine.find_image(tag) == subject.engine.find_image(image.id) == image
        assert (image.labels, image.platform) == ({LABEL: "one", "other": "x"}, protocol.PLATFORM)
        # With a containerd image store, the digest of an image that was never pushed is its id.
        assert image.digests in ((), (f"{tag.partition(':')[0]}@{image.id}",))
        assert len(image.layers) == 1
    assert subject.engine.find_image(image.id) is None


def an_image_is_removed_with_its_last_tag(subject: Subject) -> None:
    with import_image(subject) as imported:
        (tag,) = imported.tags
        subject.engine.tag_image(imported.id, f"{tag}-too")
        image = subject.engine.find_image(imported.id)
        assert image is not None
        assert sorted(image.tags) == [tag, f"{tag}-too"]
        subject.engine.remove_image(tag)
        assert subject.engine.find_image(tag) is None
        assert subject.engine.find_image(f"{tag}-too") is not None
        subject.engine.remove_image(f"{tag}-too")
        assert subject.engine.find_image(imported.id) is None


def a_tag_moves_to_another_image(subject: Subject) -> None:
    with import_image(subject, "one") as first, import_image(subject, "two") as second:
        subject.engine.tag_image(second.id, first.tags[0])
        image = subject.engine.find_image(first.tags[0])
        assert image is not None
        assert image.id == second.id


def images_are_found_by_label(subject: Subject) -> None:
    word = secrets.token_hex(6)
    with import_image(subject, word) as labelled, import_image(subject, "another"):
        assert [image.id for image in subject.engine.find_images_by_label(LABEL, word)] == [labelled.id]
        assert subject.engine.find_images_by_label(LABEL, f"{word}-not") == []


def a_failed_pull_names_the_image(subject: Subject) -> None:
    with pytest.raises(errors.EngineError, match=f"could not pull {ABSENT}: "):
        subject.engine.pull(ABSENT, platform=protocol.PLATFORM, seconds=20, progress=progress.Silent())


# ---- builds


def a_built_image_is_labelled_and_removed_with_its_run(subject: Subject) -> None:
    recorder = Steps()
    with run.start(subject.engine) as identity:
        outcome = build(subject, SCRATCH, identity, recorder)
        image = subject.engine.find_image(outcome.image)
        assert image is not None
        assert image.labels == {protocol.RUN_LABEL: identity, LABEL: "spoken"}
        assert "image" in list_kinds(subject, identity)
        with subject.engine.copy_out(outcome.image, "/folder/file", run=identity) as chunks:
            assert read_files(chunks) == {"file": b"content"}
    assert list_kinds(subject, identity) == []
    assert subject.engine.find_image(outcome.image) is None
    assert [text.partition(" : ")[2].split()[0] for text in recorder.texts] == ["FROM", "ARG", "ARG", "LABEL", "COPY"]


def a_built_image_gets_its_tag(subject: Subject) -> None:
    tag = f"numerai-builder-test/built:{secrets.token_hex(6)}"
    with run.start(subject.engine) as identity:
        outcome = build(subject, SCRATCH, identity, tag=tag)
        image = subject.engine.find_image(tag)
        assert image is not None
        assert image.id == outcome.image
    assert subject.engine.find_image(tag) is None


def the_build_log_contains_the_output_of_steps(subject: Subject) -> None:
    dockerfile = f"""\
FROM {subject.image} AS make
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
ENV WORD=spoken
WORKDIR /here
COPY . .
RUN ["python", "-c", "import sys; print('beware', file=sys.stderr)"]
RUN ["python", "-c", "import os; print('it prints', os.environ['WORD'], open('file').read()); open('made', 'w')"]
FROM scratch
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
COPY --from=make /here/made /made
"""
    with run.start(subject.engine) as identity:
        outcome = build(subject, dockerfile, identity)
        assert "it prints spoken content\n" in outcome.log
        assert "\x1b" not in outcome.log, "the builder colors a step's standard error"
        with subject.engine.copy_out(outcome.image, "/made", run=identity) as chunks:
            assert read_files(chunks) == {"made": b""}
    assert list_kinds(subject, identity) == []


def create_failing_dockerfile(image: str) -> str:
    """Return a Dockerfile whose last step prints a line and fails."""
    return f"""\
FROM {image}
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
RUN ["python", "-c", "print('the last line'); raise SystemExit(3)"]
"""


def a_failed_build_names_the_step_and_leaves_nothing(subject: Subject) -> None:
    with run.start(subject.engine) as identity:
        with pytest.raises(errors.BuildError) as raised:
            build(subject, create_failing_dockerfile(subject.image), identity)
        first, *printed = str(raised.value).splitlines()
        assert first.startswith("the build failed at Step 4/4 : RUN ")
        assert "returned a non-zero code: 3" in first
        assert printed == ["    the last line"]
        assert list_kinds(subject, identity)
    assert list_kinds(subject, identity) == []


def a_build_from_an_absent_image_is_an_error(subject: Subject) -> None:
    with run.start(subject.engine) as identity, pytest.raises(errors.BuildError, match=r"failed at Step 1/1 : FROM "):
        build(subject, f"FROM {ABSENT}\n", identity)
    assert list_kinds(subject, identity) == []


def an_invalid_dockerfile_is_an_error(subject: Subject) -> None:
    with (
        run.start(subject.engine) as identity,
        pytest.raises(errors.EngineError, match=r"(?i)could not build: .*UNHEARD"),
    ):
        build(subject, "UNHEARD of\n", identity)
    assert list_kinds(subject, identity) == []


def an_interrupted_build_leaves_nothing(subject: Subject) -> None:
    with pytest.raises(KeyboardInterrupt), run.start(subject.engine) as identity:
        build(subject, create_failing_dockerfile(subject.image), identity, Interrupting("Step 4/4"))
    assert list_kinds(subject, identity) == []


def builds_leave_no_images_if_the_base_of_their_base_lost_its_tag(subject: Subject) -> None:
    word, tag = secrets.token_hex(6), f"numerai-builder-test/derived:{secrets.token_hex(6)}"
    try:
        with import_image(subject, word) as base:
            # Without a run label, like a stand-in image.
            build(subject, f"FROM {base.tags[0]}\nENV A=b\nENV C=d\n", "", tag=tag)
            subject.engine.remove_image(base.tags[0])
        with run.start(subject.engine) as identity:
            build(subject, SCRATCH.replace("scratch", tag).replace(f"{LABEL}=$WORD", "a=b"), identity)
        assert [image.tags for image in subject.engine.find_images_by_label(LABEL, word)] == [(tag,)]
    finally:
        subject.engine.remove_image(tag)
    assert subject.engine.find_images_by_label(LABEL, word) == []


def copying_an_absent_file_is_an_error(subject: Subject) -> None:
    with run.start(subject.engine) as identity:
        outcome = build(subject, SCRATCH, identity)
        with (
            pytest.raises(errors.EngineError, match="could not copy /absent out of sha256:"),
            subject.engine.copy_out(outcome.image, "/absent", run=identity) as chunks,
        ):
            read_files(chunks)
        assert "container" not in list_kinds(subject, identity)


def a_container_of_copy_out_is_removed_after_an_error(subject: Subject) -> None:
    with run.start(subject.engine) as identity:
        outcome = build(subject, SCRATCH, identity)
        for error in (OSError("disk full"), KeyboardInterrupt()):
            copying = subject.engine.copy_out(outcome.image, "/folder/file", run=identity)
            assert "container" in look_while(copying, error, lambda: list_kinds(subject, identity))
            assert "container" not in list_kinds(subject, identity)


# ---- containers


def a_volume_has_the_files_and_is_removed(subject: Subject) -> None:
    with run.start(subject.engine) as identity:
        with subject.engine.create_volume(subject.image, pack(**{"in/a": "text"}), run=identity) as volume:
            assert list_kinds(subject, identity) == ["volume"]
            for _ in range(2):
                with run_python(subject, identity, "print(open('in/a').read() + '!')", volume) as container:
                    assert container.run(60) == protocol.Exit(code=0, out_of_memory=False)
                    assert container.read_log() == "text!\n"
                    assert sorted(list_kinds(subject, identity)) == ["container", "volume"]
        assert list_kinds(subject, identity) == []


def a_started_container_finds_files_that_are_added_to_its_volume(subject: Subject) -> None:
    source = """
import os, time
while not os.path.exists("in/b"):
    time.sleep(0.01)
print(open("in/a").read())
"""
    with (
        run.start(subject.engine) as identity,
        subject.engine.create_volume(subject.image, pack(**{"in/a": "text"}), run=identity) as volume,
        run_python(subject, identity, source, volume) as container,
    ):
        container.start()
        subject.engine.fill_volume(volume, subject.image, pack(**{"in/b": ""}), run=identity)
        assert sorted(list_kinds(subject, identity)) == ["container", "volume"]
        assert container.run(60) == protocol.Exit(code=0, out_of_memory=False)
        assert container.read_log() == "text\n"


def the_two_streams_are_read_apart_and_bounded(subject: Subject) -> None:
    source = """
import sys
print("x" * 300000)
print("y" * 300000 + "end", file=sys.stderr)
"""
    with run.start(subject.engine) as identity, run_python(subject, identity, source) as container:
        assert container.run(60).code == 0
        assert container.read_output(1 << 20) == b"x" * 300000 + b"\n"
        assert container.read_output(7) == b"x" * 7
        log = container.read_log(output=False)
        assert log == ("y" * 300000 + "end\n")[-protocol.LOG_BYTES :]


def create_exit_case(source: str, code: int) -> Callable[[Subject], None]:
    """Return a case in which a container ends with an exit code."""

    def case(subject: Subject) -> None:
        with run.start(subject.engine) as identity, run_python(subject, identity, source) as container:
            assert container.run(60) == protocol.Exit(code=code, out_of_memory=False)

    case.__name__ = f"a_container_ends_with_{code}"
    return case


def the_log_of_a_failed_container_has_its_error(subject: Subject) -> None:
    with (
        run.start(subject.engine) as identity,
        run_python(subject, identity, "raise ValueError('this is why')") as container,
    ):
        assert container.run(60).code == 1
        assert container.read_log().splitlines()[-1] == "ValueError: this is why"


def a_container_is_killed_after_its_time(subject: Subject) -> None:
    source = "import time; print('begun', flush=True); time.sleep(600)"
    with run.start(subject.engine) as identity:
        with run_python(subject, identity, source) as container:
            assert container.run(subject.moment) == protocol.Exit(code=None, out_of_memory=False)
            assert container.read_log() == "begun\n"
        assert list_kinds(subject, identity) == []


def a_container_of_an_absent_image_is_an_error(subject: Subject) -> None:
    with run.start(subject.engine) as identity:
        with (
            pytest.raises(errors.EngineError, match=f"could not create a container of {ABSENT}"),
            subject.engine.create_container(ABSENT, ("python",), run=identity, limits=LIMITS, network=False),
        ):
            pass
        assert list_kinds(subject, identity) == []


def a_container_is_removed_after_any_error(subject: Subject) -> None:
    with run.start(subject.engine) as identity:
        for error in (ValueError(), KeyboardInterrupt()):
            kinds = look_while(run_python(subject, identity, "pass"), error, lambda: list_kinds(subject, identity))
            assert kinds == ["container"]
            assert list_kinds(subject, identity) == []


# ---- runs


def removing_a_leftover_twice_is_no_error(subject: Subject) -> None:
    with (
        run.start(subject.engine) as identity,
        subject.engine.create_volume(subject.image, pack(file="x"), run=identity) as volume,
        run_python(subject, identity, "pass", volume),
    ):
        build(subject, SCRATCH, identity)
        leftovers = [
            leftover
            for leftover in subject.engine.list_leftovers()
            if leftover.labels.get(protocol.RUN_LABEL) == identity
        ]
        assert {leftover.kind for leftover in leftovers} == {"container", "image", "volume"}
        for leftover in [*leftovers, *leftovers]:
            subject.engine.remove(leftover)
        assert list_kinds(subject, identity) == []


def a_run_removes_leftovers_of_ended_runs_only(subject: Subject) -> None:
    owner = run.get_owner_id()
    dead, vanished, strangers = (
        f"{owner}-dead{secrets.token_hex(4)}",
        f"{owner}-gone{secrets.token_hex(4)}",
        "00000000-1",
    )
    lock = paths.cache_folder() / "runs" / dead
    with run.start(subject.engine) as alive:
        lock.touch()
        images = {identity: build(subject, SCRATCH, identity).image for identity in (dead, vanished, strangers, alive)}
        with run.start(subject.engine) as another:
            assert another != alive
            exists = {identity: subject.engine.find_image(image) is not None for identity, image in images.items()}
            assert exists == {dead: False, vanished: False, strangers: True, alive: True}
        assert not lock.exists()
        assert subject.engine.find_image(images[alive]) is not None
        subject.engine.remove_image(images[strangers])
    assert subject.engine.find_image(images[alive]) is None


CASES: tuple[Callable[[Subject], None], ...] = (
    memory_and_free_disk_are_reported,
    an_absent_image_is_not_found,
    an_imported_image_is_found_by_tag_and_id,
    an_image_is_removed_with_its_last_tag,
    a_tag_moves_to_another_image,
    images_are_found_by_label,
    a_failed_pull_names_the_image,
    a_built_image_is_labelled_and_removed_with_its_run,
    a_built_image_gets_its_tag,
    the_build_log_contains_the_output_of_steps,
    a_failed_build_names_the_step_and_leaves_nothing,
    a_build_from_an_absent_image_is_an_error,
    an_invalid_dockerfile_is_an_error,
    an_interrupted_build_leaves_nothing,
    copying_an_absent_file_is_an_error,
    a_container_of_copy_out_is_removed_after_an_error,
    a_volume_has_the_files_and_is_removed,
    a_started_container_finds_files_that_are_added_to_its_volume,
    the_two_streams_are_read_apart_and_bounded,
    create_exit_case("pass", 0),
    create_exit_case("raise SystemExit(7)", 7),
    create_exit_case("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139),
    create_exit_case("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
    the_log_of_a_failed_container_has_its_error,
    a_container_is_killed_after_its_time,
    a_container_of_an_absent_image_is_an_error,
    a_container_is_removed_after_any_error,
    removing_a_leftover_twice_is_no_error,
    a_run_removes_leftovers_of_ended_runs_only,
)
