"""What the sandbox knows, in memory: accounts, tokens, slots, images, data versions, pickles, rounds.

A test changes any of it directly, holding :attr:`State.lock` only where a request may be under way:

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


def new_id() -> str:
    """Return a fresh UUID."""
    return str(uuid.uuid4())


@dataclass(kw_only=True)
class SandboxAccount:
    """Somebody's account."""

    username: str
    max_model_slots: int = 10
    inserted_at: datetime = datetime(2024, 2, 1, 12, tzinfo=UTC)
    id: str = field(default_factory=new_id)


@dataclass(kw_only=True)
class Token:
    """An API token. The values are this sandbox's own and worth nothing anywhere else."""

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
    """A score of a submission on a day of its round."""

    name: str
    day: int
    at: datetime
    value: float
    percentile: float
    payout: str | None = None


@dataclass(kw_only=True)
class SandboxSubmission:
    """What a run of a pickle submitted for a slot in a round; ``scores`` is for a test to fill."""

    filename: str
    status: str
    round: SandboxRound
    inserted_at: datetime
    scores: list[Score] = field(default_factory=list)
    id: str = field(default_factory=new_id)


@dataclass(kw_only=True)
class SandboxSlot:
    """A model slot. ``stake`` is the text of the stake's latest value, or None; ``pickle_id`` is what is assigned."""

    name: str
    account: SandboxAccount
    tournament: int = CLASSIC
    archived: bool = False
    webhook: str | None = None
    stake: str | None = None
    pickle_id: str | None = None
    submissions: list[SandboxSubmission] = field(default_factory=list)
    id: str = field(default_factory=new_id)

    @property
    def latest_submission(self) -> SandboxSubmission | None:
        """Its last submission."""
        return self.submissions[-1] if self.submissions else None


@dataclass(kw_only=True)
class Image:
    """A runtime on offer."""

    name: str
    image: str
    tag: str
    default: bool = False
    deprecated: bool = False
    experimental: bool = False
    inserted_at: datetime = datetime(2026, 1, 5, 12, tzinfo=UTC)
    id: str = field(default_factory=new_id)


@dataclass(kw_only=True)
class SandboxDataVersion:
    """A version of the data."""

    name: str
    default: bool = False
    deprecated: bool = False
    experimental: bool = False
    id: str = field(default_factory=new_id)


@dataclass(kw_only=True)
class Grant:
    """An authorisation to upload: the stored name, and for whom it was given."""

    filename: str
    account: SandboxAccount
    slot_id: str | None


@dataclass(kw_only=True)
class Log:
    """A line that a run printed; the time in seconds."""

    timestamp: int
    message: str


@dataclass(kw_only=True)
class Status:
    """A step in the life of a trigger."""

    status: str
    description: str | None
    at: datetime
    id: str = field(default_factory=new_id)


@dataclass(kw_only=True)
class Trigger:
    """A run of a pickle; the last status is where it is."""

    kind: str
    round: SandboxRound | None
    statuses: list[Status]
    submission_id: str | None = None
    logs: list[Log] = field(default_factory=list)
    id: str = field(default_factory=new_id)


@dataclass(kw_only=True)
class Pickle:
    """A registered upload.

    Attributes:
        status: Its validation's word.
        passed: Whether validation succeeded; assigning depends on this, not on the displayed words.
        interim: Words that polling by id shows first, one a reading.
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
    id: str = field(default_factory=new_id)


@dataclass(kw_only=True)
class SandboxRound:
    """A round and its times."""

    number: int
    open_time: datetime
    close_time: datetime
    tournament: int = CLASSIC

    def is_open(self, at: datetime) -> bool:
        """Tell whether it takes submissions."""
        return self.open_time <= at < self.close_time


class State:
    """Everything, and the lock under which requests and runs read and change it.

    Attributes:
        words: The status words that it speaks, which are not documented: another vocabulary may be set.
        clock_offset: Added to the clock: the Date header, all times shown, round times, expiries.
        checks_assigned: Whether only a pickle that has passed validation is assigned; this is not documented.
        signing_offset: Added to the expiry of addresses that are handed out, and to nothing else.
        lifetime: How long such an address is good.
        refusal_status: The HTTP status that comes with a missing or bad token.
        no_round_fails: With no round open, whether validation of a good pickle ends with the word for bad.
        runs_have_statuses: Whether a run is shown with its status and steps, or the pickle's ``triggerStatus`` alone.
        keeps_names: Whether a stored name holds the local one; this is not documented.
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
        self.checks_assigned = True
        self.signing_offset = timedelta()
        self.lifetime = timedelta(minutes=10)
        self.refusal_status = 200
        self.no_round_fails = False
        self.runs_have_statuses = True
        self.keeps_names = True

    def now(self) -> datetime:
        """Return the time by this server's clock."""
        return datetime.now(UTC) + self.clock_offset

    def get_slot(self, name: str) -> SandboxSlot:
        """Return a slot by its name."""
        return next(item for item in self.slots.values() if item.name == name)

    def get_token(self, name: str) -> Token:
        """Return a token by its name."""
        return next(item for item in self.tokens if item.name == name)

    def add_slot(self, slot: SandboxSlot) -> SandboxSlot:
        """Add a slot and return it."""
        self.slots[slot.id] = slot
        return slot

    def get_image(self, image: str) -> Image:
        """Return a runtime by its image's name, such as ``numerai_predict_py_3_11``."""
        return next(item for item in self.images if item.image == image)

    def slots_with(self, pickle_id: str) -> list[SandboxSlot]:
        """Return the slots that a pickle is assigned to."""
        return [slot for slot in self.slots.values() if slot.pickle_id == pickle_id]

    def list_pickles(self, account: SandboxAccount | None = None) -> list[Pickle]:
        """Return the registered pickles, the oldest first; those of one account where one is given."""
        return [item for item in self.pickles.values() if account is None or item.account is account]

    def current_round(self, tournament: int = CLASSIC) -> SandboxRound | None:
        """Return the latest round that has opened, or, where none has, the first that will."""
        rounds = sorted(
            (item for item in self.rounds if item.tournament == tournament), key=lambda item: item.open_time
        )
        begun = [item for item in rounds if item.open_time <= self.now()]
        return begun[-1] if begun else next(iter(rounds), None)

    def open_round(self, number: int = 1000) -> SandboxRound:
        """Make it so that one round is open: since an hour ago, for another day."""
        now = self.now()
        self.rounds = [
            SandboxRound(number=number, open_time=now - timedelta(hours=1), close_time=now + timedelta(days=1)),
            SandboxRound(number=number - 1, open_time=now - timedelta(days=2), close_time=now - timedelta(days=1)),
        ]
        return self.rounds[0]

    def close_round(self, number: int = 1000) -> SandboxRound:
        """Make it so that no round is open: one closed an hour ago, the next opens tomorrow and is returned."""
        now = self.now()
        self.rounds = [
            SandboxRound(
                number=number + 1, open_time=now + timedelta(days=1), close_time=now + timedelta(days=1, hours=1)
            ),
            SandboxRound(number=number, open_time=now - timedelta(hours=2), close_time=now - timedelta(hours=1)),
        ]
        return self.rounds[0]

    def add_pickle(self, slot: SandboxSlot, filename: str, *, assign: bool = False, passed: bool = True) -> Pickle:
        """Put a pickle on record that was uploaded at some earlier time, without its bytes."""
        now = self.now() - timedelta(days=3)
        pickle = Pickle(
            filename=filename,
            account=slot.account,
            slot_id=slot.id,
            image=next(item for item in self.images if item.default),
            data_version=next(item for item in self.data_versions if item.default),
            version=self.next_version(slot.id),
            status=self.words.good if passed else self.words.bad,
            passed=passed,
            inserted_at=now,
            updated_at=now,
        )
        self.pickles[pickle.id] = pickle
        if assign:
            slot.pickle_id = pickle.id
        return pickle

    def next_version(self, slot_id: str | None) -> int:
        """Return the number that a slot's next pickle has."""
        return 1 + sum(item.slot_id == slot_id for item in self.pickles.values())


OWNER, STRANGER = "sandbox_user", "somebody_else"
FULL, READ_ONLY, REVOKED, STRANGERS = "full", "read only", "revoked", "stranger's"


def default_state(words: StatusWords | None = None) -> State:
    """Return the world that a sandbox begins with; it speaks the words seen in public logs unless given others.

    Slots of ``sandbox_user``: ``fresh`` (empty), ``running`` (for a test to assign to), ``hooked`` (a webhook),
    ``old_one`` (archived), ``signals_one`` (of another tournament), ``staked`` (12.5); ``theirs`` is somebody else's.
    Tokens by their names: :data:`FULL`, :data:`READ_ONLY`, :data:`REVOKED`, :data:`STRANGERS`. A round is open.
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
    # The tournament's default was 3.12 when this was written. What is published here under these names are look-alikes
    # on Debian's own Pythons, and Debian has no 3.12: so the default is the 3.11 one, which is what it says it is.
    state.images = [
        Image(name="Python 3.11", image="numerai_predict_py_3_11", tag="a78dedd", default=True),
        Image(name="Python 3.12", image="numerai_predict_py_3_12", tag="a78dedd"),
        Image(name="Python 3.13", image="numerai_predict_py_3_13", tag="03624a6"),
        Image(name="Python 3.10", image="numerai_predict_py_3_10", tag="a78dedd", deprecated=True),
        Image(name="Python 3.14", image="numerai_predict_py_3_14", tag="5d4e1b0", experimental=True),
    ]
    state.data_versions = [
        SandboxDataVersion(name="v5.2", default=True),
        SandboxDataVersion(name="v5.1"),
        SandboxDataVersion(name="v4.3", deprecated=True),
        SandboxDataVersion(name="v5.3", experimental=True),
    ]
    state.open_round()
    return state
