"""Files over HTTP on the loopback, for tests: what each path answers is a function's business."""

from __future__ import annotations

import contextlib
import http.server
from typing import TYPE_CHECKING

from tests.support import http_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Server:
    """A server, and what it was asked.

    Attributes:
        url: Where it is, without a slash at its end.
        asked: The paths of the requests so far, with their queries.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[str] = []


def respond(body: bytes, *, content_length: int | None = None) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Return an answer with a body, and a length that it may not have."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(body) if content_length is None else content_length))
        request.end_headers()
        request.wfile.write(body)

    return answer


def respond_without_length(body: bytes) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Return an answer that ends with the connection."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        with contextlib.suppress(OSError):
            request.wfile.write(body)

    return answer


def respond_status(code: int, **headers: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    """Return an answer without a body."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


@contextlib.contextmanager
def serve(answers: Mapping[str, Callable[[http.server.BaseHTTPRequestHandler], None]]) -> Iterator[Server]:
    """Serve on a free port; ``answers`` by path without the query."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shared.requests.append(self.path)
            answers.get(self.path.partition("?")[0], respond_status(404))(self)

        def log_message(self, *_: object) -> None:
            pass

    with http_server.serve(Handler) as server:
        shared = Server(server.server_address[1])
        yield shared
