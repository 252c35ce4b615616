"""Run an HTTP server in a thread of the test."""

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
    """Serve on a free port of the loopback interface, over HTTPS if there is an SSL context.

    Yields the server; its ``server_address`` contains the port.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            # A failed handshake is expected in tests; the base class would print its traceback.
            server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
