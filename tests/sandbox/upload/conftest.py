"""A registry for the session, and for each test a project with a validated pickle."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from builder import tournament
from builder.progress import Silent
from builder.sandbox import registry
from builder.tournament import client as api
from builder.tournament import settings
from tests.support import uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.sandbox import server

    Asking = Callable[..., tournament.Tournament]


@pytest.fixture(scope="package", autouse=True)
def _cache(own_cache: None) -> None:
    """Use a private cache in every test of this package."""


@pytest.fixture(scope="session")
def images() -> Iterator[str]:
    """The address of a registry."""
    with registry.start() as address:
        yield address


@pytest.fixture
def project(tmp_path: Path, sandbox: server.Sandbox, images: str, monkeypatch: pytest.MonkeyPatch) -> uploads.Project:
    """A validated project and its sandbox, with an empty state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return uploads.create_project(tmp_path / "project", sandbox, images)


@pytest.fixture
def ask(sandbox: server.Sandbox, waits: list[float]) -> Iterator[Asking]:
    """Create API clients for the sandbox or another address; waits are recorded instead of slept."""
    token = sandbox.state.get_token("full")
    token_settings = settings.ApiToken(public_id=token.public_id, secret=token.secret_key, source="the test")
    with contextlib.ExitStack() as undo:

        def create_tournament(url: str = "", *, silent: float = 30.0) -> tournament.Tournament:
            waits.clear()
            policy = api.ApiPolicy(first=0.0, longest=10.0, silent=silent)
            client = api.ApiClient(url or sandbox.api_url, token_settings, Silent(), policy=policy)
            return tournament.Tournament(undo.enter_context(client))

        yield create_tournament
