"""The sandbox's data, in memory: accounts, tokens, slots, images, data versions, pickles and rounds.

Tests change it directly; they must hold :attr:`State.lock` only while requests may be running:

    sandbox.state.get_slot("staked").stake = None
    sandbox.state.close_round()
    sandbox.state.words.good = "SUCCESS"
    sandbox.state.get_token("read only").scopes.add("upload_submission")
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from builder import data_versions
from builder.sandbox.status_words import StatusWords

CLASSIC, SIGNALS = 8, 11
UPLOAD_SCOPE, DOWNLOAD_SCOPE, READ_SCOPE = "upload_submission", "download_submission", "read_submission_info"
SCOPES = {
    UPLOAD_SCOPE: "Upload submissions and models",
    DOWNLOAD_SCOPE: "Download submissions and models",
    READ_SCOPE: "Read information on submissions",
    "read_user_info": "Read information on the account",
    "stake": "Change stakes",
}


def create_id() -> str:
    """Return a new UUID."""
    return str(uuid.uuid4())


@dataclass(kw_only=True)
class SandboxAccount:
    """A user's account."""

    username: str
    max_model_slots: int = 10
    inserted_at: datetime = datetime(2024, 2, 1, 12, tzinfo=UTC)
    id: str = field(default_factory=create_id)


@dataclass(kw_only=True)
class Token:
    """An API token; its values are valid in this sandbox only."""

    name: str
    account: SandboxAccount
    scopes: set[str]
    revoked: bool = False
    public_id: str = field(default_factory=lambda: "SANDBOX" + uuid.uuid4().hex[:12].upper())
    secret_key: str = field(default_factory=lambda: "sandbox-secret-" + uuid.uuid4().hex, repr=False)

    @property
    def header(self) -> str:
        """The value of the Authorization header."""
        return f"Token {self.public_id}${self.secret_key}"


@dataclass(kw_only=True)
class Score:
    """A score of a submission on one day of its round."""

    name: str
    day: int
    at: datetime
    value: float
    percentile: float
    payout: str | None = None


@dataclass(kw_only=True)
class SandboxSubmission:
    """What a run submitted for a slot in a round; tests add the scores."""

    filename: str
    status: str
    round: SandboxRound
    inserted_at: datetime
    scores: list[Score] = field(default_factory=list)
    id: str = field(default_factory=create_id)


@dataclass(kw_only=True)
class SandboxSlot:
    """A model slot. ``stake`` is the stake's latest value as text; ``pickle_id`` is the assigned pickle."""

    name: str
    account: SandboxAccount
    tournament: int = CLASSIC
    archived: bool = False
    webhook: str | None = None
    stake: str | None = None
    pickle_id: str | None = None
    submissions: list[SandboxSubmission] = field(default_factory=list)
    id: str = field(default_factory=create_id)

    @property
    def latest_submission(self) -> SandboxSubmission | None:
        """The last submission."""
        return self.submissions[-1] if self.submissions else None


@dataclass(kw_only=True)
class Image:
    """A runner image that the tournament offers."""

    name: str
    image: str
    tag: str
    default: bool = False
    deprecated: bool = False
    experimental: bool = False
    inserted_at: datetime = datetime(2026, 1, 5, 12, tzinfo=UTC)
    id: str = field(default_factory=create_id)


@dataclass(kw_only=True)
class SandboxDataVersion:
    """A version of the tournament's data."""

    name: str
    default: bool = False
    deprecated: bool = False
    experimental: bool = False
    id: str = field(default_factory=create_id)


@dataclass(kw_only=True)
class Grant:
    """An authorised upload: the stored name, the account and the slot."""

    filename: str
    account: SandboxAccount
    slot_id: str | None


@dataclass(kw_only=True)
class Log:
    """A line that a run printed; the timestamp is in seconds since the epoch."""

    timestamp: int
    message: str


@dataclass(kw_only=True)
class Status:
    """A status of a run and when it was reached."""

    status: str
    description: str | None
    at: datetime
    id: str = field(default_factory=create_id)


@dataclass(kw_only=True)
class Trigger:
    """A run of a pickle; its current status is the last one."""

    kind: str
    round: SandboxRound | None
    statuses: list[Status]
    submission_id: str | None = None
    logs: list[Log] = field(default_factory=list)
    id: str = field(default_factory=create_id)


@dataclass(kw_only=True)
class Pickle:
    """A registered upload.

    Attributes:
        status: The status word of the validation.
        passed: Whether validation succeeded. Assigning depends on this, not on the status word.
        interim: Status words that polling by id returns first, one per request.
    """

    filename: str
    account: SandboxAccount
    slot_id: str | None
    image: Image
    data_version: SandboxDataVersion
    version: int
    status: str
    inserted_at: datetime
    updated_at: datetime
    label: str | None = None
    passed: bool = False
    interim: deque[str] = field(default_factory=deque)
    diagnostics: str | None = None
    diagnostics_id: str | None = None
    diagnostics_logs: list[Log] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    id: str = field(default_factory=create_id)


@dataclass(kw_only=True)
class SandboxRound:
    """A round of a tournament."""

    number: int
    open_time: datetime
    close_time: datetime
    tournament: int = CLASSIC

    def is_open(self, time: datetime) -> bool:
        """Return whether the round accepts submissions at a time."""
        return self.open_time <= time < self.close_time


class State:
    """All data of a sandbox, and the lock under which requests and runs read and change it.

    Some attributes select between behaviours of the tournament's API that are not documented.

    Attributes:
        words: The status words that the API returns.
        clock_offset: Added to the clock: the Date header, all times in responses, round times, expiries.
        rejects_unvalidated: Whether only a pickle that passed validation can be assigned.
        signing_offset: Added to the expiry of presigned URLs only.
        lifetime: How long a presigned URL is valid.
        refusal_status: The HTTP status of the response to a missing or bad token.
        no_round_fails: Whether validation of a valid pickle ends with the word for invalid if no round is open.
        runs_have_statuses: Whether a run has its own statuses, or only the pickle a ``triggerStatus``.
        keeps_filenames: Whether a stored name contains the local file name.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.words = StatusWords()
        self.accounts: list[SandboxAccount] = []
        self.tokens: list[Token] = []
        self.slots: dict[str, SandboxSlot] = {}
        self.images: list[Image] = []
        self.data_versions: list[SandboxDataVersion] = []
        self.grants: dict[str, Grant] = {}
        self.pickles: dict[str, Pickle] = {}
        self.rounds: list[SandboxRound] = []
        self.clock_offset = timedelta()
        self.rejects_unvalidated = True
        self.signing_offset = timedelta()
        self.lifetime = timedelta(minutes=10)
        self.refusal_status = 200
        self.no_round_fails = False
        self.runs_have_statuses = True
        self.keeps_filenames = True

    def now(self) -> datetime:
        """Return the current time of this server's clock."""
        return datetime.now(UTC) + self.clock_offset

    def get_slot(self, name: str) -> SandboxSlot:
        """Return the slot with a name."""
        return next(slot for slot in self.slots.values() if slot.name == name)

    def get_token(self, name: str) -> Token:
        """Return the token with a name."""
        return next(token for token in self.tokens if token.name == name)

    def add_slot(self, slot: SandboxSlot) -> SandboxSlot:
        """Add a slot and return it."""
        self.slots[slot.id] = slot
        return slot

    def get_image(self, image: str) -> Image:
        """Return the image with a repository name such as ``numerai_predict_py_3_12``."""
        return next(candidate for candidate in self.images if candidate.image == image)

    def set_default_image(self, image: str) -> None:
        """Make the image with a repository name the default."""
        for candidate in self.images:
            candidate.default = candidate.image == image

    def find_slots_with(self, pickle_id: str) -> list[SandboxSlot]:
        """Return the slots that a pickle is assigned to."""
        return [slot for slot in self.slots.values() if slot.pickle_id == pickle_id]

    def list_pickles(self, account: SandboxAccount | None = None) -> list[Pickle]:
        """Return the registered pickles, of one account or of all, the oldest first."""
        return [pickle for pickle in self.pickles.values() if account is None or pickle.account is account]

    def get_current_round(self, tournament: int = CLASSIC) -> SandboxRound | None:
        """Return the round that opened last, or the first future one if none has opened."""
        rounds = [round_ for round_ in self.rounds if round_.tournament == tournament]
        rounds.sort(key=lambda round_: round_.open_time)
        opened = [round_ for round_ in rounds if round_.open_time <= self.now()]
        return opened[-1] if opened else next(iter(rounds), None)

    def open_round(self, number: int = 1000) -> SandboxRound:
        """Replace all rounds: one opened an hour ago and closes tomorrow, the one before it is closed."""
        now = self.now()
        self.rounds = [
            SandboxRound(number=number, open_time=now - timedelta(hours=1), close_time=now + timedelta(days=1)),
            SandboxRound(number=number - 1, open_time=now - timedelta(days=2), close_time=now - timedelta(days=1)),
        ]
        return self.rounds[0]

    def close_round(self, number: int = 1000) -> SandboxRound:
        """Replace all rounds: one closed an hour ago, the next opens tomorrow; return the next."""
        now = self.now()
        self.rounds = [
            SandboxRound(
                number=number + 1, open_time=now + timedelta(days=1), close_time=now + timedelta(days=1, hours=1)
            ),
            SandboxRound(number=number, open_time=now - timedelta(hours=2), close_time=now - timedelta(hours=1)),
        ]
        return self.rounds[0]

    def add_pickle(self, slot: SandboxSlot, filename: str, *, assign: bool = False, passed: bool = True) -> Pickle:
        """Register a pickle as uploaded three days ago, without storing any bytes."""
        now = self.now() - timedelta(days=3)
        pickle = Pickle(
            filename=filename,
            account=slot.account,
            slot_id=slot.id,
            image=next(image for image in self.images if image.default),
            data_version=next(version for version in self.data_versions if version.default),
            version=self.get_next_version(slot.id),
            status=self.words.good if passed else self.words.bad,
            passed=passed,
            inserted_at=now,
            updated_at=now,
        )
        self.pickles[pickle.id] = pickle
        if assign:
            slot.pickle_id = pickle.id
        return pickle

    def get_next_version(self, slot_id: str | None) -> int:
        """Return the version number of a slot's next pickle."""
        return 1 + sum(pickle.slot_id == slot_id for pickle in self.pickles.values())


OWNER, STRANGER = "sandbox_user", "somebody_else"
FULL, READ_ONLY, REVOKED, STRANGERS = "full", "read only", "revoked", "stranger's"


def create_default_state(words: StatusWords | None = None) -> State:
    """Create the initial state of a sandbox; without ``words``, with the status words seen in public logs.

    Slots of ``sandbox_user``: ``fresh`` (empty), ``running`` (empty, for tests to assign to), ``hooked`` (has a
    webhook), ``old_one`` (archived), ``signals_one`` (of another tournament), ``staked`` (a stake of 12.5). ``theirs``
    belongs to another account. Tokens: :data:`FULL`, :data:`READ_ONLY`, :data:`REVOKED`, :data:`STRANGERS`. A round
    is open.
    """
    state = State()
    state.words = words or state.words
    owner, stranger = SandboxAccount(username=OWNER), SandboxAccount(username=STRANGER)
    state.accounts = [owner, stranger]
    state.tokens = [
        Token(name=FULL, account=owner, scopes=set(SCOPES)),
        Token(name=READ_ONLY, account=owner, scopes={READ_SCOPE, "read_user_info"}),
        Token(name=REVOKED, account=owner, scopes=set(SCOPES), revoked=True),
        Token(name=STRANGERS, account=stranger, scopes=set(SCOPES)),
    ]
    for slot in (
        SandboxSlot(name="fresh", account=owner),
        SandboxSlot(name="running", account=owner),
        SandboxSlot(name="hooked", account=owner, webhook="https://example.com/hook"),
        SandboxSlot(name="old_one", account=owner, archived=True),
        SandboxSlot(name="signals_one", account=owner, tournament=SIGNALS),
        SandboxSlot(name="staked", account=owner, stake="12.5"),
        SandboxSlot(name="theirs", account=stranger),
    ):
        state.add_slot(slot)
    # The tournament's default was 3.12 when this was written.
    state.images = [
        Image(name="Python 3.12", image="numerai_predict_py_3_12", tag="a78dedd", default=True),
        Image(name="Python 3.11", image="numerai_predict_py_3_11", tag="a78dedd"),
        Image(name="Python 3.13", image="numerai_predict_py_3_13", tag="03624a6"),
        Image(name="Python 3.10", image="numerai_predict_py_3_10", tag="a78dedd", deprecated=True),
        Image(name="Python 3.14", image="numerai_predict_py_3_14", tag="5d4e1b0", experimental=True),
    ]
    state.data_versions = [
        SandboxDataVersion(name=data_versions.DEFAULT, default=True),
        SandboxDataVersion(name="v5.2"),
        SandboxDataVersion(name="v4.3", deprecated=True),
        SandboxDataVersion(name="v6.0", experimental=True),
    ]
    state.open_round()
    return state
