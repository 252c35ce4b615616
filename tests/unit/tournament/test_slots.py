"""Finding slots by name or id."""

from __future__ import annotations

import pytest

from builder import errors
from builder.tournament import slots
from tests.support import accounts


def test_slot_is_found_by_name_ignoring_case_or_by_id() -> None:
    account = accounts.make_account(accounts.make_slot("alpha", id="1"), accounts.make_slot("beta", id="2"))
    assert [slots.find_slot(account, text).id for text in ("alpha", "BETA", "2")] == ["1", "2", "2"]


def test_classic_slot_is_preferred_among_equal_names() -> None:
    account = accounts.make_account(
        accounts.make_slot("alpha", id="1", tournament=11), accounts.make_slot("alpha", id="2")
    )
    assert slots.find_slot(account, "alpha").id == "2"


def test_slot_of_another_tournament_is_found_for_the_caller_to_reject() -> None:
    account = accounts.make_account(accounts.make_slot("signals", id="1", tournament=11))
    assert slots.find_slot(account, "signals").tournament == 11


def test_unknown_name_suggests_similar_names() -> None:
    account = accounts.make_account(
        accounts.make_slot("alpha_mlp"), accounts.make_slot("beta"), accounts.make_slot("alpha_lgbm")
    )
    with pytest.raises(errors.UsageError, match=r"alhpa_mlp: no slot of me .* did you mean alpha_mlp or alpha_lgbm\?"):
        slots.find_slot(account, "alhpa_mlp")
    with pytest.raises(errors.UsageError, match=r"zzz: .* name or id; `make models` lists them"):
        slots.find_slot(account, "zzz")


def test_account_without_slots_suggests_create_model() -> None:
    with pytest.raises(errors.UsageError, match="create-model NAME"):
        slots.find_slot(accounts.make_account(), "alpha")


@pytest.mark.parametrize(
    ("name", "expected"),
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
def test_rules_for_new_names(name: str, expected: str | None) -> None:
    problem = slots.find_name_problem(name)
    assert problem is None if expected is None else expected in str(problem)
