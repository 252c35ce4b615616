"""The tournament's API, typed: slots, pickles, images, data versions, rounds.

The texts (``queries``) follow the part of the public schema that deploying touches; a test checks each against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import StrictBool, TypeAdapter, ValidationError

from builder import errors
from builder.text import escape
from builder.tournament import queries
from builder.tournament.types import (
    CLASSIC,
    Account,
    Created,
    DataVersion,
    DockerImage,
    FileAuth,
    Items,
    LogLine,
    Round,
    Scope,
    Slot,
    Text,
    TokenInfo,
    UploadedPickle,
    read_time,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from builder.tournament import client as api

T = TypeVar("T")

_EXPECTED = {
    "bool_type": "expected true or false",
    "dataclass_type": "expected an object",
    "int_type": "expected a whole number",
    "string_type": "expected text",
    "tuple_type": "expected a list",
}
"""What pydantic's types of errors mean."""


def _missing(data: Mapping[str, Any]) -> str:
    """Say that something is missing, and what came instead: names alone, no values."""
    return f"missing; it has {escape(', '.join(data))[:100] or 'nothing'}"


class Tournament:
    """The API's questions and orders. Each raises what :class:`builder.tournament.client.ApiClient` does."""

    def __init__(self, client: api.ApiClient) -> None:
        self.client = client
        self.last_account: Account | None = None
        """The account as it was last read."""

    def get_token_info(self) -> TokenInfo:
        """Return whose token it is and what it may do."""
        found = self._ask("token_info", TokenInfo, "what the token may do")
        if found is None:
            raise errors.TokenError(
                f"{self.client.display_url}: says nothing of this token; `python -m builder credentials` tells more"
            )
        return found

    def list_scopes(self) -> dict[str, str]:
        """Return all scopes that there are, with what each allows."""
        return {one.name: one.description for one in self._ask_all("scopes", Scope, "the scopes there are")}

    def get_account(self) -> Account:
        """Return the account with its slots, and what is assigned to each."""
        try:
            found = self._ask("account", Account, "the account's slots")
        except errors.TokenError:
            raise
        except errors.ApiError as error:
            # What a stake looks like beyond its status is not promised.
            if "latestValue" not in str(error):
                raise
            found = self._ask("account_without_stakes", Account, "the account's slots")
        if found is None:
            raise errors.TokenError(f"{self.client.display_url}: names no account for this token")
        self.last_account = found
        return found

    def list_images(self) -> tuple[DockerImage, ...]:
        """Return the runner images, those that are offered and those that no longer are."""
        found = self._ask_all("images", DockerImage, "the tournament's images")
        return tuple({one.id: one for one in found}.values())

    def list_data_versions(self) -> tuple[DataVersion, ...]:
        """Return the data versions, those that are offered and those that no longer are."""
        found = self._ask_all("data_versions", DataVersion, "the tournament's data versions")
        return tuple({one.id: one for one in found}.values())

    def get_pickle(self, identity: str) -> UploadedPickle | None:
        """Return one pickle, or None where there is none with this id."""
        found = self._ask_all("pickle", UploadedPickle, "the pickle's status", id=identity)
        return next((one for one in found if one.id == identity), None)

    def list_pickles(self, slot: str | None = None, *, unassigned: bool = False) -> tuple[UploadedPickle, ...]:
        """Return the pickles that were uploaded for a slot, or all of the account; the newest first.

        One that was uploaded for another slot and assigned to this one is not among them.
        """
        found = self._ask_all("pickles", UploadedPickle, "the uploaded pickles", modelId=slot, unassigned=unassigned)
        return tuple(sorted(found, key=lambda one: one.inserted_at, reverse=True))

    def list_uploads(self) -> tuple[UploadedPickle, ...]:
        """Return all pickles of the account, the newest first, those that are assigned to no slot included.

        Nothing promises that the API lists an unassigned pickle without being asked for those: so both are asked.
        """
        found = {one.id: one for one in (*self.list_pickles(), *self.list_pickles(unassigned=True))}
        return tuple(sorted(found.values(), key=lambda one: one.inserted_at, reverse=True))

    def get_upload_auth(self, filename: str, slot: str) -> FileAuth:
        """Return where to put a file, and the name it will have."""
        return self._file_auth("upload_auth", "where to put the pickle", filename=filename, modelId=slot)

    def get_download_auth(self, slot: str, pickle: str) -> FileAuth:
        """Return where to get an uploaded pickle."""
        return self._file_auth("download_auth", "where the pickle is", modelId=slot, pickleId=pickle)

    def get_run_log(self, trigger: str) -> tuple[LogLine, ...]:
        """Return what a run printed."""
        return self._ask_all("trigger_logs", LogLine, "the run's log", triggerId=trigger)

    def get_diagnostics_log(self, pickle: str) -> tuple[LogLine, ...]:
        """Return what the run over the validation data printed."""
        return self._ask_all("diagnostics_logs", LogLine, "the diagnostics' log", pickleId=pickle)

    def get_current_round(self) -> Round | None:
        """Return what the API calls the current round: the one that is open, or that was last."""
        return next(iter(self._ask_all("rounds", Round, "the current round", number=0, tournament=CLASSIC)), None)

    def now(self) -> dt.datetime:
        """Return the time by the API's clock: the only one that decides whether a round is open or something is old."""
        return self.client.now()

    def get_round(self) -> tuple[Round | None, dt.datetime]:
        """Return the round that is open, else the first to open, else the last there was; and the API's time."""
        current = self.get_current_round()
        now = self.now()
        if current is not None and current.is_open(now):
            return current, now
        found = self._ask_all("rounds", Round, "the rounds to come", number=None, tournament=CLASSIC)
        now = self.now()
        opening = [(read_time(one.open_time), one) for one in found]
        later = [(at, one.number, one) for at, one in opening if at is not None and at > now]
        return (min(later)[2] if later else current), now

    def is_name_available(self, name: str) -> bool:
        """Tell whether a slot may be called so."""
        return bool(self._ask("name_available", StrictBool, "whether the name is free", name=name, tournament=CLASSIC))

    def list_datasets(self) -> tuple[str, ...]:
        """Return the names of the data files."""
        return self._ask_all("datasets", Text, "the names of the data files", tournament=CLASSIC)

    def get_dataset_url(self, name: str) -> str:
        """Return where to fetch a data file, such as ``v5.2/live.parquet``."""
        url = self._ask("dataset", Text, f"where {name} is", filename=name, tournament=CLASSIC)
        if not url:
            raise errors.ApiError(f"{self.client.display_url}: where {name} is: the answer has no address")
        return url

    def create_pickle(self, filename: str, slot: str, *, image: str, data_version: str, source: str) -> str:
        """Register a stored file, which starts its validation; return the pickle's id."""
        made = self._tell(
            "create_pickle",
            Created,
            "registering the pickle",
            filename=filename,
            tournament=CLASSIC,
            modelId=slot,
            dockerImageId=image,
            dataVersionId=data_version,
            source=source,
        )
        if made is None or not made.id:
            raise errors.UnavailableError(
                f"{self.client.display_url}: registering the pickle: the answer has no id", sent=True
            )
        return made.id

    def assign(self, slot: str, pickle: str | None) -> str:
        """Have a slot run a pickle; None has it run none. Returns what the API says to it, which promises nothing."""
        return self._tell("assign", Text, "assigning the pickle", modelId=slot, pickleId=pickle) or ""

    def trigger(self, pickle: str, slot: str | None = None, *, validation: bool) -> UploadedPickle | None:
        """Run a pickle now."""
        return self._tell(
            "trigger", UploadedPickle, "triggering a run", pickleId=pickle, modelId=slot, triggerValidation=validation
        )

    def set_label(self, pickle: str, label: str) -> None:
        """Give a pickle a label that people see."""
        self._tell("label", Created, "labelling the pickle", pickleId=pickle, label=label)

    def set_webhook(self, slot: str, address: str | None) -> None:
        """Give a slot a webhook; None takes it away."""
        self._tell("set_webhook", Text, "setting the webhook", modelId=slot, newSubmissionWebhook=address)

    def create_slot(self, name: str) -> Slot:
        """Make a slot in the Classic tournament."""
        made = self._tell("add_model", Slot, f"making the slot {name}", name=name, tournament=CLASSIC)
        if made is None:
            raise errors.UnavailableError(
                f"{self.client.display_url}: making the slot {name}: nothing came back", sent=True
            )
        return made

    def _file_auth(self, query: str, what: str, **variables: str) -> FileAuth:
        found = self._ask(query, FileAuth, what, **variables)
        if found is None or not found.url:
            came = "filename" if found and found.filename else "nothing"
            raise errors.ApiError(f"{self.client.display_url}: {what}: the answer has no url, but {came}; run it again")
        return found

    def _ask(self, query: str, kind: type[T], what: str, **variables: Any) -> T | None:
        """Return the one value that a query asks for; None for null."""
        data = self.client.query(queries.QUERIES[query].text, variables, what=what)
        found: list[T | None] = self._read(data, query, kind | None, what)
        return found[0]

    def _ask_all(self, query: str, kind: type[T], what: str, **variables: Any) -> tuple[T, ...]:
        """Return the items of all lists that a query asks for; null is an empty one."""
        data = self.client.query(queries.QUERIES[query].text, variables, what=what)
        found: list[tuple[T, ...]] = self._read(data, query, Items[kind], what)  # type: ignore[valid-type]
        return tuple(item for items in found for item in items)

    def _tell(self, query: str, kind: type[T], what: str, **variables: Any) -> T | None:
        """Send a change and return what came of it; None for null."""
        data = self.client.mutate(queries.QUERIES[query].text, variables, what=what)
        try:
            found: list[T | None] = self._read(data, query, kind | None, what)
        except errors.ApiError as error:  # it was done, perhaps
            raise errors.UnavailableError(str(error), sent=True) from error
        return found[0]

    def _read(self, data: Mapping[str, Any], query: str, kind: Any, what: str) -> list[Any]:
        """Return each field of an answer, checked.

        Raises:
            errors.ApiError: One is missing, or not as the schema has it; the message has its path.
        """
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        found, root = [], ""
        try:
            for root in queries.QUERIES[query].roots:
                found.append(adapter.validate_python(data[root]))
        except KeyError:
            fault = f"{root}: {_missing(data)}"
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(map(str, (root, *first["loc"])))
            is_missing = first["type"] == "missing"
            fault = f"{path}: {_missing(first['input']) if is_missing else _EXPECTED.get(first['type'], first['msg'])}"
        else:
            return found
        raise errors.ApiError(
            f"{self.client.display_url}: {what}: the answer is not what the API's schema says of {query}: {fault}; run it "
            "again, and look for a newer version of this tool if that does not help"
        )
