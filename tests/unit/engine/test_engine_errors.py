"""Test that every error of the docker SDK and its libraries becomes an EngineError with a message of one line."""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import socket
import socketserver
import threading
import warnings
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, ClassVar

import docker.credentials.errors
import docker.errors
import pytest
import requests.exceptions
import urllib3.exceptions

from builder import errors, progress
from builder.engine import docker_engine, docker_errors, protocol
from tests.support import library_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

# Errors that cannot occur in this project, with the reason.
IMPOSSIBLE = {
    docker.credentials.errors.StoreError: "builder.engine.docker_config reads credentials, the SDK does not",
    docker.credentials.errors.InitializationError: "as above",
    docker.credentials.errors.CredentialsNotFound: "as above",
    urllib3.exceptions.ProxySchemeUnsupported: "TLS within TLS, which every Python that this tool runs on can do",
}


pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK does not close its sockets


@pytest.fixture(autouse=True, scope="module")
def _garbage_collection() -> Iterator[None]:
    """Collect them here: in other tests the warning is an error."""
    gc.disable()
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    gc.enable()


@pytest.mark.parametrize(
    "module",
    [docker.errors, docker.credentials.errors, requests.exceptions, urllib3.exceptions],
    ids=lambda m: m.__name__,
)
def test_every_library_error_is_mapped(module: ModuleType) -> None:
    kinds = library_errors.list_errors(module)
    assert kinds
    unknown = [kind for kind in kinds if not issubclass(kind, docker_errors.LIBRARY_ERRORS) and kind not in IMPOSSIBLE]
    assert unknown == [], "map it in docker_errors.LIBRARY_ERRORS, or explain in IMPOSSIBLE why it cannot occur"


@pytest.mark.parametrize(
    "error",
    [
        docker.errors.DockerException("x"),
        docker.errors.APIError("x", explanation="the explanation"),
        docker.errors.NotFound("x"),
        docker.errors.StreamParseError("x"),
        docker.errors.TLSParameterError("x"),
        requests.exceptions.ConnectionError(urllib3.exceptions.ProtocolError("x", ConnectionResetError(104, "reset"))),
        requests.exceptions.ReadTimeout("x"),
        requests.exceptions.ChunkedEncodingError("x"),
        urllib3.exceptions.ProtocolError("x"),
        urllib3.exceptions.ReadTimeoutError(None, "url", "x"),  # type: ignore[arg-type]
        ConnectionResetError(104, "Connection reset by peer"),
        BrokenPipeError(32, "Broken pipe"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_library_error_becomes_an_engine_error_of_one_line(error: Exception) -> None:
    with (
        pytest.raises(errors.EngineError, match=r"^could not do it: ") as raised,
        docker_errors.translate_errors("do it"),
    ):
        raise error
    assert raised.value.__cause__ is error
    assert "\n" not in str(raised.value)
    assert "<" not in str(raised.value), "it contains the repr of an object"


def test_other_errors_are_not_changed() -> None:
    for error in (ValueError("x"), OSError(28, "No space left on device"), KeyboardInterrupt(), errors.ImageError("x")):
        with pytest.raises(type(error)) as raised, docker_errors.translate_errors("do it"):
            raise error
        assert raised.value is error


# ---- no engine


def connect_error(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Return the message of the error of ``connect``."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(errors.EngineError) as raised:
        docker_engine.connect()
    return str(raised.value)


def test_an_absent_engine_is_an_error_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = connect_error(monkeypatch, DOCKER_HOST=f"unix://{tmp_path}/no.sock")
    assert message == (
        f"the engine set by DOCKER_HOST=unix://{tmp_path}/no.sock does not answer: [Errno 2] No such file or "
        "directory; start it, or set another one: this tool starts only the default engine"
    )


@pytest.mark.parametrize(
    "host", ["nonsense://x", "tcp://", "tcp://localhost", "tcp://localhost:x", "npipe:////./pipe/x", "fd://", "ssh://h"]
)
def test_an_invalid_address_is_an_error(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    message = connect_error(monkeypatch, DOCKER_HOST=host)
    assert message.startswith(f"DOCKER_HOST={host}: invalid engine address (")
    assert message.endswith("expected unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST")


@pytest.mark.parametrize("answer", ["[]", "null", "7", "{}", '{"ApiVersion": 7}', '{"ApiVersion": "x"}', "<html>"])
def test_another_server_is_not_accepted_as_an_engine(serving: Callable[..., None], answer: str) -> None:
    def reply(self: _Api) -> None:
        self._send(200, answer.encode())

    serving(do_GET=reply)
    with pytest.raises(errors.EngineChoiceError, match=r"cannot be used: .*invalid answer from the container engine"):
        docker_engine.connect()


# ---- invalid answers


class _Api(BaseHTTPRequestHandler):
    """Sends ``status`` and ``body`` for every request, except for ``/version``."""

    version: ClassVar[str] = "1.41"
    status: ClassVar[int] = 500
    body: ClassVar[bytes] = b""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            answer = {
                "Version": "20.10",
                "ApiVersion": self.version,
                "MinAPIVersion": "1.12",
                "Os": "linux",
                "Arch": "amd64",
            }
            self._send(200, json.dumps(answer).encode())
        else:
            self._send(self.status, self.body)

    do_POST = do_DELETE = do_PUT = do_GET  # noqa: N815 - the names that http.server looks for

    def _send(self, status: int, body: bytes) -> None:
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


class _Server(socketserver.ThreadingUnixStreamServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect early."""


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that starts a server for DOCKER_HOST; its arguments replace attributes of ``_Api``."""
    servers: list[socketserver.ThreadingUnixStreamServer] = []
    threads: list[threading.Thread] = []

    def serve(**answers: object) -> None:
        path = tmp_path / f"{len(servers)}.sock"
        servers.append(_Server(str(path), type("Api", (_Api,), answers)))
        threads.append(threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}))
        threads[-1].start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")

    yield serve
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_engine_that_is_too_old_is_an_error(serving: Callable[..., None]) -> None:
    serving(version="1.40")
    with pytest.raises(errors.EngineError, match=r"has API 1\.40, older than 1\.41 \(Engine 20\.10\): update"):
        docker_engine.connect()
    serving(version="1.41")
    assert docker_engine.connect().get_facts() == protocol.EngineFacts(
        version="20.10", api="1.41", platform="linux/amd64"
    )


CALLS: dict[str, Callable[[docker_engine.DockerEngine], object]] = {
    "get_free_disk": lambda engine: engine.get_free_disk(),
    "get_memory": lambda engine: engine.get_memory(),
    "find_image": lambda engine: engine.find_image("a:1"),
    "find_images_by_label": lambda engine: engine.find_images_by_label("a", "b"),
    "pull": lambda engine: engine.pull("a:1", platform="linux/amd64", seconds=5, progress=progress.Silent()),
    "import_image": lambda engine: engine.import_image([b"x"], tag="a:1", changes=[]),
    "tag_image": lambda engine: engine.tag_image("a:1", "b:1"),
    "remove_image": lambda engine: engine.remove_image("a:1"),
    "list_leftovers": lambda engine: engine.list_leftovers(),
    "remove": lambda engine: engine.remove(protocol.Leftover(kind="container", id="c", labels={})),
    "build": lambda engine: engine.build(
        [b"x"], run="r", arguments={}, tag=None, cache=False, progress=progress.Silent()
    ),
    "copy_out": lambda engine: engine.copy_out("a:1", "/x", run="r").__enter__(),
    "create_volume": lambda engine: engine.create_volume("a:1", [b"x"], run="r").__enter__(),
    "fill_volume": lambda engine: engine.fill_volume("v", "a:1", [b"x"], run="r"),
    "create_container": lambda engine: engine.create_container(
        "a:1", ("x",), run="r", limits=protocol.ContainerLimits(cpus=1, memory=1 << 26), network=False
    ).__enter__(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_engine_error_contains_the_engines_message(
    serving: Callable[..., None], call: Callable[[docker_engine.DockerEngine], object]
) -> None:
    serving(status=500, body=b'{"message": "write /x: no space left on device"}')
    with pytest.raises(
        errors.EngineError, match=r"no space left on device; the engine's disk is full: `docker system df`"
    ):
        call(docker_engine.connect())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_lost_connection_is_an_engine_error(
    serving: Callable[..., None], monkeypatch: pytest.MonkeyPatch, call: Callable[[docker_engine.DockerEngine], object]
) -> None:
    def hang_up(self: _Api) -> None:
        if self.path.endswith("/version"):
            _Api.do_GET(self)
        self.close_connection = True

    serving(do_GET=hang_up, do_POST=hang_up, do_DELETE=hang_up, do_PUT=hang_up)
    with pytest.raises(errors.EngineError, match=r"the container engine does not answer \(.+\); start it") as raised:
        call(docker_engine.connect())
    assert "\n" not in str(raised.value)


MALFORMED = [
    "",
    "<html>",
    "[]",
    "null",
    "7",
    "{}",
    "[7]",
    '{"Id": 7, "State": [], "Volumes": 7}',
    '[{"Id": "x"}]',
    '{"aux": []}',
]


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_answer_raises_no_other_error(serving: Callable[..., None], body: str) -> None:
    serving(status=200, body=body.encode())
    connected = docker_engine.connect()
    for call in CALLS.values():
        with contextlib.suppress(errors.EngineError):
            call(connected)


@pytest.mark.parametrize("body", [b"", b"not json", b"{", b'{"stream": "Step 1/1 : FROM scratch"}'])
def test_an_incomplete_build_is_an_error(serving: Callable[..., None], body: bytes) -> None:
    serving(status=200, body=body)
    with pytest.raises(errors.EngineError):
        CALLS["build"](docker_engine.connect())


def test_the_free_disk_of_the_containerd_image_store_is_that_of_containerd(
    serving: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_engine, "_CONTAINERD_FOLDER", str(tmp_path))
    answer = {"Name": socket.gethostname(), "DockerRootDir": str(tmp_path / "absent"), "Driver": "overlayfs"}
    serving(status=200, body=json.dumps(answer).encode())
    assert docker_engine.connect().get_free_disk() is None
    # As Docker 28.5.2 answers
    answer["DriverStatus"] = [["driver-type", "io.containerd.snapshotter.v1"]]  # type: ignore[assignment]
    serving(status=200, body=json.dumps(answer).encode())
    assert docker_engine.connect().get_free_disk()
    # An engine that started containerd itself keeps the images in its own folder.
    monkeypatch.setattr(docker_engine, "_CONTAINERD_FOLDER", "/nowhere")
    (tmp_path / "absent" / "containerd" / "daemon").mkdir(parents=True)
    assert docker_engine.connect().get_free_disk()


def test_every_method_of_the_protocol_is_in_calls() -> None:
    calls = {name for name, value in vars(protocol.Engine).items() if inspect.isfunction(value) and name[0] != "_"}
    assert calls == {*CALLS, "get_facts"}
