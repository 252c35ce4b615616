"""What the tournament's API is asked and told, typed: slots, pickles, images, data versions, rounds.

The texts (``queries``) follow the part of the public schema that deploying touches; a test checks each against it.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.tournament import queries, reading
from builder.tournament.status_words import is_in_progress, is_their_fault, is_unknown, verdict
from builder.tournament.types import (
    CLASSIC,
    DOWNLOAD_SCOPE,
    NO_ROUND,
    UPLOAD_SCOPE,
    Account,
    DataVersion,
    DockerImage,
    FileAuth,
    LogLine,
    Round,
    Slot,
    Status,
    Submission,
    TokenInfo,
    Trigger,
    UploadedPickle,
    newest,
    read_time,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from builder.tournament import client as api

__all__ = [
    "CLASSIC",
    "DOWNLOAD_SCOPE",
    "NO_ROUND",
    "UPLOAD_SCOPE",
    "Account",
    "DataVersion",
    "DockerImage",
    "FileAuth",
    "LogLine",
    "Round",
    "Slot",
    "Status",
    "Submission",
    "TokenInfo",
    "Tournament",
    "Trigger",
    "UploadedPickle",
    "is_in_progress",
    "is_their_fault",
    "is_unknown",
    "newest",
    "read_time",
    "verdict",
]


_ORDERS = {"create_pickle", "assign", "trigger", "set_label", "set_webhook", "create_slot"}
"""What changes something: after an answer that cannot be read, nobody knows whether it did."""


def _whatever_comes(cls: type[Tournament]) -> type[Tournament]:
    """Have every question of the class say, of an answer that it cannot read, that it is not as the schema has it."""
    for name, method in list(vars(cls).items()):
        if not name.startswith("_") and callable(method):
            setattr(cls, name, _of_the_schema(method))
    return cls


def _of_the_schema(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def ask(self: Tournament, *arguments: Any, **named: Any) -> Any:
        try:
            return method(self, *arguments, **named)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            what = method.__name__.replace("_", " ")
            said = f"{self.client.where}: {what}: the answer is not what the API's schema says ({error})"
            remedy = "run it again, and look for a newer version of this tool if that does not help"
            if method.__name__ in _ORDERS:
                raise errors.UnansweredError(said, remedy=remedy, sent=True) from error
            raise errors.ApiError(f"{said}; {remedy}") from error

    return ask


@_whatever_comes
class Tournament:
    """The API's questions and orders. Each raises what :class:`builder.tournament.client.ApiClient` does."""

    def __init__(self, client: api.ApiClient) -> None:
        self.client = client
        self.seen: Account | None = None
        """The account as it was last read."""

    def token_info(self) -> TokenInfo:
        """Return whose token it is and what it may do."""
        data = self._ask("token_info", "what the token may do")["apiTokenInfo"]
        if not data:
            raise errors.TokenError(
                f"{self.client.where}: says nothing of this token; `python -m builder credentials` tells more"
            )
        return TokenInfo(
            username=reading.text(data, "accountUsername"),
            name=reading.text(data, "name"),
            public_id=reading.text(data, "publicId"),
            scopes=tuple(map(str, data.get("scopes") or ())),
        )

    def scopes(self) -> dict[str, str]:
        """Return all scopes that there are, with what each allows."""
        found = self._ask("scopes", "the scopes there are")["apiTokenScopes"] or ()
        return {reading.text(one, "name"): reading.text(one, "description") for one in found if one}

    def account(self) -> Account:
        """Return the account with its slots, and what is assigned to each."""
        try:
            data = self._ask("account", "the account's slots")
        except errors.TokenError:
            raise
        except errors.ApiError as error:
            # What a stake looks like beyond its status is not promised.
            if "latestValue" not in str(error):
                raise
            data = self._ask("account_without_stakes", "the account's slots")
        account = data["account"]
        if not account:
            raise errors.TokenError(f"{self.client.where}: names no account for this token")
        self.seen = Account(
            id=reading.text(account, "id"),
            username=reading.text(account, "username"),
            most_slots=reading.number(account, "maxModelSlots"),
            slots=tuple(reading.slot(one) for one in account.get("models") or () if one),
        )
        return self.seen

    def images(self) -> tuple[DockerImage, ...]:
        """Return the runner images, those that are offered and those that no longer are."""
        return tuple(map(reading.docker_image, self._ask_both("images", "the tournament's images")))

    def data_versions(self) -> tuple[DataVersion, ...]:
        """Return the data versions, those that are offered and those that no longer are."""
        return tuple(map(reading.data_version, self._ask_both("data_versions", "the tournament's data versions")))

    def pickle(self, identity: str) -> UploadedPickle | None:
        """Return one pickle, or None where there is none with this id."""
        found = self._ask("pickle", "the pickle's status", id=identity)["computePickles"] or ()
        return next((reading.pickle(one) for one in found if one and one.get("id") == identity), None)

    def pickles(self, slot: str | None = None, *, unassigned: bool = False) -> tuple[UploadedPickle, ...]:
        """Return the pickles that were uploaded for a slot, or all of the account; the newest first.

        One that was uploaded for another slot and assigned to this one is not among them.
        """
        found = self._ask("pickles", "the uploaded pickles", modelId=slot, unassigned=unassigned)["computePickles"]
        read = [reading.pickle(one) for one in found or () if one]
        return tuple(sorted(read, key=lambda one: one.inserted_at, reverse=True))

    def uploads(self) -> tuple[UploadedPickle, ...]:
        """Return all pickles of the account, the newest first, those that are assigned to no slot included.

        Nothing promises that the API lists an unassigned pickle without being asked for those: so both are asked.
        """
        found = {one.id: one for one in (*self.pickles(), *self.pickles(unassigned=True))}
        return tuple(sorted(found.values(), key=lambda one: one.inserted_at, reverse=True))

    def upload_auth(self, filename: str, slot: str) -> FileAuth:
        """Return where to put a file, and the name it will have."""
        data = self._ask("upload_auth", "where to put the pickle", filename=filename, modelId=slot)
        return self._file_auth(data["computePickleUploadAuth"], "where to put the pickle")

    def download_auth(self, slot: str, pickle: str) -> FileAuth:
        """Return where to get an uploaded pickle."""
        data = self._ask("download_auth", "where the pickle is", modelId=slot, pickleId=pickle)
        return self._file_auth(data["computePickleDownloadAuth"], "where the pickle is")

    def trigger_logs(self, trigger: str) -> tuple[LogLine, ...]:
        """Return what a run printed."""
        return reading.lines(self._ask("trigger_logs", "the run's log", triggerId=trigger)["triggerLogs"])

    def diagnostics_logs(self, pickle: str) -> tuple[LogLine, ...]:
        """Return what the run over the validation data printed."""
        return reading.lines(
            self._ask("diagnostics_logs", "the diagnostics' log", pickleId=pickle)["diagnosticsTriggerLogs"]
        )

    def current_round(self) -> Round | None:
        """Return what the API calls the current round: the one that is open, or that was last."""
        found = self._ask("rounds", "the current round", number=0, tournament=CLASSIC)["rounds"] or ()
        return next((reading.round_of(one) for one in found if one), None)

    def now(self) -> dt.datetime:
        """Return the time by the API's clock: the only one that decides whether a round is open or something is old."""
        return self.client.now()

    def round_now(self) -> tuple[Round | None, dt.datetime]:
        """Return the round that is open, else the first to open, else the last there was; and the API's time."""
        current = self.current_round()
        now = self.now()
        if current is not None and current.is_open(now):
            return current, now
        found = self._ask("rounds", "the rounds to come", number=None, tournament=CLASSIC)["rounds"] or ()
        now = self.now()
        opening = [(read_time(one.open_time), one) for one in map(reading.round_of, filter(None, found))]
        later = [(at, one.number, one) for at, one in opening if at is not None and at > now]
        return (min(later)[2] if later else current), now

    def name_available(self, name: str) -> bool:
        """Tell whether a slot may be called so."""
        data = self._ask("name_available", "whether the name is free", name=name, tournament=CLASSIC)
        return bool(data["modelNameAvailable"])

    def datasets(self) -> tuple[str, ...]:
        """Return the names of the data files."""
        data = self._ask("datasets", "the names of the data files", tournament=CLASSIC)
        return tuple(map(str, data["listDatasets"] or ()))

    def dataset_url(self, name: str) -> str:
        """Return where to fetch a data file, such as ``v5.2/live.parquet``."""
        url = self._ask("dataset", f"where {name} is", filename=name, tournament=CLASSIC)["dataset"]
        if not url:
            raise errors.ApiError(f"{self.client.where}: where {name} is: the answer has no address")
        return str(url)

    def create_pickle(self, filename: str, slot: str, *, image: str, data_version: str, source: str) -> str:
        """Register a stored file, which starts its validation; return the pickle's id."""
        data = self._tell(
            "create_pickle",
            "registering the pickle",
            filename=filename,
            tournament=CLASSIC,
            modelId=slot,
            dockerImageId=image,
            dataVersionId=data_version,
            source=source,
        )
        identity = reading.text(data["createComputePickleUpload"] or {}, "id")
        if not identity:
            raise errors.UnansweredError(
                f"{self.client.where}: registering the pickle: the answer has no id", sent=True
            )
        return identity

    def assign(self, slot: str, pickle: str | None) -> str:
        """Have a slot run a pickle; None has it run none. Returns what the API says to it, which promises nothing."""
        return reading.text(
            self._tell("assign", "assigning the pickle", modelId=slot, pickleId=pickle), "assignPickleToModel"
        )

    def trigger(self, pickle: str, slot: str | None = None, *, validation: bool) -> UploadedPickle | None:
        """Run a pickle now."""
        data = self._tell("trigger", "triggering a run", pickleId=pickle, modelId=slot, triggerValidation=validation)
        found = data["triggerComputePickleUpload"]
        return reading.pickle(found) if found else None

    def set_label(self, pickle: str, label: str) -> None:
        """Give a pickle a label that people see."""
        self._tell("label", "labelling the pickle", pickleId=pickle, label=label)

    def set_webhook(self, slot: str, address: str | None) -> None:
        """Give a slot a webhook; None takes it away."""
        self._tell("set_webhook", "setting the webhook", modelId=slot, newSubmissionWebhook=address)

    def create_slot(self, name: str) -> Slot:
        """Make a slot in the Classic tournament."""
        data = self._tell("add_model", f"making the slot {name}", name=name, tournament=CLASSIC)["addModel"]
        if not data:
            raise errors.UnansweredError(f"{self.client.where}: making the slot {name}: nothing came back", sent=True)
        return reading.slot(data)

    def _ask_both(self, query: str, what: str, /) -> list[dict[str, Any]]:
        """Return what is offered and what no longer is, each once."""
        data = self._ask(query, what)
        found = {reading.text(one, "id"): one for key in ("offered", "deprecated") for one in data[key] or () if one}
        return list(found.values())

    def _ask(self, query: str, what: str, /, **variables: Any) -> dict[str, Any]:
        return self._complete(self.client.query(queries.TEXTS[query], variables, what=what), query, what)

    def _tell(self, query: str, what: str, /, **variables: Any) -> dict[str, Any]:
        data = self.client.mutate(queries.TEXTS[query], variables, what=what)
        try:
            return self._complete(data, query, what)
        except errors.ApiError as error:  # it was done, perhaps
            raise errors.UnansweredError(str(error), sent=True) from error

    def _complete(self, data: dict[str, Any], query: str, what: str) -> dict[str, Any]:
        """Return the data once it has all that was asked for, if only as null."""
        missing = [key for key in queries.ROOTS[query] if key not in data]
        if missing:
            came = ", ".join(map(str, data))[:100] or "nothing"
            raise errors.ApiError(f"{self.client.where}: {what}: {missing[0]} is not in the answer, which has {came}")
        return data

    def _file_auth(self, data: Mapping[str, Any] | None, what: str) -> FileAuth:
        data = data or {}
        if not data.get("url"):
            came = ", ".join(key for key, value in data.items() if value) or "nothing"
            raise errors.ApiError(f"{self.client.where}: {what}: the answer has no url, but {came}; run it again")
        return FileAuth(filename=reading.text(data, "filename"), url=str(data["url"]))
