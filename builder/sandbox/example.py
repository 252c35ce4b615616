"""Create a temporary project with the example's config and bundle, to try the tool against the sandbox.

A project of its own, because of the lock file: pinning ``default`` in the user's project would replace the pin of the
tournament's image by one of the sandbox's.
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

# A checkout has configs/ beside the package; a wheel contains the example inside the package.
_INSTALLED = paths.PACKAGE / "_example"
EXAMPLE = (_INSTALLED if _INSTALLED.is_dir() else paths.PACKAGE.parent / "configs") / "mlp.yaml"


@contextlib.contextmanager
def create() -> Iterator[Path]:
    """Create the project and yield its config's path; the project is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="numerai-tryout-", ignore_cleanup_errors=True) as name:
        config = Path(name).resolve() / "configs" / "tryout.yaml"
        shutil.copytree(EXAMPLE.parent / "bundles" / "mlp", config.parent / "bundles" / "mlp")
        # Edited as text, because loading and dumping the YAML would lose its comments.
        text = re.sub(r"^name: .*", "name: tryout", EXAMPLE.read_text(), flags=re.MULTILINE)
        text = re.sub(r"^  ref: .*(\n  #.*)*\n  stand_in: .*", "  ref: default", text, flags=re.MULTILINE)
        text = re.sub(r"^upload:\n(  .*\n?)*", "", text, flags=re.MULTILINE)
        config.write_text(text)
        yield config
