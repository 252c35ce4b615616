"""What the tournament's API answers, as frozen values checked by pydantic.

Every field of the schema may be null: text is then empty, a flag false, a list empty; null items of a list are left
out. What is of another type or missing is refused. Times are ISO 8601 text, as they come.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Annotated, Any, TypeVar

from pydantic import AliasGenerator, BeforeValidator, ConfigDict, Field, Strict
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

CLASSIC = 8
"""The one tournament that takes pickles."""
UPLOAD_SCOPE, DOWNLOAD_SCOPE = "upload_submission", "download_submission"

NO_ROUND = "No currently open rounds!"

T = TypeVar("T")


def _default(empty: object) -> BeforeValidator:
    return BeforeValidator(lambda value: empty if value is None else value)


def _text(value: Any) -> Any:
    """Return text without halves of characters, which a log that was cut has and pydantic refuses."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _items(value: Any) -> Any:
    return tuple(item for item in value if item is not None) if isinstance(value, list) else value


def _stake(value: Any) -> Any:
    """Return what is at stake as text, empty for zero: how the API writes an amount is not promised."""
    if not isinstance(value, dict):
        return value
    amount = value.get("latestValue")
    text = "" if amount is None else str(amount)
    try:
        return text if float(text) != 0 else ""
    except ValueError:
        # Without a figure, a stake that has a status may be one.
        return text or str(value.get("status") or "")


Text = Annotated[str, Strict(), BeforeValidator(_text), _default("")]
Flag = Annotated[bool, Strict(), _default(empty=False)]
Whole = Annotated[int, Strict(), _default(0)]
Items = Annotated[tuple[T, ...], BeforeValidator(_items), _default(())]
# By the schema's names from the API, by those of the fields from code.
_ANSWER = ConfigDict(alias_generator=AliasGenerator(validation_alias=to_camel), populate_by_name=True)


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class TokenInfo:
    """The token in use, without its secret."""

    username: Text = Field(validation_alias="accountUsername")
    name: Text
    public_id: Text
    scopes: Items[Text]


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class DockerImage:
    """A runner image that the tournament offers.

    Attributes:
        image: Its name in the registry, such as ``numerai_predict_py_3_12``.
        tag: Its tag there.
        name: What people see: ``Python 3.12``.
    """

    id: Text
    name: Text
    image: Text
    tag: Text
    default: Flag
    deprecated: Flag
    experimental: Flag
    inserted_at: Text


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class DataVersion:
    """A version of the tournament's data; ``version`` is such as ``v5.2``."""

    id: Text
    name: Text
    version: Text
    type: Text
    default: Flag
    deprecated: Flag
    experimental: Flag


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class RunStep:
    """One step of a run."""

    status: Text
    description: Text
    inserted_at: Text


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Run:
    """One run of a pickle: for a round, or over the validation data.

    Attributes:
        status: Its own status; without one that of its last step; without that, for the newest run of a pickle, the
            pickle's ``triggerStatus``.
    """

    id: Text
    type: Text
    status: Text
    round_id: Text
    submission_id: Text
    inserted_at: Text
    statuses: Items[RunStep]

    def __post_init__(self) -> None:
        if not self.status and self.statuses:
            object.__setattr__(self, "status", self.statuses[-1].status)

    @property
    def descriptions(self) -> tuple[str, ...]:
        """What its steps said, each once."""
        return tuple(dict.fromkeys(one.description for one in self.statuses if one.description))


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class UploadedPickle:
    """An uploaded pickle.

    Attributes:
        filename: The stored name; those of this tool carry twelve digits of the pickle's sha256.
        owner: Id of the slot it was uploaded for; not where it is assigned.
        slots: Ids of the slots it is assigned to.
        validation: Its ``validationStatus``.
        trigger: Its ``triggerStatus``: how its newest run stands.
    """

    id: Text
    filename: Text
    label: Text
    owner: Text = Field(validation_alias="modelId")
    slots: Items[Text] = Field(validation_alias="assignedModelSlots")
    image_id: Text = Field(validation_alias="dockerImageId")
    image: Text = Field(validation_alias="dockerImage")
    image_name: Text = Field(validation_alias="dockerImageName")
    data_version_id: Text
    data_version: Text
    runtime: Text
    validation: Text = Field(validation_alias="validationStatus")
    trigger: Text = Field(validation_alias="triggerStatus")
    diagnostics: Text = Field(validation_alias="diagnosticsStatus")
    diagnostics_description: Text = Field(validation_alias="diagnosticsStatusDescription")
    triggers: Items[Run]
    inserted_at: Text
    updated_at: Text

    def __post_init__(self) -> None:
        last = next(iter(self.runs), None)
        if last is not None and not last.status:
            named = dataclasses.replace(last, status=self.trigger)
            object.__setattr__(self, "triggers", tuple(named if run is last else run for run in self.triggers))

    @property
    def runs(self) -> list[Run]:
        """Its runs, the newest first."""

        def age(run: Run) -> tuple[float, str]:
            at = read_time(run.inserted_at)
            return (at.timestamp() if at else 0.0, run.inserted_at)

        return sorted(self.triggers, key=age, reverse=True)

    @property
    def descriptions(self) -> tuple[str, ...]:
        """What its runs said, each once."""
        return tuple(dict.fromkeys(text for trigger in self.triggers for text in trigger.descriptions))


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Submission:
    """The latest submission of a slot."""

    id: Text
    filename: Text
    status: Text
    inserted_at: Text


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Slot:
    """A model slot of the account.

    Attributes:
        webhook: Address that runs another's own machine; must be empty before a pickle can be uploaded.
        stake: What is at stake, as the API writes it; empty for nothing.
        pickle: The pickle assigned to it, or None.
    """

    id: Text
    name: Text
    username: Text
    tournament: Whole
    archived: Flag
    compute: Flag = Field(validation_alias="computeEnabled")
    webhook: Text = Field(validation_alias="submissionWebhook")
    stake: Annotated[Text, BeforeValidator(_stake)] = Field(validation_alias="v2Stake")
    submission: Submission | None = Field(validation_alias="latestSubmissionV2")
    pickle: UploadedPickle | None = Field(validation_alias="computePickleUpload")


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Account:
    """The token's account and all its slots.

    Attributes:
        most_slots: How many it may have; None where the API does not tell.
    """

    id: Text
    username: Text
    max_slots: Annotated[int, Strict()] | None = Field(validation_alias="maxModelSlots")
    slots: Items[Slot] = Field(validation_alias="models")

    @property
    def used_slots(self) -> int:
        """How many of its slots count: an archived one takes none."""
        return sum(not slot.archived for slot in self.slots)

    @property
    def slots_summary(self) -> str:
        """How many slots are taken, of how many where that is known."""
        of = "" if self.max_slots is None else f" of {self.max_slots}"
        return f"{self.used_slots}{of} slots taken"


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Round:
    """A round of the tournament; times are ISO 8601."""

    number: Whole
    open_time: Text
    close_time: Text
    close_staking_time: Text

    def is_open(self, now: dt.datetime) -> bool:
        """Tell whether it takes submissions at a time (which has a time zone)."""
        opens, closes = read_time(self.open_time), read_time(self.close_time)
        return opens is not None and closes is not None and opens <= now < closes


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class FileAuth:
    """Where a file goes or comes from; the address is a secret for as long as it is good."""

    filename: Text
    url: Text

    def __repr__(self) -> str:
        return f"FileAuth(filename={self.filename!r})"


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Scope:
    """What a token may be allowed to do."""

    name: Text
    description: Text


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Created:
    """What a change made, or changed."""

    id: Text


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class LogLine:
    """A line that a run printed; ``timestamp`` in milliseconds of Unix time, 0 where it has none."""

    timestamp: Whole
    message: Text


def read_time(text: str) -> dt.datetime | None:
    """Return a time of the API; in UTC, as one without a zone is. None for what is not a time."""
    try:
        time = dt.datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, OverflowError):  # the second of a zone that leads out of all years
        return None
