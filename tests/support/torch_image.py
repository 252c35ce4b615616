"""Build an image with PyTorch, which no edition of the stand-in images has: the installed one, in that for Python 3.11.

Of the CPU build this copies 560 MB, of the default build several GB.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging import requirements

from builder import progress
from builder.engine import tar_stream
from builder.image import resolve, stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.engine import protocol

_DOCKERFILE = """\
FROM {base}
ARG RUN_ID
LABEL numerai-builder.run=$RUN_ID
COPY packages /opt/venv/lib/python3.11/site-packages
# Writes the bytecode of what is imported, once.
RUN ["python", "-c", "import torch"]
"""
_UNUSED = ("../", "torch/include/", "torch/test/")


def build(engine: protocol.Engine, run: str) -> resolve.ResolvedImage:
    """Return the image, which is removed at the end of the run."""
    base = stand_in.find_or_build(engine, "3.11", progress.Silent())
    dockerfile = tar_stream.TarEntry(name="Dockerfile", content=_DOCKERFILE.format(base=base.tag).encode())
    tag = f"numerai-builder-test/torch:{run}"
    engine.build(
        tar_stream.pack([dockerfile, *_list_files()]),
        run=run,
        arguments={},
        tag=tag,
        cache=False,
        progress=progress.Silent(),
    )
    return resolve.resolve(resolve.ImageRequest(ref=tag), engine, pull=False, progress=progress.Silent())


def _list_files() -> Iterator[tar_stream.TarEntry]:
    """Yield the files of PyTorch and of what it requires, without those that only compilers and its tests read."""
    names, remaining = {"setuptools"}, ["torch"]  # setuptools only compiles extensions
    while remaining:
        name = remaining.pop()
        if name in names:
            continue
        names.add(name)
        for file in importlib.metadata.files(name) or ():
            if not str(file).startswith(_UNUSED) and file.suffix != ".pyc":
                yield tar_stream.TarEntry(name=f"packages/{file}", content=Path(file.locate()))
        for text in importlib.metadata.requires(name) or ():
            requirement = requirements.Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                remaining.append(requirement.name)
