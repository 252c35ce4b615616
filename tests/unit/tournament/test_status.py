"""Statuses of slots, and their order."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import tournament
from builder.tournament import status
from builder.tournament.status import SlotState
from tests.support import accounts, words

if TYPE_CHECKING:
    from builder.sandbox.status_words import StatusWords

SEGFAULT = "Segmentation fault! Ensure python and library versions match our environment."
NO_ROUND = tournament.NO_ROUND
EARLIER, LATER = "2026-03-09T12:00:00Z", "2026-03-10T12:00:00Z"


def get_state(**pickle: Any) -> SlotState:
    return status.judge(accounts.make_slot("alpha", pickle=accounts.make_pickle(**pickle))).state


@words.each_vocabulary
def test_slot_state_follows_from_the_statuses_of_its_pickle(words: StatusWords) -> None:
    for changes, expected in (
        ({}, SlotState.GOOD),
        ({"validation": words.good.upper()}, SlotState.GOOD),
        ({"validation": words.bad}, SlotState.FAILED),
        ({"validation": words.pending}, SlotState.WAITING),
        ({"validation": "invalidated"}, SlotState.UNSURE),
        ({"validation": ""}, SlotState.UNSURE),
        ({"triggers": (accounts.make_run(words.run_good),)}, SlotState.GOOD),
        ({"triggers": (accounts.make_run(words.run_bad, SEGFAULT),)}, SlotState.FAILED),
        ({"triggers": (accounts.make_run("error"),)}, SlotState.FAILED),
        ({"triggers": (accounts.make_run(words.run_pending),)}, SlotState.WAITING),
        ({"triggers": (accounts.make_run("pondering"),)}, SlotState.UNSURE),
        ({"triggers": (accounts.make_run(words.run_bad, NO_ROUND),)}, SlotState.GOOD),
        ({"validation": words.bad, "triggers": (accounts.make_run(words.run_no_round, NO_ROUND),)}, SlotState.GOOD),
        ({"diagnostics": words.diagnostics_bad}, SlotState.FAILED),
        ({"diagnostics": words.diagnostics}, SlotState.GOOD),
        ({"diagnostics": "pondering"}, SlotState.GOOD),
        ({"trigger": words.run_good}, SlotState.GOOD),
        ({"trigger": words.run_bad}, SlotState.FAILED),
        ({"trigger": words.run_pending}, SlotState.WAITING),
        ({"trigger": "pondering"}, SlotState.UNSURE),
        ({"trigger": words.run_bad, "triggers": (accounts.make_run(words.run_good),)}, SlotState.GOOD),
    ):
        assert get_state(**{"validation": words.good, **changes}) is expected, changes


@pytest.mark.parametrize(("word", "valid"), [("server_error", True), ("model_failed", False)])
def test_server_error_does_not_invalidate_a_pickle_that_had_no_round(word: str, *, valid: bool) -> None:
    first = accounts.make_run("model_failed", NO_ROUND, id="a", inserted_at=EARLIER)
    later = accounts.make_run(word, id="b", inserted_at=LATER)
    pickle = accounts.make_pickle(validation="invalid", triggers=(first, later))
    assert status.judge_validation(pickle) is valid


def test_newest_run_counts_in_any_order() -> None:
    old = accounts.make_run("failed", SEGFAULT, id="old", inserted_at=EARLIER)
    new = accounts.make_run("success", id="new", inserted_at=LATER)
    assert get_state(triggers=(old, new)) is get_state(triggers=(new, old)) is SlotState.GOOD
    assert accounts.make_pickle(triggers=(old, new)).runs == [new, old]


def test_failure_remains_while_the_next_run_is_in_progress() -> None:
    old = accounts.make_run("failed", SEGFAULT, id="old", inserted_at=EARLIER)
    new = accounts.make_run("running", id="new", inserted_at=LATER)
    failure = status.find_failure(accounts.make_pickle(triggers=(old, new)))
    assert failure is not None
    assert (failure.where, failure.trigger) == ("run", old)


def test_slots_that_cannot_run_pickles_are_inactive() -> None:
    for slot in (accounts.make_slot("a", archived=True), accounts.make_slot("b", tournament=11)):
        assert (status.judge(slot).state, status.judge(slot).todo) == (SlotState.INACTIVE, "")


def test_urgent_states_come_first_and_staked_slots_before_others() -> None:
    bad, good = accounts.make_pickle(validation="failed"), accounts.make_pickle()
    statuses = status.judge_all(
        [
            accounts.make_slot("z_empty"),
            accounts.make_slot("archived", archived=True),
            accounts.make_slot("good", pickle=good),
            accounts.make_slot("a_failed", pickle=bad),
            accounts.make_slot("z_staked", pickle=bad, stake="3"),
            accounts.make_slot("waiting", pickle=accounts.make_pickle(validation="running")),
        ]
    )
    assert [item.slot.name for item in statuses] == ["z_staked", "a_failed", "waiting", "z_empty", "good", "archived"]
    assert statuses[0].todo == "why z_staked"


def test_an_upload_that_failed_since_is_reported() -> None:
    failed = accounts.make_pickle("failed", owner="s1", validation="failed", inserted_at=LATER)
    empty = status.judge(accounts.make_slot("alpha"), [failed])
    assert (empty.state, empty.todo) == (SlotState.FAILED, "why alpha")
    assert "validation failed" in empty.reason
    hooked = accounts.make_slot("alpha", webhook="https://example.invalid/run")
    assert status.judge(hooked, [failed]).state is SlotState.UNSURE, "another machine submits for it"
    good = accounts.make_pickle("good", owner="s1", inserted_at=EARLIER)
    runs = accounts.make_slot("alpha", pickle=good)
    assert status.judge(runs, [failed]).state is SlotState.UNSURE
    assert status.judge(runs, [dataclasses.replace(failed, inserted_at="2026-03-08T12:00:00Z")]).state is SlotState.GOOD
    assert status.judge(runs, [dataclasses.replace(failed, owner="s2")]).state is SlotState.GOOD
    assert status.judge(runs, [good, failed]).state is SlotState.GOOD, "the newest upload is what it runs"
    assert status.judge(accounts.make_slot("alpha"), [good, failed]).state is SlotState.UNASSIGNED


@words.each_vocabulary
def test_validated_upload_without_assignment_is_waiting(words: StatusWords) -> None:
    waiting = accounts.make_pickle("new", owner="s1", validation=words.good, inserted_at=LATER)
    slot_status = status.judge(accounts.make_slot("alpha"), [waiting])
    assert (slot_status.state, slot_status.todo) == (SlotState.UNASSIGNED, "assign alpha new")
    assert "a validated pickle is waiting: new-0123456789ab.pkl" in slot_status.reason
    ran = dataclasses.replace(waiting, triggers=(accounts.make_run(words.run_bad, SEGFAULT),))
    assert status.judge(accounts.make_slot("alpha"), [ran]).state is SlotState.FAILED
    for changes, expected in (
        ({"owner": "s2"}, SlotState.EMPTY),
        ({"slots": ("s2",)}, SlotState.EMPTY),
        ({"validation": words.running}, SlotState.WAITING),
        ({"validation": "unvalidated"}, SlotState.UNSURE),
    ):
        assert status.judge(accounts.make_slot("alpha"), [dataclasses.replace(waiting, **changes)]).state is expected
    hooked = accounts.make_slot("alpha", webhook="https://example.invalid/run")
    assert status.judge(hooked, [waiting]).state is SlotState.EMPTY, "a slot with a webhook cannot run a pickle"
    runs = accounts.make_slot("alpha", pickle=accounts.make_pickle("old", validation=words.good, inserted_at=EARLIER))
    newer = status.judge(runs, [waiting])
    assert (newer.state, newer.todo) == (SlotState.GOOD, "assign alpha new")
    assert status.find_ownerless([waiting]) == []
    assert len(status.find_ownerless([dataclasses.replace(waiting, owner="")])) == 1


@given(
    validation=st.text(max_size=9),
    word=st.text(max_size=9) | st.sampled_from(["success", "failed", "running"]),
    descriptions=st.lists(st.text(max_size=20), max_size=3),
    at=st.text(max_size=25) | st.just(EARLIER),
)
def test_any_api_data_gives_a_state_and_a_reason(validation: str, word: str, descriptions: list[str], at: str) -> None:
    run = accounts.make_run(word, *descriptions, inserted_at=at)
    slot_status = status.judge(
        accounts.make_slot("alpha", pickle=accounts.make_pickle(validation=validation, triggers=(run, run)))
    )
    assert (slot_status.state in SlotState, bool(slot_status.reason)) == (True, True)
