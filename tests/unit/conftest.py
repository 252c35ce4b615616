"""Fixtures of the unit tests, which are offline and do not use the cache of the user."""

from __future__ import annotations

import secrets
import signal
from typing import TYPE_CHECKING

import pytest
import pytest_socket
import threadpoolctl

from builder.cli import engine_session
from builder.registry import connections
from tests.support import command
from tests.support.fake_engine import FakeEngine
from tests.support.fake_registries import FakeRegistries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.register_assert_rewrite("tests.support.engine_cases")


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Limit the loaded libraries to one thread: to start more takes longer than the small computations here."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def _offline() -> Iterator[None]:
    """Refuse every socket except Unix sockets, on which some tests run their own servers."""
    pytest_socket.disable_socket(allow_unix_socket=True)
    yield
    pytest_socket.enable_socket()


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(autouse=True)
def _own_cache(_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty cache folder, which is created on first use."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(_caches / secrets.token_hex(8)))


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Restore the signal handlers that a command in this process replaced."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a config and its bundle, as the working directory."""
    monkeypatch.chdir(command.write_project(tmp_path / "project"))
    return tmp_path / "project"


@pytest.fixture(autouse=True)
def registries(monkeypatch: pytest.MonkeyPatch) -> FakeRegistries:
    """Return the registries that every command connects to."""
    registries = FakeRegistries()
    monkeypatch.setattr(connections, "connect", registries.connect)
    return registries


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """Return the engine that every command connects to."""
    engine = FakeEngine(tmp_path / "engine")
    engine.add_image("runner:1", layers=("sha256:1",))
    monkeypatch.setattr(engine_session, "connect", lambda *_, **__: engine)
    return engine
