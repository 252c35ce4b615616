"""Images put into a registry by its HTTP API alone: small ones, for what an engine would never make."""

from __future__ import annotations

import hashlib
import http.client
import json
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
OCI = "application/vnd.oci.image.manifest.v1+json"


def push_image(address: str, repository: str, tag: str, *, media_type: str = MANIFEST, **config: Any) -> str:
    """Put an image with one small layer; returns its digest."""
    configuration = json.dumps({"os": "linux", "architecture": "amd64", **config}).encode()
    layer = b"no layer at all, but as long as this"
    data = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _blob(address, repository, configuration, "application/vnd.docker.container.image.v1+json"),
        "layers": [_blob(address, repository, layer, "application/vnd.docker.image.rootfs.diff.tar.gzip")] * 2,
    }
    return push_manifest(address, repository, tag, data, media_type)


def push_index(address: str, repository: str, tag: str, images: dict[str, str]) -> str:
    """Put an index of images by platform; returns its digest."""
    entries = []
    for platform, digest in images.items():
        system, _, architecture = platform.partition("/")
        named = {"os": system, "architecture": architecture}
        entries.append({"mediaType": OCI, "digest": digest, "size": 500, "platform": named})
    return push_manifest(
        address, repository, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX
    )


def push_manifest(address: str, repository: str, tag: str, data: dict[str, Any], media_type: str) -> str:
    """Put a manifest; returns the digest that the registry gives it."""
    answer = _ask(address, "PUT", f"/v2/{repository}/manifests/{tag}", json.dumps(data).encode(), media_type)
    return answer["docker-content-digest"]


def delete_manifest(address: str, repository: str, digest: str) -> None:
    """Remove a manifest, and with it every tag that names it."""
    _ask(address, "DELETE", f"/v2/{repository}/manifests/{digest}", b"", "")


def _blob(address: str, repository: str, content: bytes, media_type: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    index = _ask(address, "POST", f"/v2/{repository}/blobs/uploads/", b"", "")["location"]
    _ask(address, "PUT", f"{index}&digest={digest}", content, "application/octet-stream")
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _ask(address: str, method: str, path: str, body: bytes, media_type: str) -> dict[str, str]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": media_type} if media_type else {})
        answer = connection.getresponse()
        message = answer.read()
        assert answer.status in {201, 202}, (answer.status, message)
        return {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()
