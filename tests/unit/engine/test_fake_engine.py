"""Test that the fake engine behaves like a real one, so that the tests that use it are meaningful."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import engine_cases
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("case", engine_cases.CASES, ids=lambda case: case.__name__)
def test_the_fake_engine_passes_the_shared_cases(case: Callable[[engine_cases.Subject], None], tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    case(engine_cases.Subject(engine=engine, image=engine.add_image("python:test").tags[0], moment=0.7))
    assert engine.list_leftovers() == []
