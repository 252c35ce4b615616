"""Test the file names of downloads, and downloads from a real server."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_socket
from hypothesis import given
from hypothesis import strategies as st

from builder import errors, progress
from builder.net import download
from builder.net import http as http_module
from tests.support import http_files
from tests.support.http_files import respond, respond_status

if TYPE_CHECKING:
    import http.server
    from collections.abc import Callable

PRESIGNED = "/models/x.pkl?X-Amz-Signature=SECRET"


@pytest.mark.parametrize(
    ("filename", "digits"),
    [
        ("8d7f0a12-mlp-0123456789ab.pkl", "0123456789ab"),
        ("mlp-0123456789abc.pkl", None),
        ("mlp-0123456789AB.pkl", None),
        ("mlp.pkl", None),
        ("0123456789ab-mlp.pkl", None),
        ("123e4567-e89b-12d3-a456-426614174000.pkl", None),
        ("mlp-123e4567-e89b-12d3-a456-426614174000.pkl", None),
        ("", None),
    ],
)
def test_the_hash_prefix_is_at_the_end_of_the_name(filename: str, digits: str | None) -> None:
    assert download.find_hash_prefix(filename) == digits


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a-b.pkl", "a-b.pkl"),
        ("../../etc/passwd", "passwd"),
        ("/root/.ssh/config", "config"),
        ("..\\..\\a.pkl", "a.pkl"),
        (".bashrc", "bashrc"),
        ("..", "model.pkl"),
        ("", "model.pkl"),
        ("a b\n\x1b.pkl", "a_b__.pkl"),
    ],
)
def test_a_stored_name_becomes_a_safe_file_name(filename: str, name: str) -> None:
    assert download.to_file_name(filename) == name


@pytest.mark.parametrize(
    "url", ["http://192.0.2.2/a/b.pkl?X=SECRET", "https://[bad/x.pkl?X=SECRET", "ftp://h/x?X=SECRET", "", "file:///x"]
)
def test_an_insecure_or_invalid_url_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(errors.NetworkError, match=r"the pickle p: downloads must use https") as raised:
        download.download(url, tmp_path / "x.pkl", description="the pickle p", progress=progress.Silent())
    assert "SECRET" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=300))
def test_any_stored_name_becomes_a_plain_file_name(filename: str) -> None:
    name = download.to_file_name(filename)
    assert Path(name).name == name
    assert not name.startswith(".")
    assert len(name) <= 150


@pytest.fixture
def fetch(tmp_path: Path, waits: list[float]) -> Callable[..., Path]:
    """A function that downloads from a server, which sends the given responses one after the other."""
    pytest_socket.enable_socket()

    def download_file(*answers: Callable[[http.server.BaseHTTPRequestHandler], None], **options: Any) -> Path:
        remaining = list(answers)

        def next_answer(request: http.server.BaseHTTPRequestHandler) -> None:
            remaining.pop(0)(request)

        with http_files.serve({"/models/x.pkl": next_answer, "/y": respond(b"all")}) as server:
            url = f"{server.url}{PRESIGNED}"
            target = tmp_path / "x.pkl"
            return download.download(url, target, **{"description": "p", "progress": progress.Silent(), **options}).path

    return download_file


def test_a_failing_storage_is_retried(fetch: Callable[..., Path]) -> None:
    assert fetch(respond_status(503), respond_status(429), respond(b"all")).read_bytes() == b"all"


def test_a_redirect_is_followed(fetch: Callable[..., Path]) -> None:
    assert fetch(respond_status(307, Location="/y")).read_bytes() == b"all"


def test_a_server_that_drips_a_file_is_left(
    fetch: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_GRACE_SECONDS", 0.1)
    is_over = threading.Event()

    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not is_over.wait(0.05):
                request.wfile.write(b"x")

    try:
        with pytest.raises(errors.NetworkError, match="slower than 10,000 bytes per second; run it again"):
            fetch(drip)
    finally:
        is_over.set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([respond_status(500)] * 3, "HTTP 500, the server failed; wait a minute, then run it again"),
        ([respond_status(403)], "HTTP 403, the URL has expired or its signature is invalid"),
        ([respond_status(404)], "HTTP 404, the file is not stored there"),
        (
            [respond_status(302, Location="http://192.0.2.2/?SECRET")],
            "redirects to http://192.0.2.2/; redirects are followed to https only",
        ),
        ([lambda request: request.rfile.read(1)] * 3, r"no answer for 0\.2 s"),
    ],
)
def test_a_failed_download_does_not_change_the_existing_file(
    fetch: Callable[..., Path], tmp_path: Path, answers: list[Any], message: str
) -> None:
    (tmp_path / "x.pkl").write_bytes(b"before")
    with pytest.raises(errors.NetworkError, match=message) as raised:
        fetch(*answers, seconds=0.2)
    assert str(raised.value).startswith("http://127.0.0.1:")
    assert "SECRET" not in str(raised.value)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.pkl", b"before")]


BODY = bytes(range(256)) * 400


def respond_rest(*, etag: str = '"a"', cut: bool = False) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Return a function that responds with the requested part of :data:`BODY`; ``cut``: with half of it."""

    def write_response(request: http.server.BaseHTTPRequestHandler) -> None:
        if request.headers.get("If-Match", etag) != etag:
            respond_status(412)(request)
            return
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        rest = BODY[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        request.send_header("Content-Length", str(len(rest)))
        request.send_header("ETag", etag)
        request.end_headers()
        request.wfile.write(rest[: len(rest) // 2] if cut else rest)

    return write_response


class Sizes(progress.Silent):
    """Records how many bytes a download reports first."""

    def __init__(self) -> None:
        self.reported: list[tuple[int, int | None]] = []

    def report_bytes(self, done: int, total: int | None) -> None:
        self.reported.append((done, total))


def test_a_download_continues_where_the_last_one_was_cut_off(fetch: Callable[..., Path], tmp_path: Path) -> None:
    cut = respond_rest(cut=True)
    with pytest.raises(errors.NetworkError):
        fetch(cut, cut, cut, resume=True)
    received = (tmp_path / ".fetching-x.pkl").stat().st_size
    assert received == len(BODY) - len(BODY) // 8
    sizes = Sizes()
    path = fetch(respond_rest(), resume=True, progress=sizes)
    assert path.read_bytes() == BODY
    assert sizes.reported[0][0] > received
    assert sizes.reported[-1] == (len(BODY), len(BODY))
    assert [item.name for item in tmp_path.iterdir()] == ["x.pkl"]


def test_the_hash_of_a_continued_download_is_that_of_the_whole_file(fetch: Callable[..., Path]) -> None:
    hashes: list[str] = []
    fetch(respond_rest(cut=True), respond_rest(), resume=True, check=hashes.append)
    assert hashes == [hashlib.sha256(BODY).hexdigest()]


def test_a_changed_file_is_downloaded_from_its_start(fetch: Callable[..., Path]) -> None:
    path = fetch(respond_rest(cut=True), respond_rest(etag='"b"'), respond_rest(etag='"b"'), resume=True)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("etag", ["", 'W/"a"', "a"])
def test_without_a_reliable_etag_a_download_starts_again(fetch: Callable[..., Path], etag: str) -> None:
    assert fetch(respond_rest(etag=etag, cut=True), respond(b"all"), resume=True).read_bytes() == b"all"


def test_a_continued_download_that_is_too_large_is_removed(fetch: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(http_module.TooLargeError):
        fetch(respond_rest(cut=True), respond_rest(), resume=True, max_bytes=len(BODY) - 1)
    assert list(tmp_path.iterdir()) == []
