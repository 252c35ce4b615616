"""Each scripted fault has its effect on the connection, as many times as planned."""

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
RESET_ERRORS = (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)


def put(url: str, content: bytes = BODY) -> client.Response:
    return client.send("PUT", url, content)


def is_stored(sandbox: server.Sandbox, name: str) -> bool:
    return sandbox.storage.get_path(f"pickles/{name}").exists()


@contextlib.contextmanager
def expect_reset(call: Callable[..., Any], *arguments: Any) -> Iterator[threading.Thread]:
    """Send a request in a thread; at the end check that the connection was reset."""
    resets: list[BaseException] = []

    def wait() -> None:
        try:
            call(*arguments)
        except RESET_ERRORS as error:
            resets.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    yield thread
    thread.join(client.SECONDS)
    assert len(resets) == 1


@pytest.mark.parametrize(
    ("action", "status", "headers", "body"),
    [
        (faults.respond_too_many("7"), 429, {"Retry-After": "7"}, b"{}"),
        (faults.respond_html(502), 502, {"Content-Type": "text/html"}, faults.HTML),
        (faults.respond_status(503), 503, {"Content-Length": "0"}, b""),
        (faults.respond_errors("one", "two"), 200, {}, b'{"errors": [{"message": "one"}, {"message": "two"}]}'),
        (faults.respond_error_detail("no", 401), 401, {}, b'{"errors": {"detail": "no"}}'),
        (faults.respond_null_data(), 200, {}, b'{"data": null}'),
    ],
)
def test_a_query_gets_another_response_once(
    sandbox: server.Sandbox, action: Action, status: int, headers: dict[str, str], body: bytes
) -> None:
    ask = client.Client(sandbox)
    sandbox.faults.add("account", action)
    ask.data("{ listDatasets }")
    response = ask.post("{ account { id } }")
    assert (response.status, response.body) == (status, body)
    assert headers.items() <= response.headers.items()
    ask.data("{ account { id } }")
    assert sandbox.faults.count_remaining() == 0
    assert [request.status for request in sandbox.requests.find_all("account")] == [status, 200]


def test_times_after_and_condition_select_the_requests(sandbox: server.Sandbox, ask: client.Client) -> None:
    sandbox.faults.add(
        "POST", faults.respond_status(500), times=2, after=1, condition=lambda record: not record.had_token
    )
    anonymous = client.Client(sandbox, None)
    assert [anonymous.post("{ listDatasets }").status for _ in range(4)] == [200, 500, 500, 200]
    sandbox.faults.add("listDatasets", faults.respond_status(500), times=None)
    assert [ask.post("{ listDatasets }").status for _ in range(3)] == [500] * 3
    sandbox.faults.clear()
    assert ask.post("{ listDatasets }").status == 200


def test_a_key_is_dropped_or_a_field_replaced(sandbox: server.Sandbox, ask: client.Client) -> None:
    sandbox.faults.add("computePickleUploadAuth", faults.drop_key("computePickleUploadAuth", "url"))
    assert set(ask.data(client.AUTHORISE, filename="a.pkl")) == {"filename"}
    sandbox.faults.add("computePickleUploadAuth", faults.replace_field("computePickleUploadAuth", None))
    assert ask.data(client.AUTHORISE, filename="a.pkl") is None


@pytest.mark.parametrize("applies", [True, False])
@pytest.mark.parametrize("failure", ["502", "reset"])
def test_registering_fails_before_or_after_it_takes_effect(
    sandbox: server.Sandbox,
    ask: client.Client,
    failure: str,
    applies: bool,  # noqa: FBT001
) -> None:
    filename, url = ask.authorise()
    put(url)
    action = faults.respond_html(502) if failure == "502" else faults.reset()
    sandbox.faults.add("createComputePickleUpload", faults.apply_then(action) if applies else action)
    variables = {"filename": filename, "modelId": sandbox.state.get_slot("fresh").id}
    if failure == "reset":
        with pytest.raises(RESET_ERRORS):
            ask.post(client.CREATE, **variables)
    else:
        assert ask.post(client.CREATE, **variables).status == 502
    assert len(ask.data(client.PICKLES)) == (1 if applies else 0)


def test_a_stalled_request_waits_for_release_and_is_reset(sandbox: server.Sandbox, ask: client.Client) -> None:
    sandbox.faults.add("account", faults.stall())
    with expect_reset(ask.post, "{ account { id } }") as thread:
        record = sandbox.requests.wait_for("account")
        ask.data("{ listDatasets }")  # other requests still get responses
        assert record.status is None
        assert thread.is_alive()
        sandbox.faults.release()


def test_stopping_the_sandbox_releases_stalled_requests() -> None:
    with contextlib.ExitStack() as after, server.start() as sandbox:
        sandbox.faults.add("account", faults.stall())
        after.enter_context(expect_reset(client.Client(sandbox).post, "{ account { id } }"))
        sandbox.requests.wait_for("account")


def test_a_put_is_reset_within_its_body_and_not_stored(sandbox: server.Sandbox, ask: client.Client) -> None:
    filename, url = ask.authorise()
    sandbox.faults.add("PUT", faults.reset(after_bytes=1_000_000))
    with pytest.raises(RESET_ERRORS):
        put(url)
    assert [request.bytes_read for request in sandbox.requests.find_all("PUT")] == [1_000_000]
    assert not is_stored(sandbox, filename)
    assert put(url).status == 200


def test_a_put_stalls_within_its_body(sandbox: server.Sandbox, ask: client.Client) -> None:
    sandbox.faults.add("PUT", faults.stall(after_bytes=1_000_000))
    url = ask.authorise()[1]
    with expect_reset(put, url, BODY * 10) as thread:
        sandbox.requests.wait_for("PUT", bytes_read=1_000_000)
        assert thread.is_alive()
        sandbox.faults.release()


def test_a_put_is_stored_and_then_fails(sandbox: server.Sandbox, ask: client.Client) -> None:
    filename, url = ask.authorise()
    sandbox.faults.add("PUT", faults.apply_then(faults.reset()))
    with pytest.raises(RESET_ERRORS):
        put(url)
    assert sandbox.read_pickle(filename) == BODY
    sandbox.faults.add("PUT", faults.apply_then(faults.respond_status(500)))
    assert put(url).status == 500


@pytest.mark.parametrize(
    ("refusal", "status"), [(storage.EXPIRED, 403), (storage.BAD_SIGNATURE, 403), (storage.TIMED_OUT, 400)]
)
def test_a_put_gets_a_refusal_of_the_storage(
    sandbox: server.Sandbox, ask: client.Client, refusal: storage.Refusal, status: int
) -> None:
    filename, url = ask.authorise()
    sandbox.faults.add("PUT", faults.refuse(refusal))
    response = put(url)
    assert response.status == status
    assert f"<Code>{refusal.code}</Code>".encode() in response.body
    assert not is_stored(sandbox, filename)


def test_a_put_is_refused_before_its_body_is_read(sandbox: server.Sandbox, ask: client.Client) -> None:
    url = ask.authorise()[1]
    sandbox.faults.add("PUT", faults.respond_early(faults.respond_status(503)))
    small = put(url, b"x")
    assert (small.status, small.headers["Connection"]) == (503, "close")
    assert [request.bytes_read for request in sandbox.requests.find_all("PUT")] == [0]


@pytest.mark.parametrize("etag", ["sent", "filename"])
def test_half_of_a_put_is_stored_with_status_200(sandbox: server.Sandbox, ask: client.Client, etag: str) -> None:
    filename, url = ask.authorise()
    sandbox.faults.add("PUT", faults.truncate("sent" if etag == "sent" else "stored"))
    response = put(url)
    half = BODY[: len(BODY) // 2]
    assert sandbox.read_pickle(filename) == half
    md5 = hashlib.md5(BODY if etag == "sent" else half).hexdigest()
    assert (response.status, response.headers["ETag"]) == (200, f'"{md5}"')


def test_an_etag_is_wrong(sandbox: server.Sandbox, ask: client.Client) -> None:
    filename, url = ask.authorise()
    sandbox.faults.add("PUT", faults.respond_wrong_etag())
    etag = put(url).headers["ETag"]
    assert len(etag) == 34
    assert etag != f'"{hashlib.md5(BODY).hexdigest()}"'
    assert sandbox.read_pickle(filename) == BODY


@pytest.mark.parametrize("code", [301, 307])
def test_a_put_is_redirected_on_the_same_host(sandbox: server.Sandbox, ask: client.Client, code: int) -> None:
    filename, url = ask.authorise()
    sandbox.faults.add("PUT", faults.redirect(code))
    response = put(url)
    assert response.status == code
    assert response.headers["Location"].startswith(f"http://{sandbox.address}/storage-2/")
    assert not is_stored(sandbox, filename)
    assert put(response.headers["Location"]).status == 200
    assert sandbox.read_pickle(filename) == BODY


def test_a_put_is_redirected_to_another_host(sandbox: server.Sandbox, ask: client.Client) -> None:
    host = f"localhost:{sandbox.address.rpartition(':')[2]}"
    sandbox.faults.add("PUT", faults.redirect(307, host))
    location = put(ask.authorise()[1]).headers["Location"]
    assert location.startswith(f"http://{host}/storage-2/")
    assert put(location).status == 200, "the other host accepts it, and the record shows the host"
    assert [request.host for request in sandbox.requests.find_all("PUT")] == [sandbox.address, host]


def test_an_assignment_assigns_or_returns_something_else(sandbox: server.Sandbox, ask: client.Client) -> None:
    slot = sandbox.state.get_slot("running")
    before, pickle = sandbox.state.add_pickle(slot, "before.pkl", assign=True), ask.upload()
    sandbox.faults.add("assignPickleToModel", faults.assign_other_pickle(before.id))
    ask.data(client.ASSIGN, modelId=slot.id, pickleId=pickle["id"])
    assert slot.pickle_id == before.id
    sandbox.faults.add("assignPickleToModel", faults.replace_field("assignPickleToModel", "something"))
    assert ask.data(client.ASSIGN, modelId=slot.id, pickleId=pickle["id"]) == "something"
    assert slot.pickle_id == pickle["id"]
    sandbox.faults.add("account", faults.show_other_pickle(before.id))
    read = "{ account { models { computePickleUpload { id } } } }"
    assert [model["computePickleUpload"] for model in ask.data(read)["models"] if model["computePickleUpload"]] == [
        {"id": before.id}
    ]


def test_a_download_fails(sandbox: server.Sandbox, ask: client.Client) -> None:
    url = ask.data('{ dataset(filename: "v5.2/live.parquet") }')
    sandbox.faults.add("GET", faults.respond_status(503))
    assert [client.send("GET", url).status for _ in range(2)] == [503, 200]


def test_no_record_contains_a_secret(sandbox: server.Sandbox, ask: client.Client) -> None:
    ask.upload()
    token = sandbox.state.get_token("full")
    assert token.secret_key not in repr(token)
    text = repr(list(sandbox.requests))
    assert token.secret_key not in text
    assert token.public_id not in text
    assert "Signature" not in text
    assert all(request.had_token == (request.method == "POST") for request in sandbox.requests)
