"""Look up the image of a tag or digest in an image registry (OCI distribution), without pulling it.

The registry is not trusted: a manifest's digest is computed from its bytes, and everything that it refers to is checked
against the digest in the manifest.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.engine import protocol
from builder.registry import client as registry_client
from builder.text import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.registry import reference


@dataclass(frozen=True, kw_only=True)
class RemoteImage:
    """An image in a registry.

    Attributes:
        digest: The digest that the tag resolves to: of the image, or of an index of images for several platforms.
        platforms: The platforms that it is available for.
        size: Bytes of the compressed layers, for the tournament's platform.
        python: The Python version from the image's ``PYTHON_VERSION``; empty if it is not set.
        created: The creation time from the image's configuration; may be empty.
    """

    digest: str
    platforms: tuple[str, ...]
    size: int
    python: str
    labels: Mapping[str, str]
    created: str


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """An image manifest or an index, with the digest of its bytes."""

    digest: str
    data: Mapping[str, Any]


class Registry:
    """One registry."""

    def __init__(self, client: registry_client.RegistryClient) -> None:
        self._client = client

    def resolve(self, ref: reference.ImageRef) -> RemoteImage:
        """Return the image that a reference resolves to now.

        Raises:
            errors.ImageNotFoundError: The registry does not have the tag or digest.
            errors.ImageError: It is not an image, or only for other platforms.
            errors.NetworkError: The registry does not answer, requires a login, or sends an invalid response.
        """
        # A tag is often the name of an index, a list of one manifest for each platform:
        # https://github.com/opencontainers/image-spec/blob/main/image-index.md
        manifest_or_index = self._fetch_manifest(ref, ref.digest or ref.tag or "")
        if isinstance(manifest_or_index.data.get("manifests"), list):
            platforms = _list_platforms(manifest_or_index.data)
            digest_for_platform = next((digest for name, digest in platforms if name == protocol.PLATFORM), None)
            if digest_for_platform is None:
                raise _create_platform_error(ref, [name for name, _ in platforms])
            manifest = self._fetch_manifest(ref, _check_digest(ref, digest_for_platform))
        else:
            platforms, manifest = [], manifest_or_index
        config_digest, size = _read_config_and_size(ref, manifest.data)
        config = self._fetch_config(ref, config_digest)
        # A manifest without an index names no platform, and an index may be wrong about it: the configuration decides.
        platform = f"{config.get('os', '')}/{config.get('architecture', '')}"
        if platform != protocol.PLATFORM:
            raise _create_platform_error(ref, [platform])
        settings = config.get("config")
        settings = settings if isinstance(settings, dict) else {}
        # The digest of the index, if there is one: an engine reports that for a pulled tag, and pulls by it.
        return RemoteImage(
            digest=manifest_or_index.digest,
            platforms=tuple(name for name, _ in platforms) or (platform,),
            size=size,
            python=_read_python_version(settings),
            labels=_filter_texts(settings.get("Labels")),
            created=str(config.get("created") or "")[:40],
        )

    def has_digest(self, ref: reference.ImageRef, digest: str) -> bool:
        """Return whether the repository contains a digest, with or without a tag.

        Raises:
            errors.NetworkError: The registry does not answer, requires a login, or sends an invalid response.
        """
        try:
            self._fetch_manifest(ref, digest)
        except errors.ImageNotFoundError:
            return False
        return True

    def _fetch_manifest(self, ref: reference.ImageRef, name: str) -> _Manifest:
        subject = f"{ref.name}{'@' if ':' in name else ':'}{name}"
        response = self._client.get(ref.repository, f"manifests/{name}", subject)
        digest = f"sha256:{hashlib.sha256(response.body).hexdigest()}"
        # Optional; a proxy that alters the body is found by it also when a tag was asked for:
        # https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
        claimed = response.headers.get("docker-content-digest", digest)
        if claimed.startswith("sha256:") and claimed != digest:
            raise errors.NetworkError(
                f"{subject}: digest mismatch: the registry reports {claimed[:80]!a}, but it is {digest}; run it again"
            )
        if ":" in name and digest != name:
            raise errors.NetworkError(f"{subject}: digest mismatch: the response is {digest}; run it again")
        data = registry_client.parse_object(response.body, subject)
        if not isinstance(data.get("manifests"), list) and not isinstance(data.get("layers"), list):
            # Such as a Helm chart, or an image in Docker's old schema 1.
            kind = str(data.get("mediaType") or f"schema {data.get('schemaVersion', 'unknown')}")[:80]
            raise errors.ImageError(f"{subject}: unsupported kind of image ({kind!a}); use a runner image")
        return _Manifest(digest=digest, data=data)

    def _fetch_config(self, ref: reference.ImageRef, digest: str) -> dict[str, Any]:
        subject = f"{ref.name}@{_check_digest(ref, digest)}"
        body = self._client.get(ref.repository, f"blobs/{digest}", subject).body
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise errors.NetworkError(f"{subject}: the response does not match the digest; run it again")
        return registry_client.parse_object(body, subject)


def _check_digest(ref: reference.ImageRef, digest: str) -> str:
    """Return a digest from a manifest, checked because it becomes part of a URL.

    Raises:
        errors.ImageError: It is not a sha256 digest.
    """
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise errors.ImageError(
            f"{ref}: its manifest contains the invalid digest {digest[:80]!a}; it is damaged, or not an image"
        )
    return digest


def _read_config_and_size(ref: reference.ImageRef, manifest: Mapping[str, Any]) -> tuple[str, int]:
    """Return the digest of the configuration and the total size of the layers."""
    layers = manifest.get("layers")
    descriptors = []
    for item in (manifest.get("config"), *(layers if isinstance(layers, list) else ())):
        digest, size = (item.get("digest"), item.get("size")) if isinstance(item, dict) else (None, None)
        # bool is a subclass of int, and JSON's `true` is a bool.
        if not isinstance(digest, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise errors.ImageError(
                f"{ref}: a digest or a size is missing in its manifest; it is damaged, or not an image"
            )
        descriptors.append((digest, size))
    return descriptors[0][0], sum(size for _, size in descriptors[1:])


def _list_platforms(index: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the platforms of an index, each with its manifest's digest.

    Attestations have the platform ``unknown/unknown`` and are skipped, see
    https://docs.docker.com/build/metadata/attestations/attestation-storage.
    """
    platforms = []
    for item in index["manifests"]:
        platform = item.get("platform") if isinstance(item, dict) else None
        if isinstance(platform, dict) and isinstance(item.get("digest"), str) and platform.get("os") != "unknown":
            platforms.append((f"{platform.get('os')}/{platform.get('architecture')}", item["digest"]))
    return platforms


def _create_platform_error(ref: reference.ImageRef, platforms: list[str]) -> errors.ImageError:
    available = ", ".join(escape(name)[:40] for name in dict.fromkeys(platforms)) or "none"
    return errors.ImageError(
        f"{ref}: is available for {available} only, but the tournament runs {protocol.PLATFORM}: use an image for that"
    )


def _read_python_version(config: Mapping[str, Any]) -> str:
    """Return ``PYTHON_VERSION`` from an image's variables; images based on Docker's ``python`` set it."""
    # See ENV in https://github.com/docker-library/python/blob/master/Dockerfile-linux.template. Of an image that is not
    # pulled, the registry shows the configuration but not the files, so this is all that is known.
    variables = config.get("Env")
    for variable in variables if isinstance(variables, list) else ():
        name, _, value = str(variable).partition("=")
        if name == "PYTHON_VERSION":
            return value[:20]
    return ""


def _filter_texts(labels: object) -> dict[str, str]:
    items = labels.items() if isinstance(labels, dict) else ()
    return {str(key): value for key, value in items if isinstance(value, str)}
