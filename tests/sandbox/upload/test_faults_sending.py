"""Injected failures 9 to 18: sending the pickle's bytes to the storage fails."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from builder import errors, tournament
from builder.net import http
from builder.progress import Silent
from builder.sandbox import faults, storage
from builder.upload import storage as sending
from tests.support import uploads
from tests.support.upload_outcomes import MB, big, check_deployed, check_nothing_registered

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.support.uploads import Project

    Asking = Callable[..., tournament.Tournament]


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(faults.reset(after_bytes=3 * MB), id="row-9-reset"),
        pytest.param(faults.respond_status(500), id="row-10-500"),
        pytest.param(faults.respond_status(503), id="row-10-503"),
        pytest.param(faults.respond_early(faults.respond_status(503)), id="row-10-503-before-the-body"),
        pytest.param(faults.refuse(storage.TIMED_OUT), id="row-13-RequestTimeout"),
        pytest.param(faults.redirect(301), id="row-14-301"),
        pytest.param(faults.redirect(307), id="row-14-307"),
        pytest.param(faults.apply_then(faults.reset()), id="row-15-stored-then-reset"),
        pytest.param(faults.respond_wrong_etag(), id="row-16-wrong-md5"),
        pytest.param(faults.truncate(), id="row-16-truncated"),
    ],
)
def test_the_bytes_are_sent_again(project: Project, action: faults.Action) -> None:
    big(project)
    project.sandbox.faults.add("PUT", action)
    code, _, err = project.upload()
    assert code == 0, err
    check_deployed(project)
    puts = project.sandbox.requests.find_all("PUT")
    assert len(puts) == 2
    assert not any(put.had_token for put in puts)
    assert not any("content-type" in put.headers for put in puts)
    assert project.sandbox.requests.count("computePickleUploadAuth") == 1


def test_row_11_an_address_that_has_expired(project: Project) -> None:
    project.sandbox.faults.add("PUT", faults.refuse(storage.EXPIRED))
    assert project.upload()[0] == 0
    check_deployed(project)
    assert project.sandbox.requests.count("computePickleUploadAuth") == 2


def test_row_12_a_bad_signature_ends_it(project: Project) -> None:
    project.sandbox.faults.add("PUT", faults.refuse(storage.BAD_SIGNATURE), times=None)
    code, _, err = project.upload()
    assert code == 4
    assert "SignatureDoesNotMatch" in err
    assert project.sandbox.requests.count("PUT") == 1
    check_nothing_registered(project)


def test_row_14_another_host_is_sent_nothing(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        project.sandbox.faults.add("PUT", faults.redirect(307, f"127.0.0.1:{other.getsockname()[1]}"), times=None)
        code, _, err = project.upload()
        with pytest.raises(BlockingIOError):
            other.accept()
    assert code == 4
    assert "a model is only sent to the host that the API returned" in err
    check_nothing_registered(project)


def _send(project: Project, ask: Asking, policy: sending.TransferPolicy) -> sending.StoredFile:
    questioned = ask()
    recorded = project.read_manifest()["pickle"]

    def authorise() -> tournament.FileAuth:
        return questioned.get_upload_auth("small.pkl", project.get_slot().id)

    return sending.put(
        authorise(),
        project.folder / "model.pkl",
        sha256=recorded["sha256"],
        md5=sending.compute_md5(project.folder / "model.pkl"),
        size=recorded["size"],
        progress=Silent(),
        clock_ahead=None,
        renew=authorise,
        policy=policy,
    )


def short_timeouts(*, attempts: int = 3, silent: float = 30.0, total: float = 60.0) -> sending.TransferPolicy:
    """Use timeouts that are short enough for a test."""
    return sending.TransferPolicy(attempts=attempts, silent=silent, total=total)


@pytest.mark.parametrize("action", [faults.respond_wrong_etag(), faults.truncate()], ids=["wrong", "truncated"])
def test_row_16_another_file_is_stored_each_time(project: Project, ask: Asking, action: faults.Action) -> None:
    project.sandbox.faults.add("PUT", action, times=None)
    with pytest.raises(errors.NetworkError, match="the stored file differs from the sent one"):
        _send(project, ask, short_timeouts())
    assert project.sandbox.requests.count("PUT") == 2
    check_nothing_registered(project)


@pytest.mark.parametrize(("retry_after", "expected_wait"), [("7", 7.0), ("86400", 30.0)], ids=["honoured", "capped"])
def test_row_10_a_busy_storage_says_how_long_to_wait(
    project: Project, ask: Asking, waits: list[float], retry_after: str, expected_wait: float
) -> None:
    project.sandbox.faults.add("PUT", faults.respond_too_many(retry_after))
    assert _send(project, ask, short_timeouts()).filename
    assert waits == [expected_wait]


def test_row_17_a_stalled_transfer_is_ended_and_retried(project: Project, ask: Asking) -> None:
    big(project, 64 * MB)
    project.sandbox.faults.add("PUT", faults.stall(after_bytes=MB))
    assert _send(project, ask, short_timeouts(silent=0.5)).filename
    assert project.sandbox.requests.count("PUT") == 2


def test_row_17_repeated_stalls_end_in_an_error(project: Project, ask: Asking) -> None:
    project.sandbox.faults.add("PUT", faults.stall(), times=None)
    with pytest.raises(errors.NetworkError, match="nothing was registered"):
        _send(project, ask, short_timeouts(silent=0.2))
    check_nothing_registered(project)


def test_row_17_the_total_deadline(project: Project, ask: Asking) -> None:
    big(project)
    with pytest.raises(errors.NetworkError, match="not stored after 0 s"):
        _send(project, ask, short_timeouts(total=0.0))
    assert list(project.sandbox.state.list_pickles()) == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_row_17_an_endless_slow_answer_is_ended(
    project: Project, ask: Asking, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage reads everything, then answers a byte at a time: no read times out, and the answer never ends."""
    cut = threading.Event()
    context = None
    if scheme == "https":
        context, certificate = uploads.create_certificate(tmp_path)
        # `http` ignores the environment (here SSL_CERT_FILE) for a loopback URL, so it must not recognise one.
        monkeypatch.setattr(http, "is_local", lambda _: False)
        for name, value in {"SSL_CERT_FILE": str(certificate), "NO_PROXY": "*"}.items():
            monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer_slowly, args=(listening, cut, context))
        thread.start()
        address = f"{scheme}://localhost:{listening.getsockname()[1]}/one?X-Signature=s"
        project.sandbox.faults.add("computePickleUploadAuth", _authorise_at(address), times=None)
        try:
            with pytest.raises(errors.NetworkError, match="not stored after 1 s"):
                _send(project, ask, short_timeouts(silent=20, total=1))
        finally:
            thread.join()
    assert cut.is_set()
    check_nothing_registered(project)


def _authorise_at(address: str) -> faults.Action:
    return faults.replace_field("computePickleUploadAuth", {"filename": "one.pkl", "url": address})


def _answer_slowly(listening: socket.socket, cut: threading.Event, context: ssl.SSLContext | None) -> None:
    """Answer for a minute, a byte at a time; record whether the client closed the connection before."""
    listening.settimeout(60)
    with contextlib.ExitStack() as undo:
        try:
            secured = undo.enter_context(listening.accept()[0])
            if context:
                secured = undo.enter_context(context.wrap_socket(secured, server_side=True))
            secured.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for _ in range(1200):
                secured.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            cut.set()


@pytest.mark.parametrize("how", ["changes", "shrinks", "grows"])
def test_row_18_the_file_changes_while_it_is_sent(project: Project, how: str) -> None:
    big(project)
    path = project.folder / "model.pkl"
    project.sandbox.faults.add("PUT", faults.stall(after_bytes=MB))
    with project.start("upload", "configs/small.yaml", "--model", "fresh", "--yes") as process:
        project.sandbox.requests.wait_for("PUT", bytes_read=MB)
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
    assert not any(put.status == 200 for put in project.sandbox.requests.find_all("PUT"))  # no object either


def test_no_thread_is_left_behind(project: Project, ask: Asking) -> None:
    before = set(threading.enumerate())
    project.sandbox.faults.add("PUT", faults.respond_status(503), times=None)
    with pytest.raises(errors.NetworkError):
        _send(project, ask, short_timeouts())
    # The sandbox's own serve one connection each.
    remaining = [thread for thread in threading.enumerate() if thread not in before and not _serves(thread)]
    assert remaining == []


def _serves(thread: threading.Thread) -> bool:
    return "process_request_thread" in thread.name
