"""The tournament's API as methods with typed results: slots, pickles, images, data versions, rounds.

The queries are in :mod:`builder.tournament.queries`; a test validates each against the published schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import StrictBool, TypeAdapter, ValidationError

from builder import commands, errors
from builder.text import escape
from builder.tournament import queries
from builder.tournament.types import (
    CLASSIC,
    Account,
    ApiList,
    ApiText,
    Created,
    DataVersion,
    DockerImage,
    FileAuth,
    LogLine,
    Round,
    Scope,
    Slot,
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
    "int_type": "expected an integer",
    "string_type": "expected a string",
    "tuple_type": "expected a list",
}
"""Message for each pydantic error type."""


def _describe_missing(data: Mapping[str, Any]) -> str:
    """List the keys that came instead, without their values: a response may contain a presigned URL."""
    keys = escape(", ".join(data))[:100]
    return f"missing; found {f'only {keys}' if keys else 'nothing'}"


class Tournament:
    """Queries and mutations of the API. All raise what :class:`builder.tournament.client.ApiClient` raises."""

    def __init__(self, client: api.ApiClient) -> None:
        self.client = client
        self.last_account: Account | None = None
        """The account of the last :meth:`get_account`."""

    def get_token_info(self) -> TokenInfo:
        """Return the owner and the scopes of the token in use."""
        info = self._query_one("token_info", TokenInfo, "the token's scopes")
        if info is None:
            raise errors.TokenError(
                f"{self.client.display_url}: no information about this token; check it with "
                f"`{commands.suggest_plain('credentials')}`"
            )
        return info

    def list_scopes(self) -> dict[str, str]:
        """Return the description of every scope that a token can have, by name."""
        return {scope.name: scope.description for scope in self._query_all("scopes", Scope, "all scopes")}

    def get_account(self) -> Account:
        """Return the account with its slots and the pickle assigned to each."""
        try:
            account = self._query_one("account", Account, "the account's slots")
        except errors.TokenError:
            raise
        except errors.ApiError as error:
            # The amount of a stake is not documented beside the schema, and may be removed from it.
            if "latestValue" not in str(error):
                raise
            account = self._query_one("account_without_stakes", Account, "the account's slots")
        if account is None:
            raise errors.TokenError(f"{self.client.display_url}: there is no account for this token")
        self.last_account = account
        return account

    def list_images(self) -> tuple[DockerImage, ...]:
        """Return all runner images, deprecated ones included."""
        images = self._query_all("images", DockerImage, "the tournament's images")
        return tuple({image.id: image for image in images}.values())

    def list_data_versions(self) -> tuple[DataVersion, ...]:
        """Return all data versions, deprecated ones included."""
        versions = self._query_all("data_versions", DataVersion, "the tournament's data versions")
        return tuple({version.id: version for version in versions}.values())

    def get_pickle(self, identity: str) -> UploadedPickle | None:
        """Return the pickle with this id, or None if there is none."""
        pickles = self._query_all("pickle", UploadedPickle, "the pickle's status", id=identity)
        return next((pickle for pickle in pickles if pickle.id == identity), None)

    def list_pickles(self, slot: str | None = None, *, unassigned: bool = False) -> tuple[UploadedPickle, ...]:
        """Return the pickles that were uploaded for a slot, or all of the account, newest first.

        A pickle that was uploaded for another slot and then assigned to this one is not in the list.
        """
        pickles = self._query_all(
            "pickles", UploadedPickle, "the uploaded pickles", modelId=slot, unassigned=unassigned
        )
        return tuple(sorted(pickles, key=lambda pickle: pickle.inserted_at, reverse=True))

    def list_uploads(self) -> tuple[UploadedPickle, ...]:
        """Return all pickles of the account, newest first, including those that are assigned to no slot."""
        # The schema does not say whether the first query includes unassigned pickles, so send both.
        pickles = {pickle.id: pickle for pickle in (*self.list_pickles(), *self.list_pickles(unassigned=True))}
        return tuple(sorted(pickles.values(), key=lambda pickle: pickle.inserted_at, reverse=True))

    def get_upload_auth(self, filename: str, slot: str) -> FileAuth:
        """Return a presigned URL to send a file to, and the name under which it is stored."""
        return self._query_file_auth("upload_auth", "the upload address", filename=filename, modelId=slot)

    def get_download_auth(self, slot: str, pickle: str) -> FileAuth:
        """Return a presigned URL of an uploaded pickle."""
        return self._query_file_auth("download_auth", "the pickle's address", modelId=slot, pickleId=pickle)

    def get_run_log(self, trigger: str) -> tuple[LogLine, ...]:
        """Return the lines that a run printed."""
        return self._query_all("trigger_logs", LogLine, "the run's log", triggerId=trigger)

    def get_diagnostics_log(self, pickle: str) -> tuple[LogLine, ...]:
        """Return the lines that a pickle's run on the validation data printed."""
        return self._query_all("diagnostics_logs", LogLine, "the diagnostics' log", pickleId=pickle)

    def now(self) -> dt.datetime:
        """Return the API's time, which decides whether a round is open or an upload has expired."""
        return self.client.now()

    def get_last_round(self) -> Round | None:
        """Return the round that opened last, whose live data the API has; None if there is none."""
        # Number 0 means the round that is open, or else the last one.
        return next(iter(self._query_all("rounds", Round, "the current round", number=0, tournament=CLASSIC)), None)

    def get_round(self) -> tuple[Round | None, dt.datetime]:
        """Return the open round, else the next to open, else the last one; and the API's time."""
        current = self.get_last_round()
        now = self.now()
        if current is not None and current.is_open(now):
            return current, now
        rounds = self._query_all("rounds", Round, "the next rounds", number=None, tournament=CLASSIC)
        now = self.now()
        opening = [(read_time(item.open_time), item) for item in rounds]
        later = [(opens, item.number, item) for opens, item in opening if opens is not None and opens > now]
        return (min(later)[2] if later else current), now

    def is_name_available(self, name: str) -> bool:
        """Return whether a new slot may have this name."""
        return bool(
            self._query_one("name_available", StrictBool, "whether the name is free", name=name, tournament=CLASSIC)
        )

    def list_datasets(self) -> tuple[str, ...]:
        """Return the names of the data files."""
        return self._query_all("datasets", ApiText, "the names of the data files", tournament=CLASSIC)

    def get_dataset_url(self, name: str) -> str:
        """Return the presigned URL of a data file, such as ``v5.3/live.parquet``."""
        url = self._query_one("dataset", ApiText, f"the address of {name}", filename=name, tournament=CLASSIC)
        if not url:
            raise errors.ApiError(f"{self.client.display_url}: the address of {name}: the response has no URL")
        return url

    def create_pickle(self, filename: str, slot: str, *, image: str, data_version: str, source: str) -> str:
        """Register a stored file, which starts its validation; return the pickle's id."""
        record = self._mutate(
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
        if record is None or not record.id:
            raise errors.UnavailableError(
                f"{self.client.display_url}: registering the pickle: the response has no id", sent=True
            )
        return record.id

    def assign(self, slot: str, pickle: str | None) -> str:
        """Assign a pickle to a slot, or unassign the slot's pickle (None).

        Returns the API's message, which is undocumented: read the slot to learn whether it took effect.
        """
        return self._mutate("assign", ApiText, "assigning the pickle", modelId=slot, pickleId=pickle) or ""

    def trigger(self, pickle: str, slot: str | None = None, *, validation: bool) -> UploadedPickle | None:
        """Start a run of a pickle, or repeat its validation; return the pickle, or None for a null response."""
        return self._mutate(
            "trigger", UploadedPickle, "triggering a run", pickleId=pickle, modelId=slot, triggerValidation=validation
        )

    def set_label(self, pickle: str, label: str) -> None:
        """Set a pickle's label, which the tournament's site shows."""
        self._mutate("label", Created, "labelling the pickle", pickleId=pickle, label=label)

    def set_webhook(self, slot: str, address: str | None) -> None:
        """Set a slot's webhook; None removes it."""
        self._mutate("set_webhook", ApiText, "setting the webhook", modelId=slot, newSubmissionWebhook=address)

    def create_slot(self, name: str) -> Slot:
        """Create a slot in the Classic tournament."""
        slot = self._mutate("add_model", Slot, f"creating the slot {name}", name=name, tournament=CLASSIC)
        if slot is None:
            raise errors.UnavailableError(
                f"{self.client.display_url}: creating the slot {name}: the response is empty", sent=True
            )
        return slot

    def _query_file_auth(self, query: str, subject: str, **variables: str) -> FileAuth:
        auth = self._query_one(query, FileAuth, subject, **variables)
        if auth is None or not auth.url:
            problem = "a filename but no URL" if auth and auth.filename else "no URL"
            raise errors.ApiError(f"{self.client.display_url}: {subject}: the response has {problem}; run it again")
        return auth

    def _query_one(self, query: str, kind: type[T], subject: str, **variables: Any) -> T | None:
        """Return the value of a query with one field; None for null."""
        data = self.client.query(queries.QUERIES[query].text, variables, subject=subject)
        values: list[T | None] = self._parse(data, query, kind | None, subject)
        return values[0]

    def _query_all(self, query: str, kind: type[T], subject: str, **variables: Any) -> tuple[T, ...]:
        """Return the items of all lists in the response; null is an empty list."""
        data = self.client.query(queries.QUERIES[query].text, variables, subject=subject)
        lists: list[tuple[T, ...]] = self._parse(data, query, ApiList[kind], subject)  # type: ignore[valid-type]
        return tuple(item for items in lists for item in items)

    def _mutate(self, query: str, kind: type[T], subject: str, **variables: Any) -> T | None:
        """Send a mutation and return the value of its one field; None for null."""
        data = self.client.mutate(queries.QUERIES[query].text, variables, subject=subject)
        try:
            values: list[T | None] = self._parse(data, query, kind | None, subject)
        except errors.ApiError as error:  # the mutation may have taken effect, so this is not a refusal
            raise errors.UnavailableError(str(error), sent=True) from error
        return values[0]

    def _parse(self, data: Mapping[str, Any], query: str, kind: Any, subject: str) -> list[Any]:
        """Return the validated value of each field of a response.

        Raises:
            errors.ApiError: A field is missing or does not follow the schema; the message contains its path.
        """
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        values, root = [], ""
        try:
            for root in queries.QUERIES[query].roots:
                values.append(adapter.validate_python(data[root]))
        except KeyError:
            problem = f"{root}: {_describe_missing(data)}"
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(map(str, (root, *first["loc"])))
            is_missing = first["type"] == "missing"
            expected = _EXPECTED.get(first["type"], first["msg"])
            problem = f"{path}: {_describe_missing(first['input']) if is_missing else expected}"
        else:
            return values
        raise errors.ApiError(
            f"{self.client.display_url}: {subject}: the response does not follow the API's schema for {query}: "
            f"{problem}; run it again, and look for a newer version of this tool if that does not help"
        )
