"""Asking a real registry what a reference means; with a door in front of it that wants a token."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from builder import errors, progress
from builder.engine import docker_config
from builder.registry import client as registry_client
from builder.registry import reference
from builder.registry import resolve as registry
from tests.support import http_files, registry_images, token_registry
from tests.support import registry as running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = "numerai/numerai_predict_py_3_12"
PYTHON: dict[str, Any] = {"config": {"Env": ["PATH=/bin", "PYTHON_VERSION=3.12.8"], "Labels": {"maker": "them"}}}
LOGIN = docker_config.Login(user="somebody", password="opensesame")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running.start() as address:
        yield address


@pytest.fixture
def door(address: str) -> Iterator[token_registry.TokenProxy]:
    with token_registry.start(address) as door:
        yield door


def ask(
    address: str,
    tag: str = "1",
    *,
    login: docker_config.Login | None = None,
    repository: str = REPOSITORY,
) -> registry.RemoteImage:
    mark = "@" if tag.startswith("sha256:") else ":"
    ref = reference.parse(f"{address}/{repository}{mark}{tag}")
    with registry_client.RegistryClient(address, lambda: login, progress.Silent(), seconds=5) as client:
        return registry.Registry(client).resolve(ref)


# ---- what a reference means


@pytest.mark.parametrize("kind", [registry_images.MANIFEST, registry_images.OCI])
def test_a_tag_means_a_digest_and_what_the_image_says_of_itself(address: str, kind: str) -> None:
    digest = registry_images.push_image(
        address, REPOSITORY, "plain", media_type=kind, created="2026-03-01T00:00:00Z", **PYTHON
    )
    found = ask(address, "plain")
    assert (found.digest, found.platforms, found.python) == (digest, ("linux/amd64",), "3.12.8")
    assert (found.labels, found.created) == ({"maker": "them"}, "2026-03-01T00:00:00Z")
    assert found.size == 2 * len(b"no layer at all, but as long as this")
    assert ask(address, digest) == found


def test_an_index_is_pinned_itself_and_looked_into_for_the_platform(address: str) -> None:
    amd = registry_images.push_image(address, REPOSITORY, "amd", media_type=registry_images.OCI, **PYTHON)
    arm = registry_images.push_image(address, REPOSITORY, "arm", media_type=registry_images.OCI, architecture="arm64")
    images = {"linux/arm64": arm, "linux/amd64": amd, "unknown/unknown": arm}
    index = registry_images.push_index(address, REPOSITORY, "both", images)
    found = ask(address, "both")
    assert (found.digest, found.platforms) == (index, ("linux/arm64", "linux/amd64"))
    assert found.python == "3.12.8"
    registry_images.push_index(address, REPOSITORY, "arms", {"linux/arm64": arm})
    for tag in ("arm", "arms"):
        with pytest.raises(errors.ImageError, match=r"is there for linux/arm64, and the tournament runs linux/amd64"):
            ask(address, tag)


def test_what_is_not_there_is_told(address: str) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "here")
    for tag, said in (("absent", "no such tag"), (f"sha256:{'0' * 64}", "no such digest")):
        with pytest.raises(errors.ImageNotFoundError, match=f"the registry has {said}.*python -m builder images"):
            ask(address, tag)
    ref = reference.parse(f"{address}/{REPOSITORY}:here")
    with registry_client.RegistryClient(address, lambda: None, progress.Silent()) as client:
        asked = registry.Registry(client)
        assert asked.has_digest(ref, digest)
        registry_images.delete_manifest(address, REPOSITORY, digest)
        assert not asked.has_digest(ref, digest)


def test_no_registry_is_told() -> None:
    with pytest.raises(errors.NetworkError, match=r"127\.0\.0\.1:9/.*:1: no connection"):
        ask("127.0.0.1:9")


# ---- what cannot be


def answering(body: bytes, **headers: str) -> Callable[[Any], None]:
    def answer(request: Any) -> None:
        request.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def serving(manifest: bytes, config: bytes = b"{}", **headers: str) -> dict[str, Callable[[Any], None]]:
    blob = f"sha256:{hashlib.sha256(config).hexdigest()}"
    return {
        f"/v2/{REPOSITORY}/manifests/1": answering(manifest, **headers),
        f"/v2/{REPOSITORY}/blobs/{blob}": answering(config),
    }


@pytest.mark.parametrize(
    ("manifest", "headers", "said"),
    [
        (b"<html>", {}, "is this a registry"),
        (b"[1]", {}, "is this a registry"),
        (b"{" * 100_000, {}, "is this a registry"),
        (b"{}", {}, "is no image that this tool knows"),
        (b'{"schemaVersion": 1, "fsLayers": []}', {}, "is no image that this tool knows .'schema 1'"),
        (b'{"layers": [{"size": 1}]}', {}, "lacks a digest or a size"),
        (b'{"layers": [], "config": {"digest": "../../x", "size": 1}}', {}, "which is not a sha256 digest"),
        (b'{"layers": [], "config": {"digest": "x", "size": true}}', {}, "lacks a digest or a size"),
        (b'{"manifests": [1, {"platform": 3}, {"digest": "x"}]}', {}, "is there for none"),
        (b"{}", {"Docker_Content_Digest": f"sha256:{'0' * 64}"}, "the registry calls it 'sha256:0000"),
        (b"x" * (9 << 20), {}, "goes on after 8,388,608 bytes"),
    ],
)
def test_what_no_registry_says_is_an_error(manifest: bytes, headers: dict[str, Any], said: str) -> None:
    with (
        http_files.serve(serving(manifest, **headers)) as server,
        pytest.raises(errors.BuilderError, match=said) as raised,
    ):
        ask(server.url.removeprefix("http://"))
    assert isinstance(raised.value, errors.NetworkError | errors.ImageError)


def test_what_is_not_what_its_digest_says_is_refused() -> None:
    config = b'{"os": "linux", "architecture": "amd64"}'
    named = hashlib.sha256(config).hexdigest()
    manifest = json.dumps({"layers": [], "config": {"digest": f"sha256:{named}", "size": 1}}).encode()
    answers = serving(manifest, config)
    with http_files.serve(answers) as server:
        assert ask(server.url.removeprefix("http://")).size == 0
        answers[f"/v2/{REPOSITORY}/blobs/sha256:{named}"] = answering(config + b" ")
        with pytest.raises(errors.NetworkError, match="is not what its digest says"):
            ask(server.url.removeprefix("http://"))
        answers[f"/v2/{REPOSITORY}/manifests/sha256:{'0' * 64}"] = answering(manifest)
        with pytest.raises(errors.NetworkError, match="changed on the way, or damaged"):
            ask(server.url.removeprefix("http://"), f"sha256:{'0' * 64}")


def test_redirects_go_to_no_other_place_by_http() -> None:
    there = {
        f"/v2/{REPOSITORY}/manifests/1": http_files.respond_status(307, Location="http://example.org/secret?token=abc")
    }
    said = r"redirects to http://example\.org/.*only https is"
    with http_files.serve(there) as server, pytest.raises(errors.NetworkError, match=said) as raised:
        ask(server.url.removeprefix("http://"))
    assert "abc" not in str(raised.value)


@pytest.mark.parametrize("location", ["https://[bad/", "", "https://"])
def test_a_redirect_to_no_address_is_told(location: str) -> None:
    there = {f"/v2/{REPOSITORY}/manifests/1": http_files.respond_status(307, Location=location)}
    with http_files.serve(there) as server, pytest.raises(errors.NetworkError, match="redirects"):
        ask(server.url.removeprefix("http://"))


@pytest.mark.parametrize(("cuts", "good"), [(1, True), (2, True), (3, False)])
def test_a_connection_that_was_cut_is_tried_again(waits: list[float], cuts: int, *, good: bool) -> None:
    config = b'{"os": "linux", "architecture": "amd64"}'
    named = hashlib.sha256(config).hexdigest()
    manifest = json.dumps({"layers": [], "config": {"digest": f"sha256:{named}", "size": 1}}).encode()
    answers, left = serving(manifest, config), [cuts]
    whole = answers[f"/v2/{REPOSITORY}/manifests/1"]

    def cut(request: Any) -> None:
        if left[0]:
            left[0] -= 1
            request.close_connection = True
        else:
            whole(request)

    answers[f"/v2/{REPOSITORY}/manifests/1"] = cut
    with http_files.serve(answers) as server:
        if good:
            assert ask(server.url.removeprefix("http://")).size == 0
        else:
            with pytest.raises(errors.UnavailableError, match="cut short"):
                ask(server.url.removeprefix("http://"))
    assert waits == [0.5, 1.0][:cuts]


# ---- tokens


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_a_token_is_fetched_where_the_registry_says_once(
    address: str, door: token_registry.TokenProxy, key: str
) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "1", **PYTHON)
    door.token_key = key
    assert ask(door.address).digest == digest
    paths = [path.partition("?")[0].partition("/blobs/")[0] for path, _ in door.requests]
    manifest = f"/v2/{REPOSITORY}/manifests/1"
    assert paths == [manifest, "/token", manifest, f"/v2/{REPOSITORY}"]
    assert [sent.partition(" ")[0] for _, sent in door.requests] == ["", "", "Bearer", "Bearer"]


@pytest.mark.parametrize("first", ['Basic realm="x"', "Basic", 'Negotiate, Basic realm="a, b",charset="UTF-8"'])
@pytest.mark.parametrize("joined", [False, True])
def test_a_token_is_fetched_though_a_login_is_offered_first(
    address: str, door: token_registry.TokenProxy, first: str, *, joined: bool
) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "1", **PYTHON)
    door.extra_challenge, door.joins_challenges = first, joined
    assert ask(door.address).digest == digest
    assert {sent.partition(" ")[0] for _, sent in door.requests} == {"", "Bearer"}


def test_a_login_goes_to_the_realm_alone(address: str, door: token_registry.TokenProxy) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "1", **PYTHON)
    door.login = "somebody:opensesame"
    assert ask(door.address, login=LOGIN).digest == digest
    assert [path.startswith("/token") for path, sent in door.requests if sent.startswith("Basic")] == [True]
    with pytest.raises(errors.NetworkError, match=f"the registry requires a login: run `docker login {door.address}`"):
        ask(door.address)
    wrong = docker_config.Login(user="somebody", password="closesesame")
    with pytest.raises(errors.NetworkError, match="the login is refused: run `docker login") as raised:
        ask(door.address, login=wrong)
    assert "closesesame" not in f"{raised.value}{wrong!r}"


def test_a_realm_that_is_not_safe_is_not_asked(door: token_registry.TokenProxy) -> None:
    door.realm = "http://example.org/token"
    with pytest.raises(errors.NetworkError, match=r"sends to http://example\.org/.*for a token, .* only https is"):
        ask(door.address, login=LOGIN)
    assert len(door.requests) == 1


def test_a_registry_that_is_busy_is_asked_again_when_it_says(
    address: str, door: token_registry.TokenProxy, waits: list[float]
) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "1", **PYTHON)
    door.busy_responses, door.retry_after = 2, "3"
    assert ask(door.address).digest == digest
    assert waits == [3.0, 3.0]
    waits.clear()
    door.busy_responses, door.retry_after = 1, "600"
    with pytest.raises(errors.NetworkError, match=r"asked too often \(HTTP 429\); run it again later"):
        ask(door.address)
    assert waits == []
