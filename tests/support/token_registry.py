"""Run a proxy that requires a token in front of a registry, as public registries do: 401, a realm, a bearer token.

The protocol: https://distribution.github.io/distribution/spec/auth/token
"""

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
    """A running proxy, its settings and its requests.

    Attributes:
        address: Host and port.
        realm: The URL that issues tokens; empty for the proxy's own.
        login: ``user:password`` that the realm requires; empty for no login.
        token_key: The JSON key of the token in the realm's response.
        token: The token that the proxy accepts.
        requests: The path and the Authorization header of each request.
        extra_challenge: A challenge to send before the proxy's own.
        joins_challenges: Whether to send both challenges in one header.
        busy_responses: How many requests get a 429 first.
        retry_after: The Retry-After header of a 429.
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
        """Return the values of the WWW-Authenticate headers."""
        challenges = [self.extra_challenge, challenge] if self.extra_challenge else [challenge]
        return [", ".join(challenges)] if self.joins_challenges else challenges


@contextlib.contextmanager
def start(registry: str) -> Iterator[TokenProxy]:
    """Run a proxy for ``registry`` (host and port)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            proxy.requests.append((self.path, authorization))
            if proxy.busy_responses:
                proxy.busy_responses -= 1
                self._respond(429, {"Retry-After": proxy.retry_after}, b"")
            elif self.path.startswith("/token?"):
                self._send_token(authorization)
            elif authorization != f"Bearer {proxy.token}":
                repository = self.path.removeprefix("/v2/").partition("/manifests/")[0]
                realm = proxy.realm or f"http://{proxy.address}/token"
                challenge = f'Bearer realm="{realm}",service="the proxy",scope="repository:{repository}:pull"'
                self._respond(401, {}, b'{"errors": [{"code": "UNAUTHORIZED"}]}', proxy.list_challenges(challenge))
            else:
                self._forward()

        def _send_token(self, authorization: str) -> None:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            expected = f"Basic {base64.b64encode(proxy.login.encode()).decode()}" if proxy.login else ""
            good = (
                authorization == expected and query["service"] == ["the proxy"] and query["scope"][0].endswith(":pull")
            )
            self._respond(200 if good else 401, {}, json.dumps({proxy.token_key: proxy.token} if good else {}).encode())

        def _forward(self) -> None:
            connection = http.client.HTTPConnection(registry, timeout=30)
            connection.request("GET", self.path, headers={"Accept": self.headers.get("Accept", "")})
            response = connection.getresponse()
            headers = {name: value for name, value in response.getheaders() if name.lower() == "docker-content-digest"}
            self._respond(response.status, headers, response.read())
            connection.close()

        def _respond(self, code: int, headers: Mapping[str, str], body: bytes, challenges: Sequence[str] = ()) -> None:
            self.send_response(code)
            for name, value in [
                *headers.items(),
                *(("WWW-Authenticate", challenge) for challenge in challenges),
                ("Content-Length", str(len(body))),
            ]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http_server.serve(Handler) as server:
        proxy = TokenProxy(server.server_address[1])
        yield proxy
