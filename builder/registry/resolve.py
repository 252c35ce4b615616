"""What a tag or a digest means at an image registry (OCI distribution), found out without pulling anything.

What is believed is what hashes say: a manifest's digest is computed from its bytes, and everything that it names is
checked against the digest that it is named by.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.engine import protocol as engine
from builder.registry import client as registry_client
from builder.text import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.registry import reference


@dataclass(frozen=True, kw_only=True)
class RemoteImage:
    """An image as its registry has it.

    Attributes:
        digest: Of what the tag names: the image, or the index of several platforms' images.
        platforms: The platforms that it is there for.
        size: Bytes of the layers as they are sent, for the tournament's platform.
        python: Its Python, where it says so; else empty.
        created: When it was made, as it says; may be empty.
    """

    digest: str
    platforms: tuple[str, ...]
    size: int
    python: str
    labels: Mapping[str, str]
    created: str


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """A manifest or an index, with the digest of its bytes."""

    digest: str
    data: Mapping[str, Any]


class Registry:
    """One registry, through its API."""

    def __init__(self, client: registry_client.RegistryClient) -> None:
        self._client = client

    def resolve(self, ref: reference.ImageRef) -> RemoteImage:
        """Return what a reference means at the registry now.

        Raises:
            errors.ImageNotFoundError: The registry has no such tag or digest.
            errors.ImageError: It is for other platforms alone, or no image.
            errors.NetworkError: The registry does not answer, requires a login, or says what cannot be.
        """
        top = self._manifest(ref, ref.digest or ref.tag or "")
        if isinstance(top.data.get("manifests"), list):
            platforms = _platforms(top.data)
            chosen = next((digest for name, digest in platforms if name == engine.PLATFORM), None)
            if chosen is None:
                raise _other_platforms(ref, [name for name, _ in platforms])
            manifest = self._manifest(ref, _checked_digest(ref, chosen))
        else:
            platforms, manifest = [], top
        configured, size = _described(ref, manifest.data)
        config = self._config(ref, configured)
        own = f"{config.get('os', '')}/{config.get('architecture', '')}"
        if own != engine.PLATFORM:
            raise _other_platforms(ref, [own])
        inside = config.get("config")
        inside = inside if isinstance(inside, dict) else {}
        return RemoteImage(
            digest=top.digest,
            platforms=tuple(name for name, _ in platforms) or (own,),
            size=size,
            python=_python(inside),
            labels=_texts(inside.get("Labels")),
            created=str(config.get("created") or "")[:40],
        )

    def has_digest(self, ref: reference.ImageRef, digest: str) -> bool:
        """Tell whether a digest is there, whatever the tags mean.

        Raises:
            errors.NetworkError: The registry does not answer, requires a login, or says what cannot be.
        """
        try:
            self._manifest(ref, digest)
        except errors.ImageNotFoundError:
            return False
        return True

    def _manifest(self, ref: reference.ImageRef, name: str) -> _Manifest:
        at = f"{ref.name}{'@' if ':' in name else ':'}{name}"
        answer = self._client.get(ref.repository, f"manifests/{name}", at)
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        claimed = answer.headers.get("docker-content-digest", digest)
        if claimed.startswith("sha256:") and claimed != digest:
            raise errors.NetworkError(f"{at}: the registry calls it {claimed[:80]!a}, and it is {digest}; run it again")
        if ":" in name and digest != name:
            raise errors.NetworkError(f"{at}: what came is {digest}: changed on the way, or damaged; run it again")
        data = registry_client.read_object(answer.body, at)
        if not isinstance(data.get("manifests"), list) and not isinstance(data.get("layers"), list):
            kind = str(data.get("mediaType") or f"schema {data.get('schemaVersion', 'unknown')}")[:80]
            raise errors.ImageError(f"{at}: is no image that this tool knows ({kind!a}); name a runner image")
        return _Manifest(digest=digest, data=data)

    def _config(self, ref: reference.ImageRef, digest: str) -> dict[str, Any]:
        at = f"{ref.name}@{_checked_digest(ref, digest)}"
        body = self._client.get(ref.repository, f"blobs/{digest}", at).body
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise errors.NetworkError(f"{at}: what came is not what its digest says; run it again")
        return registry_client.read_object(body, at)


def _checked_digest(ref: reference.ImageRef, digest: str) -> str:
    """Return a digest that a manifest names, which becomes part of an address.

    Raises:
        errors.ImageError: It is not a sha256 digest.
    """
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise errors.ImageError(
            f"{ref}: its manifest names {digest[:80]!a}, which is not a sha256 digest; it is damaged, or not an image"
        )
    return digest


def _described(ref: reference.ImageRef, manifest: Mapping[str, Any]) -> tuple[str, int]:
    """Return the configuration's digest and the size of all layers."""
    layers = manifest.get("layers")
    described = []
    for one in (manifest.get("config"), *(layers if isinstance(layers, list) else ())):
        digest, size = (one.get("digest"), one.get("size")) if isinstance(one, dict) else (None, None)
        if not isinstance(digest, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise errors.ImageError(f"{ref}: its manifest lacks a digest or a size; it is damaged, or no image")
        described.append((digest, size))
    return described[0][0], sum(size for _, size in described[1:])


def _platforms(index: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the platforms of an index, each with its manifest's digest; attestations are left out."""
    found = []
    for one in index["manifests"]:
        platform = one.get("platform") if isinstance(one, dict) else None
        if isinstance(platform, dict) and isinstance(one.get("digest"), str) and platform.get("os") != "unknown":
            found.append((f"{platform.get('os')}/{platform.get('architecture')}", one["digest"]))
    return found


def _other_platforms(ref: reference.ImageRef, platforms: list[str]) -> errors.ImageError:
    there = ", ".join(escape(name)[:40] for name in dict.fromkeys(platforms)) or "none"
    return errors.ImageError(
        f"{ref}: is there for {there}, and the tournament runs {engine.PLATFORM}: name an image for that"
    )


def _python(config: Mapping[str, Any]) -> str:
    """Return the Python that an image says it has, as those based on Docker's ``python`` do."""
    variables = config.get("Env")
    for one in variables if isinstance(variables, list) else ():
        name, _, value = str(one).partition("=")
        if name == "PYTHON_VERSION":
            return value[:20]
    return ""


def _texts(labels: object) -> dict[str, str]:
    found = labels if isinstance(labels, dict) else {}
    return {str(key): value for key, value in found.items() if isinstance(value, str)}
