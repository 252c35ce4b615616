"""A registry for the session, and for each test a project with a pickle that is fit to be uploaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sandbox import registry
from tests.support import uploads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sandbox import server


@pytest.fixture(scope="package", autouse=True)
def _cache(own_cache: None) -> None:
    """Use it everywhere here."""


@pytest.fixture(scope="session")
def images() -> Iterator[str]:
    """The address of a registry."""
    with registry.start() as address:
        yield address


@pytest.fixture
def project(tmp_path: Path, sandbox: server.Sandbox, images: str) -> uploads.Project:
    """A project, and the stand-in."""
    return uploads.make(tmp_path / "project", sandbox, images)
