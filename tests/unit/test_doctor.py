"""The checks of ``make doctor``, and that each failed one prints a fix."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from builder import doctor, errors, tournament
from builder.engine import protocol as engine
from builder.image import lockfile
from tests.support import accounts, clones, words

if TYPE_CHECKING:
    from builder.sandbox.status_words import StatusWords

TODAY = dt.date(2026, 3, 10)
REF = "ghcr.io/numerai/numerai_predict_py_3_12:abc"
FACTS = engine.EngineFacts(version="26.1", api="1.45", platform=engine.PLATFORM)
ENGINE = doctor.EngineState(facts=FACTS, memory=8 << 30, free=50 * 10**9)
DIGEST, OTHER_DIGEST = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
PIN = lockfile.create_pin(DIGEST, day="2026-03-01")
CONFIG = clones.ROOT / "configs" / "other.yaml"
IMAGE = doctor.ImageState(
    ref=REF, pin=PIN, on_engine=True, registry_digest=DIGEST, registry_error="", stand_in=None, config=CONFIG
)
TOKEN = tournament.TokenInfo(
    username="me", name="mine", public_id="ABC", scopes=(tournament.UPLOAD_SCOPE, tournament.DOWNLOAD_SCOPE)
)
OFFER = accounts.make_image("1")


def collect_results(lines: list[doctor.DoctorCheck]) -> dict[str, bool | None]:
    for line in lines:
        assert bool(line.fix) is (line.good is False), line
    return {line.name: line.good for line in lines}


def judge_engine(**changes: Any) -> list[doctor.DoctorCheck]:
    return doctor.judge_engine(dataclasses.replace(ENGINE, **changes))


def judge_image(**changes: Any) -> list[doctor.DoctorCheck]:
    return doctor.judge_image(dataclasses.replace(IMAGE, **changes), TODAY)


def test_an_engine_with_enough_resources_is_good() -> None:
    assert collect_results(judge_engine()) == {"engine": True, "disk": True, "memory": True, "platform": True}


def test_a_missing_engine_is_one_problem() -> None:
    (line,) = doctor.judge_engine(errors.EngineError("socket not found; start it (`make engine` can)"))
    assert (line.good, line.text, line.fix) == (False, "socket not found", "make engine")
    (line,) = doctor.judge_engine(errors.EngineChoiceError("DOCKER_HOST=x: one; two; choose another"))
    assert (line.good, line.text, line.fix) == (False, "DOCKER_HOST=x: one; two", "choose another")


def test_insufficient_engine_resources_are_reported() -> None:
    assert collect_results(judge_engine(free=10**9))["disk"] is False
    assert collect_results(judge_engine(free=None))["disk"] is None
    assert collect_results(judge_engine(memory=2 << 30))["memory"] is False
    arm = dataclasses.replace(FACTS, platform="linux/arm64")
    assert collect_results(judge_engine(facts=arm))["platform"] is None


def test_the_age_of_a_pin_is_printed() -> None:
    lines = judge_image()
    assert collect_results(lines) == {"image": True, "pin": True}
    assert "pinned 9 days ago" in lines[1].text
    assert "pinned today" in judge_image(pin=lockfile.create_pin(DIGEST, day="2026-03-10"))[1].text
    assert "more than 90 days old" in judge_image(pin=lockfile.create_pin(DIGEST, day="2025-03-10"))[1].text


def test_a_moved_tag_needs_a_new_pin() -> None:
    assert collect_results(judge_image(registry_digest=OTHER_DIGEST)) == {"image": True, "pin": False}
    assert collect_results(judge_image(registry_digest=None, registry_error="no route")) == {"image": True, "pin": True}


def test_the_pinned_digest_decides_whether_an_image_is_available() -> None:
    moved: dict[str, Any] = {"on_engine": False, "registry_digest": OTHER_DIGEST}
    lines = judge_image(**moved, has_pinned=False)
    assert collect_results(lines) == {"image": False, "pin": False}
    assert ("no longer has the pinned digest" in lines[0].text, lines[0].fix) == (
        True,
        "make pin, then make pickle CONFIG=configs/other.yaml",
    )
    assert collect_results(judge_image(**moved, has_pinned=False, stand_in="3.11"))["image"] is None
    assert collect_results(judge_image(**moved, has_pinned=True))["image"] is True
    assert collect_results(judge_image(**moved, has_pinned=None, registry_error="no route"))["image"] is False
    no_tag: dict[str, Any] = {"on_engine": False, "registry_digest": None, "registry_error": "tag not found"}
    assert collect_results(judge_image(**no_tag, has_pinned=True))["image"] is True
    assert collect_results(judge_image(**no_tag, has_pinned=False))["image"] is False


def test_a_missing_pin_needs_no_fix() -> None:
    assert collect_results(judge_image(pin=None))["pin"] is None
    assert collect_results(judge_image(pin=None, ref=f"{REF}@{DIGEST}"))["pin"] is True


def test_an_unavailable_image_is_a_problem_without_a_stand_in() -> None:
    gone = {"on_engine": False, "registry_digest": None, "registry_error": "tag not found"}
    assert collect_results(judge_image(**gone))["image"] is False
    assert collect_results(judge_image(**gone, stand_in="3.11"))["image"] is None
    assert collect_results(judge_image(on_engine=False))["image"] is True
    assert "tag not found" in judge_image(**gone)[0].text


def test_an_image_must_be_offered_by_the_tournament() -> None:
    other = dataclasses.replace(OFFER, id="2", tag="def")
    old = dataclasses.replace(OFFER, default=False)

    def is_offered(*images: tournament.DockerImage) -> bool | None:
        line = doctor.judge_offer(REF, images, "ghcr.io/numerai")
        assert bool(line.fix) is (line.good is False), line
        return line.good

    assert is_offered(OFFER) is True
    assert is_offered(old, other) is None
    assert is_offered(dataclasses.replace(old, deprecated=True), other) is False
    assert is_offered(other) is False


def test_a_token_is_judged_by_its_scopes() -> None:
    assert doctor.judge_token(TOKEN, "the environment").good is True
    reads = dataclasses.replace(TOKEN, scopes=())
    assert tournament.UPLOAD_SCOPE in doctor.judge_token(reads, "").text
    assert doctor.judge_token(reads, "").good is False
    uploads = doctor.judge_token(dataclasses.replace(TOKEN, scopes=(tournament.UPLOAD_SCOPE,)), "")
    assert (uploads.good, tournament.DOWNLOAD_SCOPE in uploads.text) == (True, True)
    assert doctor.judge_token(None, "").good is False


@pytest.mark.parametrize(
    ("ahead", "good", "message"),
    [(0.4, True, "within"), (-59.0, True, "within"), (900.0, False, "900 s ahead of"), (-900.0, False, "900 s behind")],
)
def test_a_wrong_clock_is_a_problem(ahead: float, good: bool, message: str) -> None:  # noqa: FBT001
    line = doctor.judge_clock(ahead)
    assert (line.good, message in line.text, bool(line.fix)) == (good, True, not good)
    assert doctor.judge_clock(None).good is None


@words.each_vocabulary
def test_the_slot_must_accept_an_upload(words: StatusWords) -> None:
    def is_good(**changes: Any) -> bool | None:
        line = doctor.judge_slot(accounts.make_slot("alpha", **changes), CONFIG)
        assert bool(line.fix) is (line.good is False), line
        return line.good

    assert is_good() is True
    assert is_good(pickle=accounts.make_pickle()) is True
    assert is_good(webhook="https://host/hook") is False
    assert is_good(archived=True) is False
    assert is_good(tournament=11) is False
    assert is_good(pickle=accounts.make_pickle(validation=words.bad)) is False
    assert (
        is_good(pickle=accounts.make_pickle(validation=words.good, triggers=(accounts.make_run(words.run_bad),)))
        is False
    )
    assert (
        is_good(pickle=accounts.make_pickle(validation=words.good, triggers=(accounts.make_run(words.run_good),)))
        is True
    )
    assert is_good(pickle=accounts.make_pickle(validation="pondering")) is None
    escape = accounts.make_slot("alpha", pickle=accounts.make_pickle(triggers=(accounts.make_run("\x1b[2J_success"),)))
    assert "\x1b" not in doctor.judge_slot(escape, CONFIG).text
