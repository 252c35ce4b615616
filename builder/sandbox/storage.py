"""Imitate S3's presigned URLs: a URL allows one method on one key until it expires.

The signature covers the method, the key, the expiry and an empty content type, so a client that sends a Content-Type
is refused, as by the real storage. Refusals are XML with S3's error codes:
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

    from builder.sandbox.state import State

PREFIX, REDIRECTED_PREFIX = "/storage/", "/storage-2/"
_EXPIRES, _SIGNATURE = "X-Amz-Expires", "X-Amz-Signature"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An error response: the HTTP status, S3's error code and the message."""

    status: int
    code: str
    message: str

    def to_xml(self) -> bytes:
        """Return the body of the response."""
        text = f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message></Error>"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


EXPIRED = Refusal(status=403, code="AccessDenied", message="Request has expired")
BAD_SIGNATURE = Refusal(
    status=403,
    code="SignatureDoesNotMatch",
    message="The request signature we calculated does not match the signature you provided.",
)
TIMED_OUT = Refusal(
    status=400,
    code="RequestTimeout",
    message="Your socket connection to the server was not read from or written to within the timeout period.",
)
TWO_AUTH_MECHANISMS = Refusal(
    status=400,
    code="InvalidArgument",
    message="Only one auth mechanism allowed; only the X-Amz-Signature query parameter or the Authorization header",
)
NO_LENGTH = Refusal(status=411, code="MissingContentLength", message="You must provide the Content-Length header.")
CHUNKED = Refusal(status=501, code="NotImplemented", message="Transfer-Encoding is not implemented")
INCOMPLETE = Refusal(
    status=400,
    code="IncompleteBody",
    message="You did not provide the number of bytes specified by the Content-Length HTTP header",
)
NO_KEY = Refusal(status=404, code="NoSuchKey", message="The specified key does not exist.")


class Storage:
    """Stores objects by key in a temporary folder, and signs URLs.

    Attributes:
        base: Scheme, host and port of the signed URLs; the server sets it when it listens.
        etags: The ETag that was returned for each stored key.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._secret = secrets.token_bytes(32)
        self._folder = tempfile.TemporaryDirectory(prefix="numerai-sandbox-")
        self._published: dict[str, Path] = {}
        self.base = ""
        self.etags: dict[str, str] = {}

    def close(self) -> None:
        """Remove all stored objects."""
        self._folder.cleanup()

    def publish(self, key: str, path: Path) -> None:
        """Serve a file outside the storage under a key, without copying it."""
        self._published[key] = path
        self.etags[key] = f'"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"'

    def get_path(self, key: str) -> Path:
        """Return the path of an object, whether or not it exists."""
        # Hashed, because a key may contain slashes and characters that a file name cannot have.
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._published.get(key) or Path(self._folder.name) / name

    def find(self, key: str) -> Path | None:
        """Return the path of an object, None if it does not exist."""
        path = self.get_path(key)
        return path if path.is_file() else None

    def create_part_path(self) -> Path:
        """Return a new path for an object that is being received."""
        return Path(self._folder.name) / f"{secrets.token_hex(8)}.part"

    def sign(self, method: str, key: str) -> str:
        """Return a presigned URL for one method on one key."""
        expiry = self._state.now() + self._state.lifetime + self._state.signing_offset
        expires = str(int(expiry.timestamp()))
        query = urllib.parse.urlencode({_EXPIRES: expires, _SIGNATURE: self._compute_signature(method, key, expires)})
        return f"{self.base}{PREFIX}{urllib.parse.quote(key)}?{query}"

    def check_request(self, method: str, target: str, headers: Message) -> tuple[str, Refusal | None]:
        """Return the key of a request, and the refusal, None if the request is allowed."""
        parts = urllib.parse.urlsplit(target)
        prefix = REDIRECTED_PREFIX if parts.path.startswith(REDIRECTED_PREFIX) else PREFIX
        key = urllib.parse.unquote(parts.path.removeprefix(prefix))
        query = dict(urllib.parse.parse_qsl(parts.query))
        return key, self._find_refusal(method, key, query, headers)

    def _find_refusal(self, method: str, key: str, query: Mapping[str, str], headers: Message) -> Refusal | None:
        # As S3 does: a client that sends its API token to the storage is refused even with a valid signature.
        if headers.get("Authorization") is not None:
            return TWO_AUTH_MECHANISMS
        expires = query.get(_EXPIRES, "")
        expected = self._compute_signature(method, key, expires, headers.get("Content-Type") or "")
        if not hmac.compare_digest(expected, query.get(_SIGNATURE, "")):
            return BAD_SIGNATURE
        return EXPIRED if int(expires) < self._state.now().timestamp() else None

    def _compute_signature(self, method: str, key: str, expires: str, content_type: str = "") -> str:
        # With the Content-Type, as in S3: a client that adds one to a URL signed without it is refused.
        text = f"{method}\n{key}\n{expires}\n{content_type}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
