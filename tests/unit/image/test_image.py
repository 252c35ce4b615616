"""Which image is used: here first, then the registry, then a stand-in; what it holds; and finding it again."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest

from builder import errors, paths, progress
from builder.engine import protocol as engine
from builder.engine import run
from builder.image import resolve as image
from builder.image import runner_image, stand_in
from builder.registry import resolve as registry
from tests.support import engine_cases
from tests.support.fake_engine import NO_PYTHON, FakeEngine, Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REF = "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd"
REPOSITORY = REF.partition(":")[0]
DIGEST = "sha256:" + "0123456789abcdef" * 4
OTHER_DIGEST = "sha256:" + "f" * 64
SPEC = "5" * 64


@pytest.fixture
def on(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path)


@pytest.fixture
def run_id(on: FakeEngine) -> Iterator[str]:
    with run.start(on) as identity:
        yield identity


def resolve(
    on: FakeEngine, ref: str = REF, stand_in_python: str | None = None, *, pull: bool = False
) -> image.ResolvedImage:
    return image.resolve(
        image.ImageRequest(ref=ref, stand_in=stand_in_python), on, pull=pull, progress=progress.Silent()
    )


def add_stand_in(on: FakeEngine, python: str = "3.11", spec: str = SPEC) -> engine.ImageFacts:
    """Put a look-alike on the engine, as if it had been made there."""
    labels = {
        stand_in.STAND_IN_LABEL: python,
        stand_in.SPEC_LABEL: spec,
        stand_in.INPUTS_LABEL: stand_in.compute_inputs_hash(python, stand_in.list_bases(python)[0]),
    }
    return on.add_image(stand_in.format_tag(python, spec), labels=labels)


def offer(on: FakeEngine, ref: str = REF, **changes: object) -> engine.ImageFacts:
    """Put an image into the registry, and on no engine."""
    facts = on.add_image(**{"digests": (f"{REPOSITORY}@{DIGEST}",), **changes})
    on.remove_image(facts.id)
    on.registry[ref] = facts
    return facts


# ---- what is here


def test_a_pinned_default_that_cannot_be_had_is_named_as_the_config_does(on: FakeEngine) -> None:
    wanted = image.ImageRequest(ref="127.0.0.1:9/numerai/runner:1", digest=f"sha256:{'1' * 64}", key="default")
    with pytest.raises(errors.ImageError, match="or is gone, `make pin` pins what default means now"):
        image.resolve(wanted, on, pull=False, progress=progress.Silent())


def test_a_tag_without_a_digest_is_local(on: FakeEngine) -> None:
    facts = on.add_image(REF)
    found = resolve(on)
    assert found.kind == "local"
    assert (found.ref, found.base, found.handle) == (REF, REF, facts.id)
    assert (found.entrypoint, found.workdir) == (("python", "predict.py"), "/")
    assert on.asked == []


def test_a_local_image_is_known_by_its_layers_not_its_id(on: FakeEngine, tmp_path: Path) -> None:
    elsewhere = FakeEngine(tmp_path / "elsewhere")
    layers = ("sha256:1", "sha256:2")
    on.add_image(REF, layers=layers)
    elsewhere.add_image(REF, layers=layers)
    assert resolve(on).identity == resolve(elsewhere).identity
    elsewhere.add_image(REF, layers=layers[::-1])
    assert resolve(on).identity != resolve(elsewhere).identity


def test_a_digest_of_its_own_registry_is_exact(on: FakeEngine) -> None:
    on.add_image(REF, digests=(f"docker.io/other/name@{OTHER_DIGEST}", f"{REPOSITORY}@{DIGEST}"))
    found = resolve(on)
    assert found.kind == "exact"
    assert (found.identity, found.base) == (DIGEST, f"{REPOSITORY}@{DIGEST}")


def test_dockers_own_hub_goes_by_several_names(on: FakeEngine) -> None:
    on.add_image("python:3.11", digests=(f"python@{DIGEST}",))
    assert resolve(on, "python:3.11").kind == "exact"
    on.add_image("docker.io/library/python:3.11", digests=(f"python@{DIGEST}",))
    assert resolve(on, "docker.io/library/python:3.11").kind == "exact"


@pytest.mark.parametrize(
    "held",
    [
        f"localhost:5000/numerai/numerai_predict_py_3_12@{DIGEST}",
        f"ghcr.io/somebody/numerai_predict_py_3_12@{DIGEST}",
        f"{REPOSITORY}_gpu@{DIGEST}",
    ],
)
def test_a_digest_of_another_registry_is_not_exact(on: FakeEngine, held: str) -> None:
    on.add_image(REF, digests=(held,))
    assert resolve(on).kind == "local"


def test_a_stand_in_is_one_whatever_it_is_called(on: FakeEngine) -> None:
    labels = {stand_in.SPEC_LABEL: SPEC, stand_in.STAND_IN_LABEL: "3.11"}
    on.add_image(REF, stand_in.format_tag("3.11", SPEC), digests=(f"{REPOSITORY}@{DIGEST}",), labels=labels)
    found = resolve(on)
    assert (found.kind, found.identity) == ("stand_in", f"sha256:{SPEC}")


def test_what_was_built_on_a_stand_in_is_one_too_but_another(on: FakeEngine) -> None:
    labels = {stand_in.SPEC_LABEL: SPEC, stand_in.STAND_IN_LABEL: "3.11"}
    on.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",), labels=labels)
    found = resolve(on)
    assert found.kind == "stand_in"
    assert found.identity != f"sha256:{SPEC}"


def test_an_image_for_another_platform_is_refused_with_what_to_do(on: FakeEngine) -> None:
    on.add_image(REF, platform="linux/arm64")
    with pytest.raises(errors.ImageError) as raised:
        resolve(on)
    for said in (REF, "is here for linux/arm64", "docker pull --platform linux/amd64"):
        assert said in str(raised.value)


# ---- the registry


def test_it_is_pulled_from_the_registry_that_is_set_and_found_under_either_name(on: FakeEngine) -> None:
    mirrored = REF.replace("ghcr.io", "mirror.example")
    wanted = image.ImageRequest(ref=REF, source=mirrored)
    offer(on, mirrored, digests=(f"{mirrored.partition(':')[0]}@{DIGEST}",))
    found = image.resolve(wanted, on, pull=False, progress=progress.Silent())
    assert (found.kind, found.ref) == ("exact", REF)
    assert (found.base, found.source) == (f"{REPOSITORY}@{DIGEST}", f"{mirrored.partition(':')[0]}@{DIGEST}")
    on.registry.clear()
    on.remove_image(found.handle)
    on.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    for one in (wanted, image.ImageRequest(ref=REF, source=mirrored, digest=DIGEST)):
        here = image.resolve(one, on, pull=False, progress=progress.Silent())
        assert (here.kind, here.identity, here.base) == ("exact", found.identity, f"{REPOSITORY}@{DIGEST}")


def test_what_is_not_here_is_pulled(on: FakeEngine) -> None:
    offer(on)
    assert resolve(on).kind == "exact"
    assert resolve(on).identity == DIGEST
    assert on.asked == [REF]


def test_pull_asks_the_registry_even_if_the_image_is_here(on: FakeEngine) -> None:
    on.add_image(REF)
    offer(on)
    assert resolve(on).kind == "local"
    assert resolve(on, pull=True).kind == "exact"


def test_a_pull_that_fails_says_why_and_what_the_choices_are(on: FakeEngine) -> None:
    with pytest.raises(errors.ImageError) as raised:
        resolve(on)
    for said in (REF, "no route to the registry", "docker pull", "docker load", 'image.stand_in: "3.11"'):
        assert said in str(raised.value)


def test_without_a_stand_in_the_registry_is_asked_every_time(on: FakeEngine) -> None:
    for _ in range(2):
        with pytest.raises(errors.ImageError):
            resolve(on)
    assert on.asked == [REF, REF]


def test_a_failed_pull_is_remembered_for_a_day_where_a_stand_in_would_do(on: FakeEngine) -> None:
    made = add_stand_in(on)
    for _ in range(3):
        found = resolve(on, stand_in_python="3.11")
        assert (found.kind, found.ref, found.handle) == ("stand_in", REF, made.id)
        assert (found.base, found.identity) == (stand_in.format_tag("3.11", SPEC), f"sha256:{SPEC}")
    assert on.asked == [REF]
    resolve(on, "ghcr.io/numerai/another:1", "3.11")
    assert on.asked == [REF, "ghcr.io/numerai/another:1"], "each reference by itself"
    for memory in (paths.cache_folder() / "pulls").iterdir():
        os.utime(memory, (memory.stat().st_mtime - 25 * 3600,) * 2)
    resolve(on, stand_in_python="3.11")
    assert on.asked[2:] == [REF]


def test_pull_asks_again_whatever_is_remembered(on: FakeEngine) -> None:
    add_stand_in(on)
    resolve(on, stand_in_python="3.11")
    assert resolve(on, stand_in_python="3.11", pull=True).kind == "stand_in"
    assert on.asked == [REF, REF]
    facts = offer(on)
    assert resolve(on, stand_in_python="3.11", pull=True).kind == "exact"
    on.remove_image(facts.id)
    assert resolve(on, stand_in_python="3.11").kind == "exact", "what worked since is not remembered as failed"


def test_an_engine_that_dies_during_a_pull_is_no_reason_for_a_stand_in(on: FakeEngine) -> None:
    class GoesDown(progress.Silent):
        def step(self, text: str, /) -> None:
            on.down = text.startswith("asking the registry")

    with pytest.raises(errors.EngineError, match="does not answer; start it"):
        image.resolve(image.ImageRequest(ref=REF, stand_in="3.11"), on, pull=False, progress=GoesDown())
    assert not (paths.cache_folder() / "pulls").exists()


def test_a_look_alike_of_an_unknown_python_is_refused(on: FakeEngine) -> None:
    with pytest.raises(errors.ImageError, match=r"no look-alike is known for Python '3\.9'"):
        image.resolve_stand_in(REF, "3.9", on, progress.Silent())


# ---- what is in it


def test_the_inventory_is_asked_once_and_remembered_by_identity(on: FakeEngine, run_id: str) -> None:
    on.add_image(REF)
    found = resolve(on)
    held = image.read_inventory(found, on, run_id)
    assert {"numpy", "pandas", "cloudpickle"} <= held.packages.keys()
    on.programs["inventory.py"] = Program(code=1)
    assert image.read_inventory(found, on, run_id) == held
    with pytest.raises(errors.ImageError):
        image.read_inventory(dataclasses.replace(found, identity=f"sha256:{'0' * 64}"), on, run_id)


def saying(on: FakeEngine, text: str, code: int | None = 0) -> image.ResolvedImage:
    on.add_image(REF)
    on.programs["inventory.py"] = Program(log=text, code=code)
    return resolve(on)


def test_a_memory_that_was_damaged_is_asked_anew(on: FakeEngine, run_id: str) -> None:
    packages = '{"numpy": "2", "pandas": "2", "cloudpickle": "3"}'
    found = saying(on, f'{{"python": "3.12.1", "packages": {packages}}}')
    held = image.read_inventory(found, on, run_id)
    for memory in (paths.cache_folder() / "images").iterdir():
        for damage in (b"", b"{}", b"[]", b"\xff"):
            memory.write_bytes(damage)
            assert image.read_inventory(found, on, run_id) == held


def test_what_an_image_prints_of_its_own_is_no_matter(on: FakeEngine, run_id: str) -> None:
    packages = '{"numpy": "2", "pandas": "2", "cloudpickle": "3"}'
    found = saying(on, f'warning: something\n{{"python": "3.12.1", "packages": {packages}}}\n')
    assert image.read_inventory(found, on, run_id).python == "3.12.1"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("SyntaxError: invalid syntax", 1, "has no Python that starts as `python`.*it said: SyntaxError"),
        ("", None, "has no Python that starts as `python`"),
        ("", 0, "has a `python` that runs no script"),
        ("hello", 0, "has a `python` that runs no script, so it is no runner image; it said: hello"),
        ("[1]", 0, "has a `python` that runs no script"),
        ('{"python": "3.12.1"}', 0, "has a `python` that runs no script"),
        ('{"python": "3.9.2", "packages": {}}', 0, r"has Python 3\.9\.2; this tool knows 3\.10, 3\.11, 3\.12, 3\.13"),
        ('{"python": "2.7.18", "packages": {}}', 0, r"has Python 2\.7\.18"),
        ('{"python": "3.12.1", "packages": {"numpy": "2"}}', 0, "lacks pandas, cloudpickle, so it is no runner image"),
    ],
)
def test_an_image_that_is_no_runner_is_refused_by_what_it_has(
    on: FakeEngine, run_id: str, text: str, code: int | None, said: str
) -> None:
    found = saying(on, text, code)
    with pytest.raises(errors.ImageError, match=f"{REF} {said}"):
        image.read_inventory(found, on, run_id)
    assert not (paths.cache_folder() / "images").exists()


def test_an_image_without_a_python_is_refused(on: FakeEngine, run_id: str) -> None:
    on.add_image(REF, labels={NO_PYTHON: ""})
    with pytest.raises(errors.ImageError, match=r"has no Python that starts as `python`.*No such file"):
        image.read_inventory(resolve(on), on, run_id)
    assert [one.kind for one in on.list_leftovers()] == []


# ---- the very same again


def recorded(found: image.ResolvedImage, python: str = "3.11.2") -> runner_image.RunnerImage:
    return runner_image.RunnerImage(
        kind=found.kind,
        ref=found.ref,
        base=found.base,
        identity=found.identity,
        platform=found.platform,
        python=python,
        packages=dict.fromkeys(runner_image.REQUIRED_PACKAGES, "1"),
    )


def find_recorded_image(on: FakeEngine, was: image.ResolvedImage) -> image.ResolvedImage:
    return image.find_recorded_image(
        recorded(was), on, registry="ghcr.io/numerai", progress=progress.Silent(), rebuild_command="BUILD AGAIN"
    )


def test_what_is_still_here_is_found_again(on: FakeEngine) -> None:
    on.add_image("local:1")
    on.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    add_stand_in(on)
    for was in (resolve(on, "local:1"), resolve(on), image.resolve_stand_in("absent:1", "3.11", on, progress.Silent())):
        assert find_recorded_image(on, was) == was


def test_an_exact_image_is_pulled_again_by_its_digest(on: FakeEngine) -> None:
    facts = offer(on)
    was = resolve(on)
    on.remove_image(facts.id)
    on.registry[f"{REPOSITORY}@{DIGEST}"] = facts
    told = engine_cases.Steps()
    again = image.find_recorded_image(
        recorded(was), on, registry="ghcr.io/numerai", progress=told, rebuild_command="BUILD AGAIN"
    )
    assert again == was
    assert told.said == [f"pulling {REPOSITORY}@{DIGEST}"]
    on.remove_image(facts.id)
    on.registry.clear()
    with pytest.raises(errors.ImageError, match=f"could not pull {REPOSITORY}@{DIGEST}") as raised:
        find_recorded_image(on, was)
    assert "`make pin` and `BUILD AGAIN`" in str(raised.value)


def test_a_recorded_image_comes_from_the_registry_that_is_set(on: FakeEngine) -> None:
    was = image.ResolvedImage(
        kind="exact",
        ref=REF,
        identity=DIGEST,
        base=f"{REPOSITORY}@{DIGEST}",
        handle="",
        platform=engine.PLATFORM,
        entrypoint=(),
        workdir="/",
    )
    mirrored = f"mirror.example/numerai/numerai_predict_py_3_12@{DIGEST}"
    offer(on, mirrored, digests=(mirrored,))
    for _ in ("pulled", "here already"):
        found = image.find_recorded_image(
            recorded(was),
            on,
            registry="mirror.example/numerai",
            progress=progress.Silent(),
            rebuild_command="BUILD AGAIN",
        )
        assert (found.identity, found.base, found.source) == (DIGEST, was.base, mirrored)
    assert on.asked == [mirrored]


def test_a_local_image_that_is_gone_is_told(on: FakeEngine) -> None:
    on.add_image(REF)
    was = resolve(on)
    on.remove_image(REF)
    with pytest.raises(errors.ImageError, match=f"{REF}, in which the pickle was made, is no longer on this engine"):
        find_recorded_image(on, was)


def test_a_name_that_means_another_image_now_is_told(on: FakeEngine) -> None:
    on.add_image(REF)
    was = resolve(on)
    now = resolve_changed(on)
    with pytest.raises(errors.ImageError) as raised:
        find_recorded_image(on, was)
    for said in (f"{REF} is now another image", now.identity, was.identity, "run `BUILD AGAIN`"):
        assert said in str(raised.value)


def resolve_changed(on: FakeEngine) -> image.ResolvedImage:
    on.add_image(REF)
    return resolve(on)


def test_a_stand_in_of_other_sources_is_another_image(on: FakeEngine) -> None:
    made = add_stand_in(on)
    was = image.resolve_stand_in(REF, "3.11", on, progress.Silent())
    on.remove_image(made.id)
    add_stand_in(on, spec="6" * 64)
    with pytest.raises(errors.ImageError, match=r"is now another image \(stand_in, sha256:666"):
        find_recorded_image(on, was)


class Notes(progress.Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str, /) -> None:
        self.said.append(text)


def test_an_image_that_is_here_is_kept_when_the_registry_does_not_answer(on: FakeEngine) -> None:
    on.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    notes = Notes()
    found = image.resolve(image.ImageRequest(ref=REF, stand_in="3.11"), on, pull=True, progress=notes)
    assert (found.kind, found.identity) == ("exact", DIGEST)
    assert any(f"{REF} is on this engine and is used as it is" in note for note in notes.said)


def test_why_an_image_could_not_be_had_is_said_before_a_stand_in_is_used(on: FakeEngine) -> None:
    add_stand_in(on)
    notes = Notes()
    assert (
        image.resolve(image.ImageRequest(ref=REF, stand_in="3.11"), on, pull=False, progress=notes).kind == "stand_in"
    )
    assert [note for note in notes.said if "could not" in note]


def test_the_digest_that_the_config_names_is_the_one_of_several(on: FakeEngine) -> None:
    other = f"sha256:{'9' * 64}"
    reference = f"{REPOSITORY}@{other}"
    on.add_image(reference, digests=(f"{REPOSITORY}@{DIGEST}", reference))
    assert resolve(on, reference).identity == other


# ---- pins, room and emulation


BY_DIGEST = f"{REPOSITORY}@{DIGEST}"


def pinned(on: FakeEngine, notes: Notes, *, stand_in_python: str | None = None) -> image.ResolvedImage:
    wanted = image.ImageRequest(ref=REF, stand_in=stand_in_python, digest=DIGEST)
    return image.resolve(wanted, on, pull=True, progress=notes)


def test_a_pin_is_found_by_its_digest_and_asks_nobody(on: FakeEngine) -> None:
    on.add_image(digests=(BY_DIGEST,), labels={"maker": "them"})
    found = pinned(on, Notes())
    assert (found.kind, found.ref, found.base, found.identity) == ("exact", REF, BY_DIGEST, DIGEST)
    assert found.labels == {"maker": "them"}
    assert on.asked == []


def test_a_pin_is_pulled_by_its_digest_and_not_what_the_tag_means(on: FakeEngine) -> None:
    on.registry[BY_DIGEST] = offer(on)
    on.add_image(REF, digests=(f"{REPOSITORY}@{OTHER_DIGEST}",))
    notes = Notes()
    assert pinned(on, notes).identity == DIGEST
    assert on.asked == [BY_DIGEST]
    assert any("is another image than the one that builder.lock.yaml pins" in note for note in notes.said)


def test_a_pin_that_cannot_be_had_is_replaced_by_a_stand_in_if_there_is_one(on: FakeEngine) -> None:
    add_stand_in(on)
    assert pinned(on, Notes(), stand_in_python="3.11").kind == "stand_in"
    with pytest.raises(errors.ImageError) as raised:
        pinned(on, Notes())
    for said in (BY_DIGEST, "no route to the registry", "`make pin`", "docker load"):
        assert said in str(raised.value)


def sized(size: int) -> registry.RemoteImage:
    return registry.RemoteImage(digest=DIGEST, platforms=(), size=size, python="", labels={}, created="")


def test_an_image_that_cannot_fit_is_not_pulled(on: FakeEngine) -> None:
    offer(on)
    on.free = 3_000_000_000

    def ask(size: int) -> image.ResolvedImage:
        return image.resolve(
            image.ImageRequest(ref=REF), on, pull=False, progress=progress.Silent(), ask=lambda _: sized(size)
        )

    with pytest.raises(errors.ImageError) as raised:
        ask(4_000_000_000)
    for said in ("is 4.0 GB to pull", "at least 8.0 GB", "has 3.0 GB free", "docker system df"):
        assert said in str(raised.value)
    assert on.asked == []
    assert ask(1_000_000_000).kind == "exact"


def test_a_registry_that_does_not_say_how_large_it_is_is_no_hindrance(on: FakeEngine) -> None:
    offer(on)
    on.free = 1

    def silent(_: str) -> registry.RemoteImage:
        raise errors.UnavailableError("no answer", sent=False)

    wanted = image.ImageRequest(ref=REF)
    assert image.resolve(wanted, on, pull=False, progress=progress.Silent(), ask=silent).kind == "exact"


def test_an_engine_that_has_to_emulate_is_told_of(on: FakeEngine) -> None:
    on.add_image(REF)
    on.platform = "linux/arm64"
    notes = Notes()
    image.resolve(image.ImageRequest(ref=REF), on, pull=False, progress=notes)
    assert any("this engine is linux/arm64 and the tournament runs linux/amd64" in note for note in notes.said)
    notes.said.clear()
    on.platform = engine.PLATFORM
    image.resolve(image.ImageRequest(ref=REF), on, pull=False, progress=notes)
    assert notes.said == []
