"""What every engine must do: one list of cases, for the fake (fast tests) and for the real one (tests of the engine).

A case takes a :class:`Subject`, raises AssertionError where the engine does something else, and leaves nothing behind.
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
from builder.engine import protocol as engine
from builder.engine import run, tar_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.engine.protocol import Engine

ABSENT = "localhost:1/numerai-builder-test/absent:1"  # a registry that refuses at once
LIMITS = engine.ContainerLimits(cpus=1, memory=256 << 20)
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
    """An engine, and an image there that has a Python; ``moment`` is long enough for that to begin, in seconds."""

    on: Engine
    image: str
    moment: float = 3.0


class Steps(progress.Silent):
    """Keeps the steps."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def step(self, text: str, /) -> None:
        """Keep it."""
        self.said.append(text)


class Interrupting(progress.Silent):
    """A person who presses Ctrl-C when a step begins."""

    def __init__(self, text: str) -> None:
        self._text = text

    def step(self, text: str, /) -> None:
        """Interrupt, at the step that was waited for."""
        if self._text in text:
            raise KeyboardInterrupt


def packed(**files: str) -> Iterator[bytes]:
    """Return a tar of these files."""
    return tar_stream.pack(tar_stream.TarEntry(name=name, content=text.encode()) for name, text in files.items())


def build(
    subject: Subject, dockerfile: str, identity: str, told: progress.Progress | None = None, *, tag: str | None = None
) -> engine.BuildOutcome:
    """Build a Dockerfile whose context has one file."""
    return subject.on.build(
        packed(Dockerfile=dockerfile, file="content"),
        run=identity,
        arguments={"WORD": "spoken"},
        tag=tag,
        cache=False,
        progress=told or progress.Silent(),
    )


def python(subject: Subject, identity: str, source: str) -> contextlib.AbstractContextManager[engine.Container]:
    """Create a container that runs a source."""
    command = ("python", "-c", source)
    return subject.on.create_container(subject.image, command, run=identity, limits=LIMITS, network=False)


def left(subject: Subject, identity: str) -> list[str]:
    """Return the kinds of what carries the label of a run."""
    return [one.kind for one in subject.on.list_leftovers() if one.labels.get(engine.RUN_LABEL) == identity]


def seen_while(
    held: contextlib.AbstractContextManager[object], error: BaseException, look: Callable[[], list[str]]
) -> list[str]:
    """Raise an error while something is held, which must let it through; return what was seen just before."""
    seen: list[str] = []
    try:
        with held:
            seen += look()
            raise error
    except type(error) as raised:
        assert raised is error  # noqa: PT017 - the very same one
    return sorted(seen)


def files_of(chunks: Iterator[bytes]) -> dict[str, bytes]:
    """Return the files of a tar by their names there."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read() for name, file in found.items() if file}


@contextlib.contextmanager
def imported(subject: Subject, word: str = "one") -> Iterator[engine.ImageFacts]:
    """Have a small image with a label and a name of its own."""
    tag = f"numerai-builder-test/small:{secrets.token_hex(6)}"
    made = subject.on.import_image(packed(file=word), tag=tag, changes=[f"LABEL {LABEL}={word} other=x"])
    try:
        yield made
    finally:
        subject.on.remove_image(made.id)


# ---- the machine


def an_engine_says_what_its_machine_has(subject: Subject) -> None:
    assert subject.on.get_memory() > LIMITS.memory
    free = subject.on.get_free_disk()
    assert free is None or free > 0


# ---- images


def an_image_that_is_not_here_is_none(subject: Subject) -> None:
    assert subject.on.find_image(ABSENT) is None
    assert subject.on.find_image(f"{ABSENT.rpartition(':')[0]}@sha256:{'0' * 64}") is None
    subject.on.remove_image(ABSENT)


def an_imported_image_is_found_by_name_and_id(subject: Subject) -> None:
    with imported(subject) as made:
        (tag,) = made.tags
        assert subject.on.find_image(tag) == subject.on.find_image(made.id) == made
        assert (made.labels, made.platform, made.digests) == ({LABEL: "one", "other": "x"}, engine.PLATFORM, ())
        assert len(made.layers) == 1
    assert subject.on.find_image(made.id) is None


def an_image_goes_with_its_last_name(subject: Subject) -> None:
    with imported(subject) as made:
        (tag,) = made.tags
        subject.on.tag_image(made.id, f"{tag}-too")
        found = subject.on.find_image(made.id)
        assert found is not None
        assert sorted(found.tags) == [tag, f"{tag}-too"]
        subject.on.remove_image(tag)
        assert subject.on.find_image(tag) is None
        assert subject.on.find_image(f"{tag}-too") is not None
        subject.on.remove_image(f"{tag}-too")
        assert subject.on.find_image(made.id) is None


def a_name_moves_to_the_image_it_is_given_to(subject: Subject) -> None:
    with imported(subject, "one") as first, imported(subject, "two") as second:
        subject.on.tag_image(second.id, first.tags[0])
        found = subject.on.find_image(first.tags[0])
        assert found is not None
        assert found.id == second.id


def images_are_found_by_the_value_of_a_label(subject: Subject) -> None:
    word = secrets.token_hex(6)
    with imported(subject, word) as made, imported(subject, "another"):
        assert [image.id for image in subject.on.find_images_by_label(LABEL, word)] == [made.id]
        assert subject.on.find_images_by_label(LABEL, f"{word}-not") == []


def a_pull_that_fails_says_what_could_not_be_pulled(subject: Subject) -> None:
    with pytest.raises(errors.EngineError, match=f"could not pull {ABSENT}: "):
        subject.on.pull(ABSENT, platform=engine.PLATFORM, seconds=20, progress=progress.Silent())


# ---- builds


def a_build_carries_its_run_and_goes_with_it(subject: Subject) -> None:
    told = Steps()
    with run.start(subject.on) as identity:
        outcome = build(subject, SCRATCH, identity, told)
        found = subject.on.find_image(outcome.image)
        assert found is not None
        assert found.labels == {engine.RUN_LABEL: identity, LABEL: "spoken"}
        assert "image" in left(subject, identity)
        with subject.on.copy_out(outcome.image, "/folder/file", run=identity) as chunks:
            assert files_of(chunks) == {"file": b"content"}
    assert left(subject, identity) == []
    assert subject.on.find_image(outcome.image) is None
    assert [text.partition(" : ")[2].split()[0] for text in told.said] == ["FROM", "ARG", "ARG", "LABEL", "COPY"]


def a_built_image_gets_the_name_that_was_asked_for(subject: Subject) -> None:
    tag = f"numerai-builder-test/built:{secrets.token_hex(6)}"
    with run.start(subject.on) as identity:
        outcome = build(subject, SCRATCH, identity, tag=tag)
        found = subject.on.find_image(tag)
        assert found is not None
        assert found.id == outcome.image
    assert subject.on.find_image(tag) is None


def a_build_prints_what_its_steps_print(subject: Subject) -> None:
    dockerfile = f"""\
FROM {subject.image} AS make
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
ENV WORD=spoken
WORKDIR /here
COPY . .
RUN ["python", "-c", "import sys; print('beware', file=sys.stderr)"]
RUN ["python", "-c", "import os; print('it says', os.environ['WORD'], open('file').read()); open('made', 'w')"]
FROM scratch
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
COPY --from=make /here/made /made
"""
    with run.start(subject.on) as identity:
        outcome = build(subject, dockerfile, identity)
        assert "it says spoken content\n" in outcome.log
        assert "\x1b" not in outcome.log, "the builder colours what a step says on standard error"
        with subject.on.copy_out(outcome.image, "/made", run=identity) as chunks:
            assert files_of(chunks) == {"made": b""}
    assert left(subject, identity) == []


def failing(image: str) -> str:
    """Return a Dockerfile whose last step prints something and fails."""
    return f"""\
FROM {image}
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
RUN ["python", "-c", "print('the last words'); raise SystemExit(3)"]
"""


def a_build_that_fails_names_the_step_and_leaves_nothing(subject: Subject) -> None:
    with run.start(subject.on) as identity:
        with pytest.raises(errors.BuildError) as raised:
            build(subject, failing(subject.image), identity)
        first, *printed = str(raised.value).splitlines()
        assert first.startswith("the build failed at Step 4/4 : RUN ")
        assert "returned a non-zero code: 3" in first
        assert printed == ["    the last words"]
        assert left(subject, identity)
    assert left(subject, identity) == []


def a_build_from_an_image_that_cannot_be_had_is_an_error(subject: Subject) -> None:
    with run.start(subject.on) as identity, pytest.raises(errors.BuildError, match=r"failed at Step 1/1 : FROM "):
        build(subject, f"FROM {ABSENT}\n", identity)
    assert left(subject, identity) == []


def a_dockerfile_that_is_none_is_an_error(subject: Subject) -> None:
    with run.start(subject.on) as identity, pytest.raises(errors.EngineError, match=r"(?i)could not build: .*UNHEARD"):
        build(subject, "UNHEARD of\n", identity)
    assert left(subject, identity) == []


def an_interrupted_build_leaves_nothing(subject: Subject) -> None:
    with pytest.raises(KeyboardInterrupt), run.start(subject.on) as identity:
        build(subject, failing(subject.image), identity, Interrupting("Step 4/4"))
    assert left(subject, identity) == []


def what_is_not_in_an_image_cannot_be_copied_out(subject: Subject) -> None:
    with run.start(subject.on) as identity:
        outcome = build(subject, SCRATCH, identity)
        with (
            pytest.raises(errors.EngineError, match="could not copy /absent out of sha256:"),
            subject.on.copy_out(outcome.image, "/absent", run=identity) as chunks,
        ):
            files_of(chunks)
        assert "container" not in left(subject, identity)


def copying_out_ends_with_an_error_of_its_own(subject: Subject) -> None:
    with run.start(subject.on) as identity:
        outcome = build(subject, SCRATCH, identity)
        for error in (OSError("disk full"), KeyboardInterrupt()):
            copying = subject.on.copy_out(outcome.image, "/folder/file", run=identity)
            assert "container" in seen_while(copying, error, lambda: left(subject, identity))
            assert "container" not in left(subject, identity)


# ---- containers


def files_go_in_and_come_out(subject: Subject) -> None:
    source = "import os; os.mkdir('out'); open('out/b', 'w').write(open('in/a').read() + '!'); print('said')"
    with run.start(subject.on) as identity:
        with python(subject, identity, source) as container:
            container.put(packed(**{"in/a": "text"}))
            assert container.run(60) == engine.Exit(code=0, out_of_memory=False)
            assert container.read_log() == "said\n"
            assert files_of(container.get(f"{engine.WORKDIR}/out")) == {"out/b": b"text!"}
            assert files_of(container.get(f"{engine.WORKDIR}/out/b")) == {"b": b"text!"}
            with pytest.raises(errors.EngineError, match=f"could not copy {engine.WORKDIR}/absent out of a container"):
                files_of(container.get(f"{engine.WORKDIR}/absent"))
            assert sorted(left(subject, identity)) == ["container", "volume"]
        assert left(subject, identity) == []


def ends_with(source: str, code: int) -> Callable[[Subject], None]:
    """Return a case: a container that ends with this exit code."""

    def case(subject: Subject) -> None:
        with run.start(subject.on) as identity, python(subject, identity, source) as container:
            assert container.run(60) == engine.Exit(code=code, out_of_memory=False)

    case.__name__ = f"a_container_ends_with_{code}"
    return case


def a_failing_container_says_why(subject: Subject) -> None:
    with run.start(subject.on) as identity, python(subject, identity, "raise ValueError('this is why')") as container:
        assert container.run(60).code == 1
        assert container.read_log().splitlines()[-1] == "ValueError: this is why"


def a_container_over_its_time_is_ended(subject: Subject) -> None:
    source = "import time; print('begun', flush=True); open('partly', 'w').write('x'); time.sleep(600)"
    with run.start(subject.on) as identity:
        with python(subject, identity, source) as container:
            assert container.run(subject.moment) == engine.Exit(code=None, out_of_memory=False)
            assert container.read_log() == "begun\n"
            assert files_of(container.get(f"{engine.WORKDIR}/partly")) == {"partly": b"x"}
        assert left(subject, identity) == []


def a_container_of_no_image_is_an_error(subject: Subject) -> None:
    with run.start(subject.on) as identity:
        with (
            pytest.raises(errors.EngineError, match=f"could not create a container of {ABSENT}"),
            subject.on.create_container(ABSENT, ("python",), run=identity, limits=LIMITS, network=False),
        ):
            pass
        assert left(subject, identity) == []


def a_container_goes_whatever_happens(subject: Subject) -> None:
    with run.start(subject.on) as identity:
        for error in (ValueError(), KeyboardInterrupt()):
            seen = seen_while(python(subject, identity, "pass"), error, lambda: left(subject, identity))
            assert seen == ["container", "volume"]
            assert left(subject, identity) == []


# ---- runs


def what_is_gone_can_be_removed_again(subject: Subject) -> None:
    with run.start(subject.on) as identity, python(subject, identity, "pass"):
        build(subject, SCRATCH, identity)
        ours = [one for one in subject.on.list_leftovers() if one.labels.get(engine.RUN_LABEL) == identity]
        assert {one.kind for one in ours} == {"container", "image", "volume"}
        for one in [*ours, *ours]:
            subject.on.remove(one)
        assert left(subject, identity) == []


def a_run_takes_away_what_a_dead_one_left_and_nothing_else(subject: Subject) -> None:
    owner = run.get_owner_id()
    dead, vanished, strangers = (
        f"{owner}-dead{secrets.token_hex(4)}",
        f"{owner}-gone{secrets.token_hex(4)}",
        "00000000-1",
    )
    lock = paths.cache_folder() / "runs" / dead
    with run.start(subject.on) as alive:
        lock.touch()
        images = {identity: build(subject, SCRATCH, identity).image for identity in (dead, vanished, strangers, alive)}
        with run.start(subject.on) as another:
            assert another != alive
            there = {identity: subject.on.find_image(image) is not None for identity, image in images.items()}
            assert there == {dead: False, vanished: False, strangers: True, alive: True}
        assert not lock.exists()
        assert subject.on.find_image(images[alive]) is not None
        subject.on.remove_image(images[strangers])
    assert subject.on.find_image(images[alive]) is None


CASES: tuple[Callable[[Subject], None], ...] = (
    an_engine_says_what_its_machine_has,
    an_image_that_is_not_here_is_none,
    an_imported_image_is_found_by_name_and_id,
    an_image_goes_with_its_last_name,
    a_name_moves_to_the_image_it_is_given_to,
    images_are_found_by_the_value_of_a_label,
    a_pull_that_fails_says_what_could_not_be_pulled,
    a_build_carries_its_run_and_goes_with_it,
    a_built_image_gets_the_name_that_was_asked_for,
    a_build_prints_what_its_steps_print,
    a_build_that_fails_names_the_step_and_leaves_nothing,
    a_build_from_an_image_that_cannot_be_had_is_an_error,
    a_dockerfile_that_is_none_is_an_error,
    an_interrupted_build_leaves_nothing,
    what_is_not_in_an_image_cannot_be_copied_out,
    copying_out_ends_with_an_error_of_its_own,
    files_go_in_and_come_out,
    ends_with("pass", 0),
    ends_with("raise SystemExit(7)", 7),
    ends_with("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139),
    ends_with("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
    a_failing_container_says_why,
    a_container_over_its_time_is_ended,
    a_container_of_no_image_is_an_error,
    a_container_goes_whatever_happens,
    what_is_gone_can_be_removed_again,
    a_run_takes_away_what_a_dead_one_left_and_nothing_else,
)
