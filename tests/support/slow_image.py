"""Create a runner image whose ``python`` answers the inventory script but sleeps instead of building a pickle.

For tests that interrupt a build: Ctrl-C, a kill, an engine that stops. It consists of busybox and a shell script, so it
is loaded quickly into a test's own engine.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder import progress
from builder.engine import debian

if TYPE_CHECKING:
    from builder.engine import protocol

TAG = "numerai-builder-test/slow:1"
_PYTHON = b"""#!/bin/busybox sh
case "$1" in
*inventory.py) echo '{"format": 1, "python": "3.11.2", "implementation": "cpython",
    "packages": {"numpy": "2.1.3", "pandas": "2.3.1", "cloudpickle": "3.1.1"}}' ;;
*) exec /bin/busybox sleep 120 ;;
esac
"""


def load(engine: protocol.Engine) -> protocol.ImageFacts:
    """Load the image into an engine."""
    program = Path(debian.find_program("busybox", "busybox-static", progress.Silent()))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in (("bin/busybox", program.read_bytes()), ("bin/python", _PYTHON)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        archive.addfile(link)
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(folder)
    changes = ["ENV PATH=/bin", 'ENTRYPOINT ["python", "predict.py"]']
    return engine.import_image([buffer.getvalue()], tag=TAG, changes=changes)
