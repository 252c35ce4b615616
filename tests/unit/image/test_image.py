"""Test which image is used, what it contains, and how a recorded image is found again."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest

from builder import errors, paths, progress
from builder.engine import protocol, run
from builder.image import resolve as image
from builder.image import runner_image, stand_in
from builder.registry import resolve as registry
from tests.support import engine_cases, pythons
from tests.support.fake_engine import NO_PYTHON, FakeEngine, Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REF = "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd"
REPOSITORY = REF.partition(":")[0]
DIGEST = "sha256:" + "0123456789abcdef" * 4
OTHER_DIGEST = "sha256:" + "f" * 64
SPEC = "5" * 64


class Notes(progress.Silent):
    """Records the notes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str, /) -> None:
        self.texts.append(text)


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path)


@pytest.fixture
def run_id(engine: FakeEngine) -> Iterator[str]:
    with run.start(engine) as identity:
        yield identity


def resolve(
    engine: FakeEngine, ref: str = REF, stand_in_python: str | None = None, *, pull: bool = False
) -> image.ResolvedImage:
    return image.resolve(
        image.ImageRequest(ref=ref, stand_in=stand_in_python), engine, pull=pull, progress=progress.Silent()
    )


def add_stand_in(engine: FakeEngine, python: str = "3.11", spec: str = SPEC) -> protocol.ImageFacts:
    """Add a stand-in image to the engine."""
    labels = {
        stand_in.STAND_IN_LABEL: python,
        stand_in.SPEC_LABEL: spec,
        stand_in.INPUTS_LABEL: stand_in.compute_inputs_hash(python, stand_in.list_bases(python)[0]),
    }
    return engine.add_image(stand_in.format_tag(python, spec), labels=labels)


def offer(engine: FakeEngine, ref: str = REF, **changes: object) -> protocol.ImageFacts:
    """Put an image into the registry, and on no engine."""
    facts = engine.add_image(**{"digests": (f"{REPOSITORY}@{DIGEST}",), **changes})
    engine.remove_image(facts.id)
    engine.registry[ref] = facts
    return facts


# ---- what is here


def test_an_unavailable_pinned_default_is_named_as_in_the_config(engine: FakeEngine) -> None:
    request = image.ImageRequest(ref="127.0.0.1:9/numerai/runner:1", digest=f"sha256:{'1' * 64}", key="default")
    with pytest.raises(errors.ImageError, match="run `make pin` to pin the current image of default; else pull"):
        image.resolve(request, engine, pull=False, progress=progress.Silent())


def test_a_tag_without_a_digest_is_local(engine: FakeEngine) -> None:
    facts = engine.add_image(REF)
    resolved = resolve(engine)
    assert resolved.kind == "local"
    assert (resolved.ref, resolved.base, resolved.handle) == (REF, REF, facts.id)
    assert (resolved.entrypoint, resolved.workdir) == (("python", "predict.py"), "/")
    assert engine.asked == []


def test_a_local_image_is_identified_by_its_layers(engine: FakeEngine, tmp_path: Path) -> None:
    elsewhere = FakeEngine(tmp_path / "elsewhere")
    layers = ("sha256:1", "sha256:2")
    engine.add_image(REF, layers=layers)
    elsewhere.add_image(REF, layers=layers)
    assert resolve(engine).identity == resolve(elsewhere).identity
    elsewhere.add_image(REF, layers=layers[::-1])
    assert resolve(engine).identity != resolve(elsewhere).identity


def test_a_digest_of_its_own_registry_is_exact(engine: FakeEngine) -> None:
    engine.add_image(REF, digests=(f"docker.io/other/name@{OTHER_DIGEST}", f"{REPOSITORY}@{DIGEST}"))
    resolved = resolve(engine)
    assert resolved.kind == "exact"
    assert (resolved.identity, resolved.base) == (DIGEST, f"{REPOSITORY}@{DIGEST}")


def resolve_with_registry(
    engine: FakeEngine, published: str | errors.BuilderError, *, pull: bool = False
) -> tuple[image.ResolvedImage, Notes]:
    """Resolve REF; the registry has only the reference ``published``, or fails with this error."""

    def look_up(reference: str) -> registry.RemoteImage:
        if isinstance(published, errors.BuilderError):
            raise published
        if reference != published:
            raise errors.ImageNotFoundError(f"{reference}: digest not found in the registry")
        return create_remote_image(1)

    notes = Notes()
    resolved = image.resolve(image.ImageRequest(ref=REF), engine, pull=pull, progress=notes, look_up=look_up)
    return resolved, notes


@pytest.mark.parametrize("pull", [False, True])
def test_a_digest_of_the_containerd_store_is_exact_only_if_it_is_in_the_registry(
    engine: FakeEngine, *, pull: bool
) -> None:
    engine.add_image(REF, id=DIGEST, digests=(BY_DIGEST,))
    resolved, notes = resolve_with_registry(engine, BY_DIGEST, pull=pull)
    assert (resolved.kind, resolved.identity, resolved.base) == ("exact", DIGEST, BY_DIGEST)
    assert not any("local image" in note for note in notes.texts)
    for problem in (f"{REPOSITORY}@{OTHER_DIGEST}", errors.UnavailableError("no answer", sent=False)):
        resolved, notes = resolve_with_registry(engine, problem, pull=pull)
        assert (resolved.kind, resolved.base) == ("local", REF)
        assert any(f"{REF} on this engine is treated as a local image" in note for note in notes.texts)
    assert find_recorded_image(engine, resolved) == resolved


def test_a_pulled_or_pinned_digest_of_the_containerd_store_is_exact(engine: FakeEngine) -> None:
    offer(engine, id=DIGEST, digests=(BY_DIGEST,))
    unavailable = errors.UnavailableError("no answer", sent=False)
    assert resolve_with_registry(engine, unavailable)[0].kind == "exact"
    assert resolve_pinned(engine, Notes()).kind == "exact"


def test_docker_hub_has_several_names(engine: FakeEngine) -> None:
    engine.add_image("python:3.11", digests=(f"python@{DIGEST}",))
    assert resolve(engine, "python:3.11").kind == "exact"
    engine.add_image("docker.io/library/python:3.11", digests=(f"python@{DIGEST}",))
    assert resolve(engine, "docker.io/library/python:3.11").kind == "exact"


@pytest.mark.parametrize(
    "digest",
    [
        f"localhost:5000/numerai/numerai_predict_py_3_12@{DIGEST}",
        f"ghcr.io/somebody/numerai_predict_py_3_12@{DIGEST}",
        f"{REPOSITORY}_gpu@{DIGEST}",
    ],
)
def test_a_digest_of_another_registry_is_not_exact(engine: FakeEngine, digest: str) -> None:
    engine.add_image(REF, digests=(digest,))
    assert resolve(engine).kind == "local"


def test_a_stand_in_is_recognized_under_any_name(engine: FakeEngine) -> None:
    labels = {stand_in.SPEC_LABEL: SPEC, stand_in.STAND_IN_LABEL: "3.11"}
    engine.add_image(REF, stand_in.format_tag("3.11", SPEC), digests=(f"{REPOSITORY}@{DIGEST}",), labels=labels)
    resolved = resolve(engine)
    assert (resolved.kind, resolved.identity) == ("stand_in", f"sha256:{SPEC}")


def test_an_image_built_from_a_stand_in_is_another_stand_in(engine: FakeEngine) -> None:
    labels = {stand_in.SPEC_LABEL: SPEC, stand_in.STAND_IN_LABEL: "3.11"}
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",), labels=labels)
    resolved = resolve(engine)
    assert resolved.kind == "stand_in"
    assert resolved.identity != f"sha256:{SPEC}"


def test_an_image_for_another_platform_is_an_error_with_a_fix(engine: FakeEngine) -> None:
    engine.add_image(REF, platform="linux/arm64")
    with pytest.raises(errors.ImageError) as raised:
        resolve(engine)
    for text in (REF, "on this engine is for linux/arm64", "docker pull --platform linux/amd64"):
        assert text in str(raised.value)


# ---- the registry


def test_an_image_is_pulled_from_the_set_registry_and_found_under_both_names(engine: FakeEngine) -> None:
    mirrored = REF.replace("ghcr.io", "mirror.example")
    request = image.ImageRequest(ref=REF, source=mirrored)
    offer(engine, mirrored, digests=(f"{mirrored.partition(':')[0]}@{DIGEST}",))
    resolved = image.resolve(request, engine, pull=False, progress=progress.Silent())
    assert (resolved.kind, resolved.ref) == ("exact", REF)
    assert (resolved.base, resolved.source) == (f"{REPOSITORY}@{DIGEST}", f"{mirrored.partition(':')[0]}@{DIGEST}")
    engine.registry.clear()
    engine.remove_image(resolved.handle)
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    for item in (request, image.ImageRequest(ref=REF, source=mirrored, digest=DIGEST)):
        pulled = image.resolve(item, engine, pull=False, progress=progress.Silent())
        assert (pulled.kind, pulled.identity, pulled.base) == ("exact", resolved.identity, f"{REPOSITORY}@{DIGEST}")


def test_an_absent_image_is_pulled(engine: FakeEngine) -> None:
    offer(engine)
    assert resolve(engine).kind == "exact"
    assert resolve(engine).identity == DIGEST
    assert engine.asked == [REF]


def test_pull_asks_the_registry_for_an_image_on_the_engine(engine: FakeEngine) -> None:
    engine.add_image(REF)
    offer(engine)
    assert resolve(engine).kind == "local"
    assert resolve(engine, pull=True).kind == "exact"


def test_a_failed_pull_is_an_error_with_reason_and_alternatives(engine: FakeEngine) -> None:
    with pytest.raises(errors.ImageError) as raised:
        resolve(engine)
    for text in (REF, "no route to the registry", "docker pull", "docker load", 'image.stand_in: "3.12"'):
        assert text in str(raised.value)


def test_without_a_stand_in_every_resolve_pulls(engine: FakeEngine) -> None:
    for _ in range(2):
        with pytest.raises(errors.ImageError):
            resolve(engine)
    assert engine.asked == [REF, REF]


def test_with_a_stand_in_a_failed_pull_is_remembered_for_a_day(engine: FakeEngine) -> None:
    built = add_stand_in(engine)
    for _ in range(3):
        resolved = resolve(engine, stand_in_python="3.11")
        assert (resolved.kind, resolved.ref, resolved.handle) == ("stand_in", REF, built.id)
        assert (resolved.base, resolved.identity) == (stand_in.format_tag("3.11", SPEC), f"sha256:{SPEC}")
    assert engine.asked == [REF]
    resolve(engine, "ghcr.io/numerai/another:1", "3.11")
    assert engine.asked == [REF, "ghcr.io/numerai/another:1"], "each reference by itself"
    for memory in (paths.cache_folder() / "pulls").iterdir():
        os.utime(memory, (memory.stat().st_mtime - 25 * 3600,) * 2)
    resolve(engine, stand_in_python="3.11")
    assert engine.asked[2:] == [REF]


def test_pull_ignores_a_remembered_failure(engine: FakeEngine) -> None:
    add_stand_in(engine)
    resolve(engine, stand_in_python="3.11")
    assert resolve(engine, stand_in_python="3.11", pull=True).kind == "stand_in"
    assert engine.asked == [REF, REF]
    facts = offer(engine)
    assert resolve(engine, stand_in_python="3.11", pull=True).kind == "exact"
    engine.remove_image(facts.id)
    assert resolve(engine, stand_in_python="3.11").kind == "exact", "what worked since is not remembered as failed"


def test_an_engine_that_stops_during_a_pull_is_an_error(engine: FakeEngine) -> None:
    class GoesDown(progress.Silent):
        def step(self, text: str, /) -> None:
            engine.down = text.startswith("asking the registry")

    with pytest.raises(errors.EngineError, match="does not answer; start it"):
        image.resolve(image.ImageRequest(ref=REF, stand_in="3.11"), engine, pull=False, progress=GoesDown())
    assert not (paths.cache_folder() / "pulls").exists()


def test_a_stand_in_without_a_base_here_is_replaced_and_the_output_says_so(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pythons.hide(monkeypatch, tmp_path)
    older = add_stand_in(engine, "3.11")
    notes = Notes()
    resolved = image.resolve(image.ImageRequest(ref=REF, stand_in="3.12"), engine, pull=False, progress=notes)
    assert (resolved.kind, resolved.ref, resolved.handle) == ("stand_in", REF, older.id)
    assert "note: the Python 3.11 stand-in image is used: cannot build the Python 3.12" in notes.texts[-1]
    assert "python:3.12-slim is not on the engine" in notes.texts[-1]
    with pytest.raises(stand_in.NoBaseError):
        image.resolve(image.ImageRequest(ref=REF, stand_in="3.10"), engine, pull=False, progress=notes)
    with pytest.raises(stand_in.NoBaseError):
        image.resolve_stand_in(REF, "3.12", engine, notes)
    newer = add_stand_in(engine, "3.12")
    assert resolve(engine, stand_in_python="3.12").handle == newer.id


def test_a_stand_in_for_an_unsupported_python_is_an_error(engine: FakeEngine) -> None:
    with pytest.raises(errors.ImageError, match=r"there is no stand-in image for Python '3\.9'"):
        image.resolve_stand_in(REF, "3.9", engine, progress.Silent())


# ---- what is in it


def test_the_inventory_is_cached_by_identity(engine: FakeEngine, run_id: str) -> None:
    engine.add_image(REF)
    resolved = resolve(engine)
    inventory = image.read_inventory(resolved, engine, run_id)
    assert {"numpy", "pandas", "cloudpickle"} <= inventory.packages.keys()
    engine.programs["inventory.py"] = Program(code=1)
    assert image.read_inventory(resolved, engine, run_id) == inventory
    with pytest.raises(errors.ImageError):
        image.read_inventory(dataclasses.replace(resolved, identity=f"sha256:{'0' * 64}"), engine, run_id)


def create_printing_image(engine: FakeEngine, text: str, code: int | None = 0) -> image.ResolvedImage:
    engine.add_image(REF)
    engine.programs["inventory.py"] = Program(log=text, code=code)
    return resolve(engine)


def test_a_damaged_inventory_cache_is_replaced(engine: FakeEngine, run_id: str) -> None:
    packages = '{"numpy": "2", "pandas": "2", "cloudpickle": "3"}'
    resolved = create_printing_image(engine, f'{{"python": "3.12.1", "packages": {packages}}}')
    inventory = image.read_inventory(resolved, engine, run_id)
    for memory in (paths.cache_folder() / "images").iterdir():
        for damage in (b"", b"{}", b"[]", b"\xff"):
            memory.write_bytes(damage)
            assert image.read_inventory(resolved, engine, run_id) == inventory


def test_other_output_of_an_image_is_ignored(engine: FakeEngine, run_id: str) -> None:
    packages = '{"numpy": "2", "pandas": "2", "cloudpickle": "3"}'
    resolved = create_printing_image(engine, f'warning: something\n{{"python": "3.12.1", "packages": {packages}}}\n')
    assert image.read_inventory(resolved, engine, run_id).python == "3.12.1"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("SyntaxError: invalid syntax", 1, "cannot run `python`; its output: SyntaxError"),
        ("", None, "cannot run `python`"),
        ("", 0, "its `python` does not run scripts"),
        ("hello", 0, "is not a runner image: its `python` does not run scripts; its output: hello"),
        ("[1]", 0, "its `python` does not run scripts"),
        ('{"python": "3.12.1"}', 0, "its `python` does not run scripts"),
        ('{"python": "3.9.2", "packages": {}}', 0, r"has Python 3\.9\.2 \(supported: 3\.10, 3\.11, 3\.12, 3\.13"),
        ('{"python": "2.7.18", "packages": {}}', 0, r"has Python 2\.7\.18"),
        (
            '{"python": "3.12.1", "packages": {"numpy": "2"}}',
            0,
            "is not a runner image: missing packages: pandas, cloudpickle",
        ),
    ],
)
def test_another_image_than_a_runner_is_an_error(
    engine: FakeEngine, run_id: str, text: str, code: int | None, message: str
) -> None:
    resolved = create_printing_image(engine, text, code)
    with pytest.raises(errors.ImageError, match=f"{REF} .*{message}"):
        image.read_inventory(resolved, engine, run_id)
    assert not (paths.cache_folder() / "images").exists()


def test_an_image_without_python_is_an_error(engine: FakeEngine, run_id: str) -> None:
    engine.add_image(REF, labels={NO_PYTHON: ""})
    with pytest.raises(errors.ImageError, match=r"cannot run `python`.*No such file"):
        image.read_inventory(resolve(engine), engine, run_id)
    assert [item.kind for item in engine.list_leftovers()] == []


# ---- recorded images


def record(resolved: image.ResolvedImage, python: str = "3.11.2") -> runner_image.RunnerImage:
    return runner_image.RunnerImage(
        kind=resolved.kind,
        ref=resolved.ref,
        base=resolved.base,
        identity=resolved.identity,
        platform=resolved.platform,
        python=python,
        packages=dict.fromkeys(runner_image.REQUIRED_PACKAGES, "1"),
    )


def find_recorded_image(engine: FakeEngine, original: image.ResolvedImage) -> image.ResolvedImage:
    return image.find_recorded_image(
        record(original), engine, registry="ghcr.io/numerai", progress=progress.Silent(), rebuild_command="BUILD AGAIN"
    )


def test_a_recorded_image_on_the_engine_is_found(engine: FakeEngine) -> None:
    engine.add_image("local:1")
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    add_stand_in(engine)
    for original in (
        resolve(engine, "local:1"),
        resolve(engine),
        image.resolve_stand_in("absent:1", "3.11", engine, progress.Silent()),
        image.resolve_stand_in("default", "3.11", engine, progress.Silent()),
    ):
        assert find_recorded_image(engine, original) == original


def test_a_recorded_exact_image_is_pulled_by_its_digest(engine: FakeEngine) -> None:
    facts = offer(engine)
    original = resolve(engine)
    engine.remove_image(facts.id)
    engine.registry[f"{REPOSITORY}@{DIGEST}"] = facts
    steps = engine_cases.Steps()
    again = image.find_recorded_image(
        record(original), engine, registry="ghcr.io/numerai", progress=steps, rebuild_command="BUILD AGAIN"
    )
    assert again == original
    assert steps.texts == [f"pulling {REPOSITORY}@{DIGEST}"]
    engine.remove_image(facts.id)
    engine.registry.clear()
    with pytest.raises(errors.ImageError, match=f"could not pull {REPOSITORY}@{DIGEST}") as raised:
        find_recorded_image(engine, original)
    assert "`make pin` and `BUILD AGAIN`" in str(raised.value)


def test_a_recorded_image_is_pulled_from_the_set_registry(engine: FakeEngine) -> None:
    original = image.ResolvedImage(
        kind="exact",
        ref=REF,
        identity=DIGEST,
        base=f"{REPOSITORY}@{DIGEST}",
        handle="",
        platform=protocol.PLATFORM,
        entrypoint=(),
        workdir="/",
    )
    mirrored = f"mirror.example/numerai/numerai_predict_py_3_12@{DIGEST}"
    offer(engine, mirrored, digests=(mirrored,))
    for _ in ("pulled", "here already"):
        resolved = image.find_recorded_image(
            record(original),
            engine,
            registry="mirror.example/numerai",
            progress=progress.Silent(),
            rebuild_command="BUILD AGAIN",
        )
        assert (resolved.identity, resolved.base, resolved.source) == (DIGEST, original.base, mirrored)
    assert engine.asked == [mirrored]


def test_a_missing_recorded_local_image_is_an_error(engine: FakeEngine) -> None:
    engine.add_image(REF)
    original = resolve(engine)
    engine.remove_image(REF)
    with pytest.raises(errors.ImageError, match=f"{REF}, in which the pickle was built, is no longer on this engine"):
        find_recorded_image(engine, original)


def test_a_tag_that_moved_since_the_build_is_an_error(engine: FakeEngine) -> None:
    engine.add_image(REF)
    original = resolve(engine)
    now = resolve_after_change(engine)
    with pytest.raises(errors.ImageError) as raised:
        find_recorded_image(engine, original)
    for text in (f"{REF} is now another image", now.identity, original.identity, "run `BUILD AGAIN`"):
        assert text in str(raised.value)


def resolve_after_change(engine: FakeEngine) -> image.ResolvedImage:
    engine.add_image(REF)
    return resolve(engine)


def test_a_stand_in_from_other_sources_is_another_image(engine: FakeEngine) -> None:
    built = add_stand_in(engine)
    original = image.resolve_stand_in(REF, "3.11", engine, progress.Silent())
    engine.remove_image(built.id)
    add_stand_in(engine, spec="6" * 64)
    with pytest.raises(errors.ImageError, match=r"is now another image \(stand_in, sha256:666"):
        find_recorded_image(engine, original)


def test_an_image_on_the_engine_is_used_if_the_registry_does_not_answer(engine: FakeEngine) -> None:
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    notes = Notes()
    resolved = image.resolve(image.ImageRequest(ref=REF, stand_in="3.11"), engine, pull=True, progress=notes)
    assert (resolved.kind, resolved.identity) == ("exact", DIGEST)
    assert any(f"could not pull {REF}; the image on this engine is used" in note for note in notes.texts)


def test_a_failed_pull_is_noted_before_a_stand_in_is_used(engine: FakeEngine) -> None:
    add_stand_in(engine)
    notes = Notes()
    assert (
        image.resolve(image.ImageRequest(ref=REF, stand_in="3.11"), engine, pull=False, progress=notes).kind
        == "stand_in"
    )
    assert [note for note in notes.texts if "could not" in note]


def test_a_base_that_the_engine_has_for_another_platform_too_is_an_error(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = "python:3.12-slim"
    monkeypatch.setattr(stand_in, "list_bases", lambda _python: [stand_in.StandInBase(reference=base)])
    engine.add_image(base, platform="linux/arm64")
    offer(engine, base, platform="linux/arm64")  # the containerd store reports its own platform's variant after a pull
    with pytest.raises(errors.ImageError, match=f"also has {base} for linux/arm64.*`docker image rm {base}`"):
        image.resolve_stand_in(REF, "3.12", engine, progress.Silent())


def test_the_digest_in_the_reference_is_preferred(engine: FakeEngine) -> None:
    other = f"sha256:{'9' * 64}"
    reference = f"{REPOSITORY}@{other}"
    engine.add_image(reference, digests=(f"{REPOSITORY}@{DIGEST}", reference))
    assert resolve(engine, reference).identity == other


# ---- pins, room and emulation


BY_DIGEST = f"{REPOSITORY}@{DIGEST}"


def resolve_pinned(engine: FakeEngine, notes: Notes, *, stand_in_python: str | None = None) -> image.ResolvedImage:
    request = image.ImageRequest(ref=REF, stand_in=stand_in_python, digest=DIGEST)
    return image.resolve(request, engine, pull=True, progress=notes)


def test_a_pinned_image_on_the_engine_is_found_without_the_registry(engine: FakeEngine) -> None:
    engine.add_image(digests=(BY_DIGEST,), labels={"maker": "them"})
    resolved = resolve_pinned(engine, Notes())
    assert (resolved.kind, resolved.ref, resolved.base, resolved.identity) == ("exact", REF, BY_DIGEST, DIGEST)
    assert resolved.labels == {"maker": "them"}
    assert engine.asked == []


def test_a_pinned_image_is_pulled_by_its_digest_not_its_tag(engine: FakeEngine) -> None:
    engine.registry[BY_DIGEST] = offer(engine)
    engine.add_image(REF, digests=(f"{REPOSITORY}@{OTHER_DIGEST}",))
    notes = Notes()
    assert resolve_pinned(engine, notes).identity == DIGEST
    assert engine.asked == [BY_DIGEST]
    assert any("builder.lock.yaml pins another image" in note for note in notes.texts)


def test_an_unavailable_pinned_image_is_replaced_by_an_allowed_stand_in(engine: FakeEngine) -> None:
    add_stand_in(engine)
    assert resolve_pinned(engine, Notes(), stand_in_python="3.11").kind == "stand_in"
    with pytest.raises(errors.ImageError) as raised:
        resolve_pinned(engine, Notes())
    for text in (BY_DIGEST, "no route to the registry", "`make pin`", "docker load"):
        assert text in str(raised.value)


def create_remote_image(size: int) -> registry.RemoteImage:
    return registry.RemoteImage(digest=DIGEST, platforms=(), size=size, python="", labels={}, created="")


def test_an_image_that_does_not_fit_is_not_pulled(engine: FakeEngine) -> None:
    offer(engine)
    engine.free = 3_000_000_000

    def ask(size: int) -> image.ResolvedImage:
        return image.resolve(
            image.ImageRequest(ref=REF),
            engine,
            pull=False,
            progress=progress.Silent(),
            look_up=lambda _: create_remote_image(size),
        )

    with pytest.raises(errors.ImageError) as raised:
        ask(4_000_000_000)
    for text in ("has 4.0 GB", "at least 8.0 GB", "has only 3.0 GB free", "docker system df"):
        assert text in str(raised.value)
    assert engine.asked == []
    assert ask(1_000_000_000).kind == "exact"


def test_an_unknown_size_does_not_prevent_a_pull(engine: FakeEngine) -> None:
    offer(engine)
    engine.free = 1

    def fail_to_look_up(_: str) -> registry.RemoteImage:
        raise errors.UnavailableError("no answer", sent=False)

    request = image.ImageRequest(ref=REF)
    assert (
        image.resolve(request, engine, pull=False, progress=progress.Silent(), look_up=fail_to_look_up).kind == "exact"
    )


def test_emulation_is_noted(engine: FakeEngine) -> None:
    engine.add_image(REF)
    engine.platform = "linux/arm64"
    notes = Notes()
    image.resolve(image.ImageRequest(ref=REF), engine, pull=False, progress=notes)
    assert any("this engine is linux/arm64, but the tournament runs linux/amd64" in note for note in notes.texts)
    notes.texts.clear()
    engine.platform = protocol.PLATFORM
    image.resolve(image.ImageRequest(ref=REF), engine, pull=False, progress=notes)
    assert notes.texts == []
