"""Test the registry client with a real registry, with and without a proxy that requires a token."""

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
from tests.support import registry as registry_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = "numerai/numerai_predict_py_3_12"
PYTHON: dict[str, Any] = {"config": {"Env": ["PATH=/bin", "PYTHON_VERSION=3.12.8"], "Labels": {"maker": "them"}}}
LOGIN = docker_config.Login(user="somebody", password="opensesame")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with registry_server.start() as address:
        yield address


@pytest.fixture
def proxy(address: str) -> Iterator[token_registry.TokenProxy]:
    with token_registry.start(address) as proxy:
        yield proxy


def resolve(
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


# ---- resolving a reference


@pytest.mark.parametrize("kind", [registry_images.MANIFEST, registry_images.OCI])
def test_a_tag_is_resolved_to_digest_and_metadata(address: str, kind: str) -> None:
    digest = registry_images.push_image(
        address, REPOSITORY, "plain", media_type=kind, created="2026-03-01T00:00:00Z", **PYTHON
    )
    image = resolve(address, "plain")
    assert (image.digest, image.platforms, image.python) == (digest, ("linux/amd64",), "3.12.8")
    assert (image.labels, image.created) == ({"maker": "them"}, "2026-03-01T00:00:00Z")
    assert image.size == 2 * len(b"no layer at all, but as long as this")
    assert resolve(address, digest) == image


def test_an_index_is_resolved_to_its_own_digest_and_the_platforms_image(address: str) -> None:
    amd = registry_images.push_image(address, REPOSITORY, "amd", media_type=registry_images.OCI, **PYTHON)
    arm = registry_images.push_image(address, REPOSITORY, "arm", media_type=registry_images.OCI, architecture="arm64")
    images = {"linux/arm64": arm, "linux/amd64": amd, "unknown/unknown": arm}
    index = registry_images.push_index(address, REPOSITORY, "both", images)
    image = resolve(address, "both")
    assert (image.digest, image.platforms) == (index, ("linux/arm64", "linux/amd64"))
    assert image.python == "3.12.8"
    registry_images.push_index(address, REPOSITORY, "arms", {"linux/arm64": arm})
    for tag in ("arm", "arms"):
        with pytest.raises(
            errors.ImageError, match=r"is available for linux/arm64 only, but the tournament runs linux/amd64"
        ):
            resolve(address, tag)


def test_a_missing_tag_or_digest_is_an_error(address: str) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "here")
    for tag, kind in (("absent", "tag"), (f"sha256:{'0' * 64}", "digest")):
        with pytest.raises(
            errors.ImageNotFoundError, match=f"{kind} not found in the registry.*python -m builder images"
        ):
            resolve(address, tag)
    ref = reference.parse(f"{address}/{REPOSITORY}:here")
    with registry_client.RegistryClient(address, lambda: None, progress.Silent()) as client:
        repository = registry.Registry(client)
        assert repository.has_digest(ref, digest)
        registry_images.delete_manifest(address, REPOSITORY, digest)
        assert not repository.has_digest(ref, digest)


def test_an_absent_registry_is_an_error() -> None:
    with pytest.raises(errors.NetworkError, match=r"127\.0\.0\.1:9/.*:1: could not connect"):
        resolve("127.0.0.1:9")


# ---- invalid responses


def respond_with(body: bytes, **headers: str) -> Callable[[Any], None]:
    def respond(request: Any) -> None:
        request.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return respond


def create_routes(manifest: bytes, config: bytes = b"{}", **headers: str) -> dict[str, Callable[[Any], None]]:
    blob = f"sha256:{hashlib.sha256(config).hexdigest()}"
    return {
        f"/v2/{REPOSITORY}/manifests/1": respond_with(manifest, **headers),
        f"/v2/{REPOSITORY}/blobs/{blob}": respond_with(config),
    }


@pytest.mark.parametrize(
    ("manifest", "headers", "message"),
    [
        (b"<html>", {}, "is this a registry"),
        (b"[1]", {}, "is this a registry"),
        (b"{" * 100_000, {}, "is this a registry"),
        (b"{}", {}, "unsupported kind of image"),
        (b'{"schemaVersion": 1, "fsLayers": []}', {}, "unsupported kind of image .'schema 1'"),
        (b'{"layers": [{"size": 1}]}', {}, "a digest or a size is missing"),
        (b'{"layers": [], "config": {"digest": "../../x", "size": 1}}', {}, "contains the invalid digest"),
        (b'{"layers": [], "config": {"digest": "x", "size": true}}', {}, "a digest or a size is missing"),
        (b'{"manifests": [1, {"platform": 3}, {"digest": "x"}]}', {}, "is available for none"),
        (b"{}", {"Docker_Content_Digest": f"sha256:{'0' * 64}"}, "the registry reports 'sha256:0000"),
        (b"x" * (9 << 20), {}, "is larger than 8,388,608 bytes"),
    ],
)
def test_an_invalid_response_is_an_error(manifest: bytes, headers: dict[str, Any], message: str) -> None:
    with (
        http_files.serve(create_routes(manifest, **headers)) as server,
        pytest.raises(errors.BuilderError, match=message) as raised,
    ):
        resolve(server.url.removeprefix("http://"))
    assert isinstance(raised.value, errors.NetworkError | errors.ImageError)


def test_content_that_does_not_match_its_digest_is_an_error() -> None:
    config = b'{"os": "linux", "architecture": "amd64"}'
    config_digest = hashlib.sha256(config).hexdigest()
    manifest = json.dumps({"layers": [], "config": {"digest": f"sha256:{config_digest}", "size": 1}}).encode()
    routes = create_routes(manifest, config)
    with http_files.serve(routes) as server:
        assert resolve(server.url.removeprefix("http://")).size == 0
        routes[f"/v2/{REPOSITORY}/blobs/sha256:{config_digest}"] = respond_with(config + b" ")
        with pytest.raises(errors.NetworkError, match="does not match the digest"):
            resolve(server.url.removeprefix("http://"))
        routes[f"/v2/{REPOSITORY}/manifests/sha256:{'0' * 64}"] = respond_with(manifest)
        with pytest.raises(errors.NetworkError, match="digest mismatch: the response is"):
            resolve(server.url.removeprefix("http://"), f"sha256:{'0' * 64}")


def test_a_redirect_to_http_is_refused() -> None:
    routes = {
        f"/v2/{REPOSITORY}/manifests/1": http_files.respond_status(307, Location="http://example.org/secret?token=abc")
    }
    message = r"redirects to http://example\.org/.*to https only"
    with http_files.serve(routes) as server, pytest.raises(errors.NetworkError, match=message) as raised:
        resolve(server.url.removeprefix("http://"))
    assert "abc" not in str(raised.value)


@pytest.mark.parametrize("location", ["https://[bad/", "", "https://"])
def test_a_redirect_to_an_invalid_url_is_an_error(location: str) -> None:
    routes = {f"/v2/{REPOSITORY}/manifests/1": http_files.respond_status(307, Location=location)}
    with http_files.serve(routes) as server, pytest.raises(errors.NetworkError, match="redirects"):
        resolve(server.url.removeprefix("http://"))


@pytest.mark.parametrize(("failures", "succeeds"), [(1, True), (2, True), (3, False)])
def test_a_lost_connection_is_retried(waits: list[float], failures: int, *, succeeds: bool) -> None:
    config = b'{"os": "linux", "architecture": "amd64"}'
    config_digest = hashlib.sha256(config).hexdigest()
    manifest = json.dumps({"layers": [], "config": {"digest": f"sha256:{config_digest}", "size": 1}}).encode()
    routes, remaining = create_routes(manifest, config), [failures]
    respond = routes[f"/v2/{REPOSITORY}/manifests/1"]

    def disconnect(request: Any) -> None:
        if remaining[0]:
            remaining[0] -= 1
            request.close_connection = True
        else:
            respond(request)

    routes[f"/v2/{REPOSITORY}/manifests/1"] = disconnect
    with http_files.serve(routes) as server:
        if succeeds:
            assert resolve(server.url.removeprefix("http://")).size == 0
        else:
            with pytest.raises(errors.UnavailableError, match="is incomplete"):
                resolve(server.url.removeprefix("http://"))
    assert waits == [0.5, 1.0][:failures]


# ---- tokens


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_a_token_is_fetched_once_from_the_realm(address: str, proxy: token_registry.TokenProxy, key: str) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "1", **PYTHON)
    proxy.token_key = key
    assert resolve(proxy.address).digest == digest
    paths = [path.partition("?")[0].partition("/blobs/")[0] for path, _ in proxy.requests]
    manifest = f"/v2/{REPOSITORY}/manifests/1"
    assert paths == [manifest, "/token", manifest, f"/v2/{REPOSITORY}"]
    assert [sent.partition(" ")[0] for _, sent in proxy.requests] == ["", "", "Bearer", "Bearer"]


@pytest.mark.parametrize("first", ['Basic realm="x"', "Basic", 'Negotiate, Basic realm="a, b",charset="UTF-8"'])
@pytest.mark.parametrize("joined", [False, True])
def test_bearer_is_preferred_to_other_schemes(
    address: str, proxy: token_registry.TokenProxy, first: str, *, joined: bool
) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "1", **PYTHON)
    proxy.extra_challenge, proxy.joins_challenges = first, joined
    assert resolve(proxy.address).digest == digest
    assert {sent.partition(" ")[0] for _, sent in proxy.requests} == {"", "Bearer"}


def test_a_login_is_sent_to_the_realm_only(address: str, proxy: token_registry.TokenProxy) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "1", **PYTHON)
    proxy.login = "somebody:opensesame"
    assert resolve(proxy.address, login=LOGIN).digest == digest
    assert [path.startswith("/token") for path, sent in proxy.requests if sent.startswith("Basic")] == [True]
    with pytest.raises(errors.NetworkError, match=f"the registry requires a login: run `docker login {proxy.address}`"):
        resolve(proxy.address)
    wrong = docker_config.Login(user="somebody", password="closesesame")
    with pytest.raises(errors.NetworkError, match="the login was rejected: run `docker login") as raised:
        resolve(proxy.address, login=wrong)
    assert "closesesame" not in f"{raised.value}{wrong!r}"


def test_an_insecure_realm_is_refused(proxy: token_registry.TokenProxy) -> None:
    proxy.realm = "http://example.org/token"
    with pytest.raises(
        errors.NetworkError, match=r"token server http://example\.org/.* is not secure \(only https is allowed\)"
    ):
        resolve(proxy.address, login=LOGIN)
    assert len(proxy.requests) == 1


def test_a_busy_registry_is_retried_after_its_retry_after(
    address: str, proxy: token_registry.TokenProxy, waits: list[float]
) -> None:
    digest = registry_images.push_image(address, REPOSITORY, "1", **PYTHON)
    proxy.busy_responses, proxy.retry_after = 2, "3"
    assert resolve(proxy.address).digest == digest
    assert waits == [3.0, 3.0]
    waits.clear()
    proxy.busy_responses, proxy.retry_after = 1, "600"
    with pytest.raises(errors.NetworkError, match=r"too many requests \(HTTP 429\); run it again later"):
        resolve(proxy.address)
    assert waits == []
