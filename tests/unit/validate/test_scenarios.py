"""Inputs that must not change a model's predictions, and how they are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from builder.inside import predict_inputs
from builder.validate import data, scenarios
from tests.support import custom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from builder.validate import checks

BUNDLE = custom.make_bundle(benchmarks=("bench_a", "bench_b"))
NAMES = [*BUNDLE.features]
WEIGHTS = np.array([0.1, 0.2, 0.3])
COLUMNS, ROWS, FLOAT32, FLOAT64, BENCHMARKS = range(5)


@pytest.fixture
def live(tmp_path: Path) -> scenarios.Input:
    # Without other features, which some of the broken functions could not even predict.
    files = data.make_shaped_data(features=NAMES, benchmarks=BUNDLE.benchmarks, known=NAMES, rows=1500, cache=tmp_path)
    return scenarios.read_live(files, may_rank=True)


def judge(predict: Callable[..., Any], live: scenarios.Input, **options: Any) -> list[checks.Check]:
    """Predict all inputs as the container does, and judge the relations."""

    def run(item: scenarios.Input) -> Any:
        frames = [table.to_pandas().set_index("id") for table in (item.live, item.benchmarks)]
        try:
            return predict_inputs.predict_input(predict, *frames, before_post=True)
        except Exception as error:  # noqa: BLE001 - any, as there
            return f"the pickle failed: {error!r}"

    relations = scenarios.make_relations(live, BUNDLE, **options)
    expected = run(live)
    assert not isinstance(expected, str), expected
    return [scenarios.judge_relation(relation, run(relation.input), live, expected) for relation in relations]


def linear(values: Any, live: pd.DataFrame) -> pd.DataFrame:
    result: pd.DataFrame = live[["era"]].assign(prediction=np.asarray(values, dtype=float) @ WEIGHTS)[["prediction"]]
    return result


def by_name(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    other = benchmarks["bench_a"].reindex(live.index).fillna(0.5)
    return linear(live[NAMES], live).add(other, axis=0)


def by_prefix(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    return linear(live[[name for name in live.columns if name.startswith("feature_")]], live)


def by_position(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    return linear(live.iloc[:, 2:5], live)


def by_first_three(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    return linear(live.filter(regex="^feature_").iloc[:, :3], live)


def benchmark_by_position(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    return linear(live[NAMES], live).add(benchmarks.iloc[:, 1].reindex(live.index).fillna(0.5), axis=0)


def benchmark_by_row(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    return linear(live[NAMES], live) + np.resize(benchmarks["bench_a"].to_numpy(), (len(live), 1))


def by_integer_type(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    return linear(live[NAMES].select_dtypes("int8").reindex(columns=NAMES).fillna(0), live)


def by_row(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    return linear(live[NAMES], live) + np.arange(len(live))[:, None]


def test_a_function_that_reads_by_name_keeps_its_predictions(live: scenarios.Input) -> None:
    results = judge(by_name, live)
    assert [check.good for check in results] == [True] * 5
    assert len(live.live) == 1000


@pytest.mark.parametrize(
    ("predict", "broken", "fix"),
    [
        (by_prefix, [COLUMNS], "read each column by its name"),
        (by_position, [COLUMNS], "read each column by its name"),
        (by_first_three, [COLUMNS], "read each column by its name"),
        (benchmark_by_position, [BENCHMARKS], "read each benchmark by its name"),
        (benchmark_by_row, [ROWS, BENCHMARKS], "by id"),
        (by_integer_type, [FLOAT32, FLOAT64], "convert the features"),
        (by_row, [ROWS], "the order of the rows"),
    ],
)
def test_a_broken_function_fails_the_relation_that_it_breaks(
    live: scenarios.Input, predict: Callable[..., Any], broken: list[int], fix: str
) -> None:
    results = judge(predict, live)
    assert [number for number, check in enumerate(results) if check.good is not True] == broken
    assert fix in results[broken[-1]].detail
    # The order of the rows is a custom function's own choice.
    assert [results[number].good for number in broken] == [None if number == ROWS else False for number in broken]


def test_a_model_of_a_whole_data_version_may_read_every_column(live: scenarios.Input) -> None:
    def by_mean(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
        return live.filter(regex="^feature_").mean(axis=1).to_frame("prediction") / 4

    assert judge(by_mean, live)[COLUMNS].good is False
    tied, _, note, *_ = judge(by_mean, live, tied_to="v5.3")
    assert (tied.name, tied.good) == ("same values: columns in another order", True)
    assert (note.name, note.good) == ("same values: columns that the model does not know", None)
    assert note.detail.endswith("; it reads every feature of v5.3, so it is tied to this data version")
    # Not by position or by prefix.
    assert judge(by_prefix, live, tied_to="v5.3")[COLUMNS].good is False
    assert [check.good for check in judge(by_name, live, tied_to="v5.3")] == [True] * 6


def test_a_rank_may_differ_by_three_steps(live: scenarios.Input) -> None:
    relation = scenarios.make_relations(live, BUNDLE)[COLUMNS]
    expected = np.linspace(0, 1, 1000)
    for difference, good in ((0.0029, True), (0.0031, False), (np.nan, False), (np.inf, False)):
        predictions = expected.copy()
        predictions[7] += difference
        assert scenarios.judge_relation(relation, predictions, live, expected).good is good
