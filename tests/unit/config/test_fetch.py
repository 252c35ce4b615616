"""Bundles are fetched once, from a real server on the loopback, and only with the right hash."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
import pytest_socket

from builder import errors, progress
from builder.bundle.storage import files, write
from builder.config import fetch, resolve
from builder.config import model as config
from tests.support import bundles, http_files
from tests.support.http_files import respond, respond_status, respond_without_length

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "sesame-open-up"
NAME = "/models/mine.bundle.zip"


pytestmark = pytest.mark.usefixtures("waits")


@pytest.fixture(autouse=True)
def _on_the_loopback(_offline: None) -> None:
    pytest_socket.enable_socket()


class Steps(progress.Silent):
    """Records steps and amounts."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.amounts: list[tuple[int, int | None]] = []

    def step(self, text: str, /) -> None:
        self.steps.append(text)

    def report_bytes(self, done: int, total: int | None, /) -> None:
        self.amounts.append((done, total))


@pytest.fixture
def body(tmp_path: Path) -> bytes:
    write.write(tmp_path / "original.bundle.zip", bundles.make_bundle())
    return (tmp_path / "original.bundle.zip").read_bytes()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def create_config(root: Path, url: str, sha256: str) -> config.Config:
    """Return a config with this address as its bundle."""
    (root / "configs").mkdir(exist_ok=True)
    path = root / "configs" / "a.yaml"
    path.write_text(f"name: a\nimage: {{ref: runner:1}}\nbundle: {{url: '{url}', sha256: '{sha256}'}}\n")
    return config.load(path)


def run_fetch(answers: dict[str, Any], raw: bytes, cache: Path, **options: Any) -> Path:
    with http_files.serve(answers) as server:
        url = f"{server.url}{NAME}?token={TOKEN}"
        return fetch.fetch(url, sha256=digest(raw), cache=cache, progress=progress.Silent(), **options)


def fail_to_fetch(
    answers: dict[str, Any], raw: bytes, cache: Path, kind: type[errors.BuilderError], **options: Any
) -> str:
    """Return the message of a failing fetch, which leaves no file and shows no secret."""
    with pytest.raises(kind) as raised:
        run_fetch(answers, raw, cache, **options)
    assert list((cache / "fetched").iterdir()) == []
    assert TOKEN not in str(raised.value)
    assert str(raised.value).startswith("http://127.0.0.1:")
    return str(raised.value)


def test_a_bundle_is_fetched_once_and_then_read_from_the_cache(tmp_path: Path, body: bytes, cache: Path) -> None:
    reporter = Steps()
    with http_files.serve({NAME: respond(body)}) as server:
        config_with_url = create_config(tmp_path, f"{server.url}{NAME}?token={TOKEN}", digest(body).upper())
        first = resolve.resolve_bundle(config_with_url, cache=cache, progress=reporter)
        assert server.requests == [f"{NAME}?token={TOKEN}"]
    # The server has stopped.
    assert resolve.resolve_bundle(config_with_url, cache=cache, progress=reporter) == first
    assert files.hash_bundle(first.folder) == files.hash_bundle(bundles.write_bundle(tmp_path / "plain"))
    assert reporter.steps == [f"fetching {server.url}/.../mine.bundle.zip"]
    assert reporter.amounts[-1] == (len(body), len(body))
    assert TOKEN not in f"{first}{config_with_url}{reporter.steps}"
    assert [path.name for path in (cache / "fetched").iterdir()] == [f"{digest(body)}.bundle.zip"]


def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path, body: bytes, cache: Path) -> None:
    with http_files.serve({NAME: respond(body)}) as server:
        config_with_url = create_config(tmp_path, f"{server.url}{NAME}", digest(body))
        first = resolve.resolve_bundle(config_with_url, cache=cache, progress=progress.Silent())
        fetch.get_cache_path(digest(body), cache).write_bytes(body[:-9])
        assert resolve.resolve_bundle(config_with_url, cache=cache, progress=progress.Silent()) == first
        assert len(server.requests) == 2


def test_problems_of_a_fetched_zip_show_its_address(tmp_path: Path, cache: Path) -> None:
    with http_files.serve({NAME: respond(b"no zip")}) as server:
        config_with_url = create_config(tmp_path, f"{server.url}{NAME}?token={TOKEN}", digest(b"no zip"))
        with pytest.raises(errors.BundleError) as raised:
            resolve.resolve_bundle(config_with_url, cache=cache, progress=progress.Silent())
    assert str(raised.value).startswith(f"{server.url}/.../mine.bundle.zip: is not a zip")


def test_an_answer_without_a_length_is_accepted(body: bytes, cache: Path) -> None:
    assert run_fetch({NAME: respond_without_length(body)}, body, cache).read_bytes() == body


def test_a_redirect_to_the_same_host_is_followed(body: bytes, cache: Path) -> None:
    answers = {NAME: respond_status(302, Location="/elsewhere?signed=x"), "/elsewhere": respond(body)}
    assert run_fetch(answers, body, cache).read_bytes() == body


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (NAME, "redirects more than 5 times"),
        (
            "http://example.org/x?signed=sesame-open-up",
            "redirects to http://example.org/x; redirects are followed to https only",
        ),
        (
            "http://user:sesame-open-up@127.0.0.1/x",
            "redirects to http://127.0.0.1/x; redirects are followed to https only",
        ),
        ("file:///etc/passwd", "redirects are followed to https only"),
        ("ftp://127.0.0.1/x", "redirects are followed to https only"),
        ("http://[", "redirects to an invalid URL; redirects are followed to https only"),
    ],
)
def test_other_redirects_are_refused(body: bytes, cache: Path, location: str, message: str) -> None:
    assert message in fail_to_fetch({NAME: respond_status(302, Location=location)}, body, cache, errors.NetworkError)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (401, "HTTP 401, a login is required, but none is sent"),
        (403, "HTTP 403, access is forbidden, or the address has expired"),
        (404, "HTTP 404, the file was not found: check the address"),
        (418, "HTTP 418, run it again, or download"),
        (206, "HTTP 206, run it again, or download"),
        (429, "HTTP 429, too many requests; wait a minute, then run it again"),
        (503, "HTTP 503, the server failed; wait a minute, then run it again"),
    ],
)
def test_an_error_status_is_reported_with_what_to_do(body: bytes, cache: Path, code: int, message: str) -> None:
    error = fail_to_fetch({NAME: respond_status(code)}, body, cache, errors.NetworkError)
    assert message in error
    assert "download the file yourself" in error


def test_a_file_with_another_hash_is_refused(body: bytes, cache: Path) -> None:
    error = fail_to_fetch({NAME: respond(b"another")}, body, cache, errors.BundleError)
    assert f"the sha256 is {digest(b'another')}, but the config expects {digest(body)}" in error


def test_a_file_that_is_too_large_is_refused_with_and_without_a_length(body: bytes, cache: Path) -> None:
    for answer, message in (
        (respond(body), f"has {len(body):,} bytes (limit: 1,000)"),
        (respond_without_length(body), "has more than 1,000 bytes"),
        (respond(body, content_length=1 << 60), "(limit: 1,000)"),
    ):
        assert message in fail_to_fetch({NAME: answer}, body, cache, errors.BundleError, max_bytes=1_000)


def test_an_incomplete_answer_is_an_error(body: bytes, cache: Path) -> None:
    answer = respond(body, content_length=len(body) + 1)

    def close_early(request: Any) -> None:
        answer(request)
        request.close_connection = True

    assert "is incomplete" in fail_to_fetch({NAME: close_early}, body, cache, errors.NetworkError)


def test_a_server_that_does_not_answer_is_an_error(cache: Path) -> None:
    with http_files.serve({}) as server:
        url = f"{server.url}{NAME}?token={TOKEN}"
    with pytest.raises(errors.NetworkError, match=r"could not connect .*proxy") as raised:
        fetch.fetch(url, sha256="0" * 64, cache=cache, progress=progress.Silent())
    assert TOKEN not in str(raised.value)


# ---- addresses in a config


def test_a_local_file_is_used_in_place_if_its_hash_is_right(tmp_path: Path, body: bytes, cache: Path) -> None:
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "my model.bundle.zip"
    path.write_bytes(body)
    for url in (
        "../models/my model.bundle.zip",
        "file:../models/my%20model.bundle.zip",
        f"file://{path}".replace(" ", "%20"),
    ):
        bundle = resolve.resolve_bundle(
            create_config(tmp_path, url, digest(body)), cache=cache, progress=progress.Silent()
        )
        assert bundle.display_name == str(path)
        assert (bundle.folder / "bundle.json").is_file()
    with pytest.raises(errors.BundleError, match=rf"the sha256 is {digest(body)}, but .*a\.yaml expects 0000"):
        resolve.resolve_bundle(create_config(tmp_path, url, "0" * 64), cache=cache, progress=progress.Silent())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org/x", "bundle.url: http is not allowed, because it does not protect"),
        ("s3://bucket/x", 'bundle.url: unsupported scheme "s3"'),
        ("https:///x", 'bundle.url: unsupported scheme "https" or missing host'),
        (
            "https://user:sesame-open-up@example.org/x",
            "bundle.url: a URL with a user name or password is a secret",
        ),
        ("https://sesame-open-up@example.org/x", "bundle.url: a URL with a user name or password is a secret"),
        ("https://example.org:port/x?sesame-open-up", "bundle.url: not a valid URL"),
        ("https://[sesame-open-up/x", "bundle.url: not a valid URL"),
        ("https://example.org/a b", "bundle.url: a URL must not contain spaces"),
        ("file://other/x.bundle.zip", "bundle.url: a file: URL must be a file of this computer"),
        ("file:", "bundle.url: the URL has no path"),
        ("file:///etc/passwd", "which is not below"),
        ("../../x.bundle.zip", "which is not below"),
        ("/etc/passwd", "is not a relative path"),
        ("absent.bundle.zip", "does not exist; expected a NAME.bundle.zip"),
        ("folder", "is a folder; expected a NAME.bundle.zip"),
        ("a.yaml", "is not a .zip; expected a NAME.bundle.zip"),
        ("", "bundle.url: not a valid URL"),
    ],
)
def test_an_invalid_address_is_refused_without_showing_its_secret(tmp_path: Path, url: str, message: str) -> None:
    (tmp_path / "configs" / "folder").mkdir(parents=True)
    with pytest.raises(errors.ConfigError) as raised:
        create_config(tmp_path, url, "0" * 64)
    (problem,) = raised.value.problems
    assert message in problem
    assert TOKEN not in problem


def test_an_address_instead_of_a_path_and_an_invalid_hash_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match=r'bundle\.sha256: "12" is not a sha256; expected 64 digits'):
        create_config(tmp_path, "https://example.org/x", "12")
    path = tmp_path / "configs" / "a.yaml"
    path.write_text(f"name: a\nimage: {{ref: runner:1}}\nbundle: https://u:{TOKEN}@example.org/x.bundle.zip\n")
    with pytest.raises(
        errors.ConfigError, match=r"bundle: this is an address, not a path; write it as \{url"
    ) as raised:
        config.load(path)
    assert TOKEN not in str(raised.value)
