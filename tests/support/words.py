"""Run a test with each vocabulary of status words; it takes the fixture ``words``."""

from __future__ import annotations

import pytest

from builder.sandbox.words import VOCABULARIES

both = pytest.mark.parametrize("words", VOCABULARIES, indirect=True)
"""Mark a test, or with ``pytestmark`` a module."""
