"""What the tournament's API names, as frozen values. Times are ISO 8601 text, as they come."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

CLASSIC = 8
"""The one tournament that takes pickles."""
UPLOAD_SCOPE, DOWNLOAD_SCOPE = "upload_submission", "download_submission"

NO_ROUND = "No currently open rounds!"


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """The token in use, without its secret."""

    username: str
    name: str
    public_id: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DockerImage:
    """A runner image that the tournament offers.

    Attributes:
        image: Its name in the registry, such as ``numerai_predict_py_3_12``.
        tag: Its tag there.
        name: What people see: ``Python 3.12``.
    """

    id: str
    name: str
    image: str
    tag: str
    default: bool
    deprecated: bool
    experimental: bool
    inserted_at: str


@dataclass(frozen=True, kw_only=True)
class DataVersion:
    """A version of the tournament's data; ``version`` is such as ``v5.2``."""

    id: str
    name: str
    version: str
    type: str
    default: bool
    deprecated: bool
    experimental: bool


@dataclass(frozen=True, kw_only=True)
class Status:
    """One step of a run."""

    status: str
    description: str
    inserted_at: str


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """One run of a pickle: for a round, or over the validation data.

    Attributes:
        status: Its own status; without one that of its last step; without that, for the newest run of a pickle, the
            pickle's ``triggerStatus``.
    """

    id: str
    type: str
    status: str
    round_id: str
    submission_id: str
    inserted_at: str
    statuses: tuple[Status, ...]

    @property
    def descriptions(self) -> tuple[str, ...]:
        """What its steps said, each once."""
        return tuple(dict.fromkeys(one.description for one in self.statuses if one.description))


@dataclass(frozen=True, kw_only=True)
class UploadedPickle:
    """An uploaded pickle.

    Attributes:
        filename: The stored name; those of this tool carry twelve digits of the pickle's sha256.
        owner: Id of the slot it was uploaded for; not where it is assigned.
        slots: Ids of the slots it is assigned to.
        validation: Its ``validationStatus``.
        trigger: Its ``triggerStatus``: how its newest run stands.
    """

    id: str
    filename: str
    label: str
    owner: str
    slots: tuple[str, ...]
    image_id: str
    image: str
    image_name: str
    data_version_id: str
    data_version: str
    runtime: str
    validation: str
    trigger: str
    diagnostics: str
    diagnostics_description: str
    triggers: tuple[Trigger, ...]
    inserted_at: str
    updated_at: str

    @property
    def descriptions(self) -> tuple[str, ...]:
        """What its runs said, each once."""
        return tuple(dict.fromkeys(text for trigger in self.triggers for text in trigger.descriptions))


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The latest submission of a slot."""

    id: str
    filename: str
    status: str
    inserted_at: str


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A model slot of the account.

    Attributes:
        webhook: Address that runs another's own machine; must be empty before a pickle can be uploaded.
        stake: What is at stake, as the API writes it; empty for nothing.
        pickle: The pickle assigned to it, or None.
    """

    id: str
    name: str
    username: str
    tournament: int
    archived: bool
    compute: bool
    webhook: str
    stake: str
    submission: Submission | None
    pickle: UploadedPickle | None


@dataclass(frozen=True, kw_only=True)
class Account:
    """The token's account and all its slots.

    Attributes:
        most_slots: How many it may have; None where the API does not tell.
    """

    id: str
    username: str
    most_slots: int | None
    slots: tuple[Slot, ...]

    @property
    def taken(self) -> int:
        """How many of its slots count: an archived one takes none."""
        return sum(not slot.archived for slot in self.slots)

    @property
    def slots_line(self) -> str:
        """How many slots are taken, of how many where that is known."""
        of = "" if self.most_slots is None else f" of {self.most_slots}"
        return f"{self.taken}{of} slots taken"


@dataclass(frozen=True, kw_only=True)
class Round:
    """A round of the tournament; times are ISO 8601."""

    number: int
    open_time: str
    close_time: str
    close_staking_time: str

    def is_open(self, now: dt.datetime) -> bool:
        """Tell whether it takes submissions at a time (which has a time zone)."""
        opens, closes = read_time(self.open_time), read_time(self.close_time)
        return opens is not None and closes is not None and opens <= now < closes


@dataclass(frozen=True, kw_only=True)
class FileAuth:
    """Where a file goes or comes from; the address is a secret for as long as it is good."""

    filename: str
    url: str

    def __repr__(self) -> str:
        return f"FileAuth(filename={self.filename!r})"


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line that a run printed; ``timestamp`` in milliseconds of Unix time, 0 where it has none."""

    timestamp: int
    message: str


def newest(runs: Iterable[Trigger]) -> list[Trigger]:
    """Return runs, the newest first."""

    def age(run: Trigger) -> tuple[float, str]:
        at = read_time(run.inserted_at)
        return (at.timestamp() if at else 0.0, run.inserted_at)

    return sorted(runs, key=age, reverse=True)


def read_time(text: str) -> dt.datetime | None:
    """Return a time of the API; one without a zone is UTC. None for what is no time."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)
