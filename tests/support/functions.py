"""Export functions, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from builder import errors
from builder.bundle.storage import read
from builder.export import export

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = [f"feature_{index}" for index in range(4)]


def sample(rows: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(4)
    frame = pd.DataFrame(
        random.integers(0, 5, size=(rows, 4)), columns=FEATURES, index=[f"n{row}" for row in range(rows)]
    )
    return frame.assign(era="0001", bench=random.random(rows), target=0.5)


def export_and_read(function: Any, folder: Path, **options: Any) -> Any:
    options = {"sample": sample(), "features": FEATURES, **options}
    result = export(function, folder / "bundle", **options)
    return result, read.read(folder / "bundle")


def get_error(function: Any, folder: Path, **options: Any) -> str:
    with pytest.raises(errors.ExportError) as caught:
        export_and_read(function, folder, **options)
    assert not (folder / "bundle").exists()
    return str(caught.value)
