"""Push small images through a registry's HTTP API, including some that an engine would not build."""

from __future__ import annotations

import hashlib
import http.client
import json
from typing import Any

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.oci.image.index.v1+json"
OCI = "application/vnd.oci.image.manifest.v1+json"


def push_image(address: str, repository: str, tag: str, *, media_type: str = MANIFEST, **config: Any) -> str:
    """Push an image whose two layers are the same small blob; return its digest."""
    configuration = json.dumps({"os": "linux", "architecture": "amd64", **config}).encode()
    # tests/data/uploads_0_1 records the digest of an image, so these bytes must not change.
    layer = b"no layer at all, but as long as this"
    data = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _push_blob(address, repository, configuration, "application/vnd.docker.container.image.v1+json"),
        "layers": [_push_blob(address, repository, layer, "application/vnd.docker.image.rootfs.diff.tar.gzip")] * 2,
    }
    return push_manifest(address, repository, tag, data, media_type)


def push_index(address: str, repository: str, tag: str, images: dict[str, str]) -> str:
    """Push an index of images by platform; return its digest."""
    entries = []
    for platform, digest in images.items():
        system, _, architecture = platform.partition("/")
        selector = {"os": system, "architecture": architecture}
        entries.append({"mediaType": OCI, "digest": digest, "size": 500, "platform": selector})
    return push_manifest(
        address, repository, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX
    )


def push_manifest(address: str, repository: str, tag: str, data: dict[str, Any], media_type: str) -> str:
    """Push a manifest; return its digest in the registry."""
    headers = _send(address, "PUT", f"/v2/{repository}/manifests/{tag}", json.dumps(data).encode(), media_type)
    return headers["docker-content-digest"]


def delete_manifest(address: str, repository: str, digest: str) -> None:
    """Delete a manifest and all its tags."""
    _send(address, "DELETE", f"/v2/{repository}/manifests/{digest}", b"", "")


def _push_blob(address: str, repository: str, content: bytes, media_type: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    location = _send(address, "POST", f"/v2/{repository}/blobs/uploads/", b"", "")["location"]
    _send(address, "PUT", f"{location}&digest={digest}", content, "application/octet-stream")
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _send(address: str, method: str, path: str, body: bytes, media_type: str) -> dict[str, str]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": media_type} if media_type else {})
        response = connection.getresponse()
        text = response.read()
        assert response.status in {201, 202}, (response.status, text)
        return {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()
