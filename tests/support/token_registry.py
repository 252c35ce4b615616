"""A proxy in front of a real registry that asks for a token, as public registries do: 401, a realm, a bearer token."""

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
    """A proxy in front of a registry that requires a token, and the requests that it received.

    Attributes:
        address: Host and port.
        realm: The URL of the token server in the challenge; empty: the proxy's own.
        login: ``user:password`` that the token server requires; empty: no login.
        token_key: The key of the token in the token server's response.
        requests: Path and Authorization header of each request.
        extra_challenge: A challenge that is sent before the proxy's own.
        joins_challenges: Whether both are in one header.
        busy_responses: How many requests are answered with 429 first.
        retry_after: The Retry-After header of these.
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
            proxy.requests.append((self.path, authorization))
            if proxy.busy_responses:
                proxy.busy_responses -= 1
                self._answer(429, {"Retry-After": proxy.retry_after}, b"")
            elif self.path.startswith("/token?"):
                self._token(authorization)
            elif authorization != f"Bearer {proxy.token}":
                repository = self.path.removeprefix("/v2/").partition("/manifests/")[0]
                realm = proxy.realm or f"http://{proxy.address}/token"
                challenge = f'Bearer realm="{realm}",service="the proxy",scope="repository:{repository}:pull"'
                self._answer(401, {}, b'{"errors": [{"code": "UNAUTHORIZED"}]}', proxy.list_challenges(challenge))
            else:
                self._pass_on()

        def _token(self, authorization: str) -> None:
            requests = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            expected = f"Basic {base64.b64encode(proxy.login.encode()).decode()}" if proxy.login else ""
            good = (
                authorization == expected
                and requests["service"] == ["the proxy"]
                and requests["scope"][0].endswith(":pull")
            )
            self._answer(200 if good else 401, {}, json.dumps({proxy.token_key: proxy.token} if good else {}).encode())

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
                *(("WWW-Authenticate", item) for item in challenges),
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
