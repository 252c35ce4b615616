"""A folder with the example's config and bundle, to try the tool with the sandbox's settings; gone afterwards.

It is one of its own because of the lock file: what ``default`` stands for in the sandbox would take the place of what
it stands for at the tournament.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder import paths

if TYPE_CHECKING:
    from collections.abc import Iterator

# Beside the package in a checkout, inside it in an installed copy.
_INSTALLED = paths.PACKAGE / "_example"
EXAMPLE = (_INSTALLED if _INSTALLED.is_dir() else paths.PACKAGE.parent / "configs") / "mlp.yaml"


@contextlib.contextmanager
def create() -> Iterator[Path]:
    """Yield the config in such a folder."""
    with tempfile.TemporaryDirectory(prefix="numerai-tryout-", ignore_cleanup_errors=True) as name:
        config = Path(name).resolve() / "configs" / "tryout.yaml"
        shutil.copytree(EXAMPLE.parent / "bundles" / "mlp", config.parent / "bundles" / "mlp")
        text = re.sub(r"^name: .*", "name: tryout", EXAMPLE.read_text(), flags=re.MULTILINE)
        text = re.sub(r"^  ref: .*(\n  #.*)*\n  stand_in: .*", "  ref: default", text, flags=re.MULTILINE)
        text = re.sub(r"^upload:\n(  .*\n?)*", "", text, flags=re.MULTILINE)
        config.write_text(text)
        yield config
