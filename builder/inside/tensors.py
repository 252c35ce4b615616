"""Read safetensors files with numpy alone, because the image may not have the library. The host checks the file."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

_DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "U8": "u1"}


def read(path: Path) -> dict[str, Any]:
    """Return the arrays of a file by name, sorted; C-contiguous and writeable.

    The format (https://github.com/huggingface/safetensors): the length of the header in 8 bytes, the header as JSON,
    then the arrays, whose offsets count from the end of the header.
    """
    arrays = {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in sorted(header.items()):
            file.seek(8 + length + entry["data_offsets"][0])
            array = np.fromfile(file, _DTYPES[entry["dtype"]], math.prod(entry["shape"]))
            arrays[name] = array.reshape(entry["shape"])  # raises ValueError if the file is truncated
    return arrays
