"""Each scripted fault does at the socket what it says, and once."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import threading
from typing import TYPE_CHECKING, Any

import pytest

from builder.sandbox import faults, server, storage
from tests.sandbox import client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.sandbox.faults import Action

BODY = b"0123456789" * 300_000
GONE = (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)


def put(url: str, content: bytes = BODY) -> client.Response:
    return client.send("PUT", url, content)


def is_stored(sandbox: server.Sandbox, name: str) -> bool:
    return sandbox.storage.path(f"pickles/{name}").exists()


@contextlib.contextmanager
def cut_off(call: Callable[..., Any], *arguments: Any) -> Iterator[threading.Thread]:
    """Ask in a thread; at the end the connection has to be reset."""
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            call(*arguments)
        except GONE as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    yield thread
    thread.join(client.SECONDS)
    assert len(ended) == 1


@pytest.mark.parametrize(
    ("action", "status", "headers", "body"),
    [
        (faults.too_many("7"), 429, {"Retry-After": "7"}, b"{}"),
        (faults.html(502), 502, {"Content-Type": "text/html"}, faults.HTML),
        (faults.status(503), 503, {"Content-Length": "0"}, b""),
        (faults.errors("one", "two"), 200, {}, b'{"errors": [{"message": "one"}, {"message": "two"}]}'),
        (faults.errors_detail("no", 401), 401, {}, b'{"errors": {"detail": "no"}}'),
        (faults.data_null(), 200, {}, b'{"data": null}'),
    ],
)
def test_a_query_is_answered_something_else_once(
    sandbox: server.Sandbox, action: Action, status: int, headers: dict[str, str], body: bytes
) -> None:
    ask = client.Client(sandbox)
    sandbox.faults.add("account", action)
    ask.data("{ listDatasets }")
    answer = ask.post("{ account { id } }")
    assert (answer.status, answer.body) == (status, body)
    assert headers.items() <= answer.headers.items()
    ask.data("{ account { id } }")
    assert sandbox.faults.left() == 0
    assert [item.status for item in sandbox.requests.of("account")] == [status, 200]


def test_a_fault_is_used_as_often_as_it_says_and_after_as_many_as_it_says(
    sandbox: server.Sandbox, ask: client.Client
) -> None:
    sandbox.faults.add("POST", faults.status(500), times=2, after=1, when=lambda item: not item.had_token)
    anonymous = client.Client(sandbox, None)
    assert [anonymous.post("{ listDatasets }").status for _ in range(4)] == [200, 500, 500, 200]
    sandbox.faults.add("listDatasets", faults.status(500), times=None)
    assert [ask.post("{ listDatasets }").status for _ in range(3)] == [500] * 3
    sandbox.faults.clear()
    assert ask.post("{ listDatasets }").status == 200


def test_a_key_is_missing_or_a_field_says_something_else(sandbox: server.Sandbox, ask: client.Client) -> None:
    sandbox.faults.add("computePickleUploadAuth", faults.without("computePickleUploadAuth", "url"))
    assert set(ask.data(client.AUTHORISE, filename="a.pkl")) == {"filename"}
    sandbox.faults.add("computePickleUploadAuth", faults.answers("computePickleUploadAuth", None))
    assert ask.data(client.AUTHORISE, filename="a.pkl") is None


@pytest.mark.parametrize("applies", [True, False])
@pytest.mark.parametrize("how", ["answers 502", "resets"])
def test_registering_fails_and_has_or_has_not_been_done(
    sandbox: server.Sandbox,
    ask: client.Client,
    how: str,
    applies: bool,  # noqa: FBT001
) -> None:
    stored, url = ask.authorise()
    put(url)
    action = faults.html(502) if how == "answers 502" else faults.reset()
    sandbox.faults.add("createComputePickleUpload", faults.applied(action) if applies else action)
    variables = {"filename": stored, "modelId": sandbox.state.get_slot("fresh").id}
    if how == "resets":
        with pytest.raises(GONE):
            ask.post(client.CREATE, **variables)
    else:
        assert ask.post(client.CREATE, **variables).status == 502
    assert len(ask.data(client.PICKLES)) == (1 if applies else 0)


def test_what_is_stalled_is_held_until_it_is_released_and_then_reset(
    sandbox: server.Sandbox, ask: client.Client
) -> None:
    sandbox.faults.add("account", faults.stall())
    with cut_off(ask.post, "{ account { id } }") as thread:
        record = sandbox.requests.wait_for("account")
        ask.data("{ listDatasets }")  # others are answered
        assert record.status is None
        assert thread.is_alive()
        sandbox.faults.release()


def test_the_end_of_the_stand_in_releases_what_is_stalled() -> None:
    with contextlib.ExitStack() as after, server.start() as sandbox:
        sandbox.faults.add("account", faults.stall())
        after.enter_context(cut_off(client.Client(sandbox).post, "{ account { id } }"))
        sandbox.requests.wait_for("account")


def test_a_put_is_reset_in_mid_body_and_nothing_is_stored(sandbox: server.Sandbox, ask: client.Client) -> None:
    stored, url = ask.authorise()
    sandbox.faults.add("PUT", faults.reset(after_bytes=1_000_000))
    with pytest.raises(GONE):
        put(url)
    assert [item.read for item in sandbox.requests.of("PUT")] == [1_000_000]
    assert not is_stored(sandbox, stored)
    assert put(url).status == 200


def test_a_put_stalls_in_mid_body(sandbox: server.Sandbox, ask: client.Client) -> None:
    sandbox.faults.add("PUT", faults.stall(after_bytes=1_000_000))
    url = ask.authorise()[1]
    with cut_off(put, url, BODY * 10) as thread:
        sandbox.requests.wait_for("PUT", read=1_000_000)
        assert thread.is_alive()
        sandbox.faults.release()


def test_a_put_is_stored_and_then_reset_or_answered_otherwise(sandbox: server.Sandbox, ask: client.Client) -> None:
    stored, url = ask.authorise()
    sandbox.faults.add("PUT", faults.applied(faults.reset()))
    with pytest.raises(GONE):
        put(url)
    assert sandbox.read_pickle(stored) == BODY
    sandbox.faults.add("PUT", faults.applied(faults.status(500)))
    assert put(url).status == 500


@pytest.mark.parametrize(
    ("refusal", "status"), [(storage.EXPIRED, 403), (storage.BAD_SIGNATURE, 403), (storage.TIMED_OUT, 400)]
)
def test_a_put_is_refused_as_the_storage_refuses(
    sandbox: server.Sandbox, ask: client.Client, refusal: storage.Refusal, status: int
) -> None:
    stored, url = ask.authorise()
    sandbox.faults.add("PUT", faults.refused(refusal))
    answer = put(url)
    assert answer.status == status
    assert f"<Code>{refusal.code}</Code>".encode() in answer.body
    assert not is_stored(sandbox, stored)


def test_a_put_is_refused_before_its_body_is_read(sandbox: server.Sandbox, ask: client.Client) -> None:
    url = ask.authorise()[1]
    sandbox.faults.add("PUT", faults.early(faults.status(503)))
    small = put(url, b"x")
    assert (small.status, small.headers["Connection"]) == (503, "close")
    assert [item.read for item in sandbox.requests.of("PUT")] == [0]


@pytest.mark.parametrize("etag", ["sent", "stored"])
def test_half_of_a_put_is_stored_and_called_a_success(sandbox: server.Sandbox, ask: client.Client, etag: str) -> None:
    stored, url = ask.authorise()
    sandbox.faults.add("PUT", faults.truncated("sent" if etag == "sent" else "stored"))
    answer = put(url)
    half = BODY[: len(BODY) // 2]
    assert sandbox.read_pickle(stored) == half
    md5 = hashlib.md5(BODY if etag == "sent" else half).hexdigest()
    assert (answer.status, answer.headers["ETag"]) == (200, f'"{md5}"')


def test_an_etag_is_wrong(sandbox: server.Sandbox, ask: client.Client) -> None:
    stored, url = ask.authorise()
    sandbox.faults.add("PUT", faults.wrong_etag())
    etag = put(url).headers["ETag"]
    assert len(etag) == 34
    assert etag != f'"{hashlib.md5(BODY).hexdigest()}"'
    assert sandbox.read_pickle(stored) == BODY


@pytest.mark.parametrize("code", [301, 307])
def test_a_put_is_sent_to_another_place_that_takes_it(sandbox: server.Sandbox, ask: client.Client, code: int) -> None:
    stored, url = ask.authorise()
    sandbox.faults.add("PUT", faults.redirect(code))
    answer = put(url)
    assert answer.status == code
    assert answer.headers["Location"].startswith(f"http://{sandbox.address}/storage-2/")
    assert not is_stored(sandbox, stored)
    assert put(answer.headers["Location"]).status == 200
    assert sandbox.read_pickle(stored) == BODY


def test_a_put_is_sent_to_another_host(sandbox: server.Sandbox, ask: client.Client) -> None:
    host = f"localhost:{sandbox.address.rpartition(':')[2]}"
    sandbox.faults.add("PUT", faults.redirect(307, host))
    location = put(ask.authorise()[1]).headers["Location"]
    assert location.startswith(f"http://{host}/storage-2/")
    assert put(location).status == 200, "it would take it, and the record of who asked says which host was named"
    assert [item.host for item in sandbox.requests.of("PUT")] == [sandbox.address, host]


def test_assigning_answers_or_does_something_else(sandbox: server.Sandbox, ask: client.Client) -> None:
    slot = sandbox.state.get_slot("running")
    before, built = sandbox.state.add_pickle(slot, "before.pkl", assign=True), ask.upload()
    sandbox.faults.add("assignPickleToModel", faults.assigns_another(before.id))
    ask.data(client.ASSIGN, modelId=slot.id, pickleId=built["id"])
    assert slot.pickle_id == before.id
    sandbox.faults.add("assignPickleToModel", faults.answers("assignPickleToModel", "something"))
    assert ask.data(client.ASSIGN, modelId=slot.id, pickleId=built["id"]) == "something"
    assert slot.pickle_id == built["id"]
    sandbox.faults.add("account", faults.shows_another(before.id))
    read = "{ account { models { computePickleUpload { id } } } }"
    assert [item["computePickleUpload"] for item in ask.data(read)["models"] if item["computePickleUpload"]] == [
        {"id": before.id}
    ]


def test_a_download_fails(sandbox: server.Sandbox, ask: client.Client) -> None:
    url = ask.data('{ dataset(filename: "v5.2/live.parquet") }')
    sandbox.faults.add("GET", faults.status(503))
    assert [client.send("GET", url).status for _ in range(2)] == [503, 200]


def test_no_record_holds_a_secret(sandbox: server.Sandbox, ask: client.Client) -> None:
    ask.upload()
    token = sandbox.state.get_token("full")
    assert token.secret_key not in repr(token)
    text = repr(list(sandbox.requests))
    assert token.secret_key not in text
    assert token.public_id not in text
    assert "Signature" not in text
    assert all(item.had_token == (item.method == "POST") for item in sandbox.requests)
