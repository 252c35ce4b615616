"""A server of a test's own, answering in a thread for as long as a ``with`` lasts."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


@contextlib.contextmanager
def serve(
    handler: type[http.server.BaseHTTPRequestHandler], *, context: ssl.SSLContext | None = None
) -> Iterator[http.server.ThreadingHTTPServer]:
    """Listen on the loopback, by https with a context; yields the server, whose ``server_address`` has the port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
