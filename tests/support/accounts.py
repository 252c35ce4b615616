"""Create accounts, slots, pickles and runs for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

from builder import tournament

_NOW = "2026-03-10T12:00:00Z"


def make_pickle(id: str = "p1", **changes: Any) -> tournament.UploadedPickle:  # noqa: A002 - as the API calls it
    """Create a validated pickle."""
    plain = tournament.UploadedPickle(
        id=id,
        filename=f"{id}-0123456789ab.pkl",
        label="",
        owner="s1",
        slots=(),
        image_id="i1",
        image="numerai_predict_py_3_11:abc",
        image_name="Python 3.11",
        data_version_id="d1",
        data_version="v5.3",
        runtime="Python 3.11",
        validation="validated",
        trigger="",
        diagnostics="",
        diagnostics_description="",
        triggers=(),
        inserted_at=_NOW,
        updated_at=_NOW,
    )
    return dataclasses.replace(plain, **changes)


def make_run(status: str, *descriptions: str, id: str = "t1", **changes: Any) -> tournament.Run:  # noqa: A002
    """Create a run that ended with a status and has steps with these descriptions."""
    statuses = tuple(tournament.RunStep(status=status, description=text, inserted_at=_NOW) for text in descriptions)
    plain = tournament.Run(
        id=id,
        type="round",
        status=status,
        round_id="900",
        submission_id="",
        inserted_at=_NOW,
        statuses=statuses,
    )
    return dataclasses.replace(plain, **changes)


def make_slot(name: str, id: str = "s1", **changes: Any) -> tournament.Slot:  # noqa: A002
    """Create an empty slot of the Classic tournament."""
    plain = tournament.Slot(
        id=id,
        name=name,
        username=name,
        tournament=tournament.CLASSIC,
        archived=False,
        compute=False,
        webhook="",
        stake="",
        submission=None,
        pickle=None,
    )
    return dataclasses.replace(plain, **changes)


def make_account(*slots: tournament.Slot) -> tournament.Account:
    """Create an account with these slots."""
    return tournament.Account(id="a1", username="me", max_slots=5, slots=slots)


def make_image(id: str = "i1", **changes: Any) -> tournament.DockerImage:  # noqa: A002
    """Create the default runner image."""
    plain = tournament.DockerImage(
        id=id,
        name="Python 3.12",
        image="numerai_predict_py_3_12",
        tag="abc",
        default=True,
        deprecated=False,
        experimental=False,
        inserted_at="",
    )
    return dataclasses.replace(plain, **changes)
