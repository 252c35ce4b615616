"""A registry for the session, and for each test a project with a pickle that is fit to be uploaded."""

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
    """Use it everywhere here."""


@pytest.fixture(scope="session")
def images() -> Iterator[str]:
    """The address of a registry."""
    with registry.start() as address:
        yield address


@pytest.fixture
def project(tmp_path: Path, sandbox: server.Sandbox, images: str, monkeypatch: pytest.MonkeyPatch) -> uploads.Project:
    """A project, and the sandbox; nothing was recorded on this computer yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return uploads.create_project(tmp_path / "project", sandbox, images)


@pytest.fixture
def ask(sandbox: server.Sandbox, waits: list[float]) -> Iterator[Asking]:
    """Ask the sandbox, or another address, in this process; what was waited is noted instead."""
    token = sandbox.state.get_token("full")
    held = settings.ApiToken(public_id=token.public_id, secret=token.secret_key, source="the test")
    with contextlib.ExitStack() as undo:

        def asking(url: str = "", *, silent: float = 30.0) -> tournament.Tournament:
            waits.clear()
            policy = api.ApiPolicy(first=0.0, longest=10.0, silent=silent)
            client = api.ApiClient(url or sandbox.api_url, held, Silent(), policy=policy)
            return tournament.Tournament(undo.enter_context(client))

        yield asking
