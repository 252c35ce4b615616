"""Serve files over HTTP on the loopback interface; a function writes the response of each path."""

from __future__ import annotations

import contextlib
import http.server
from typing import TYPE_CHECKING

from tests.support import http_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Server:
    """A running server and its requests.

    Attributes:
        url: The base URL, without a trailing slash.
        requests: The paths of the requests so far, with their queries.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[str] = []


def respond(body: bytes, *, content_length: int | None = None) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Return a function that responds 200 with a body; ``content_length`` may differ from its length."""

    def write_response(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(body) if content_length is None else content_length))
        request.end_headers()
        request.wfile.write(body)

    return write_response


def respond_without_length(body: bytes) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Return a function that responds 200 without Content-Length: the body ends with the connection."""

    def write_response(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        with contextlib.suppress(OSError):
            request.wfile.write(body)

    return write_response


def respond_status(code: int, **headers: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Return a function that responds with a status and no body."""

    def write_response(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return write_response


@contextlib.contextmanager
def serve(responses: Mapping[str, Callable[[http.server.BaseHTTPRequestHandler], None]]) -> Iterator[Server]:
    """Serve on a free port; ``responses`` maps paths without queries to functions that write the response."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.path)
            responses.get(self.path.partition("?")[0], respond_status(404))(self)

        def log_message(self, *_: object) -> None:
            pass

    with http_server.serve(Handler) as server:
        state = Server(server.server_address[1])
        yield state
