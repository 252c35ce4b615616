"""A door in front of a real registry that asks for a token, as public registries do: 401, a realm, a bearer token."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import secrets
import urllib.parse
from typing import TYPE_CHECKING

from tests.support import http_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class TokenProxy:
    """The door, and what came to it.

    Attributes:
        address: Host and port.
        realm: Where it sends for a token; empty: its own.
        login: ``user:password`` that the realm wants; empty: nobody need log in.
        key: What the realm calls the token in its answer.
        asked: Method, path and the Authorization header of each request.
        first: A challenge that is offered before its own; ``joined``: in one header.
        busy: How many requests are answered with 429 first.
    """

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.realm = ""
        self.login = ""
        self.token_key = "token"
        self.token = secrets.token_urlsafe(24)
        self.requests: list[tuple[str, str]] = []
        self.extra_challenge = ""
        self.joins_challenges = False
        self.busy_responses = 0
        self.retry_after = "1"

    def list_challenges(self, challenge: str) -> list[str]:
        """Return the headers that ask for a token or a login."""
        offered = [self.extra_challenge, challenge] if self.extra_challenge else [challenge]
        return [", ".join(offered)] if self.joins_challenges else offered


@contextlib.contextmanager
def start(registry: str) -> Iterator[TokenProxy]:
    """Stand in front of a registry (its host and port)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            door.requests.append((self.path, authorization))
            if door.busy_responses:
                door.busy_responses -= 1
                self._answer(429, {"Retry-After": door.retry_after}, b"")
            elif self.path.startswith("/token?"):
                self._token(authorization)
            elif authorization != f"Bearer {door.token}":
                repository = self.path.removeprefix("/v2/").partition("/manifests/")[0]
                realm = door.realm or f"http://{door.address}/token"
                challenge = f'Bearer realm="{realm}",service="the door",scope="repository:{repository}:pull"'
                self._answer(401, {}, b'{"errors": [{"code": "UNAUTHORIZED"}]}', door.list_challenges(challenge))
            else:
                self._pass_on()

        def _token(self, authorization: str) -> None:
            asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            wanted = f"Basic {base64.b64encode(door.login.encode()).decode()}" if door.login else ""
            good = authorization == wanted and asked["service"] == ["the door"] and asked["scope"][0].endswith(":pull")
            self._answer(200 if good else 401, {}, json.dumps({door.token_key: door.token} if good else {}).encode())

        def _pass_on(self) -> None:
            connection = http.client.HTTPConnection(registry, timeout=30)
            connection.request("GET", self.path, headers={"Accept": self.headers.get("Accept", "")})
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() == "docker-content-digest"}
            self._answer(answer.status, kept, answer.read())
            connection.close()

        def _answer(self, code: int, headers: Mapping[str, str], body: bytes, challenges: Sequence[str] = ()) -> None:
            self.send_response(code)
            for name, value in [
                *headers.items(),
                *(("WWW-Authenticate", one) for one in challenges),
                ("Content-Length", str(len(body))),
            ]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http_server.serve(Handler) as server:
        door = TokenProxy(server.server_address[1])
        yield door
