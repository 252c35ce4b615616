"""Run a test with each vocabulary of status words; it takes the fixture ``words``."""

from __future__ import annotations

import pytest

from builder.sandbox.status_words import VOCABULARIES

each_vocabulary = pytest.mark.parametrize("words", VOCABULARIES, indirect=True)
"""Mark a test, or with ``pytestmark`` a module."""
