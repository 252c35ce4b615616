"""The loopback registry keeps layers from one start to the next, but no images."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest

from builder import errors, progress
from builder.sandbox import registry, server, session
from builder.sandbox.status_words import VOCABULARIES
from tests.sandbox import client

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"


def push_layer(address: str, content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    begun = client.send("POST", f"http://{address}/v2/test/one/blobs/uploads/")
    assert begun.status == 202
    result = client.send("PUT", f"{begun.headers['Location']}&digest={digest}", content)
    assert result.status == 201, result.body
    return digest


def test_layers_outlive_their_registry_and_images_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_CACHE", tmp_path)
    content = json.dumps({"architecture": "amd64"}).encode()
    with registry.start() as address:
        digest = push_layer(address, content)
        config = {"mediaType": CONFIG, "size": len(content), "digest": digest}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}
        body = json.dumps(manifest).encode()
        url = f"http://{address}/v2/test/one/manifests/tag"
        assert client.send("PUT", url, body, {"Content-Type": MANIFEST}).status == 201
        pushed = f"sha256:{hashlib.sha256(body).hexdigest()}"
        with registry.start() as other:
            assert other != address
            for name in ("tag", pushed):
                assert client.send("GET", f"http://{other}/v2/test/one/manifests/{name}").status == 404
    with registry.start() as address:
        for name in ("tag", pushed):
            assert client.send("GET", f"http://{address}/v2/test/one/manifests/{name}").status == 404
        assert client.send("GET", f"http://{address}/v2/test/one/blobs/{digest}").body == content
    remaining = {path.name for path in (tmp_path / "numerai-sandbox-registry").iterdir()}
    assert remaining == {"blobs", "repositories"}


def test_a_registry_that_does_not_start_shows_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / registry.PROGRAM).write_text("#!/bin/sh\necho 'no room left'\nexit 1\n")
    (tmp_path / registry.PROGRAM).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(registry, "_CACHE", tmp_path)
    with pytest.raises(errors.EngineError, match=r"did not start; it printed:\s+no room left"), registry.start():
        pass


def test_a_port_in_use_is_reported() -> None:
    with server.start() as other, contextlib.ExitStack() as undo:
        port = int(other.address.rpartition(":")[2])
        with pytest.raises(errors.UsageError, match=f"^port {port} is in use; choose another with --port"):
            session.start(undo, tags={}, words=VOCABULARIES["seen"](), port=port, progress=progress.Silent())
