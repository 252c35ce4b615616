"""A stand-in for each test, and a plain way to ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox import client, live, server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def data() -> Iterator[live.Live]:
    """Few rows of live data, made once."""
    with live.Live(rows=50) as made:
        yield made


@pytest.fixture
def sandbox(data: live.Live) -> Iterator[server.Sandbox]:
    """A stand-in by which everything that was stored passes."""
    with server.start(data=data) as made:
        yield made


@pytest.fixture
def ask(sandbox: server.Sandbox) -> client.Client:
    """Who asks it, with the token of full scopes."""
    return client.Client(sandbox)
