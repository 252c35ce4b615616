"""The fake engine does what every engine must do, so that the tests which use it mean something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import engine_cases
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("case", engine_cases.CASES, ids=lambda case: case.__name__)
def test_the_fake_does_what_every_engine_must(case: Callable[[engine_cases.Subject], None], tmp_path: Path) -> None:
    on = FakeEngine(tmp_path)
    case(engine_cases.Subject(on=on, image=on.add_image("python:test").tags[0], moment=0.7))
    assert on.list_leftovers() == []
