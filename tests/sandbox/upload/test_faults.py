"""Every row of the table of faults that an upload must survive, by its number. One record, one assignment, or none."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder import api, errors, settings, tournament, web
from builder.progress import Silent
from builder.upload import storage as sending
from tests.sandbox import faults, runs, storage
from tests.support import uploads

if TYPE_CHECKING:
    import ssl
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.sandbox import server
    from tests.support.uploads import Project

    Asking = Callable[..., tournament.Tournament]

MB = 1 << 20
WAITING = "waiting for another upload of this pickle to register it\n"
CREATE, ASSIGN = "createComputePickleUpload", "assignPickleToModel"
SEGMENTATION = "Segmentation fault! Ensure python and library versions match our environment."


def check_deployed(project: Project, slot: str = "fresh") -> None:
    """One record, its bytes whole, assigned."""
    (record,) = project.records()
    assert project.slot(slot).pickle_id == record.id
    assert project.sandbox.stored(record.filename) == (project.folder / "model.pkl").read_bytes()
    assert project.receipt()["pickle"] == record.id


def check_nothing_registered(project: Project) -> None:
    assert project.records() == []
    assert project.sandbox.requests.count(CREATE) == 0
    assert project.slot().pickle_id is None


def big(project: Project, size: int = 8 * MB) -> None:
    """Have a pickle that does not fit into the buffers between two processes."""
    project.replace_pickle(bytes(range(251)) * (size // 251 + 1))


@pytest.fixture
def ask(sandbox: server.Sandbox) -> Iterator[Asking]:
    """Ask the stand-in, or another address, in this process; what was waited is noted instead."""
    token = sandbox.state.token("full")
    held = settings.Token(public_id=token.public_id, secret=token.secret_key, source="the test")
    with contextlib.ExitStack() as undo:

        def asking(url: str = "", *, silent: float = 30.0, waits: list[float] | None = None) -> tournament.Tournament:
            noted = waits if waits is not None else []
            patience = api.Patience(first=0.0, longest=10.0, silent=silent)
            client = api.Client(url or sandbox.api_url, held, Silent(), patience=patience, sleep=noted.append)
            return tournament.Tournament(undo.enter_context(client))

        yield asking


# ---- 1 to 8: asking the API


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "https://no-such-host.invalid/"], ids=["refused", "no-name"])
def test_row_1_the_api_cannot_be_reached(ask: Asking, url: str) -> None:
    waits: list[float] = []
    with pytest.raises(errors.NetworkError, match="no connection") as caught:
        ask(url, waits=waits).account()
    assert len(waits) == 4
    assert caught.value.exit_code == 4


def test_row_1_the_command_says_so_and_changes_nothing(project: Project) -> None:
    code, out, err = project.upload(NUMERAI_API_URL="http://127.0.0.1:1/")
    assert (code, out) == (4, "")
    assert "127.0.0.1:1" in err
    assert "no connection" in err
    check_nothing_registered(project)


@contextlib.contextmanager
def _deaf() -> Iterator[str]:
    """Listen, with no room for one more connection."""
    with socket.socket() as listener, contextlib.ExitStack() as undo:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = undo.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_row_2_no_connection_in_time_is_tried_again(ask: Asking) -> None:
    waits: list[float] = []
    with _deaf() as url, pytest.raises(errors.UnansweredError, match=r"no answer for 0\.2 s") as caught:
        ask(url, silent=0.2, waits=waits).account()
    assert len(waits) == 4
    assert not caught.value.sent


def test_row_3_a_query_without_an_answer_is_asked_again(sandbox: server.Sandbox, ask: Asking) -> None:
    sandbox.faults.add("account", faults.stall())
    assert ask(silent=0.3).account().username == "sandbox_user"
    assert sandbox.requests.count("account") == 2


@pytest.mark.parametrize(("asked", "waited"), [("3", 3.0), ("86400", 10.0)], ids=["honoured", "capped"])
def test_row_4_too_many_requests(sandbox: server.Sandbox, ask: Asking, asked: str, waited: float) -> None:
    sandbox.faults.add("account", faults.too_many(asked))
    waits: list[float] = []
    assert ask(waits=waits).account().username == "sandbox_user"
    assert waits == [waited]


WAITS = """
import sys, time
from builder.cli import main
time.sleep = lambda seconds: print(f"waits {seconds:g} s", file=sys.stderr)
sys.exit(main.main(["upload", "configs/small.yaml", "--model", "fresh", "--yes"]))
"""


@pytest.mark.parametrize(("asked", "waited"), [("7", "7"), ("86400", "60")], ids=["honoured", "capped"])
def test_row_4_too_many_registrations(project: Project, asked: str, waited: str) -> None:
    project.sandbox.faults.add(CREATE, faults.too_many(asked), times=2)
    done = uploads.python(WAITS, project.root, **project.environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"waits {waited} s\n") == 2
    check_deployed(project)


def test_row_4_too_many_registrations_for_ever(project: Project) -> None:
    project.sandbox.faults.add(CREATE, faults.too_many("30"), times=None)
    code, _, err = project.upload()
    assert code == 4
    assert "HTTP 429, asked too often (3 times); nothing was registered" in err
    assert "looked for" not in err
    assert project.records() == []


def test_row_21_a_refusal_after_a_doubt_is_looked_behind(project: Project) -> None:
    """The first is applied and listed late, the second is refused: the list has it by then."""
    project.sandbox.faults.add(CREATE, faults.applied(faults.html(502)))
    project.sandbox.faults.add(CREATE, faults.too_many("1"))
    hidden = faults.changed(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=4, after=2)
    assert project.upload()[0] == 0
    check_deployed(project)


def test_row_5_a_page_of_html(project: Project) -> None:
    project.sandbox.faults.add("account", faults.html(502), times=None)
    code, _, err = project.upload()
    assert code == 4
    assert "HTTP 502" in err
    assert "html" not in err.lower()
    check_nothing_registered(project)


def test_row_5_a_page_of_html_once(project: Project) -> None:
    project.sandbox.faults.add("account", faults.html(503))
    assert project.upload()[0] == 0
    check_deployed(project)


@pytest.mark.parametrize(
    "action", [faults.errors("the moon is full"), faults.errors_detail("the moon is full")], ids=["list", "detail"]
)
def test_row_6_the_servers_words(project: Project, action: faults.Action) -> None:
    project.sandbox.faults.add(CREATE, action)
    code, _, err = project.upload()
    assert code == 4
    assert "the moon is full" in err
    assert project.records() == []


@pytest.mark.parametrize(
    ("match", "action", "said"),
    [
        ("account", faults.data_null(), "no data"),
        ("computePickleUploadAuth", faults.without("computePickleUploadAuth", "url"), "no url, but filename"),
        ("computePickleUploadAuth", faults.answers("computePickleUploadAuth", None), "no url, but nothing"),
        (
            "computePickleUploadAuth",
            faults.answers("computePickleUploadAuth", "text"),
            "not what the API's schema says",
        ),
        ("apiTokenInfo", faults.answers("apiTokenInfo", [1]), "not what the API's schema says"),
        ("account", faults.answers("account", {"models": ["text"]}), "not what the API's schema says"),
        ("account", faults.answers("account", {"maxModelSlots": "many"}), "not what the API's schema says"),
        ("computePickles", faults.answers("computePickles", {"id": "1"}), "not what the API's schema says"),
    ],
    ids=[
        "data-null",
        "url-missing",
        "field-null",
        "auth-text",
        "token-list",
        "slots-text",
        "slots-many",
        "pickles-map",
    ],
)
def test_row_7_what_came_is_said(project: Project, match: str, action: faults.Action, said: str) -> None:
    project.sandbox.faults.add(match, action)
    code, _, err = project.upload()
    assert code == 4
    assert said in err
    check_nothing_registered(project)


@pytest.mark.parametrize(("token", "said"), [("revoked", "will not do"), ("read only", "lacks the scope")])
def test_row_8_a_token_that_will_not_do(project: Project, token: str, said: str) -> None:
    code, _, err = project.run("upload", "configs/small.yaml", "--model", "fresh", "--yes", token=token)
    assert code == 4
    assert said in err
    assert "numer.ai/account" in err
    assert len(project.sandbox.requests) == 1  # no retry


# ---- 9 to 18: sending the bytes


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(faults.reset(after_bytes=3 * MB), id="row-9-reset"),
        pytest.param(faults.status(500), id="row-10-500"),
        pytest.param(faults.status(503), id="row-10-503"),
        pytest.param(faults.early(faults.status(503)), id="row-10-503-before-the-body"),
        pytest.param(faults.refused(storage.TIMED_OUT), id="row-13-RequestTimeout"),
        pytest.param(faults.redirect(301), id="row-14-301"),
        pytest.param(faults.redirect(307), id="row-14-307"),
        pytest.param(faults.applied(faults.reset()), id="row-15-stored-then-reset"),
        pytest.param(faults.wrong_etag(), id="row-16-wrong-md5"),
        pytest.param(faults.truncated(), id="row-16-truncated"),
    ],
)
def test_the_bytes_are_sent_again(project: Project, action: faults.Action) -> None:
    big(project)
    project.sandbox.faults.add("PUT", action)
    code, _, err = project.upload()
    assert code == 0, err
    check_deployed(project)
    puts = project.sandbox.requests.of("PUT")
    assert len(puts) == 2
    assert not any(one.had_token for one in puts)
    assert not any("content-type" in one.headers for one in puts)
    assert project.sandbox.requests.count("computePickleUploadAuth") == 1


def test_row_11_an_address_that_has_expired(project: Project) -> None:
    project.sandbox.faults.add("PUT", faults.refused(storage.EXPIRED))
    assert project.upload()[0] == 0
    check_deployed(project)
    assert project.sandbox.requests.count("computePickleUploadAuth") == 2


def test_row_12_a_bad_signature_ends_it(project: Project) -> None:
    project.sandbox.faults.add("PUT", faults.refused(storage.BAD_SIGNATURE), times=None)
    code, _, err = project.upload()
    assert code == 4
    assert "SignatureDoesNotMatch" in err
    assert project.sandbox.requests.count("PUT") == 1
    check_nothing_registered(project)


def test_row_14_another_host_gets_nothing(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        project.sandbox.faults.add("PUT", faults.redirect(307, f"127.0.0.1:{other.getsockname()[1]}"), times=None)
        code, _, err = project.upload()
        with pytest.raises(BlockingIOError):
            other.accept()
    assert code == 4
    assert "only the host that the API names is sent a model" in err
    check_nothing_registered(project)


def _send(
    project: Project, ask: Asking, patience: sending.Patience, waits: list[float] | None = None
) -> sending.Stored:
    questioned = ask()
    recorded = project.manifest()["pickle"]

    def authorise() -> tournament.FileAuth:
        return questioned.upload_auth("small.pkl", project.slot().id)

    return sending.put(
        authorise(),
        project.folder / "model.pkl",
        sha256=recorded["sha256"],
        md5=sending.md5_of(project.folder / "model.pkl"),
        size=recorded["size"],
        progress=Silent(),
        clock_ahead=None,
        renew=authorise,
        patience=patience,
        sleep=([] if waits is None else waits).append,
    )


def quick(*, attempts: int = 3, silent: float = 30.0, total: float = 60.0) -> sending.Patience:
    """Be as patient as a test may be."""
    return sending.Patience(attempts=attempts, silent=silent, total=total)


@pytest.mark.parametrize("action", [faults.wrong_etag(), faults.truncated()], ids=["wrong", "truncated"])
def test_row_16_another_file_is_stored_each_time(project: Project, ask: Asking, action: faults.Action) -> None:
    project.sandbox.faults.add("PUT", action, times=None)
    with pytest.raises(errors.NetworkError, match="what is stored is not what was sent"):
        _send(project, ask, quick())
    assert project.sandbox.requests.count("PUT") == 2
    check_nothing_registered(project)


@pytest.mark.parametrize(("asked", "waited"), [("7", 7.0), ("86400", 30.0)], ids=["honoured", "capped"])
def test_row_10_a_busy_storage_says_how_long_to_wait(project: Project, ask: Asking, asked: str, waited: float) -> None:
    waits: list[float] = []
    project.sandbox.faults.add("PUT", faults.too_many(asked))
    assert _send(project, ask, quick(), waits).filename
    assert waits == [waited]


def test_row_17_a_stall_is_cut_and_sent_again(project: Project, ask: Asking) -> None:
    big(project, 64 * MB)
    project.sandbox.faults.add("PUT", faults.stall(after_bytes=MB))
    assert _send(project, ask, quick(silent=0.5)).filename
    assert project.sandbox.requests.count("PUT") == 2


def test_row_17_stalls_for_ever_end(project: Project, ask: Asking) -> None:
    project.sandbox.faults.add("PUT", faults.stall(), times=None)
    with pytest.raises(errors.NetworkError, match="nothing was registered"):
        _send(project, ask, quick(silent=0.2))
    check_nothing_registered(project)


def test_row_17_the_total_deadline(project: Project, ask: Asking) -> None:
    big(project)
    with pytest.raises(errors.NetworkError, match="not stored after 0 s"):
        _send(project, ask, quick(total=0.0))
    assert list(project.sandbox.state.stored()) == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_row_17_an_answer_that_drips_for_ever_is_cut_off(
    project: Project, ask: Asking, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage takes everything, then says a byte at a time: never silent, never done."""
    ended = threading.Event()
    context = None
    if scheme == "https":
        context, certificate = uploads.certified(tmp_path)
        # Of this computer itself no setting of the environment is asked for: so it is taken for another.
        monkeypatch.setattr(web, "is_local", lambda _: False)
        for name, value in {"SSL_CERT_FILE": str(certificate), "NO_PROXY": "*"}.items():
            monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_drip, args=(listening, ended, context))
        thread.start()
        address = f"{scheme}://localhost:{listening.getsockname()[1]}/one?X-Signature=s"
        project.sandbox.faults.add("computePickleUploadAuth", _at(address), times=None)
        started = time.monotonic()
        try:
            with pytest.raises(errors.NetworkError, match="not stored after 1 s"):
                _send(project, ask, quick(silent=20, total=1))
        finally:
            ended.set()
            thread.join()
    assert time.monotonic() - started < _DRIPS
    check_nothing_registered(project)


def _at(address: str) -> faults.Action:
    return faults.answers("computePickleUploadAuth", {"filename": "one.pkl", "url": address})


_DRIPS = 10.0
"""Seconds; long after a send is to be cut off."""


def _drip(listening: socket.socket, ended: threading.Event, context: ssl.SSLContext | None) -> None:
    connection, _ = listening.accept()
    with contextlib.suppress(OSError), contextlib.ExitStack() as undo:
        secured = context.wrap_socket(connection, server_side=True) if context else connection
        undo.enter_context(secured)
        secured.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        ends = time.monotonic() + _DRIPS
        while time.monotonic() < ends and not ended.wait(0.05):
            secured.sendall(b"x")


@pytest.mark.parametrize("how", ["changes", "shrinks", "grows"])
def test_row_18_the_file_changes_while_it_is_sent(project: Project, how: str) -> None:
    big(project)
    path = project.folder / "model.pkl"
    project.sandbox.faults.add("PUT", faults.stall(after_bytes=MB))
    with project.start("upload", "configs/small.yaml", "--model", "fresh", "--yes") as process:
        project.sandbox.requests.wait_for("PUT", read=MB)
        with path.open("r+b") as file:
            if how == "changes":
                file.seek(7 * MB)
                file.write(b"something else")
            else:
                file.truncate(5 * MB if how == "shrinks" else 9 * MB)
        project.sandbox.faults.release()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "it changed while it was sent" in err
    assert "make pickle" in err
    check_nothing_registered(project)
    assert not any(one.status == 200 for one in project.sandbox.requests.of("PUT"))  # no object either


# ---- 19 to 23: one record


@pytest.mark.parametrize(
    ("action", "sent"),
    [
        pytest.param(faults.applied(faults.html(502)), 1, id="row-19-applied-502"),
        pytest.param(faults.applied(faults.reset()), 1, id="row-20-applied-reset"),
        pytest.param(faults.answers(CREATE, None), 1, id="row-20-applied-without-an-id"),
        pytest.param(faults.applied(faults.data_null()), 1, id="row-20-applied-without-data"),
        pytest.param(faults.changed(lambda _: {"data": {}}), 1, id="row-20-applied-without-the-field"),
        pytest.param(faults.applied(faults.html(200)), 1, id="row-20-applied-and-no-json"),
        pytest.param(faults.html(502), 2, id="row-21-502"),
        pytest.param(faults.reset(), 2, id="row-21-reset"),
    ],
)
def test_a_registration_whose_answer_is_lost(project: Project, action: faults.Action, sent: int) -> None:
    project.sandbox.faults.add(CREATE, action)
    code, _, err = project.upload()
    assert code == 0, err
    check_deployed(project)
    assert project.sandbox.requests.count(CREATE) == sent
    assert project.sandbox.requests.count("PUT") == 1


def test_row_21_never_registered_is_an_error_and_goes_on_later(project: Project) -> None:
    project.sandbox.faults.add(CREATE, faults.html(502), times=3)
    code, _, err = project.upload()
    assert code == 4
    assert "it was looked for and is not there (3 times); run it again later" in err
    assert project.records() == []
    assert project.upload()[0] == 0
    check_deployed(project)
    assert project.sandbox.requests.count("PUT") == 1  # what is stored is not sent again


def test_row_23_the_second_says_who_holds_it(project: Project) -> None:
    project.sandbox.faults.add("PUT", faults.stall())
    with project.start("upload", "configs/small.yaml", "--model", "fresh", "--yes") as process:
        project.sandbox.requests.wait_for("PUT")
        code, out, err = project.upload()
        project.sandbox.faults.release()
        _, first = process.communicate(timeout=60)
    assert (code, out) == (5, "")
    assert f"process {process.pid}, since " in err
    assert process.returncode == 0, first
    check_deployed(project)


def test_row_23_another_slot_waits_and_shares_the_record(project: Project) -> None:
    project.sandbox.faults.add("PUT", faults.stall())
    command = ("upload", "configs/small.yaml", "--yes", "--model")
    with project.start(*command, "fresh") as first:
        project.sandbox.requests.wait_for("PUT")
        with project.start(*command, "running") as second:
            assert second.stderr is not None
            said = "".join(itertools.takewhile(lambda line: line != WAITING, second.stderr))
            project.sandbox.faults.release()
            _, err = second.communicate(timeout=60)
        first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), said + err
    check_deployed(project, "running")
    assert project.slot("fresh").pickle_id == project.slot("running").pickle_id
    assert project.sandbox.requests.count(CREATE) == 1


def test_row_23_another_slot_uses_what_was_registered_and_is_not_listed_yet(project: Project) -> None:
    assert project.upload()[0] == 0
    hidden = faults.changed(lambda answer: {**answer, "data": {"computePickles": []}})
    project.sandbox.faults.add("computePickles", hidden, times=2)
    code, _, err = project.upload(slot="running")
    assert code == 0, err
    assert project.sandbox.faults.left() == 0
    assert "another upload of it made" in err
    check_deployed(project, "running")


def test_again_is_not_taken_for_the_record_that_failed(project: Project) -> None:
    """A storage that gives the same name again; the new registration gets no answer, and was not applied."""
    project.sandbox.runs.judge = runs.Scripted.failing(SEGMENTATION)
    assert project.upload()[0] == 1
    (failed,) = project.records()
    project.sandbox.runs.judge = runs.Scripted()
    project.sandbox.faults.add("computePickleUploadAuth", _named(failed.filename))
    project.sandbox.faults.add(CREATE, faults.html(502))
    code, _, err = project.upload("--again")
    assert code == 0, err
    first, second = project.records()
    assert project.slot().pickle_id == second.id != first.id


def _named(filename: str) -> faults.Action:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        answer["data"]["computePickleUploadAuth"]["filename"] = filename
        return answer

    return faults.changed(change)


def test_again_uses_no_record_of_another_slot_that_failed(project: Project) -> None:
    project.sandbox.runs.judge = runs.Scripted.failing(SEGMENTATION)
    assert project.upload()[0] == 1
    project.sandbox.runs.judge = runs.Scripted()
    assert project.upload("--again", slot="running")[0] == 0
    first, second = project.records()
    assert project.slot("running").pickle_id == second.id != first.id


# ---- 24 to 29: what the tournament says


def test_row_24_a_validation_that_fails(project: Project) -> None:
    project.sandbox.runs.judge = runs.Scripted.failing(SEGMENTATION, "loading", "the last line", interim=("pending",))
    before = project.running()
    code, out, _ = project.upload("--no-compare", slot="running")
    assert code == 1
    assert SEGMENTATION in out
    assert "the last line" in out
    assert "make pickle" in out  # the likely cause, and its fix
    assert project.slot("running").pickle_id == before.id
    assert project.sandbox.requests.count(ASSIGN) == 0
    assert project.journal("running")[-1]["step"] == "failed"


def test_row_24_it_is_not_sent_again_by_itself(project: Project) -> None:
    project.sandbox.runs.judge = runs.Scripted.failing(SEGMENTATION)
    assert project.upload()[0] == 1
    assert project.upload()[0] == 1
    assert len(project.records()) == 1
    project.sandbox.runs.judge = runs.Scripted()
    assert project.upload("--again")[0] == 0
    assert len(project.records()) == 2


def test_row_25_out_of_time_and_on_again(project: Project) -> None:
    project.sandbox.runs.judge = runs.Scripted(interim=("pending", "simmering"), settles=False)
    code, _, err = project.upload("--wait", "0")
    (record,) = project.records()
    assert code == 4
    assert record.id in err
    assert "run the same command again" in err
    assert project.slot().pickle_id is None
    record.interim.clear()
    record.status, record.passed = "validated", True
    assert project.upload()[0] == 0
    check_deployed(project)


def test_row_25_a_word_that_nobody_knows_is_shown_and_waited_on(project: Project) -> None:
    project.sandbox.runs.judge = runs.Scripted(interim=("pending", "simmering"))
    code, _, err = project.upload()
    assert code == 0
    assert [line for line in err.splitlines() if line.startswith("validation:")] == [
        "validation: pending",
        "validation: simmering",
        "validation: validated",
    ]


_LOOKS_BEFORE = 2
"""How often the slots are read before anything is assigned: for the plan, and just before."""
_LOOKS_AFTER = 5
"""How often a slot is read back before it is taken for what it says."""


def _wrong(kind: str, other: str) -> tuple[str, faults.Action, int]:
    if kind == "answer":
        return ASSIGN, faults.answers(ASSIGN, other), 0
    if kind == "failure":
        return ASSIGN, faults.answers(ASSIGN, "error"), 0
    if kind == "assigned":
        return ASSIGN, faults.assigns_another(other), 0
    return "account", faults.shows_another(other), _LOOKS_BEFORE


@pytest.mark.parametrize("kind", ["answer", "failure", "assigned", "shown"])
def test_row_26_the_slot_gets_back_what_it_had(project: Project, kind: str) -> None:
    before = project.running()
    other = project.sandbox.state.add_pickle(project.slot("running"), "another-ffffffffffff.pkl")
    match, action, after = _wrong(kind, other.id)
    project.sandbox.faults.add(match, action, after=after, times=_LOOKS_AFTER if kind == "shown" else 1)
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 4
    assert "runs what it ran before" in err
    assert project.sandbox.faults.left() == 0
    assert project.slot("running").pickle_id == before.id
    assert not (project.folder / "receipt.json").exists()


def test_row_26_an_empty_slot_is_empty_again(project: Project) -> None:
    other = project.sandbox.state.add_pickle(project.slot(), "another-ffffffffffff.pkl")
    project.sandbox.faults.add(ASSIGN, faults.assigns_another(other.id))
    assert project.upload()[0] == 4
    assert project.slot().pickle_id is None


def test_row_26_what_cannot_be_given_back_is_said_loudly(project: Project) -> None:
    before = project.running()
    other = project.sandbox.state.add_pickle(project.slot("running"), "another-ffffffffffff.pkl")
    project.sandbox.faults.add(ASSIGN, faults.assigns_another(other.id), times=None)
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 4
    assert "could NOT be given back" in err
    assert f"python -m builder assign running {before.id}" in err
    assert [line["step"] for line in project.journal("running")][-1] == "assigning"


def test_row_26_what_could_not_be_given_back_is_known_to_rollback(project: Project) -> None:
    """By the journal alone, too: the slot's own log may be on another machine."""
    before = project.running()
    project.sandbox.faults.add(ASSIGN, faults.html(502), times=None, after=1)
    other = project.sandbox.state.add_pickle(project.slot("running"), "another-ffffffffffff.pkl")
    project.sandbox.faults.add("account", faults.shows_another(other.id), after=_LOOKS_BEFORE, times=_LOOKS_AFTER)
    code, _, err = project.upload("--no-compare", slot="running")
    assert (code, "could NOT be given back" in err) == (4, True)
    assert project.slot("running").pickle_id == project.records()[0].id
    project.sandbox.faults.clear()
    for path in project.logs():
        path.unlink()
    assert project.run("rollback", "running", "--yes")[0] == 0
    assert project.slot("running").pickle_id == before.id


def test_row_26_an_assignment_whose_answer_is_lost(project: Project) -> None:
    project.sandbox.faults.add(ASSIGN, faults.applied(faults.reset()))
    assert project.upload()[0] == 0
    check_deployed(project)


def test_row_26_what_may_yet_take_effect_is_ordered_back_all_the_same(project: Project) -> None:
    before = project.running()
    project.sandbox.faults.add(ASSIGN, faults.html(502), times=3)
    code, _, err = project.upload("--no-compare", slot="running")
    assert code == 4
    assert "runs what it ran before" in err
    assert project.sandbox.requests.count(ASSIGN) == 4
    assert project.slot("running").pickle_id == before.id


@pytest.mark.parametrize("what", ["image", "data version", "file"])
def test_a_record_that_is_not_what_was_planned_is_not_assigned(project: Project, what: str) -> None:
    """However its id was come by; here, the API answers with it."""
    state = project.sandbox.state
    digits = "ffffffffffff" if what == "file" else project.sha256[:12]
    other = state.add_pickle(project.slot(), f"small-{digits}.pkl")
    if what == "image":
        other.image = next(one for one in state.images if not one.default)
    if what == "data version":
        other.data_version = next(one for one in state.data_versions if not one.default)
    project.sandbox.faults.add(CREATE, faults.answers(CREATE, {"id": other.id}))
    code, _, err = project.upload()
    assert code == 4
    assert f"{other.id}: is on record as {other.filename}" in err
    assert "fresh is not changed" in err
    assert project.sandbox.requests.count(ASSIGN) == 0
    assert project.upload()[0] == 0
    assert project.slot().pickle_id not in {None, other.id}


def test_a_stored_name_without_the_hash_is_known_by_the_journal(project: Project) -> None:
    project.sandbox.state.keeps_names = False
    for _ in range(2):
        code, _, err = project.upload()
        assert code == 0, err
        (record,) = project.sandbox.state.stored()
        assert project.sha256[:12] not in record.filename
        assert project.slot().pickle_id == record.id == project.receipt()["pickle"]


@pytest.mark.parametrize("slot", ["fresh", "running"], ids=["this-slot", "another-slot"])
def test_row_27_the_same_hash_is_there_already(project: Project, slot: str) -> None:
    assert project.upload()[0] == 0
    for path in project.folder.glob("journal-*"):
        path.unlink()
    code, out, err = project.upload(slot=slot)
    assert code == 0, err
    assert len(project.records()) == 1
    assert project.sandbox.requests.count("PUT") == project.sandbox.requests.count(CREATE) == 1
    assert project.slot(slot).pickle_id == project.records()[0].id
    assert ("as it did already" in out) == (slot == "fresh")
    assert project.sandbox.requests.count(ASSIGN) == (1 if slot == "fresh" else 2)


LITTLE_SPACE = """
import resource, sys
from builder.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, resource.RLIM_INFINITY))
sys.exit(main.main(["upload", "configs/small.yaml", "--model", "fresh", "--yes"]))
"""


def test_row_28_no_space_for_the_journal(project: Project) -> None:
    done = uploads.python(LITTLE_SPACE, project.root, **project.environment())
    assert done.returncode == 2
    assert "free some space" in done.stderr
    assert len(project.sandbox.requests) == 0


def _kept(project: Project, process: subprocess.Popen[str]) -> int:
    """Return the bytes on the disk that a process keeps beside the pickle, under a name or none."""
    opened = [one for one in Path(f"/proc/{process.pid}/fd").iterdir() if one.is_file() and one.stat().st_nlink == 0]
    nameless = [one for one in opened if str(one.readlink()).startswith(f"{project.folder}/")]
    return sum(one.stat().st_size for one in (*nameless, *project.folder.glob(".journal-space*")))


def test_row_28_the_space_is_not_taken_by_one_that_is_refused(project: Project) -> None:
    project.sandbox.faults.add("PUT", faults.stall())
    with project.start("upload", "configs/small.yaml", "--model", "fresh", "--yes") as process:
        project.sandbox.requests.wait_for("PUT")
        kept = _kept(project, process)
        assert kept > 0
        assert project.upload()[0] == 5
        assert project.run("upload", "configs/small.yaml", "--model", "fresh", "--yes", token="revoked")[0] == 4
        assert _kept(project, process) == kept
        project.sandbox.faults.release()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert not list(project.folder.glob(".journal-space*"))


@pytest.mark.parametrize("kind", ["signature", "expired"])
def test_row_29_a_clock_that_is_off_is_hinted_at(project: Project, kind: str) -> None:
    refusal = storage.BAD_SIGNATURE if kind == "signature" else storage.EXPIRED
    project.sandbox.state.clock_offset = -uploads.QUARTER_OF_AN_HOUR
    project.sandbox.faults.add("PUT", faults.refused(refusal), times=None)
    code, _, err = project.upload()
    assert code == 4
    assert "clock is 15 minutes ahead" in err
    check_nothing_registered(project)


# ---- 30: nothing unverified


def test_row_30_a_certificate_that_is_not_trusted(project: Project, tmp_path: Path) -> None:
    with uploads.self_signed(tmp_path) as (url, connections):
        code, _, err = project.upload(NUMERAI_API_URL=url)
    assert code == 4
    assert "its certificate is not trusted" in err
    assert not connections.requests


def test_a_registration_whose_answer_cannot_be_read_is_found(project: Project) -> None:
    project.sandbox.faults.add(CREATE, faults.answers(CREATE, "text"))
    assert project.upload()[0] == 0
    check_deployed(project)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere/authority.pem"),
        ("SSL_CERT_FILE", "/dev/null"),
        ("HTTPS_PROXY", "carrier-pigeon://user:hidden@proxy.example:1"),
        ("HTTPS_PROXY", "http://user:hidden@proxy.example:port"),
        ("ALL_PROXY", "socks5://proxy.example:1080"),
    ],
)
def test_row_30_an_environment_that_will_not_do_is_named(project: Project, name: str, value: str) -> None:
    code, _, err = project.upload(NUMERAI_API_URL="https://api-tournament.example/", **{name: value, "NO_PROXY": ""})
    assert code == 2
    assert f"mend or unset {name}" in err
    assert "hidden" not in err


def test_row_30_a_proxy_that_refuses(project: Project) -> None:
    with uploads.refusing_proxy() as (address, asked):
        code, _, err = project.upload(
            NUMERAI_API_URL="https://api-tournament.example/", HTTPS_PROXY=f"http://{address}", NO_PROXY=""
        )
    assert code == 4
    assert "any proxy" in err
    assert asked
    assert all(line.startswith("CONNECT api-tournament.example:443") for line in asked)


# ---- 31: no secret anywhere


def test_row_31_no_token_and_no_presigned_query_anywhere(project: Project, tmp_path: Path) -> None:
    big(project)
    project.sandbox.faults.add("PUT", faults.stall(after_bytes=MB))
    project.sandbox.faults.add("PUT", faults.status(503))
    project.sandbox.faults.add(CREATE, faults.applied(faults.html(502)))
    seen: list[bytes] = []
    with project.start("upload", "configs/small.yaml", "--model", "fresh", "--yes", TMPDIR=str(tmp_path)) as process:
        project.sandbox.requests.wait_for("PUT", read=MB)
        seen.append(uploads.command_line(process))
        project.sandbox.faults.release()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    seen += [out.encode(), err.encode()]
    seen += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    secret = project.sandbox.state.token("full").secret_key.encode()
    assert not [text for text in seen if secret in text or b"X-Signature" in text or b"ignature=" in text]


def test_row_31_not_even_in_the_log_of_the_http_library(project: Project) -> None:
    program = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from builder.cli import main
sys.exit(main.main(["upload", "configs/small.yaml", "--model", "fresh", "--yes"]))
"""
    project.sandbox.faults.add("PUT", faults.redirect(307))
    done = uploads.python(program, project.root, **project.environment())
    assert done.returncode == 0, done.stderr
    check_deployed(project)
    said = done.stdout + done.stderr
    assert project.sandbox.state.token("full").secret_key not in said
    assert "ignature" not in said


def test_row_31_a_traceback_holds_none(project: Project, tmp_path: Path) -> None:
    program = """
import sys
from builder.upload import storage
from builder.cli import main
def broken(*_, **__):
    raise RuntimeError("a bug")
storage._judge = broken
sys.exit(main.main(["upload", "configs/small.yaml", "--model", "fresh", "--yes"]))
"""
    done = uploads.python(program, project.root, **{**project.environment(), "TMPDIR": str(tmp_path)})
    assert done.returncode == 70
    (report,) = tmp_path.glob("numerai-builder-*.txt")
    said = done.stdout + done.stderr + report.read_text()
    assert "a bug" in said
    assert project.sandbox.state.token("full").secret_key not in said
    assert "ignature" not in said


def test_a_thread_is_left_behind_by_nothing(project: Project, ask: Asking) -> None:
    before = set(threading.enumerate())
    project.sandbox.faults.add("PUT", faults.status(503), times=None)
    with pytest.raises(errors.NetworkError):
        _send(project, ask, quick())
    # The stand-in's own serve one connection each.
    left = [one for one in threading.enumerate() if one not in before and not _serves(one)]
    assert left == []


def _serves(thread: threading.Thread) -> bool:
    return "process_request_thread" in thread.name
