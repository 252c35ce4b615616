"""Test the comparison of pins with the registry, the tournament and the builds of models."""

from __future__ import annotations

from typing import Any

import pytest

from builder import errors, tournament
from builder.image import lockfile, pinning
from builder.registry import resolve as registry
from builder.tournament import images as tournament_images

REF = "ghcr.io/numerai/numerai_predict_py_3_12:a78dedd"
DIGEST, MOVED = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
REMOTE_IMAGE = registry.RemoteImage(digest=DIGEST, platforms=(), size=5, python="3.12.8", labels={}, created="")
PIN = lockfile.create_pin(DIGEST, day="2026-11-01")
WHOLE: dict[str, Any] = {"image": ("exact", DIGEST), "bundle": "b" * 64, "pickle": "c" * 64}


def judge(key: str = REF, **changes: object) -> pinning.PinResult:
    plain = {
        "old_pin": PIN,
        "remote_image": REMOTE_IMAGE,
        "old_digest_exists": None,
        "tournament_notes": (),
        "day": "2026-11-24",
    }
    return pinning.compare_pin(key, REF, **{**plain, **changes})  # type: ignore[arg-type]


def create_docker_image(name: str, **states: bool) -> tournament.DockerImage:
    plain = {"default": False, "deprecated": False, "experimental": False} | states
    return tournament.DockerImage(id=name, name=name, image=name, tag="a78dedd", inserted_at="", **plain)


def test_an_unchanged_pin_keeps_its_date() -> None:
    result = judge()
    assert (result.state, result.pin, result.notes) == ("same", None, ())


def test_a_new_default_with_the_same_digest_is_written_again() -> None:
    old_pin = lockfile.create_pin(DIGEST, day="2026-11-01", ref="ghcr.io/numerai/numerai_predict_py_3_11:a78dedd")
    result = judge("default", old_pin=old_pin)
    assert result.state == "same"
    assert result.pin is not None
    assert (result.pin.ref, result.pin.pinned) == (REF, "2026-11-24")
    assert "was numerai_predict_py_3_11:a78dedd" in result.notes[0]


def test_notes_of_the_tournament_come_last() -> None:
    result = judge(
        old_pin=lockfile.create_pin(MOVED, day="2026-11-01"),
        old_digest_exists=False,
        tournament_notes=("it is deprecated",),
    )
    assert result.state == "moved"
    assert [note.partition(" ")[0] for note in result.notes] == ["the", "the", "it"]


def test_only_images_of_the_tournaments_registry_are_tournament_images() -> None:
    images = [create_docker_image("numerai_predict_py_3_12", default=True)]
    assert tournament_images.find_image_notes(REF, images, "ghcr.io/numerai") == ()
    assert tournament_images.find_image_notes(REF, images, "127.0.0.1:5000/numerai") == (), (
        "it is taken from the registry that is set"
    )
    (note,) = tournament_images.find_image_notes(REF.replace("ghcr.io", "quay.io"), images, "127.0.0.1:5000/numerai")
    assert "not among the tournament's images" in note
    (note,) = tournament_images.find_image_notes(REF.replace("a78dedd", "latest"), images, "ghcr.io/numerai")
    assert "not among the tournament's images" in note
    assert tournament_images.find_image_notes(f"ghcr.io/numerai/x@{DIGEST}", images, "ghcr.io/numerai") == (), (
        "a digest has no name there"
    )


def test_an_invalid_default_is_an_error() -> None:
    with pytest.raises(errors.ApiError, match="the tournament's default image is invalid"):
        tournament_images.get_default_reference([create_docker_image("No Image", default=True)])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"pickle": None}, []),
        ({"image": None, "pickle": None}, []),
        ({"image": ("stand_in", DIGEST)}, ["the image (stand_in sha256:111"]),
        ({"image": ("exact", MOVED)}, [f"the image (exact {MOVED[:19]}... here, {DIGEST[:19]}... pinned for {REF})"]),
        ({"bundle": "0" * 64, "pickle": "0" * 64}, ["the bundle (0000", "the pickle (0000"]),
    ],
    ids=str,
)
def test_every_difference_from_the_lock_file_is_found(changes: dict[str, Any], expected: list[str]) -> None:
    model = lockfile.LockedModel(image=DIGEST, bundle="b" * 64, pickle="c" * 64)
    lock = lockfile.LockFile(images={REF: PIN}, models={"mlp": model})
    differences = pinning.find_lock_differences(lock, REF, "mlp", **{**WHOLE, **changes})
    assert len(differences) == len(expected)
    assert all(item.startswith(start) for item, start in zip(differences, expected, strict=True))


def test_a_missing_entry_is_a_difference() -> None:
    no_image, no_model = f"the image ({REF} is not pinned)", "the model (it has no entry mlp)"
    for image in (None, ("exact", DIGEST), ("stand_in", DIGEST)):
        assert pinning.find_lock_differences(lockfile.LockFile(), REF, "mlp", **{**WHOLE, "image": image}) == [
            no_image,
            no_model,
        ]
    by_itself = f"ghcr.io/numerai/x@{DIGEST}"
    assert pinning.find_lock_differences(lockfile.LockFile(), by_itself, "mlp", **WHOLE) == [no_model]
    without_pickle = lockfile.LockFile(models={"mlp": lockfile.LockedModel(image=DIGEST, bundle="b" * 64)})
    for pickle in (None, "c" * 64):
        result = pinning.find_lock_differences(without_pickle, by_itself, "mlp", **{**WHOLE, "pickle": pickle})
        assert result == ["the pickle (none is recorded)"]
    elsewhere = lockfile.LockFile(models={"mlp": lockfile.LockedModel(image=MOVED, bundle="b" * 64, pickle="c" * 64)})
    for image in (None, ("exact", DIGEST)):
        (found_image,) = pinning.find_lock_differences(elsewhere, by_itself, "mlp", **{**WHOLE, "image": image})
        assert found_image.endswith(f"{MOVED[:19]}... recorded for the model)")
