"""Print ``docs/packages.md`` from the published lists of the images' packages; see the end of this file."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # it is run as a script

from builder import published_pins  # noqa: E402

_FIRST = (
    *("numpy", "pandas", "scipy", "scikit-learn", "lightgbm", "xgboost", "catboost", "torch", "tensorflow", "keras"),
    *("jax", "onnx", "polars", "pyarrow", "statsmodels", "numba", "joblib", "cloudpickle", "numerai-tools"),
)
_TEXT = """\
# Packages of the images

What the tournament's images have, by Python version, from Numerai's published lists. `-`: the image does not have it.
The image with Python {default} is the tournament's default, `image: {{ref: default}}`; there is no list of the
experimental one with 3.14.

A model that is exported as numbers needs no library in the image: any version can train it.
[LightGBM](export/lightgbm.md), [XGBoost and CatBoost](export/boosters.md) models and
[functions](export/predict-function.md) are run by the image's version. A package that is not here cannot be imported in
the tournament.

## For models and numbers

{first}

## Others

Without the libraries for GPUs, `nvidia-*`, `cuda-*` and `triton`.

{others}

This page is written by `.ci/write_packages.py`.
"""


def render() -> str:
    """Return the page."""
    pythons = published_pins.list_pythons()
    names = sorted({name for python in pythons for name in published_pins.get_versions(python)})
    return _TEXT.format(
        default=published_pins.DEFAULT,
        first=_render_table(_FIRST, pythons),
        others=_render_table([name for name in names if not _is_gpu_library(name) and name not in _FIRST], pythons),
    )


def _is_gpu_library(name: str) -> bool:
    return re.match("nvidia-|cuda-|triton$", name) is not None


def _render_table(names: tuple[str, ...] | list[str], pythons: tuple[str, ...]) -> str:
    head = [
        "| package | " + " | ".join(f"Python {python}" for python in pythons) + " |",
        "| --- " * (len(pythons) + 1) + "|",
    ]
    rows = [
        f"| {name} | " + " | ".join(published_pins.get_versions(python).get(name, "-") for python in pythons) + " |"
        for name in names
    ]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    # To write it again: .venv/bin/python .ci/write_packages.py > docs/packages.md
    sys.stdout.write(render())
