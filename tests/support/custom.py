"""Bundles with custom code, for tests."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from builder.bundle import model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from builder.bundle import post

CODE = """
import pandas as pd

def load(bundle):
    weights = bundle.arrays["weights"]
    names = list(bundle.features)

    def predict(live_features):
        values = live_features[names].fillna(2).to_numpy(dtype=float) @ weights
        return pd.DataFrame({"prediction": values}, index=live_features.index)

    return predict
"""
WEIGHTS = np.array([0.01, 0.02, 0.03])


def make_bundle(
    code: str = CODE,
    *,
    modules: Mapping[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
    arrays: Mapping[str, NDArray[np.float64]] | None = None,
    benchmarks: tuple[str, ...] = (),
    post: tuple[post.Step, ...] = (),
) -> model.Bundle:
    """Return a bundle of three features, whose golden predictions are those of ``CODE``."""
    inputs = np.random.default_rng(3).integers(0, 5, size=(8, 3 + len(benchmarks))).astype(np.float64)
    helpers = {f"code/{name.replace('.', '/')}.py": text.encode() for name, text in (modules or {}).items()}
    return model.Bundle(
        features=("feature_0", "feature_1", "feature_2"),
        benchmarks=benchmarks,
        model=model.Custom(
            files={
                "code/model.py": textwrap.dedent(code).encode(),
                **helpers,
                **{f"files/{name}": content for name, content in (files or {}).items()},
            },
            modules=tuple(modules or ()),
            arrays={"weights": WEIGHTS} if arrays is None else arrays,
        ),
        golden=model.GoldenRows(inputs=inputs, predictions=inputs[:, :3] @ WEIGHTS),
        post=post,
    )


# Everything that makes the bytes of a cloudpickle differ between runs: classes, sets, included modules.
EVERYTHING = """
import enum
import dataclasses
import numpy as np
import pandas as pd
import scipy
import team.maths as maths
from team.maths import squash

ALLOWED = {"alpha", "beta", "gamma", "delta", "epsilon"}

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Settings:
    scale: float = 1.0
    names: tuple = ()

    def scale_values(self, values):
        return values * self.scale

def load(bundle):
    settings = Settings(scale=float(bundle.read("scale.txt")), names=bundle.features)
    weights = bundle.arrays["weights"]

    def predict(live_features):
        if "era" in {"one", "two", "three"} or Colour.RED not in Colour or len(ALLOWED) != 5:
            raise ValueError("no")
        values = live_features[list(settings.names)].to_numpy(dtype=float) @ weights
        values = maths.halve(squash(settings.scale_values(values))) * scipy.special.expit(100.0)
        return pd.DataFrame({"prediction": values}, index=live_features.index)

    return predict
"""
MATHS = """
import numpy as np
from . import more

def squash(values):
    return 1 / (1 + np.exp(-values))

def halve(values):
    return values * more.HALF
"""


def make_full_bundle() -> model.Bundle:
    """Return a bundle whose code is ``EVERYTHING``."""
    modules = {"team.maths": MATHS, "team.more": "HALF = 0.5\n"}
    return make_bundle(EVERYTHING, modules=modules, files={"scale.txt": b"2.0"})
