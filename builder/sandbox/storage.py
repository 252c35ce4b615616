"""Presigned PUT and GET: the URL alone allows to store or fetch one key, until it expires.

The signature is over the method, the key, the expiry and an empty content type, so that a client which sends a
Content-Type is refused as the real storage refuses it. Refusals are XML, with S3's codes.
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

PREFIX, MOVED = "/storage/", "/storage-2/"  # the second takes what was redirected
_EXPIRES, _SIGNATURE = "X-Amz-Expires", "X-Amz-Signature"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An answer with an error: the HTTP status, S3's code for it, and what it says."""

    status: int
    code: str
    message: str

    def body(self) -> bytes:
        """Return it as XML."""
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
TWO_AUTHORISATIONS = Refusal(
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
    """Objects in a folder of its own, by key, and the secret that signs addresses.

    Attributes:
        base: Scheme, host and port of the addresses that are handed out; the server sets it once it listens.
        etags: What was answered for each key that was stored.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._secret = secrets.token_bytes(32)
        self._folder = tempfile.TemporaryDirectory(prefix="numerai-sandbox-")
        self._published: dict[str, Path] = {}
        self.base = ""
        self.etags: dict[str, str] = {}

    def close(self) -> None:
        """Remove all objects."""
        self._folder.cleanup()

    def publish(self, key: str, path: Path) -> None:
        """Serve a file that is elsewhere under a key."""
        self._published[key] = path

    def path(self, key: str) -> Path:
        """Return where an object is, or would be."""
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._published.get(key) or Path(self._folder.name) / name

    def find(self, key: str) -> Path | None:
        """Return where an object is, or None."""
        path = self.path(key)
        return path if path.is_file() else None

    def new_file(self) -> Path:
        """Return a path for an object that is being received."""
        return Path(self._folder.name) / f"{secrets.token_hex(8)}.part"

    def sign(self, method: str, key: str) -> str:
        """Return an address that is good for one method on one key, for a while."""
        until = self._state.now() + self._state.lifetime + self._state.signing_offset
        expires = str(int(until.timestamp()))
        query = urllib.parse.urlencode({_EXPIRES: expires, _SIGNATURE: self._signature(method, key, expires)})
        return f"{self.base}{PREFIX}{urllib.parse.quote(key)}?{query}"

    def judge(self, method: str, target: str, headers: Message) -> tuple[str, Refusal | None]:
        """Return the key that a request is for, and why it is refused, if it is."""
        parts = urllib.parse.urlsplit(target)
        prefix = MOVED if parts.path.startswith(MOVED) else PREFIX
        key = urllib.parse.unquote(parts.path.removeprefix(prefix))
        query = dict(urllib.parse.parse_qsl(parts.query))
        return key, self._refusal(method, key, query, headers)

    def _refusal(self, method: str, key: str, query: Mapping[str, str], headers: Message) -> Refusal | None:
        if headers.get("Authorization") is not None:
            return TWO_AUTHORISATIONS
        expires = query.get(_EXPIRES, "")
        right = self._signature(method, key, expires, headers.get("Content-Type") or "")
        if not hmac.compare_digest(right, query.get(_SIGNATURE, "")):
            return BAD_SIGNATURE
        return EXPIRED if int(expires) < self._state.now().timestamp() else None

    def _signature(self, method: str, key: str, expires: str, content_type: str = "") -> str:
        text = f"{method}\n{key}\n{expires}\n{content_type}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
