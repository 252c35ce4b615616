"""The sandbox for the tournament, over real sockets: API at ``/``, storage at ``/storage/``.

    from builder.sandbox import faults, server

    with server.start() as sandbox:
        subprocess.run([...], env={**os.environ, **sandbox.environment()})
        sandbox.faults.add("PUT", faults.status(503))
        sandbox.state.get_slot("staked").stake = None
        assert sandbox.requests.count("createComputePickleUpload") == 1

What is registered is judged by ``sandbox.runs.judge``: :class:`builder.sandbox.runs.Scripted` unless ``start`` is
handed another, such as a :class:`builder.sandbox.runner.Runner`, which runs it for real.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import socket
import struct
import sys
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any, NoReturn

from builder.sandbox import faults, graph, live, requests_log, resolvers, runs, storage
from builder.sandbox import state as sandbox_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 20
_API_PATHS = ("/", "/graphql")


class Sandbox:
    """A running sandbox.

    Attributes:
        api_url: Where GraphQL is posted to.
        state: All it knows; change what a test needs changed.
        requests: A record of every request.
        faults: What is to go wrong.
        storage: The stored objects.
        runs: What runs registered pickles; ``runs.judge`` may be replaced, ``runs.wait()`` waits for what runs.
        broken: Faults of the sandbox itself; the first is raised when it ends.
    """

    def __init__(self, state: sandbox_state.State, judge: runs.Judge, data: live.Live) -> None:
        self.state = state
        self.storage = storage.Storage(state)
        self.faults = faults.Faults()
        self.requests = requests_log.Requests()
        self.runs = runs.Runs(state, self.storage, judge)
        self.broken: list[BaseException] = []
        self.schema = graph.load_schema()
        self.api_url = ""
        self._data = data

    @property
    def address(self) -> str:
        """Host and port."""
        return self.api_url.removeprefix("http://").rstrip("/")

    def environment(self, token: str = sandbox_state.FULL) -> dict[str, str]:
        """Return the settings of the tool under which it talks to this sandbox, with a token by its name."""
        item = self.state.get_token(token)
        return {
            "NUMERAI_API_URL": self.api_url,
            "NUMERAI_PUBLIC_ID": item.public_id,
            "NUMERAI_SECRET_KEY": item.secret_key,
        }

    def read_pickle(self, filename: str) -> bytes:
        """Return the bytes that are stored under a pickle's stored name."""
        return self.storage.path(runs.key(filename)).read_bytes()

    def datasets(self) -> dict[str, Path]:
        """Return the data that is on offer by its names, made when it is asked for first."""
        versions = [item.name for item in self.state.data_versions if not item.deprecated]
        result = {f"{version}/{name}": path for version in versions for name, path in self._data.files().items()}
        for name, path in result.items():
            self.storage.publish(f"datasets/{name}", path)
        return result

    def find_token(self, header: str) -> sandbox_state.Token | None:
        """Return the token of an Authorization header, unless it is not known or revoked."""
        for item in self.state.tokens:
            if hmac.compare_digest(item.header.encode(), header.encode()) and not item.revoked:
                return item
        return None


@contextlib.contextmanager
def start(
    *,
    judge: runs.Judge | None = None,
    data: live.Live | None = None,
    state: sandbox_state.State | None = None,
    port: int = 0,
) -> Iterator[Sandbox]:
    """Run a sandbox on the loopback; it is gone afterwards, with all that it stored and ran.

    Args:
        judge: Runs what is registered; without one everything that was stored passes at once.
        data: The live data on offer; small, of the example's features, where it is left out.
        state: What it knows at first; :func:`builder.sandbox.state.default_world` where it is left out.
        port: 0 takes a free one.
    """
    with contextlib.ExitStack() as undo:
        sandbox = Sandbox(
            state or sandbox_state.default_state(), judge or runs.Scripted(), data or undo.enter_context(live.Live())
        )
        undo.callback(sandbox.storage.close)
        listener = _Listener(("127.0.0.1", port), sandbox)
        sandbox.storage.base = f"http://127.0.0.1:{listener.server_address[1]}"
        sandbox.api_url = f"{sandbox.storage.base}/"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield sandbox
        finally:
            sandbox.faults.close()
            sandbox.runs.close()
            listener.shutdown()
            listener.hang_up()
            listener.server_close()
            thread.join()
    if sandbox.broken:
        raise sandbox.broken[0]


class _Gone(Exception):  # noqa: N818 - no fault
    """The connection was reset on purpose."""


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that the end waits for them
    request_queue_size = 64

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

    def hang_up(self) -> None:
        """End connections that are kept alive."""
        with self._lock:
            for item in self._connections:
                with contextlib.suppress(OSError):
                    item.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base's
        error = sys.exception()
        # A client may leave at any time.
        if error is not None and not isinstance(error, (_Gone, ConnectionError)):
            self.sandbox.broken.append(error)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def do_POST(self) -> None:
        self._begin()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.record.read = len(body)
        if self.record.path not in _API_PATHS:
            self.sandbox.requests.add(self.record)
            self._send(404)
            return
        try:
            question = graph.read(json.loads(body))
        except (ValueError, TypeError):
            self.sandbox.requests.add(self.record)
            self._send_json(400, graph.detail("the body is not a GraphQL request"))
            return
        self.record.fields, self.record.variables = question.fields, question.variables
        self.record.operation = question.name or next(iter(question.fields), "")
        self.sandbox.requests.add(self.record)
        action = self.sandbox.faults.take(self.record)
        if action is not None and not action.applies:
            self._misbehave(action)
            return
        status, value = self._answer(question)
        if action is not None:
            if action.then is not None:
                with self.sandbox.state.lock:
                    action.then(self.sandbox.state, question.variables)
            value = action.change(value) if action.change is not None else value
            if action.answer or action.reset or action.stall:
                self._misbehave(action)
                return
        self._send_json(status, value)

    def do_PUT(self) -> None:
        self._begin()
        self.sandbox.requests.add(self.record)
        action = self.sandbox.faults.take(self.record)
        key, refusal = self.sandbox.storage.judge("PUT", self.path, self.headers)
        length = self._body_length()
        if isinstance(length, storage.Refusal):
            self.close_connection = True  # the end of this body is unknown
            self._refuse(length)
            return
        if action is not None and not action.applies:
            if action.reset or action.stall:
                self._discard(min(action.after_bytes, length))
            elif action.drains:
                self._discard(length)
            else:
                self.close_connection = True
            self._misbehave(action)
            return
        if refusal is not None or not self.path.startswith((storage.PREFIX, storage.MOVED)):
            self._discard(length)
            self._refuse(refusal or storage.NO_KEY)
            return
        etag = self._store(key, length, action)
        if etag is None:
            self.close_connection = True
            self._refuse(storage.INCOMPLETE)
            return
        if action is not None and action.then is not None:
            action.then(self.sandbox.state, {})
        if action is not None and (action.answer or action.reset or action.stall):
            self._misbehave(action)
        else:
            self._send(200, headers={"ETag": etag})

    def do_GET(self) -> None:
        self._begin()
        self.sandbox.requests.add(self.record)
        action = self.sandbox.faults.take(self.record)
        if action is not None:
            self._misbehave(action)
            return
        if not self.path.startswith(storage.PREFIX):
            self._send(404)
            return
        key, refusal = self.sandbox.storage.judge("GET", self.path, self.headers)
        path = self.sandbox.storage.find(key)
        if refusal is not None or path is None:
            self._refuse(refusal or storage.NO_KEY)
            return
        with path.open("rb") as file:
            self.sandbox.requests.note(self.record, status=200)
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.send_header("Content-Type", "binary/octet-stream")
            if etag := self.sandbox.storage.etags.get(key):
                self.send_header("ETag", etag)
            self.end_headers()
            self.connection.sendfile(file)

    def do_OTHER(self) -> None:
        """Refuse a method that nothing here has; what may follow is not read."""
        self._begin()
        self.sandbox.requests.add(self.record)
        self.close_connection = True
        self._send(405)

    do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_OTHER  # noqa: N815 - the base calls them so

    def version_string(self) -> str:
        return "sandbox"

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(
            int(self.sandbox.state.now().timestamp()) if timestamp is None else int(timestamp)
        )

    def log_message(self, *_: object) -> None:
        pass  # the record is kept in memory; addresses with their signatures go nowhere

    @property
    def sandbox(self) -> Sandbox:
        return self.server.sandbox

    def _begin(self) -> None:
        names = frozenset(name.lower() for name in self.headers)
        self.record = requests_log.Record(
            method=self.command,
            path=urllib.parse.urlsplit(self.path).path,
            host=self.headers.get("Host", ""),
            headers=names,
            had_token="authorization" in names,
        )

    def _answer(self, question: graph.Question) -> tuple[int, dict[str, Any]]:
        token, header = None, self.headers.get("Authorization")
        if header is not None:
            token = self.sandbox.find_token(header)
            if token is None:
                return graph.bad_token(self.sandbox.state.refusal_status)
        request = resolvers.Request(
            state=self.sandbox.state,
            storage=self.sandbox.storage,
            runs=self.sandbox.runs,
            token=token,
            datasets=self.sandbox.datasets,
        )
        return graph.answer(self.sandbox.schema, question, request)

    def _body_length(self) -> int | storage.Refusal:
        if self.headers.get("Transfer-Encoding"):
            return storage.CHUNKED
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else storage.NO_LENGTH

    def _store(self, key: str, length: int, action: faults.Action | None) -> str | None:
        """Store the body under a key and return its ETag; None where the body ends early, and then nothing is stored.

        In chunks: what is sent may be larger than memory.
        """
        kept = length // 2 if action is not None and action.keeps == "half" else length
        sent, stored = hashlib.md5(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
        part, done = self.sandbox.storage.new_file(), 0
        buffer = memoryview(bytearray(_CHUNK))
        with part.open("wb", buffering=0) as file:
            while done < length:
                count = self.rfile.readinto(buffer[: min(_CHUNK, length - done)])
                if not count:
                    part.unlink()
                    return None
                chunk = buffer[:count]
                sent.update(chunk)
                if done < kept:
                    file.write(chunk[: kept - done])
                    if kept != length:
                        stored.update(chunk[: kept - done])
                done += count
                self.sandbox.requests.note(self.record, read=done)
        part.replace(self.sandbox.storage.path(key))
        which = action.etag if action is not None else "sent"
        value = {"sent": sent, "stored": sent if kept == length else stored}.get(which)
        etag = f'"{value.hexdigest() if value else "0" * 32}"'
        self.sandbox.storage.etags[key] = etag
        return etag

    def _discard(self, length: int) -> None:
        done = 0
        while done < length and (chunk := self.rfile.read(min(_CHUNK, length - done))):
            done += len(chunk)
            self.sandbox.requests.note(self.record, read=done)

    def _misbehave(self, action: faults.Action) -> None:
        if action.stall:
            self.sandbox.faults.hold()
            self._reset()
        if action.reset:
            self._reset()
        if action.redirect is not None:
            code, host = action.redirect
            target = storage.MOVED + self.path.removeprefix(storage.PREFIX)
            self._send(code, headers={"Location": f"http://{host or self.sandbox.address}{target}"})
        elif action.answer is not None:
            self._send(action.answer.status, action.answer.body, action.answer.headers)

    def _reset(self) -> NoReturn:
        """Close so that the other side sees a reset at any point."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()
        raise _Gone

    def _refuse(self, refusal: storage.Refusal) -> None:
        self._send(refusal.status, refusal.body(), {"Content-Type": "application/xml"})

    def _send_json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8"})

    def _send(self, status: int, body: bytes = b"", headers: Any = None) -> None:
        self.sandbox.requests.note(self.record, status=status)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
