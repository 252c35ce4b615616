"""``pin``, ``images`` and ``--locked``, on the fake engine, with registries in memory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from builder import errors, tournament
from builder.build import artifact
from builder.config import model as config
from builder.image import lockfile, runner_image, stand_in
from builder.tournament import session
from tests.support import bundles
from tests.support.command import CONFIG, call, read_output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fake_engine import FakeEngine
    from tests.support.fake_registries import FakeRegistries

REF = "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd"
REPOSITORY = REF.partition(":")[0]
OLDER = "ghcr.io/numerai/numerai_predict_py_3_11:a78dedd"
DIGEST, MOVED = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"

SPEC = "5" * 64


class Api:
    """A fake of the tournament's API that lists its images."""

    def __init__(self) -> None:
        self.offered = [image("py_3_12", default=True), image("py_3_11"), image("py_3_10", deprecated=True)]
        self.down = False

    def list_images(self) -> tuple[tournament.DockerImage, ...]:
        if self.down:
            raise errors.UnavailableError("api: no connection", sent=False)
        return tuple(self.offered)

    @contextlib.contextmanager
    def connect(self, *_: object, **__: object) -> Iterator[Api]:
        yield self


def image(name: str, **states: bool) -> tournament.DockerImage:
    plain = {"default": False, "deprecated": False, "experimental": False} | states
    return tournament.DockerImage(
        id=name, name=name, image=f"numerai_predict_{name}", tag="a78dedd", inserted_at="", **plain
    )


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    api = Api()
    monkeypatch.setattr(session, "connect", api.connect)
    return api


def write(project: Path, ref: str = REF, *, name: str = "small", stand_in: bool = False) -> None:
    text = CONFIG.replace("runner:1", f'{ref}\n  stand_in: "3.11"' if stand_in else ref).replace(
        "small\n", f"{name}\n", 1
    )
    (project / "configs" / f"{name}.yaml").write_text(text)


def report(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert call("pin", "--json", *arguments) == code
    return json.loads(read_output(capsys)[0])  # type: ignore[no-any-return]


# ---- pin


def test_pin_writes_the_images_of_the_configs_and_prints_what_changed(
    project: Path, registries: FakeRegistries, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    registries.digests[REF] = DIGEST
    assert call("pin") == 0
    out, err = read_output(capsys)
    assert err == ""
    assert f"{REF}  pinned  (used by small)" in out
    assert f"{DIGEST} (" in out
    assert "Python 3.12.8, 1.0 MB to pull" in out
    assert f"{project / lockfile.NAME} was updated; commit it" in out
    path = (project / lockfile.NAME).read_bytes()
    pin = lockfile.read(project).images[REF]
    assert (pin.digest, pin.python, pin.labels) == (DIGEST, "3.12.8", {"a": "b"})

    assert call("pin") == 0
    assert "nothing to change" in read_output(capsys)[0]
    assert (project / lockfile.NAME).read_bytes() == path

    registries.digests[REF] = MOVED
    registries.untagged.add(DIGEST)
    assert call("pin", "--check") == 1
    out, _ = read_output(capsys)
    for text in ("MOVED", DIGEST, MOVED, "the tag has moved since", "run `make pin` to update it"):
        assert text in out
    assert (project / lockfile.NAME).read_bytes() == path
    assert call("pin") == 0
    out, _ = read_output(capsys)
    assert f"{REF}  moved" in out
    assert "no longer has" not in out
    assert lockfile.read(project).images[REF].digest == MOVED
    assert call("pin", "--check") == 0


def test_pin_prints_json(project: Path, registries: FakeRegistries, capsys: pytest.CaptureFixture[str]) -> None:
    write(project)
    registries.digests[REF] = DIGEST
    actual = report(capsys, "--check", code=1)
    assert (actual["format"], actual["checked"], actual["changed"]) == (1, True, False)
    assert not (project / lockfile.NAME).exists()
    actual = report(capsys)
    assert actual["changed"] is True
    registries.digests[REF] = MOVED
    (entry,) = report(capsys)["images"]
    assert (entry["key"], entry["state"], entry["was"], entry["digest"]) == (REF, "moved", DIGEST, MOVED)
    assert entry["models"] == ["small"]
    assert any("no longer has the pinned image" in note for note in entry["notes"])


def test_a_removed_image_is_a_finding_and_stays_pinned(
    project: Path, registries: FakeRegistries, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    write(project, OLDER, name="older")
    registries.digests |= {REF: DIGEST, OLDER: DIGEST}
    report(capsys)
    del registries.digests[REF]
    registries.digests[OLDER] = MOVED
    assert call("pin") == 1
    out, _ = read_output(capsys)
    for text in (f"{REF}  NOT FOUND", "stays pinned: set another in the config", "python -m builder images"):
        assert text in out
    assert {key: pin.digest for key, pin in lockfile.read(project).images.items()} == {REF: DIGEST, OLDER: MOVED}


def test_pin_prints_the_tournaments_state_of_an_image(
    project: Path, registries: FakeRegistries, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    registries.digests |= dict.fromkeys(
        (OLDER, OLDER.replace("3_11", "3_10"), OLDER.replace("3_11", "3_13"), "ghcr.io/numerai/other:1"), DIGEST
    )
    api.offered.append(image("py_3_13", experimental=True))
    assert (
        call("pin", OLDER, OLDER.replace("3_11", "3_10"), OLDER.replace("3_11", "3_13"), "ghcr.io/numerai/other:1") == 0
    )
    out, _ = read_output(capsys)
    assert "the tournament offers it, but numerai_predict_py_3_12:a78dedd is the default; to use" in out
    assert "it is deprecated (numerai_predict_py_3_12:a78dedd is the default): set the default" in out
    assert "it is experimental (" in out
    assert "it is not among the tournament's images, and pickles built in it cannot be uploaded" in out


def test_an_unreachable_api_is_a_note(
    project: Path, registries: FakeRegistries, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    registries.digests[REF] = DIGEST
    api.down = True
    assert call("pin") == 0
    assert "note: could not list the tournament's images: api: no connection" in read_output(capsys)[0]
    assert lockfile.read(project).images[REF].digest == DIGEST


def test_an_unreachable_registry_changes_nothing(
    project: Path, registries: FakeRegistries, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    registries.down = True
    assert call("pin") == 4
    out, _ = read_output(capsys)
    assert f"{REF}  UNKNOWN  (used by small)" in out
    assert f"{REF}: could not connect" in out
    assert not (project / lockfile.NAME).exists()


def test_an_unresolved_reference_does_not_prevent_the_others(
    project: Path, registries: FakeRegistries, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    write(project, OLDER, name="older")
    write(project, "default", name="newest")
    write_pin(project, MOVED)
    registries.digests |= {REF: DIGEST, OLDER: DIGEST}
    registries.login_required.add(REF)
    api.down = True
    assert call("pin", "--check") == 4
    assert call("pin") == 4
    out, _ = read_output(capsys)
    for text in (
        f"{REF}  UNKNOWN",
        "requires a login",
        f"{MOVED[:19]}... of 2026-11-01 stays pinned",
        "default  UNKNOWN",
    ):
        assert text in out
    assert {key: pin.digest for key, pin in lockfile.read(project).images.items()} == {REF: MOVED, OLDER: DIGEST}
    states = {entry["key"]: entry["state"] for entry in report(capsys, code=4)["images"]}
    assert states == {REF: "unknown", OLDER: "same", "default": "unknown"}


def test_a_pin_moves_even_if_the_registry_hides_the_old_digest(
    project: Path, registries: FakeRegistries, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    write_pin(project, MOVED)
    registries.digests[REF] = DIGEST
    registries.login_required.add(MOVED)
    assert call("pin") == 0
    out, _ = read_output(capsys)
    assert f"{REF}  moved" in out
    assert "could not check whether the registry still has the pinned image" in out
    assert "requires a login" in out
    assert lockfile.read(project).images[REF].digest == DIGEST


def test_a_reference_with_a_digest_needs_no_pin(
    project: Path, registries: FakeRegistries, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, f"{REPOSITORY}@{DIGEST}")
    registries.untagged.add(DIGEST)
    assert call("pin") == 0
    assert "has a digest" in read_output(capsys)[0]
    assert not (project / lockfile.NAME).exists()
    registries.untagged.clear()
    assert call("pin", "--check") == 1


def test_problems_of_all_configs_are_reported_together(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "configs" / "bad.yaml").write_text("name: bad\n")
    (project / "configs" / "worse.yaml").write_text("- a\n")
    assert call("pin") == 2
    _, err = read_output(capsys)
    assert "bad.yaml" in err
    assert "worse.yaml" in err
    assert call("pin", "no_reference") == 2
    assert "a config (configs/NAME.yaml) or default" in read_output(capsys)[1]


def test_a_yaml_file_below_bundles_is_not_a_config(project: Path, registries: FakeRegistries) -> None:
    write(project)
    (project / "configs" / "bundles" / "notes.yaml").write_text("- no config\n")
    (project / "configs" / "more").mkdir()
    text = (project / "configs" / "small.yaml").read_text().replace("bundles/small", "../bundles/small")
    (project / "configs" / "more" / "other.yaml").write_text(text.replace("small\n", "other\n", 1).replace(REF, OLDER))
    registries.digests |= {REF: DIGEST, OLDER: DIGEST}
    assert call("pin") == 0
    assert set(lockfile.read(project).images) == {REF, OLDER}


def test_a_project_without_a_config_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("pin") == 2
    assert "no configs found; pass a config or an image reference" in read_output(capsys)[1]


def test_locked_refuses_a_folder_without_a_config(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make() == 0
    (project / "configs" / "small.yaml").unlink()
    for command in ("validate", "verify", "upload"):
        assert call(command, "--locked", "dist/small") == 5
        assert f"no config of this name found, so {lockfile.NAME} has no entry for it" in read_output(capsys)[1]


# ---- default


def test_default_keeps_its_image_until_it_is_pinned_again(
    project: Path, engine: FakeEngine, registries: FakeRegistries, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "default")
    assert call("render", "configs/small.yaml") == 3
    assert "`default` is not pinned; run `make pin CONFIG=configs/small.yaml`" in read_output(capsys)[1]
    registries.digests |= {REF: DIGEST, OLDER: MOVED}
    assert call("pin") == 0
    out, _ = read_output(capsys)
    assert f"resolves to  {REF}" in out
    pin = lockfile.read(project).images["default"]
    assert (pin.ref, pin.digest) == (REF, DIGEST)
    assert call("render", "configs/small.yaml") == 0
    assert (
        f"FROM --platform=linux/amd64 {REPOSITORY}@{DIGEST}" in (project / "dist" / "small" / "Dockerfile").read_text()
    )

    api.offered = [image("py_3_12"), image("py_3_11", default=True)]
    engine.add_image(digests=(f"{REPOSITORY}@{DIGEST}",))
    assert call("pickle", "configs/small.yaml") == 0, "the pin contains its image"
    assert call("pickle", "--locked", "configs/small.yaml") == 0
    assert artifact.load(project / "dist" / "small").manifest.image.ref == REF
    read_output(capsys)
    assert call("pin") == 0
    out, _ = read_output(capsys)
    assert "the default is numerai_predict_py_3_11:a78dedd now, was numerai_predict_py_3_12:a78dedd" in out
    assert lockfile.read(project).images["default"].ref == OLDER
    assert call("validate", "configs/small.yaml") == 2
    assert (
        f"{project / lockfile.NAME} (its pin) changed since it was built; run `make pickle CONFIG=configs/small.yaml`"
        in read_output(capsys)[1]
    )


def test_a_build_resolves_and_pins_default(
    project: Path, engine: FakeEngine, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "default")
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    assert call("pickle", "configs/small.yaml") == 0
    assert f"note: pinned default in {project / lockfile.NAME}: " in read_output(capsys)[1]
    assert lockfile.read(project).images["default"].ref == REF
    api.down = True
    assert call("pickle", "configs/small.yaml") == 0, "the pin contains its image"


def test_default_that_cannot_be_resolved_is_an_error(
    project: Path, engine: FakeEngine, api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, "default")
    api.down = True
    assert call("pickle", "configs/small.yaml") == 4
    _, err = read_output(capsys)
    assert "image.ref: default is not pinned, and the tournament could not be asked for it: api: no connection" in err
    assert 'image.stand_in: "3.12"' in err
    assert call("pin") == 4
    assert "api: no connection" in read_output(capsys)[0]
    api.down, api.offered = False, []
    assert call("pin") == 4
    assert "has no default image; set image.ref in the config" in read_output(capsys)[0]


# ---- builds


def make(*extra: str) -> int:
    return call("pickle", *extra, "configs/small.yaml")


def test_a_build_of_an_exact_image_pins_it(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",), labels={"maker": "them"})
    assert make() == 0
    out, err = read_output(capsys)
    assert f"note: pinned {REF} in {project / lockfile.NAME}: {DIGEST[:19]}" in err
    assert f"note: recorded small in {project / lockfile.NAME}: review its lines and commit the file" in err
    built = artifact.load(project / "dist" / "small").manifest
    lock = lockfile.read(project)
    pin, model = lock.images[REF], lock.models["small"]
    assert (pin.digest, pin.python, pin.labels) == (DIGEST, built.image.python, {"maker": "them"})
    assert (model.image, model.bundle, model.pickle) == (DIGEST, built.bundle.hash, built.pickle.sha256)
    path = out.partition(f"written into {project / lockfile.NAME}:\n")[2]
    assert lockfile.parse(f"format: 1\n{path}".encode(), "the output") == lock
    assert make() == 0
    out, err = read_output(capsys)
    assert (err, "written into" in out) == ("", False)
    (project / lockfile.NAME).unlink()
    assert make("--json") == 0
    report = json.loads(read_output(capsys)[0])["lock"]
    assert (report["file"], report["lines"] + "\n") == (str(project / lockfile.NAME), path)
    assert make("--json") == 0
    assert json.loads(read_output(capsys)[0])["lock"] is None
    assert make("--locked") == 0
    assert engine.asked == [], "no network"


def test_local_images_and_stand_ins_are_not_pinned(project: Path, engine: FakeEngine) -> None:
    assert make() == 0
    assert not (project / lockfile.NAME).exists()


def write_pin(project: Path, digest: str = DIGEST) -> None:
    lockfile.update(
        project, lambda lock: lock.with_pin(REF, lockfile.create_pin(digest, day="2026-11-01")), on_wait=print
    )


def test_the_pinned_image_is_used_even_if_the_engine_has_another_for_the_tag(
    project: Path, engine: FakeEngine, registries: FakeRegistries, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    write_pin(project)
    other = engine.add_image(REF, digests=(f"{REPOSITORY}@{MOVED}",))
    assert make() == 3
    _, err = read_output(capsys)
    assert f"{REF} on this engine is not used: {lockfile.NAME} pins another image" in err
    assert f"{REPOSITORY}@{DIGEST} is pinned in" in err
    assert "an image of a sandbox (`make sandbox`) that has ended, run `make pin` to pin the" in err
    engine.registry[f"{REPOSITORY}@{DIGEST}"] = dataclasses.replace(
        other, id="sha256:x", digests=(f"{REPOSITORY}@{DIGEST}",), tags=()
    )
    assert make() == 0
    assert artifact.load(project / "dist" / "small").manifest.image.base == f"{REPOSITORY}@{DIGEST}"
    assert engine.asked == [f"{REPOSITORY}@{DIGEST}"] * 2
    read_output(capsys)

    registries.digests[REF] = MOVED
    assert make("--pull") == 0
    _, err = read_output(capsys)
    assert (
        f"note: {REF} is now {MOVED[:19]}... in the registry; the pinned {DIGEST[:19]}... (2026-11-01) is used" in err
    )
    assert lockfile.read(project).images[REF].digest == DIGEST
    registries.down = True
    assert make("--pull") == 0
    assert f"note: could not check whether {REF} has moved" in read_output(capsys)[1]


LOCKABLE = ("pickle", "render", "validate", "verify", "upload")


def refusals(capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Run each command that has --locked; return the different errors."""
    actual = set()
    for command in LOCKABLE:
        assert call(command, "--locked", "configs/small.yaml") == 5, command
        actual.add(read_output(capsys)[1])
    return actual


@pytest.mark.parametrize("stand_in", [False, True])
def test_locked_refuses_a_model_without_a_lock_file(
    project: Path,
    engine: FakeEngine,
    registries: FakeRegistries,
    capsys: pytest.CaptureFixture[str],
    stand_in: bool,  # noqa: FBT001
) -> None:
    write(project, stand_in=stand_in)
    registries.digests[REF] = DIGEST
    engine.registry[REF] = engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    (message,) = refusals(capsys)
    assert f"{project / lockfile.NAME}: not found, and LOCKED=1 (--locked) allows only what it contains" in message
    if stand_in:
        assert "; builds in the stand-in 3.11 are not recorded: " in message
    pull = " PULL=1" if stand_in else ""
    assert f"run `make pickle CONFIG=configs/small.yaml{pull}` without LOCKED=1" in message
    assert call("pickle", "--locked", "--pull", "configs/small.yaml") == 5
    assert engine.asked == []
    assert not (project / lockfile.NAME).exists()
    assert not (project / "dist").exists()


def test_locked_refuses_a_built_model_whose_entry_is_gone(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    assert make() == 0
    lock = lockfile.read(project)
    read_output(capsys)
    for reduced, missing in (
        (dataclasses.replace(lock, models={}), "the model (it has no entry small)"),
        (dataclasses.replace(lock, images={}), f"the image ({REF} is not pinned)"),
        (lock.with_model("small", dataclasses.replace(lock.models["small"], pickle=None)), "the pickle (none is"),
    ):
        (project / lockfile.NAME).write_bytes(lockfile.to_bytes(reduced))
        (message,) = refusals(capsys)
        assert missing in message
        assert (project / lockfile.NAME).read_bytes() == lockfile.to_bytes(reduced)


@pytest.mark.parametrize("kind", ["local", "stand_in"])
def test_locked_refuses_a_model_of_a_stand_in_or_a_local_image(
    project: Path, engine: FakeEngine, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "stand_in":
        write(project, "absent:1", stand_in=True)
        inputs = stand_in.compute_inputs_hash("3.11", stand_in.list_bases("3.11")[0])
        labels = {stand_in.STAND_IN_LABEL: "3.11", stand_in.SPEC_LABEL: SPEC, stand_in.INPUTS_LABEL: inputs}
        engine.add_image(stand_in.format_tag("3.11", SPEC), labels=labels)
    assert make() == 0
    built = artifact.load(project / "dist" / "small").manifest
    assert built.image.kind == kind
    key = config.normalize_reference(built.image.ref)
    model = lockfile.LockedModel(image=built.image.identity, bundle=built.bundle.hash, pickle=built.pickle.sha256)
    lock = lockfile.LockFile(
        images={key: lockfile.create_pin(built.image.identity, day="2026-11-01")}, models={"small": model}
    )
    (project / lockfile.NAME).write_bytes(lockfile.to_bytes(lock))  # an entry that a user wrote by hand
    read_output(capsys)
    for command in ("validate", "verify", "upload"):
        assert call(command, "--locked", "configs/small.yaml") == 5
        assert f"the image ({kind} {built.image.identity[:19]}..." in read_output(capsys)[1]
    assert make("--locked") == 3, "the digest is in no registry, and --locked uses no stand-in"


def test_locked_refuses_to_validate_in_a_stand_in(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    assert make() == 0
    assert call("validate", "--locked", "--stand-in", "3.11", "configs/small.yaml") == 5
    assert "--stand-in 3.11: a stand-in is not the image that" in read_output(capsys)[1]


def test_locked_refuses_a_changed_bundle_before_it_connects(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    assert make() == 0
    read_output(capsys)
    bundles.edit_json(project / "configs" / "bundles" / "small", lambda data: data.update(more=1))
    (message,) = refusals(capsys)
    assert f"small differs from its entry in {project / lockfile.NAME}" in message
    assert "the bundle (" in message


def test_locked_replaces_no_pinned_image_by_a_stand_in(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, stand_in=True)
    image = engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    assert make() == 0
    assert make("--locked") == 0
    engine.remove_image(image.id)
    read_output(capsys)
    assert make("--locked") == 3
    assert f"{REPOSITORY}@{DIGEST} is pinned in" in read_output(capsys)[1]


def test_locked_reports_what_differs(project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    write(project)
    engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    assert make() == 0
    lock = lockfile.read(project)
    model = lock.models["small"]
    pickle = (project / "dist" / "small" / artifact.PICKLE).read_bytes()
    read_output(capsys)
    for part, other in (
        ("bundle", lockfile.LockedModel(image=DIGEST, bundle="0" * 64, pickle=model.pickle)),
        ("pickle", lockfile.LockedModel(image=DIGEST, bundle=model.bundle, pickle="0" * 64)),
        ("image", lockfile.LockedModel(image=MOVED, bundle=model.bundle, pickle=model.pickle)),
    ):
        text = lockfile.to_bytes(lock.with_model("small", other))
        (project / lockfile.NAME).write_bytes(text)
        for command in ("pickle", "validate", "verify", "upload"):
            assert call(command, "--locked", "configs/small.yaml") == 5
            _, err = read_output(capsys)
            assert f"small differs from its entry in {project / lockfile.NAME}" in err
            assert f"the {part} (" in err
            assert "without LOCKED=1" in err
        assert (project / lockfile.NAME).read_bytes() == text
    # A pickle that differs from the lock file does not replace the existing one.
    (project / lockfile.NAME).write_bytes(
        lockfile.to_bytes(
            lock.with_model("small", lockfile.LockedModel(image=DIGEST, bundle=model.bundle, pickle="0" * 64))
        )
    )
    (project / "dist" / "small" / artifact.PICKLE).write_bytes(b"edited")
    assert make("--locked") == 5
    assert (project / "dist" / "small" / artifact.PICKLE).read_bytes() == b"edited" != pickle
    assert make() == 0
    assert lockfile.read(project).models["small"] == model


# ---- images


def test_images_lists_the_tournaments_images(project: Path, api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    write_pin(project)
    assert call("images") == 0
    out, _ = read_output(capsys)
    lines = [line.split() for line in out.splitlines()]
    assert lines[1] == ["py_3_12", REF, "default", DIGEST]
    assert lines[2] == ["py_3_11", OLDER, "offered", "-"]
    assert lines[3][2] == "deprecated"
    assert call("images", "--json") == 0
    actual = json.loads(read_output(capsys)[0])
    assert (actual["format"], actual["registry"]) == (1, "ghcr.io/numerai")
    assert actual["images"][0] == {"name": "py_3_12", "reference": REF, "state": ["default"], "pinned": DIGEST}
    api.down = True
    assert call("images") == 4


# ---- images of received pickles, and mirrors


def test_an_image_from_a_received_manifest_is_not_pulled_or_trusted(
    project: Path, engine: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = "elsewhere.example/runner"
    write(project, f"{foreign}:1")
    facts = engine.add_image(f"{foreign}:1", digests=(f"{foreign}@{DIGEST}",))
    assert make() == 0
    out, _ = read_output(capsys)
    assert f"{foreign}:1 (NOT one of the tournament's images)" in out
    assert "exact runner image" not in out
    received = shutil.copytree(project / "dist" / "small", project.parent / "received")
    lock = (project / lockfile.NAME).read_text()
    (project / lockfile.NAME).unlink()
    engine.remove_image(facts.id)
    engine.registry[f"{foreign}@{DIGEST}"] = facts
    for name in ("verify", "validate"):
        assert call(name, str(received)) == 5
        _, err = read_output(capsys)
        assert f"built in {foreign}@{DIGEST}, which is not one of the tournament's images" in err
        assert f"`python -m builder pin {foreign}:1`" in err
    assert f"{foreign}@{DIGEST}" not in engine.asked
    (project / lockfile.NAME).write_text(lock)  # as if it were pinned
    assert call("verify", str(received)) == 0
    out, _ = read_output(capsys)
    assert f"in {foreign}@{DIGEST} (NOT one of the tournament's images)" in out


def test_a_received_pickle_of_the_tournaments_image_is_verified_through_the_mirror(
    project: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    facts = engine.add_image(REF, digests=(f"{REPOSITORY}@{DIGEST}",))
    assert make() == 0
    direct = (project / "dist" / "small" / artifact.MANIFEST).read_bytes()
    received = shutil.copytree(project / "dist" / "small", project.parent / "received")
    (project / lockfile.NAME).unlink()
    shutil.rmtree(project / "dist")
    engine.remove_image(facts.id)
    monkeypatch.setenv("NUMERAI_REGISTRY", "mirror.example/numerai")
    mirrored = REF.replace("ghcr.io", "mirror.example")
    engine.registry[mirrored] = dataclasses.replace(facts, digests=(f"{mirrored.partition(':')[0]}@{DIGEST}",), tags=())
    assert make() == 0
    assert engine.asked == [mirrored]
    assert (project / "dist" / "small" / artifact.MANIFEST).read_bytes() == direct, "it does not contain the mirror"
    read_output(capsys)
    assert call("verify", str(received)) == 0
    assert f"in {REPOSITORY}@{DIGEST} (the exact runner image)" in read_output(capsys)[0]


def test_an_image_of_the_sandbox_is_not_called_the_runner_image(
    project: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project)
    name = f"127.0.0.1:41/{REF.partition('/')[2]}"
    engine.add_image(name, digests=(f"{name.rpartition(':')[0]}@{DIGEST}",))
    monkeypatch.setenv("NUMERAI_REGISTRY", "127.0.0.1:41/numerai")
    monkeypatch.setenv("NUMERAI_API_URL", "http://127.0.0.1:42/")
    assert make() == 0
    assert f"{REF} (exact, but of the sandbox: not the runner image)" in read_output(capsys)[0]
    monkeypatch.delenv("NUMERAI_API_URL")
    assert call("verify", "configs/small.yaml") == 0
    assert f"in {REPOSITORY}@{DIGEST} (the exact runner image)" in read_output(capsys)[0], "it is from a mirror"


def test_the_pin_of_default_does_not_contain_the_mirror(
    project: Path, engine: FakeEngine, registries: FakeRegistries, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, "default")
    mirrored = REF.replace("ghcr.io", "mirror.example")
    monkeypatch.setenv("NUMERAI_REGISTRY", "mirror.example/numerai")
    registries.digests[mirrored] = DIGEST
    engine.add_image(mirrored, digests=(f"{mirrored.partition(':')[0]}@{DIGEST}",))
    assert make() == 0
    pin = lockfile.read(project).images["default"]
    assert (pin.ref, pin.digest) == (REF, DIGEST)
    (project / lockfile.NAME).unlink()
    assert call("pin") == 0
    assert lockfile.read(project).images["default"].ref == REF


def test_an_image_that_a_manifest_cannot_describe_is_an_error_before_the_build(
    project: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from builder.image import resolve as images

    monkeypatch.setattr(
        images,
        "read_inventory",
        lambda *_: images.Inventory(
            python="3.12.8", packages=dict.fromkeys((*runner_image.REQUIRED_PACKAGES, "x" * 300), "1")
        ),
    )
    engine.add_image("runner:1")
    write(project, "runner:1")
    assert make() == 3
    assert "runner:1: cannot be recorded in a manifest (invalid packages" in read_output(capsys)[1]
