"""The checks of ``make doctor``: their verdicts, and a fix for each that fails."""

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
ENGINE = doctor.EngineFound(facts=FACTS, memory=8 << 30, free=50 * 10**9)
DIGEST, MOVED = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
PIN = lockfile.create_pin(DIGEST, day="2026-03-01")
CONFIG = clones.ROOT / "configs" / "other.yaml"
IMAGE = doctor.ImageFound(ref=REF, pin=PIN, here=True, at_registry=DIGEST, silence="", stand_in=None, config=CONFIG)
TOKEN = tournament.TokenInfo(
    username="me", name="mine", public_id="ABC", scopes=(tournament.UPLOAD_SCOPE, tournament.DOWNLOAD_SCOPE)
)
OFFER = accounts.make_image("1")


def get_verdicts(lines: list[doctor.DoctorCheck]) -> dict[str, bool | None]:
    for line in lines:
        assert bool(line.fix) is (line.good is False), line
    return {line.name: line.good for line in lines}


def judge_engine_with(**changes: Any) -> list[doctor.DoctorCheck]:
    return doctor.judge_engine(dataclasses.replace(ENGINE, **changes))


def judge_image_with(**changes: Any) -> list[doctor.DoctorCheck]:
    return doctor.judge_image(dataclasses.replace(IMAGE, **changes), TODAY)


def test_an_engine_with_enough_resources_is_good() -> None:
    assert get_verdicts(judge_engine_with()) == {"engine": True, "disk": True, "memory": True, "platform": True}


def test_no_engine_is_one_line() -> None:
    (line,) = doctor.judge_engine(errors.EngineError("no such socket; start it (`make engine` can)"))
    assert (line.good, line.text, line.fix) == (False, "no such socket", "make engine")
    (line,) = doctor.judge_engine(errors.EngineChoiceError("DOCKER_HOST=x: one; two; choose another"))
    assert (line.good, line.text, line.fix) == (False, "DOCKER_HOST=x: one; two", "choose another")


def test_missing_resources_of_an_engine_are_reported() -> None:
    assert get_verdicts(judge_engine_with(free=10**9))["disk"] is False
    assert get_verdicts(judge_engine_with(free=None))["disk"] is None
    assert get_verdicts(judge_engine_with(memory=2 << 30))["memory"] is False
    arm = dataclasses.replace(FACTS, platform="linux/arm64")
    assert get_verdicts(judge_engine_with(facts=arm))["platform"] is None


def test_the_age_of_a_pin_is_printed() -> None:
    lines = judge_image_with()
    assert get_verdicts(lines) == {"image": True, "pin": True}
    assert "pinned 9 days ago" in lines[1].text
    assert "pinned today" in judge_image_with(pin=lockfile.create_pin(DIGEST, day="2026-03-10"))[1].text
    assert "long ago" in judge_image_with(pin=lockfile.create_pin(DIGEST, day="2025-03-10"))[1].text


def test_a_moved_tag_must_be_pinned_again() -> None:
    assert get_verdicts(judge_image_with(at_registry=MOVED)) == {"image": True, "pin": False}
    assert get_verdicts(judge_image_with(at_registry=None, silence="no route")) == {"image": True, "pin": True}


def test_the_pinned_image_must_be_available() -> None:
    moved: dict[str, Any] = {"here": False, "at_registry": MOVED}
    lines = judge_image_with(**moved, pinned_there=False)
    assert get_verdicts(lines) == {"image": False, "pin": False}
    assert ("no longer has what is pinned" in lines[0].text, lines[0].fix) == (
        True,
        "make pin, then make pickle CONFIG=configs/other.yaml",
    )
    assert get_verdicts(judge_image_with(**moved, pinned_there=False, stand_in="3.11"))["image"] is None
    assert get_verdicts(judge_image_with(**moved, pinned_there=True))["image"] is True
    assert get_verdicts(judge_image_with(**moved, pinned_there=None, silence="no route"))["image"] is False
    no_tag: dict[str, Any] = {"here": False, "at_registry": None, "silence": "no such tag"}
    assert get_verdicts(judge_image_with(**no_tag, pinned_there=True))["image"] is True
    assert get_verdicts(judge_image_with(**no_tag, pinned_there=False))["image"] is False


def test_an_image_without_a_pin_is_not_a_problem() -> None:
    assert get_verdicts(judge_image_with(pin=None))["pin"] is None
    assert get_verdicts(judge_image_with(pin=None, ref=f"{REF}@{DIGEST}"))["pin"] is True


def test_an_image_that_is_not_available() -> None:
    gone = {"here": False, "at_registry": None, "silence": "no such tag"}
    assert get_verdicts(judge_image_with(**gone))["image"] is False
    assert get_verdicts(judge_image_with(**gone, stand_in="3.11"))["image"] is None
    assert get_verdicts(judge_image_with(here=False))["image"] is True
    assert "no such tag" in judge_image_with(**gone)[0].text


def test_an_image_is_judged_by_the_tournaments_list() -> None:
    other = dataclasses.replace(OFFER, id="2", tag="def")
    old = dataclasses.replace(OFFER, default=False)

    def judge(*images: tournament.DockerImage) -> bool | None:
        line = doctor.judge_offer(REF, images, "ghcr.io/numerai")
        assert bool(line.fix) is (line.good is False), line
        return line.good

    assert judge(OFFER) is True
    assert judge(old, other) is None
    assert judge(dataclasses.replace(old, deprecated=True), other) is False
    assert judge(other) is False


def test_a_token_is_judged_by_its_scopes() -> None:
    assert doctor.judge_token(TOKEN, "the environment").good is True
    token = dataclasses.replace(TOKEN, scopes=())
    assert tournament.UPLOAD_SCOPE in doctor.judge_token(token, "").text
    assert doctor.judge_token(token, "").good is False
    uploads = doctor.judge_token(dataclasses.replace(TOKEN, scopes=(tournament.UPLOAD_SCOPE,)), "")
    assert (uploads.good, tournament.DOWNLOAD_SCOPE in uploads.text) == (True, True)
    assert doctor.judge_token(None, "").good is False


@pytest.mark.parametrize(
    ("ahead", "good", "message"),
    [(0.4, True, "within"), (-59.0, True, "within"), (900.0, False, "900 s ahead of"), (-900.0, False, "900 s behind")],
)
def test_the_clock(ahead: float, good: bool, message: str) -> None:  # noqa: FBT001
    line = doctor.judge_clock(ahead)
    assert (line.good, message in line.text, bool(line.fix)) == (good, True, not good)
    assert doctor.judge_clock(None).good is None


@words.each_vocabulary
def test_a_slot_is_judged_for_a_deploy(words: StatusWords) -> None:
    def good(**changes: Any) -> bool | None:
        line = doctor.judge_slot(accounts.make_slot("alpha", **changes), CONFIG)
        assert bool(line.fix) is (line.good is False), line
        return line.good

    assert good() is True
    assert good(pickle=accounts.make_pickle()) is True
    assert good(webhook="https://host/hook") is False
    assert good(archived=True) is False
    assert good(tournament=11) is False
    assert good(pickle=accounts.make_pickle(validation=words.bad)) is False
    assert (
        good(pickle=accounts.make_pickle(validation=words.good, triggers=(accounts.make_run(words.run_bad),))) is False
    )
    assert (
        good(pickle=accounts.make_pickle(validation=words.good, triggers=(accounts.make_run(words.run_good),))) is True
    )
    assert good(pickle=accounts.make_pickle(validation="pondering")) is None
    escape = accounts.make_slot("alpha", pickle=accounts.make_pickle(triggers=(accounts.make_run("\x1b[2J_success"),)))
    assert "\x1b" not in doctor.judge_slot(escape, CONFIG).text
