"""Functions as people write them: each is exported at one call, and the bundle predicts the same."""

from __future__ import annotations

import collections
import enum
import functools
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import lightgbm
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import xgboost

from tests.support import pickles
from tests.support.functions import FEATURES, export_and_read, sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = sample()
TARGET = ROWS[FEATURES].mean(axis=1)
BOOSTER = lightgbm.LGBMRegressor(n_estimators=5, min_child_samples=2, verbose=-1, n_jobs=1).fit(ROWS[FEATURES], TARGET)
TREES = xgboost.XGBRegressor(n_estimators=5, n_jobs=1).fit(ROWS[FEATURES], TARGET)


def rank(values: Any, live: pd.DataFrame) -> pd.DataFrame:
    return pd.Series(np.asarray(values), index=live.index).rank(pct=True).to_frame("prediction")


# ---- a class with all that classes have


class Level(enum.Enum):
    LOW = 0.5
    HIGH = 2.0


T = TypeVar("T")


class Box(Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item


class Weighted(NamedTuple):
    weight: float
    level: Level = Level.HIGH


@dataclass
class Base:
    models: list[Any]
    names = FEATURES

    @property
    def count(self) -> int:
        return len(self.models)


class Ensemble(Base):
    """Adds up models.

        Not indented:
    as in a text.
    """

    def __init__(self, models: list[Any], *, box: Box[float]) -> None:
        super().__init__(models)
        self.box = box
        self.weighted = Weighted(0.25)

    def __call__(self, live_features: pd.DataFrame, live_benchmark_models: Any = None) -> pd.DataFrame:  # noqa: ARG002
        assert self.weighted.level is Level.HIGH
        values = sum(model.predict(live_features[self.names]) for model in self.models) / self.count
        return rank(values * self.box.item * self.weighted.weight, live_features)

    def predict_ranks(self, live_features: pd.DataFrame) -> pd.DataFrame:
        return self(live_features)


ENSEMBLE = Ensemble([BOOSTER, TREES], box=Box(2.0))

# ---- functions of factories


def make_score(model: Any, names: list[str]) -> Callable[..., Any]:
    calls = 0

    def score(live: pd.DataFrame) -> Any:
        nonlocal calls
        calls += 1
        return model.predict(live[names])

    return score


SCORES = [make_score(BOOSTER, FEATURES), make_score(TREES, list(FEATURES))]
SCALES: Any = [lambda values, scale=scale: values * scale for scale in (1.0, 2.0)]
STEPS: Any = [np.abs, np.sqrt, np.abs]
COMPOSED = functools.reduce(lambda inner, outer: lambda values: outer(inner(values)), STEPS)


def blend(live: pd.DataFrame, benchmarks: pd.DataFrame, *, scores: Any, power: float) -> pd.DataFrame:
    values = sum(scale(score(live)) for scale, score in zip(SCALES, scores, strict=True))
    return rank(COMPOSED(values) ** power, live)


# ---- decorators, caches and definitions inside


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        LOGGER.debug("predicting")
        return function(*args, **options)

    return wrapper


LOGGER = logging.getLogger(__name__)
PATTERN = re.compile("^feature_[0-3]$")
NORMAL = scipy.stats.norm(0, 2)
COUNTS = collections.defaultdict(lambda: 1.0, {"a": 2.0})


@functools.lru_cache(maxsize=8)
def select(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if PATTERN.match(name)]


def is_even(count: int) -> bool:
    return count == 0 or is_odd(count - 1)


def is_odd(count: int) -> bool:
    return count > 0 and is_even(count - 1)


@np.errstate(divide="ignore")
@logged
def decorated(live_features: pd.DataFrame, model: Any = BOOSTER, names: Any = tuple(FEATURES)) -> pd.DataFrame:
    @dataclass
    class Result:
        values: Any

    values = model.predict(live_features[select(tuple(names))]) * (1 + is_even(4)) * COUNTS["a"]
    return rank(NORMAL.cdf(Result(values).values), live_features)


# ---- one object under two names

MEMBERS = {"all": [BOOSTER, TREES]}
BEST = BOOSTER


def without_best(live: pd.DataFrame) -> pd.DataFrame:
    return rank(sum(model.predict(live[FEATURES]) for model in MEMBERS["all"] if model is not BEST), live)


quoted = lambda live: rank(  # noqa: E731
    BOOSTER.predict(live[FEATURES]).clip(0, 4).round(3),
    live,
)


@pytest.mark.parametrize(
    "function",
    [
        ENSEMBLE,
        ENSEMBLE.predict_ranks,
        functools.partial(blend, scores=SCORES, power=1.5),
        decorated,
        without_best,
        quoted,
    ],
    ids=["object", "method", "partial", "decorated", "shared", "lambda"],
)
def test_bundle_predicts_the_same(function: Any, tmp_path: Path) -> None:
    _, bundle = export_and_read(function, tmp_path, sample=ROWS.drop(columns="bench"))
    frames = (ROWS[FEATURES], pd.DataFrame(index=ROWS.index))
    predict = pickles.load_predict(bundle)
    count = 2 if isinstance(function, (Ensemble, functools.partial)) else 1
    expected = function(*frames[:count])
    pd.testing.assert_frame_equal(predict(*frames[:count]), expected, rtol=1e-6)
