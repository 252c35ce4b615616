"""Which slot is meant by a name that somebody typed."""

from __future__ import annotations

import pytest

from builder import errors
from builder.tournament import slots
from tests.support import accounts


def test_a_slot_is_found_by_its_name_in_any_case_and_by_its_id() -> None:
    account = accounts.make_account(accounts.make_slot("alpha", id="1"), accounts.make_slot("beta", id="2"))
    assert [slots.find_slot(account, text).id for text in ("alpha", "BETA", "2")] == ["1", "2", "2"]


def test_of_two_slots_with_one_name_the_classic_one_is_meant() -> None:
    account = accounts.make_account(
        accounts.make_slot("alpha", id="1", tournament=11), accounts.make_slot("alpha", id="2")
    )
    assert slots.find_slot(account, "alpha").id == "2"


def test_a_slot_of_another_tournament_is_found_for_the_caller_to_refuse() -> None:
    account = accounts.make_account(accounts.make_slot("signals", id="1", tournament=11))
    assert slots.find_slot(account, "signals").tournament == 11


def test_a_name_that_is_not_there_is_answered_with_those_that_are_near() -> None:
    account = accounts.make_account(
        accounts.make_slot("alpha_mlp"), accounts.make_slot("beta"), accounts.make_slot("alpha_lgbm")
    )
    with pytest.raises(errors.UsageError, match=r"alhpa_mlp: no slot of me .* did you mean alpha_mlp or alpha_lgbm\?"):
        slots.find_slot(account, "alhpa_mlp")
    with pytest.raises(errors.UsageError, match=r"zzz: .* name or id; `python -m builder models` lists them"):
        slots.find_slot(account, "zzz")


def test_an_account_without_slots_is_told_how_to_make_one() -> None:
    with pytest.raises(errors.UsageError, match="create-model NAME"):
        slots.find_slot(accounts.make_account(), "alpha")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("alpha_1", None),
        ("a" * 20, None),
        ("a" * 21, "21 characters; expected at most 20"),
        ("", "lower-case letters"),
        ("Alpha", "lower-case letters"),
        ("al pha", "lower-case letters"),
        ("alpha\n", "lower-case letters"),
    ],
)
def test_the_rules_of_a_new_name(name: str, fault: str | None) -> None:
    found = slots.find_name_problem(name)
    assert found is None if fault is None else fault in str(found)
