"""The API's responses as frozen dataclasses that pydantic validates.

Any field of the schema may be null: a null string becomes empty, a null boolean False, a null integer 0, a null list
empty; null items of a list are dropped. A missing field or another type is a validation error. Times stay strings in
ISO 8601; :func:`read_time` parses them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Annotated, Any, TypeVar

from pydantic import AliasGenerator, BeforeValidator, ConfigDict, Field, Strict
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass

CLASSIC = 8
"""Number of the only tournament that accepts pickles."""
UPLOAD_SCOPE, DOWNLOAD_SCOPE = "upload_submission", "download_submission"

NO_ROUND = "No currently open rounds!"
"""Description of a run that succeeded but had no round to submit to."""

T = TypeVar("T")


def _replace_null(empty: object) -> BeforeValidator:
    return BeforeValidator(lambda value: empty if value is None else value)


def _replace_surrogates(value: Any) -> Any:
    """Replace lone surrogates, which a truncated log may contain and pydantic rejects."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _drop_nulls(value: Any) -> Any:
    # GraphQL puts null for an item whose resolver failed, if the schema allows null items:
    # https://spec.graphql.org/October2021/#sec-Handling-Field-Errors
    return tuple(item for item in value if item is not None) if isinstance(value, list) else value


def _format_stake(value: Any) -> Any:
    """Return a stake as text, empty for zero; the amount's type is undocumented."""
    if not isinstance(value, dict):
        return value
    amount = value.get("latestValue")
    text = "" if amount is None else str(amount)
    try:
        return text if float(text) != 0 else ""
    except ValueError:
        # Without an amount, any status may mean a stake: rather ask for confirmation once too often.
        return text or str(value.get("status") or "")


ApiText = Annotated[str, Strict(), BeforeValidator(_replace_surrogates), _replace_null("")]
ApiFlag = Annotated[bool, Strict(), _replace_null(empty=False)]
ApiInt = Annotated[int, Strict(), _replace_null(0)]
ApiList = Annotated[tuple[T, ...], BeforeValidator(_drop_nulls), _replace_null(())]
# The API uses camelCase names; code constructs these values by field name.
_ANSWER = ConfigDict(alias_generator=AliasGenerator(validation_alias=to_camel), populate_by_name=True)


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class TokenInfo:
    """The token in use, without its secret."""

    username: ApiText = Field(validation_alias="accountUsername")
    name: ApiText
    public_id: ApiText
    scopes: ApiList[ApiText]


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class DockerImage:
    """A runner image that the tournament offers.

    Attributes:
        image: Repository name in the registry, such as ``numerai_predict_py_3_12``.
        tag: Tag in that repository.
        name: Display name, such as ``Python 3.12``.
    """

    id: ApiText
    name: ApiText
    image: ApiText
    tag: ApiText
    default: ApiFlag
    deprecated: ApiFlag
    experimental: ApiFlag
    inserted_at: ApiText


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class DataVersion:
    """A version of the tournament's data; ``version`` is a string like ``v5.3``."""

    id: ApiText
    name: ApiText
    version: ApiText
    type: ApiText
    default: ApiFlag
    deprecated: ApiFlag
    experimental: ApiFlag


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class RunStep:
    """A status that a run went through."""

    status: ApiText
    description: ApiText
    inserted_at: ApiText


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Run:
    """A run of a pickle for a round or on the validation data; the API calls it a trigger.

    Attributes:
        status: The run's own status; if empty, that of its last step; if empty too, and the run is the pickle's newest,
            the pickle's ``triggerStatus``.
    """

    id: ApiText
    type: ApiText
    status: ApiText
    round_id: ApiText
    submission_id: ApiText
    inserted_at: ApiText
    statuses: ApiList[RunStep]

    def __post_init__(self) -> None:
        if not self.status and self.statuses:
            object.__setattr__(self, "status", self.statuses[-1].status)

    @property
    def descriptions(self) -> tuple[str, ...]:
        """The distinct descriptions of its steps, in order."""
        return tuple(dict.fromkeys(step.description for step in self.statuses if step.description))


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class UploadedPickle:
    """An uploaded pickle.

    Attributes:
        filename: The stored name; if uploaded by this tool, it contains the first 12 digits of the pickle's sha256.
        owner: Id of the slot it was uploaded for, which need not be one that it is assigned to.
        slots: Ids of the slots it is assigned to.
        validation: The ``validationStatus``.
        trigger: The ``triggerStatus``, the status of the newest run.
    """

    id: ApiText
    filename: ApiText
    label: ApiText
    owner: ApiText = Field(validation_alias="modelId")
    slots: ApiList[ApiText] = Field(validation_alias="assignedModelSlots")
    image_id: ApiText = Field(validation_alias="dockerImageId")
    image: ApiText = Field(validation_alias="dockerImage")
    image_name: ApiText = Field(validation_alias="dockerImageName")
    data_version_id: ApiText
    data_version: ApiText
    runtime: ApiText
    validation: ApiText = Field(validation_alias="validationStatus")
    trigger: ApiText = Field(validation_alias="triggerStatus")
    diagnostics: ApiText = Field(validation_alias="diagnosticsStatus")
    diagnostics_description: ApiText = Field(validation_alias="diagnosticsStatusDescription")
    triggers: ApiList[Run]
    inserted_at: ApiText
    updated_at: ApiText

    def __post_init__(self) -> None:
        newest = next(iter(self.runs), None)
        if newest is not None and not newest.status:
            completed = dataclasses.replace(newest, status=self.trigger)
            object.__setattr__(self, "triggers", tuple(completed if run is newest else run for run in self.triggers))

    @property
    def runs(self) -> list[Run]:
        """Its runs, newest first."""

        def get_sort_key(run: Run) -> tuple[float, str]:
            started = read_time(run.inserted_at)
            return (started.timestamp() if started else 0.0, run.inserted_at)

        return sorted(self.triggers, key=get_sort_key, reverse=True)

    @property
    def descriptions(self) -> tuple[str, ...]:
        """The distinct descriptions of its runs, in order."""
        return tuple(dict.fromkeys(text for run in self.triggers for text in run.descriptions))


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Submission:
    """The latest submission of a slot."""

    id: ApiText
    filename: ApiText
    status: ApiText
    inserted_at: ApiText


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Slot:
    """A model slot of the account.

    Attributes:
        webhook: URL that the tournament calls in each round to run a machine of the user; must be empty for the slot to
            accept a pickle.
        stake: The staked amount as the API formats it; empty for no stake.
        pickle: The assigned pickle, or None.
    """

    id: ApiText
    name: ApiText
    username: ApiText
    tournament: ApiInt
    archived: ApiFlag
    compute: ApiFlag = Field(validation_alias="computeEnabled")
    webhook: ApiText = Field(validation_alias="submissionWebhook")
    stake: Annotated[ApiText, BeforeValidator(_format_stake)] = Field(validation_alias="v2Stake")
    submission: Submission | None = Field(validation_alias="latestSubmissionV2")
    pickle: UploadedPickle | None = Field(validation_alias="computePickleUpload")


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Account:
    """The token's account and all its slots.

    Attributes:
        max_slots: The limit for this account; None if the API does not report it.
    """

    id: ApiText
    username: ApiText
    max_slots: Annotated[int, Strict()] | None = Field(validation_alias="maxModelSlots")
    slots: ApiList[Slot] = Field(validation_alias="models")

    @property
    def used_slots(self) -> int:
        """Number of slots that count towards the limit; archived ones do not."""
        return sum(not slot.archived for slot in self.slots)

    @property
    def slots_summary(self) -> str:
        """The number of used slots, and the limit if known, for people."""
        of = "" if self.max_slots is None else f" of {self.max_slots}"
        return f"{self.used_slots}{of} slots taken"


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Round:
    """A round of the tournament; times are ISO 8601."""

    number: ApiInt
    open_time: ApiText
    close_time: ApiText
    close_staking_time: ApiText

    def is_open(self, now: dt.datetime) -> bool:
        """Return whether the round accepts submissions at ``now``, which must have a time zone."""
        opens, closes = read_time(self.open_time), read_time(self.close_time)
        return opens is not None and closes is not None and opens <= now < closes


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class FileAuth:
    """A presigned URL to upload or download a file; the URL is a secret until it expires."""

    filename: ApiText
    url: ApiText

    def __repr__(self) -> str:
        return f"FileAuth(filename={self.filename!r})"


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Scope:
    """A permission that a token can have."""

    name: ApiText
    description: ApiText


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class Created:
    """The object that a mutation created or changed."""

    id: ApiText


@dataclass(frozen=True, kw_only=True, config=_ANSWER)
class LogLine:
    """A line that a run printed; ``timestamp`` in milliseconds of Unix time, 0 if unknown."""

    timestamp: ApiInt
    message: ApiText


def read_time(text: str) -> dt.datetime | None:
    """Parse an ISO 8601 time of the API and return it in UTC, or None if it is not valid.

    A time without a zone is in UTC.
    """
    try:
        time = dt.datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (ValueError, OverflowError):  # OverflowError: the UTC time is before year 1 or after 9999
        return None
