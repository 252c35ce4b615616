"""Sending a pickle to the storage over real sockets; ids start with the number of the injected failure."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import http.server
import os
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from builder import errors, progress, tournament
from builder.sandbox import faults, server, storage
from builder.tournament import FileAuth
from builder.tournament import client as api
from builder.upload import storage as put_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.sandbox.faults import Action
    from tests.sandbox import client

BODY = bytes(range(256)) * 12_000  # more than is in flight at once, and not a whole number of pieces
IMPATIENT = put_storage.TransferPolicy(silent=0.5)
PLENTY = put_storage.TransferPolicy(attempts=10_000, first=0.0, silent=0.05, total=1.0)


@dataclasses.dataclass(kw_only=True)
class Upload:
    """An upload of ``BODY`` to a sandbox, with the number of authorisations that it requested again."""

    sandbox: server.Sandbox
    ask: client.Client
    path: Path
    slept: list[float]
    renewed: int = 0
    wrote: Callable[[int], None] = lambda _: None
    clock_ahead: float | None = None

    def auth(self) -> FileAuth:
        filename, url = self.ask.authorise()
        return FileAuth(filename=filename, url=url)

    def renew(self) -> FileAuth:
        self.renewed += 1
        return self.auth()

    def put(
        self, auth: FileAuth | None = None, policy: put_storage.TransferPolicy | None = None
    ) -> put_storage.StoredFile:
        return put_storage.put(
            auth or self.auth(),
            self.path,
            sha256=hashlib.sha256(BODY).hexdigest(),
            md5=hashlib.md5(BODY).hexdigest(),
            size=len(BODY),
            progress=Watching(self.wrote),
            clock_ahead=self.clock_ahead,
            renew=self.renew,
            policy=policy,
        )

    def refusal(self, policy: put_storage.TransferPolicy | None = None) -> str:
        """Put, expect an error without secrets, and return its message."""
        auth = self.auth()
        with pytest.raises(errors.NetworkError) as caught:
            self.put(auth, policy)
        message = str(caught.value)
        assert "X-Amz" not in message
        assert "nothing was registered" in message
        assert self.sandbox.requests.count("createComputePickleUpload") == 0
        return message

    @property
    def sent(self) -> list[int]:
        """Number of bytes received of each PUT."""
        return [put.bytes_read for put in self.sandbox.requests.find_all("PUT")]

    @property
    def keys(self) -> set[str]:
        """Keys of all PUT requests."""
        return {put.path.rpartition("/")[2] for put in self.sandbox.requests.find_all("PUT")}

    @property
    def stored(self) -> int:
        """Number of keys that are stored."""
        return sum(self.sandbox.storage.get_path(f"pickles/{key}").exists() for key in self.keys)


class Watching(progress.Silent):
    """Progress that reports the number of bytes sent to a function."""

    def __init__(self, wrote: Callable[[int], None]) -> None:
        self._wrote = wrote

    def report_bytes(self, size: int, total: int | None, /) -> None:
        assert total == len(BODY)
        self._wrote(size)


@pytest.fixture
def upload(sandbox: server.Sandbox, ask: client.Client, tmp_path: Path, waits: list[float]) -> Upload:
    path = tmp_path / "model.pkl"
    path.write_bytes(BODY)
    return Upload(sandbox=sandbox, ask=ask, path=path, slept=waits)


def test_a_file_is_stored_with_its_length_and_without_token_or_content_type(upload: Upload) -> None:
    amounts: list[int] = []
    upload.wrote = amounts.append
    stored = upload.put()
    assert upload.sandbox.read_pickle(stored.filename) == BODY
    assert stored.etag == hashlib.md5(BODY).hexdigest()
    [record] = upload.sandbox.requests.find_all("PUT")
    assert "content-length" in record.headers
    assert record.headers.isdisjoint({"authorization", "content-type", "transfer-encoding", "cookie"})
    assert amounts == sorted(amounts)
    assert amounts[-1] == len(BODY)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(faults.reset(after_bytes=1_000_000), id="9-reset-in-mid-body"),
        pytest.param(faults.respond_html(500), id="10-500"),
        pytest.param(faults.respond_status(503), id="10-503"),
        pytest.param(faults.respond_early(faults.respond_status(503)), id="10-503-before-the-body-is-read"),
        pytest.param(faults.refuse(storage.TIMED_OUT), id="13-RequestTimeout"),
        pytest.param(faults.apply_then(faults.reset()), id="15-stored-and-then-reset"),
        pytest.param(faults.apply_then(faults.respond_status(500)), id="15-stored-and-then-500"),
        pytest.param(faults.respond_wrong_etag(), id="16-wrong-etag"),
        pytest.param(faults.truncate(), id="16-half-stored"),
        pytest.param(faults.stall(), id="17-stalls-at-once"),
        pytest.param(faults.stall(after_bytes=len(BODY)), id="17-never-answers"),
    ],
)
def test_temporary_failures_are_retried_from_the_start_under_the_same_key(upload: Upload, failure: Action) -> None:
    upload.sandbox.faults.add("PUT", failure)
    stored = upload.put(policy=IMPATIENT)
    assert upload.sandbox.read_pickle(stored.filename) == BODY
    assert upload.sent[-1] == len(BODY)
    assert len(upload.sent) >= 2
    assert upload.keys == {stored.filename}
    assert upload.renewed == 0
    assert upload.slept[0] == IMPATIENT.first


def test_10_waits_grow_until_the_attempts_end(upload: Upload) -> None:
    upload.sandbox.faults.add("PUT", faults.respond_html(500), times=None)
    message = upload.refusal(put_storage.TransferPolicy(attempts=5, first=1.0, longest=3.0))
    assert len(upload.sent) == 5
    assert upload.slept == [1.0, 2.0, 3.0, 3.0]
    assert "HTTP 500" in message
    assert "(sent 5 times)" in message
    assert "<" not in message, "the status, not the page"


def test_11_an_expired_url_is_renewed_and_the_new_name_is_used(upload: Upload) -> None:
    auth = upload.auth()
    upload.sandbox.state.clock_offset = dt.timedelta(minutes=11)  # longer than an address is good for
    stored = upload.put(auth)
    assert upload.renewed == 1
    assert stored.filename != auth.filename
    assert upload.sandbox.read_pickle(stored.filename) == BODY
    assert [put.status for put in upload.sandbox.requests.find_all("PUT")] == [403, 200]


def test_11_urls_that_are_always_expired_end_with_a_hint_at_the_clock(upload: Upload) -> None:
    upload.sandbox.faults.add("PUT", faults.refuse(storage.EXPIRED), times=None)
    upload.clock_ahead = -900.0
    message = upload.refusal()
    assert len(upload.sent) == put_storage.TransferPolicy().attempts
    assert "HTTP 403 AccessDenied, the address has expired" in message
    assert "15 minutes behind" in message


def test_12_a_refused_signature_is_not_retried(upload: Upload) -> None:
    upload.sandbox.faults.add("PUT", faults.refuse(storage.BAD_SIGNATURE), times=None)
    message = upload.refusal()
    assert len(upload.sent) == 1
    assert upload.renewed == 0
    assert "HTTP 403 SignatureDoesNotMatch" in message
    assert "clock" not in message


def test_12_any_other_refusal_is_not_retried(upload: Upload) -> None:
    refusal = storage.Refusal(status=400, code="EntityTooLarge", message="Your proposed upload exceeds the maximum")
    upload.sandbox.faults.add("PUT", faults.refuse(refusal), times=None)
    assert "HTTP 400 EntityTooLarge" in upload.refusal()
    assert len(upload.sent) == 1


@pytest.mark.parametrize("code", [pytest.param(301, id="14-301"), pytest.param(307, id="14-307")])
def test_a_redirect_on_the_same_host_is_followed(upload: Upload, code: int) -> None:
    upload.sandbox.faults.add("PUT", faults.redirect(code))
    stored = upload.put()
    assert upload.sandbox.read_pickle(stored.filename) == BODY
    assert [put.status for put in upload.sandbox.requests.find_all("PUT")] == [code, 200]
    assert upload.slept == []


def test_14_another_host_is_sent_nothing(upload: Upload) -> None:
    host = f"localhost:{upload.sandbox.address.rpartition(':')[2]}"
    upload.sandbox.faults.add("PUT", faults.redirect(307, host))
    assert f"redirects to http://{host}/.../" in upload.refusal()
    assert [put.host for put in upload.sandbox.requests.find_all("PUT")] == [upload.sandbox.address]


def test_14_a_redirect_loop_ends(upload: Upload) -> None:
    upload.sandbox.faults.add("PUT", faults.redirect(301), times=None)
    assert "redirects" in upload.refusal()
    assert len(upload.sent) == 6


def test_16_a_wrong_etag_each_time_is_an_error(upload: Upload) -> None:
    upload.sandbox.faults.add("PUT", faults.truncate(), times=None)
    message = upload.refusal()
    assert len(upload.sent) == 2
    assert hashlib.md5(BODY).hexdigest() in message
    assert hashlib.md5(BODY[: len(BODY) // 2]).hexdigest() in message


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"ETag": '"0123456789abcdef0123456789abcdef-3"'}, id="16-in-parts"),
        pytest.param({"ETag": f'"{"0" * 32}"', "x_amz_server_side_encryption": "aws:kms"}, id="16-under-a-key"),
        pytest.param({}, id="16-none"),
    ],
)
def test_an_etag_that_is_not_an_md5_is_ignored(upload: Upload, headers: dict[str, str]) -> None:
    upload.sandbox.faults.add("PUT", faults.apply_then(faults.respond_status(200, b"", **headers)))
    upload.put()
    assert upload.sent == [len(BODY)]


def test_17_a_storage_that_reads_nothing_times_out(upload: Upload) -> None:
    upload.sandbox.faults.add("PUT", faults.stall(after_bytes=100_000), times=None)
    message = upload.refusal(put_storage.TransferPolicy(attempts=2, silent=0.1))
    assert len(upload.sent) == 2
    assert "no answer for 0.1 s" in message


def test_17_attempts_end_at_the_total_deadline(upload: Upload) -> None:
    upload.sandbox.faults.add("PUT", faults.stall(after_bytes=100_000), times=None)
    message = upload.refusal(PLENTY)
    assert len(upload.sent) < PLENTY.attempts
    assert upload.stored == 0
    assert "not stored after 1 s: " in message


def test_17_a_slow_storage_ends_at_the_total_deadline(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    with path.open("wb") as file:
        file.truncate(1 << 36)  # a sparse file: sending it in full would take too long
    with (
        serve_without_answer() as address,
        pytest.raises(errors.NetworkError, match=r"after 0.5 s: only [0-9,]+ of 68,719,476,736"),
    ):
        put_storage.put(
            FileAuth(filename="x", url=f"http://{address}/x"),
            path,
            sha256="0" * 64,
            md5="0" * 32,
            size=1 << 36,
            progress=progress.Silent(),
            clock_ahead=None,
            renew=fail_on_renewal,
            policy=put_storage.TransferPolicy(total=0.5),
        )


def test_17_an_endless_answer_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(BODY)
    with serve_endless_answer() as address, pytest.raises(errors.NetworkError, match=r"not stored after 0\.5 s"):
        put_storage.put(
            FileAuth(filename="x", url=f"http://{address}/x"),
            path,
            sha256=hashlib.sha256(BODY).hexdigest(),
            md5=hashlib.md5(BODY).hexdigest(),
            size=len(BODY),
            progress=progress.Silent(),
            clock_ahead=None,
            renew=fail_on_renewal,
            policy=put_storage.TransferPolicy(total=0.5),
        )


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(BODY[:-1], id="18-shorter"),
        pytest.param(BODY + b"x", id="18-longer"),
        pytest.param(b"x" + BODY[1:], id="18-other"),
        pytest.param(b"", id="18-empty"),
    ],
)
def test_another_file_is_never_stored(upload: Upload, content: bytes) -> None:
    upload.path.write_bytes(content)
    with pytest.raises(errors.ArtifactError, match="does not match the hash in the manifest") as caught:
        upload.put()
    check_aborted(upload, caught.value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: os.truncate(path, 1_000_000), id="18-shrinks"),
        pytest.param(lambda path: append(path, b"more"), id="18-grows"),
        pytest.param(lambda path: overwrite(path, len(BODY) - 5, b"other"), id="18-changes"),
    ],
)
def test_a_file_that_changes_while_it_is_sent_is_not_stored(upload: Upload, change: Callable[[Path], None]) -> None:
    changed: list[int] = []

    def once(size: int) -> None:
        if not changed:
            change(upload.path)
            changed.append(size)

    upload.wrote = once
    with pytest.raises(errors.ArtifactError, match="changed while it was sent") as caught:
        upload.put()
    assert changed
    check_aborted(upload, caught.value)


def test_18_a_missing_file_is_reported(upload: Upload) -> None:
    upload.path.unlink()
    with pytest.raises(errors.ArtifactError, match=r"cannot read .*model\.pkl: .*pickle CONFIG"):
        upload.put()


def test_29_a_refused_signature_is_reported_with_the_clock_offset(upload: Upload) -> None:
    # The API's clock is behind, as it looks from a computer whose own is ahead.
    upload.sandbox.state.clock_offset = dt.timedelta(minutes=-15)
    settings = upload.sandbox.create_environment()
    with api.ApiClient(settings["NUMERAI_API_URL"], None, progress.Silent()) as asking:
        tournament.Tournament(asking).list_images()
        upload.clock_ahead = asking.clock_ahead
    upload.sandbox.faults.add("PUT", faults.refuse(storage.BAD_SIGNATURE))
    assert "this computer's clock is 15 minutes ahead of the API's: set it right" in upload.refusal()


def test_30_a_proxy_that_refuses_is_not_bypassed(upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_refusing_proxy() as (address, requests):
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://{address}")
        for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        auth = FileAuth(filename="x", url="https://storage.invalid/folder/x?X-Amz-Signature=secret")
        with pytest.raises(errors.NetworkError, match="403") as caught:
            upload.put(auth)
    assert set(requests) == {"CONNECT storage.invalid:443"}
    assert len(requests) == put_storage.TransferPolicy().attempts
    assert "secret" not in str(caught.value)


def test_30_a_self_signed_certificate_is_not_trusted(upload: Upload, tmp_path: Path) -> None:
    with serve_self_signed(tmp_path) as (address, requests):
        with pytest.raises(errors.NetworkError, match="certificate is not trusted") as caught:
            upload.put(FileAuth(filename="x", url=f"https://{address}/folder/x?X-Amz-Signature=secret"))
        assert requests == []
    assert "secret" not in str(caught.value)
    assert upload.slept == [], "no use in trying again"


def test_30_an_unencrypted_address_is_sent_nothing(upload: Upload) -> None:
    with pytest.raises(errors.NetworkError, match=r"http://storage\.invalid/\.\.\./x: not an https address"):
        upload.put(FileAuth(filename="x", url="http://storage.invalid/folder/x?X-Amz-Signature=secret"))


def test_1_a_refused_connection_is_retried_and_then_reported(upload: Upload) -> None:
    with socket.create_server(("127.0.0.1", 0)) as port_socket:
        address = f"127.0.0.1:{port_socket.getsockname()[1]}"
    with pytest.raises(errors.NetworkError, match=f"http://{address}/x: could not connect"):
        upload.put(FileAuth(filename="x", url=f"http://{address}/x"))
    assert len(upload.slept) == put_storage.TransferPolicy().attempts - 1


def check_aborted(upload: Upload, error: errors.ArtifactError) -> None:
    assert "Nothing was registered" in str(error)
    requests = upload.sandbox.requests
    record = requests.wait_for("PUT")
    with requests._changed:
        assert requests._changed.wait_for(lambda: record.status is not None, timeout=30)
    assert (record.status, requests.count("PUT"), upload.stored) == (400, 1, 0)
    assert record.bytes_read < len(BODY)
    assert upload.slept == []


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def fail_on_renewal() -> FileAuth:
    raise AssertionError("a second upload URL was requested")


@contextlib.contextmanager
def serve_without_answer() -> Iterator[str]:
    """Yield the address of a server that reads everything and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            connection = listening.accept()[0]
            with connection, contextlib.suppress(ConnectionError):
                while connection.recv(1 << 16):
                    pass

        thread = threading.Thread(target=take)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@contextlib.contextmanager
def serve_endless_answer() -> Iterator[str]:
    """Yield the address of a server that answers 500, a byte at a time, until the client disconnects."""

    class Talking(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(500)
            self.send_header("Content-Length", str(1 << 40))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                while not ended.wait(0.01):
                    self.wfile.write(b".")

        def log_message(self, *_: object) -> None:
            pass

    ended = threading.Event()
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Talking)) as address:
        yield address
        ended.set()


@contextlib.contextmanager
def serve_refusing_proxy() -> Iterator[tuple[str, list[str]]]:
    """Run a proxy that refuses every connection; yield its address and the request lines."""
    requests: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            requests.append(f"{self.command} {self.path}")
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)) as address:
        yield address, requests


@contextlib.contextmanager
def serve_self_signed(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Run an HTTPS server with a self-signed certificate; yield its address and the request lines."""
    requests: list[str] = []
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    kind = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    files = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run(["openssl", "req", *kind, *names, *files], check=True, capture_output=True)

    class Taking(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            requests.append(self.path)

        def log_message(self, *_: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    with serving(listening) as address:
        yield address, requests


@contextlib.contextmanager
def serving(listening: http.server.ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
