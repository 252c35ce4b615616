"""Serve the sandbox over HTTP: the tournament's API at ``/``, its storage at ``/storage/``.

    from builder.sandbox import faults, server

    with server.start() as sandbox:
        subprocess.run([...], env={**os.environ, **sandbox.create_environment()})
        sandbox.faults.add("PUT", faults.respond_status(503))
        sandbox.state.get_slot("staked").stake = None
        assert sandbox.requests.count("createComputePickleUpload") == 1

Registered pickles are run by ``sandbox.runs.runner``: by default a :class:`builder.sandbox.runs.ScriptedRunner`, which
runs nothing; a :class:`builder.sandbox.run_in_container.ContainerRunner` runs them in their image.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import re
import socket
import struct
import sys
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any, NoReturn

from builder.sandbox import faults, graph, live, request_log, resolvers, runs, storage
from builder.sandbox import state as sandbox_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 20
_API_PATHS = ("/", "/graphql")
_RANGE = re.compile(r"bytes=([0-9]{1,18})-")


class Sandbox:
    """A running sandbox.

    Attributes:
        api_url: The URL of the GraphQL API.
        state: The data; tests may change it.
        requests: A record of every request.
        faults: The planned faults.
        storage: The stored objects.
        runs: The runs of pickles; ``runs.runner`` may be replaced, ``runs.wait()`` waits until all have ended.
        internal_errors: Exceptions in request handlers; the first is raised when the sandbox stops.
    """

    def __init__(self, state: sandbox_state.State, runner: runs.PickleRunner, data: live.LiveData) -> None:
        self.state = state
        self.storage = storage.Storage(state)
        self.faults = faults.Faults()
        self.requests = request_log.Requests()
        self.runs = runs.Runs(state, self.storage, runner)
        self.internal_errors: list[BaseException] = []
        self.schema = graph.load_schema()
        self.api_url = ""
        self._data = data

    @property
    def address(self) -> str:
        """Host and port."""
        return self.api_url.removeprefix("http://").rstrip("/")

    def create_environment(self, token: str = sandbox_state.FULL) -> dict[str, str]:
        """Return the environment variables that make the tool use this sandbox with the token of a name."""
        credentials = self.state.get_token(token)
        return {
            "NUMERAI_API_URL": self.api_url,
            "NUMERAI_PUBLIC_ID": credentials.public_id,
            "NUMERAI_SECRET_KEY": credentials.secret_key,
        }

    def read_pickle(self, filename: str) -> bytes:
        """Return the stored bytes of a pickle, by its stored name."""
        return self.storage.get_path(runs.get_key(filename)).read_bytes()

    def publish_datasets(self) -> dict[str, Path]:
        """Publish the datasets in the storage and return their paths by name; the first call writes the files."""
        versions = [version.name for version in self.state.data_versions if not version.deprecated]
        datasets = {
            f"{version}/{name}": path for version in versions for name, path in self._data.write_files().items()
        }
        for name, path in datasets.items():
            self.storage.publish(f"datasets/{name}", path)
        return datasets

    def find_token(self, header: str) -> sandbox_state.Token | None:
        """Return the token of an Authorization header, None if it is unknown or revoked."""
        for token in self.state.tokens:
            if hmac.compare_digest(token.header.encode(), header.encode()) and not token.revoked:
                return token
        return None


@contextlib.contextmanager
def start(
    *,
    runner: runs.PickleRunner | None = None,
    data: live.LiveData | None = None,
    state: sandbox_state.State | None = None,
    port: int = 0,
) -> Iterator[Sandbox]:
    """Run a sandbox on the loopback interface; afterwards stop all runs and remove all stored objects.

    Args:
        runner: Runs registered pickles; by default every stored pickle passes at once.
        data: The live data that the API offers; by default data with the example's features.
        state: The initial data; by default :func:`builder.sandbox.state.create_default_state`.
        port: 0 selects a free port.
    """
    with contextlib.ExitStack() as undo:
        sandbox = Sandbox(
            state or sandbox_state.create_default_state(),
            runner or runs.ScriptedRunner(),
            data or undo.enter_context(live.LiveData()),
        )
        undo.callback(sandbox.storage.close)
        listener = _Server(("127.0.0.1", port), sandbox)
        sandbox.storage.base = f"http://127.0.0.1:{listener.server_address[1]}"
        sandbox.api_url = f"{sandbox.storage.base}/"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield sandbox
        finally:
            # Stalled requests and runs have to end first: shutting down the server waits for their threads.
            sandbox.faults.close()
            sandbox.runs.close()
            listener.shutdown()
            listener.close_connections()
            listener.server_close()
            thread.join()
    if sandbox.internal_errors:
        raise sandbox.internal_errors[0]


class _ConnectionReset(Exception):  # noqa: N818 - not an error: it only leaves the handler
    """The connection was reset by a fault."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that server_close() waits for the handlers
    request_queue_size = 64  # the default, 5, is too small for tests with many clients

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Close connections that are kept alive, which server_close() would wait for."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        error = sys.exception()
        # A client may close its connection at any time.
        if error is not None and not isinstance(error, (_ConnectionReset, ConnectionError)):
            self.sandbox.internal_errors.append(error)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        self._start_record()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.record.bytes_read = len(body)
        if self.record.path not in _API_PATHS:
            self.sandbox.requests.add(self.record)
            self._send(404)
            return
        try:
            request = graph.parse_request(json.loads(body))
        except (ValueError, TypeError):
            self.sandbox.requests.add(self.record)
            self._send_json(400, graph.format_detail("the body is not a GraphQL request"))
            return
        self.record.fields, self.record.variables = request.fields, request.variables
        self.record.operation = request.name or next(iter(request.fields), "")
        self.sandbox.requests.add(self.record)
        action = self.sandbox.faults.take(self.record)
        if action is not None and not action.applies:
            self._inject(action)
            return
        status, value = self._execute(request)
        if action is not None:
            if action.callback is not None:
                with self.sandbox.state.lock:
                    action.callback(self.sandbox.state, request.variables)
            value = action.edit(value) if action.edit is not None else value
            if action.response or action.reset or action.stall:
                self._inject(action)
                return
        self._send_json(status, value)

    def do_PUT(self) -> None:
        self._start_record()
        self.sandbox.requests.add(self.record)
        action = self.sandbox.faults.take(self.record)
        key, refusal = self.sandbox.storage.check_request("PUT", self.path, self.headers)
        length = self._body_length()
        if isinstance(length, storage.Refusal):
            self.close_connection = True  # the end of this body is unknown, so the connection cannot be reused
            self._refuse(length)
            return
        if action is not None and not action.applies:
            if action.reset or action.stall:
                self._discard(min(action.after_bytes, length))
            elif action.reads_body:
                self._discard(length)
            else:
                self.close_connection = True
            self._inject(action)
            return
        if refusal is not None or not self.path.startswith((storage.PREFIX, storage.REDIRECTED_PREFIX)):
            self._discard(length)
            self._refuse(refusal or storage.NO_KEY)
            return
        etag = self._store(key, length, action)
        if etag is None:
            self.close_connection = True
            self._refuse(storage.INCOMPLETE)
            return
        if action is not None and action.callback is not None:
            action.callback(self.sandbox.state, {})
        if action is not None and (action.response or action.reset or action.stall):
            self._inject(action)
        else:
            self._send(200, headers={"ETag": etag})

    def do_GET(self) -> None:
        self._start_record()
        self.sandbox.requests.add(self.record)
        action = self.sandbox.faults.take(self.record)
        if action is not None:
            self._inject(action)
            return
        if not self.path.startswith(storage.PREFIX):
            self._send(404)
            return
        key, refusal = self.sandbox.storage.check_request("GET", self.path, self.headers)
        path = self.sandbox.storage.find(key)
        if refusal is not None or path is None:
            self._refuse(refusal or storage.NO_KEY)
            return
        size, etag = path.stat().st_size, self.sandbox.storage.etags.get(key, "")
        if self.headers.get("If-Match", etag) != etag:
            self._send(412)
            return
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if start and start >= size:
            self._send(416)
            return
        with path.open("rb") as file:
            self.sandbox.requests.update(self.record, status=206 if wanted else 200)
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - start))
            self.send_header("Content-Type", "binary/octet-stream")
            if etag:
                self.send_header("ETag", etag)
            self.end_headers()
            self.connection.sendfile(file, offset=start)

    def do_OTHER(self) -> None:
        """Refuse any other method, without reading a body."""
        self._start_record()
        self.sandbox.requests.add(self.record)
        self.close_connection = True
        self._send(405)

    do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_OTHER  # noqa: N815 - the names that the base class calls

    def version_string(self) -> str:
        return "sandbox"

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(
            int(self.sandbox.state.now().timestamp()) if timestamp is None else int(timestamp)
        )

    def log_message(self, *_: object) -> None:
        pass  # nothing prints presigned URLs: they are secrets

    @property
    def sandbox(self) -> Sandbox:
        return self.server.sandbox

    def _start_record(self) -> None:
        names = frozenset(name.lower() for name in self.headers)
        self.record = request_log.Record(
            method=self.command,
            path=urllib.parse.urlsplit(self.path).path,
            host=self.headers.get("Host", ""),
            headers=names,
            had_token="authorization" in names,
        )

    def _execute(self, request: graph.GraphQLRequest) -> tuple[int, dict[str, Any]]:
        token, header = None, self.headers.get("Authorization")
        if header is not None:
            token = self.sandbox.find_token(header)
            if token is None:
                return graph.refuse_token(self.sandbox.state.refusal_status)
        context = resolvers.Context(
            state=self.sandbox.state,
            storage=self.sandbox.storage,
            runs=self.sandbox.runs,
            token=token,
            datasets=self.sandbox.publish_datasets,
        )
        return graph.execute(self.sandbox.schema, request, context)

    def _body_length(self) -> int | storage.Refusal:
        if self.headers.get("Transfer-Encoding"):
            return storage.CHUNKED
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else storage.NO_LENGTH

    def _store(self, key: str, length: int, action: faults.Action | None) -> str | None:
        """Store the body and return its ETag; if the body ends early, store nothing and return None.

        In chunks, because a body may be larger than memory.
        """
        stored_length = length // 2 if action is not None and action.stored_part == "half" else length
        sent_md5, stored_md5 = hashlib.md5(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
        part, received = self.sandbox.storage.create_part_path(), 0
        buffer = memoryview(bytearray(_CHUNK))
        with part.open("wb", buffering=0) as file:
            while received < length:
                count = self.rfile.readinto(buffer[: min(_CHUNK, length - received)])
                if not count:
                    part.unlink()
                    return None
                chunk = buffer[:count]
                sent_md5.update(chunk)
                if received < stored_length:
                    file.write(chunk[: stored_length - received])
                    if stored_length != length:  # if they are equal, so are the MD5s, and one is enough
                        stored_md5.update(chunk[: stored_length - received])
                received += count
                self.sandbox.requests.update(self.record, bytes_read=received)
        part.replace(self.sandbox.storage.get_path(key))
        kind = action.etag if action is not None else "sent"
        digest = {"sent": sent_md5, "stored": sent_md5 if stored_length == length else stored_md5}.get(kind)
        etag = f'"{digest.hexdigest() if digest else "0" * 32}"'
        self.sandbox.storage.etags[key] = etag
        return etag

    def _discard(self, length: int) -> None:
        received = 0
        while received < length and (chunk := self.rfile.read(min(_CHUNK, length - received))):
            received += len(chunk)
            self.sandbox.requests.update(self.record, bytes_read=received)

    def _inject(self, action: faults.Action) -> None:
        if action.stall:
            self.sandbox.faults.wait_for_release()
            self._reset()
        if action.reset:
            self._reset()
        if action.redirect is not None:
            code, host = action.redirect
            target = storage.REDIRECTED_PREFIX + self.path.removeprefix(storage.PREFIX)
            self._send(code, headers={"Location": f"http://{host or self.sandbox.address}{target}"})
        elif action.response is not None:
            self._send(action.response.status, action.response.body, action.response.headers)

    def _reset(self) -> NoReturn:
        """Reset the connection, even while the client sends."""
        # With a linger time of 0, close() sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()
        raise _ConnectionReset

    def _refuse(self, refusal: storage.Refusal) -> None:
        self._send(refusal.status, refusal.to_xml(), {"Content-Type": "application/xml"})

    def _send_json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8"})

    def _send(self, status: int, body: bytes = b"", headers: Any = None) -> None:
        self.sandbox.requests.update(self.record, status=status)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
