"""Test that any response of a registry is resolved to an image or an error."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors
from builder.net import http
from builder.registry import client as registry_client
from builder.registry import reference
from builder.registry import resolve as registry

REF = reference.parse("ghcr.io/numerai/numerai_predict_py_3_12:a78dedd")
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
platforms = st.fixed_dictionaries(
    {}, optional={"os": plain | st.just("linux"), "architecture": plain | st.just("amd64")}
)
entries = st.fixed_dictionaries(
    {}, optional={"digest": plain | st.text(max_size=5), "size": plain, "platform": platforms | plain}
)
manifests = st.fixed_dictionaries(
    {},
    optional={"manifests": st.lists(entries | plain) | plain, "layers": st.lists(entries) | plain, "config": entries},
)
configs = st.fixed_dictionaries(
    {"os": st.just("linux"), "architecture": st.just("amd64")},
    optional={
        "created": plain,
        "config": plain | st.fixed_dictionaries({}, optional={"Env": plain | st.lists(plain), "Labels": plain}),
    },
)


# ruff: noqa: ARG002 - same parameters as the real client
class FakeClient(registry_client.RegistryClient):
    """Returns the given bodies by the last part of the path; everything else is not found."""

    def __init__(self, **bodies: bytes) -> None:
        self.bodies = bodies

    def get(self, repository: str, path: str, subject: str) -> http.HttpResponse:
        name = path.rpartition("/")[2]
        if name not in self.bodies:
            raise errors.ImageNotFoundError(f"{repository}: {subject} not found")
        return http.HttpResponse(status_code=200, headers={}, body=self.bodies[name])


def resolve(manifest: Any, config: Any) -> registry.RemoteImage:
    blob = json.dumps(config).encode()
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    if isinstance(manifest.get("config"), dict) and "digest" in manifest["config"]:
        manifest["config"]["digest"] = digest
    return registry.Registry(FakeClient(**{"a78dedd": json.dumps(manifest).encode(), digest: blob})).resolve(REF)


@settings(max_examples=50)
@given(manifests, configs)
def test_any_manifest_is_an_image_or_an_error(manifest: dict[str, Any], config: dict[str, Any]) -> None:
    try:
        image = resolve(manifest, config)
    except (errors.ImageError, errors.NetworkError) as error:
        text = str(error)
    else:
        text = image.digest
        assert image.size >= 0
        assert all(isinstance(value, str) for value in image.labels.values())
    assert text.isprintable()


@settings(max_examples=30)
@given(configs)
def test_an_image_with_any_config_is_resolved(config: dict[str, Any]) -> None:
    manifest = {"layers": [{"digest": "x", "size": 7}], "config": {"digest": "x", "size": 1}}
    image = resolve(manifest, config)
    assert (image.size, image.platforms) == (7, ("linux/amd64",))


@settings(max_examples=30)
@given(st.text(max_size=80) | st.from_regex(r'Bearer realm="[^"]{0,20}"(,scope=[a-z:]{0,9})?', fullmatch=True))
def test_with_any_challenge_only_a_secure_realm_is_used(challenge: str) -> None:
    from builder import progress

    class UnauthorizedClient(registry_client.RegistryClient):
        def _get_with_retries(self, url: str, authorization: str, subject: str) -> http.HttpResponse:
            assert url.startswith("https://")
            return http.HttpResponse(status_code=401, headers={"www-authenticate": challenge}, body=b"")

    with pytest.raises(errors.NetworkError) as raised:
        UnauthorizedClient("ghcr.io", lambda: None, progress.Silent()).get(
            "numerai/x", "manifests/1", "ghcr.io/numerai/x:1"
        )
    assert str(raised.value).isprintable()
