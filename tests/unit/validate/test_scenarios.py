"""Scenarios of ``validate``: what each detects, and the cause that it names."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.bundle import post
from builder.validate import data, relations, scenario_run, scenarios
from tests.support import custom, judged, pickles, post_steps, twins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from builder.bundle import model
    from builder.validate import checks

BUNDLE = custom.make_bundle(benchmarks=("bench_a", "bench_b"))
NAMES = [*BUNDLE.features]
WEIGHTS = np.array([0.1, 0.2, 0.3])
COLUMNS = "same values: columns in another order, and more"
ROWS = "same values: rows in another order"
FLOAT32, FLOAT64 = "same values: features as float32", "same values: features as float64"
NUMBERS = "same values: era as numbers"
BENCHMARKS = "same values: benchmarks in another order, and more"
TWO_ERAS = "same values: two eras together, and each alone"
SECOND_CALL = "same values: a second call"


def make_subject(bundle: model.Bundle, folder: Path, *, rows: int = 1500) -> scenarios.Subject:
    steps = post.find_required_columns(bundle.post)
    features = tuple(dict.fromkeys((*bundle.features, *steps.features)))
    benchmarks = tuple(dict.fromkeys((*bundle.benchmarks, *steps.benchmarks)))
    files = data.make_shaped_data(features=features, benchmarks=benchmarks, known=features, rows=rows, cache=folder)
    return scenarios.make_subject(bundle, bundle.post, files)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> scenarios.Subject:
    return make_subject(BUNDLE, tmp_path_factory.mktemp("shaped"))


def get_failed(results: Mapping[str, checks.Check]) -> dict[str, str]:
    return {name: check.text for name, check in results.items() if check.good is False}


def get_notes(results: Mapping[str, checks.Check]) -> dict[str, str]:
    return {name: check.text for name, check in results.items() if check.good is None}


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


def by_era(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    if live["era"].str.len().min() < 1:
        raise ValueError("empty")
    return linear(live[NAMES], live)


def by_era_in_a_dictionary(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    return linear(live[NAMES], live).mul(live["era"].map({"X": 1, "0001": 1, "0002": 1}).to_numpy(float), axis=0)


def first_in_a_tie(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    return linear(live[NAMES].round(-1), live).rank(pct=True, method="first")


def first_in_a_tie_of_neighbours(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    """Rank by first what depends on the row before, so that ties do not explain all differences."""
    return linear(live[NAMES].rolling(2, min_periods=1).mean(), live).rank(pct=True, method="first")


def mixed(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
    """Read the second feature by position only."""
    values = live[NAMES].astype(float)
    return linear(values.assign(feature_1=live.iloc[:, 3].to_numpy(float)), live)


def test_a_function_that_reads_by_name_has_every_expected_outcome(subject: scenarios.Subject) -> None:
    results = judged.judge(by_name, subject)
    assert get_failed(results) == {}
    assert get_notes(results).keys() == {"NaN in places", "one feature all NaN"}
    assert "not finite; a round with such rows would have no valid submission" in results["NaN in places"].detail
    assert "an error that names it" in results["a feature is missing"].detail
    assert len(results) == 17
    assert len(subject.live.live) == 1000


@pytest.mark.parametrize(
    ("predict", "broken"),
    [
        (by_prefix, {COLUMNS: "columns are chosen by the prefix `feature_`; read each column by its name"}),
        (by_position, {COLUMNS: "columns are taken by position; read each column by its name"}),
        (by_first_three, {COLUMNS: "columns are chosen by the prefix `feature_`; read each column by its name"}),
        (mixed, {COLUMNS: "column 2 of 3 is taken by position (`feature_1`); read each column by its name"}),
        (benchmark_by_position, {BENCHMARKS: "benchmark column 1 is taken by position (`bench_a`); read each"}),
        (benchmark_by_row, {ROWS: "the order of the rows", BENCHMARKS: "rows are taken in their order, not by id"}),
        (by_integer_type, dict.fromkeys([FLOAT32, FLOAT64], "chosen by their type (int8), or overflow in it; convert")),
        (by_row, {ROWS: "rows with equal values get different predictions; let no prediction depend"}),
        (first_in_a_tie_of_neighbours, {ROWS: "rows differ"}),
        (by_era, {NUMBERS: "with string values!; group by `live_features['era']` as it is"}),
        (by_era_in_a_dictionary, {NUMBERS: "1,000 of 1,000 rows differ"}),
    ],
)
def test_a_broken_function_fails_the_relation_that_it_breaks(
    subject: scenarios.Subject, predict: Callable[..., Any], broken: dict[str, str]
) -> None:
    failed = get_failed(judged.judge(predict, subject))
    assert failed.keys() == broken.keys()
    assert [text for name, text in broken.items() if text not in failed[name]] == []


def test_ranks_by_first_are_a_note(subject: scenarios.Subject) -> None:
    results = judged.judge(first_in_a_tie, subject)
    assert get_failed(results) == {}
    cause = 'equal predictions are ranked in the order of the rows, as `rank(method="first")` does'
    assert cause in get_notes(results)[ROWS]


def test_a_model_of_a_whole_data_version_may_read_every_column(subject: scenarios.Subject) -> None:
    def by_mean(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
        return live.filter(regex="^feature_").mean(axis=1).to_frame("prediction") / 4

    assert judged.judge(by_mean, subject)[COLUMNS].good is False
    tied = dataclasses.replace(subject, tied_to="v5.3")
    results = judged.judge(by_mean, tied)
    assert results["same values: columns in another order"].good is True
    note = results["same values: unknown columns"]
    assert note.good is None
    assert note.detail.endswith("; it reads every feature of v5.3, so it is tied to this data version")
    # Not by position or by prefix.
    assert judged.judge(by_prefix, tied)["same values: columns in another order"].good is False
    assert get_failed(judged.judge(by_name, tied)) == {}


def test_columns_of_a_wide_function_are_not_named(tmp_path: Path) -> None:
    names = tuple(f"feature_{index}" for index in range(301))
    golden = dataclasses.replace(BUNDLE.golden, inputs=np.full((8, 301), 2.0))
    bundle = dataclasses.replace(BUNDLE, features=names, benchmarks=(), golden=golden)

    def predict(live: pd.DataFrame) -> pd.DataFrame:
        values = live[[*names]].sum(axis=1) + 50.0 * live.iloc[:, 9]
        return values.to_frame("prediction")

    failed = get_failed(judged.judge(predict, make_subject(bundle, tmp_path, rows=100)))
    assert failed.keys() == {COLUMNS}
    assert "; columns are taken by position; read each column by its name" in failed[COLUMNS]


def test_a_function_without_care_gets_a_note_with_what_happens(subject: scenarios.Subject) -> None:
    """It ranks over all eras, divides by the spread, keeps a counter, changes its input, and hides what is missing."""
    calls: list[int] = []

    def predict(live: pd.DataFrame, benchmarks: pd.DataFrame) -> pd.DataFrame:
        try:
            values = live[NAMES].to_numpy(float) @ WEIGHTS
        except KeyError:
            raise ValueError("bad frame") from None
        if "era" not in live:
            raise ValueError("bad frame")
        calls.append(1)
        live["feature_0"] = 0
        ranks = pd.Series(values, index=live.index).rank(pct=True)
        values = ranks / (0 if np.ptp(values) == 0 else 1) if len(live) > 1 else ranks * np.nan
        return values.replace(np.inf, np.nan).to_frame("prediction")

    results = judged.judge(predict, subject)
    assert get_failed(results) == {}
    notes = get_notes(results)
    expected = {
        "a feature is missing": "ValueError: bad frame; the error does not name it",
        "era is missing": "the error does not name it",
        "NaN in places": "predictions are not finite",
        "one feature all NaN": "200 of 200 predictions are not finite",
        "one row": "1 of 1 row are not finite",
        TWO_ERAS: "predictions of one era depend on the other",
        "all features equal in every row": "200 of 200 rows are not finite",
        SECOND_CALL: "the function changes live_features; predict on a copy",
    }
    assert notes.keys() == expected.keys()
    assert [text for name, text in expected.items() if text not in notes[name]] == []


@pytest.mark.parametrize(
    ("error", "good"),
    [
        ("ValueError: Input contains NaN", True),
        ("ValueError: feature_1 is empty", True),
        ("KeyError: 'missing'", True),
        ("ValueError: cannot convert to integer", None),
        ("TypeError: predict() missing 1 required positional argument: 'benchmarks'", None),
        ("", None),  # the process ended, and its log has a warning about NaN
    ],
)
def test_only_an_error_that_names_what_is_missing_is_good(
    subject: scenarios.Subject, error: str, *, good: bool | None
) -> None:
    planned = scenario_run.make_scenarios(subject)
    inputs = scenarios.list_inputs([subject.live, subject.final], planned)
    (scenario,) = (item for item in planned if item.name == "NaN in places")
    (item,) = scenario.inputs
    files = {f"{inputs.index(item)}.txt": error.encode()} if error else {}
    files["0.f64"] = np.zeros(len(subject.live.live)).tobytes()
    results = scenarios.Results(inputs, files, end="the interpreter aborted: RuntimeWarning: NaN")
    (check,) = scenarios.judge([scenario], results, subject.live, {})
    assert check.good is good
    assert bool(check.fix) == (good is None)


def test_a_second_call_that_differs_is_a_note(subject: scenarios.Subject) -> None:
    calls: list[int] = []

    def predict(live: pd.DataFrame) -> pd.DataFrame:
        calls.append(1)
        return linear(live[NAMES], live) * (1 if len(calls) < 6 else 2)

    assert "keep nothing between calls" in get_notes(judged.judge(predict, subject))[SECOND_CALL]


@pytest.mark.parametrize("values", [[np.nan], [np.inf], [-np.inf, np.inf], [1e308, -1e308], [np.nan, 0.5, np.inf]])
def test_any_numbers_can_be_judged(subject: scenarios.Subject, values: list[float]) -> None:
    """Predictions are untrusted: any bytes of the right length."""
    random = np.random.default_rng(6)
    planned = scenario_run.make_scenarios(subject)
    inputs = scenarios.list_inputs([subject.live, subject.final], planned)
    for size in (1, 1.5):
        arrays = [random.choice(values, int(size * len(item.live))).astype("<f8") for item in inputs]
        files = {f"{number}.f64": array.tobytes() for number, array in enumerate(arrays)}
        results = scenarios.judge(planned, scenarios.Results(inputs, files), subject.live, {})
        assert all(check.detail.isprintable() for check in results)


def test_an_exempt_relation_is_a_note_with_its_reason(subject: scenarios.Subject, tmp_path: Path) -> None:
    exempt = {"shuffle": "counts rows"}
    results = judged.judge(by_row, subject, exempt=exempt)
    assert get_failed(results) == {}
    assert results[ROWS].detail.startswith("exempt (counts rows): ")
    code = custom.CODE.replace("@ weights", "@ weights // 1").replace("index)", "index).rank(method='first')")
    bundle = custom.make_bundle(code, post=(post.make_step("rank"),))
    with_step = make_subject(bundle, tmp_path)
    assert len(get_failed(judged.judge(pickles.load_predict(bundle), with_step))) == 2
    assert get_failed(judged.judge(pickles.load_predict(bundle), with_step, exempt=exempt)) == {}
    # An exemption that is not used changes nothing.
    assert judged.judge(by_name, subject, exempt=exempt)[ROWS].good is True


def test_a_rank_may_differ_by_three_steps(subject: scenarios.Subject) -> None:
    live = subject.live
    expected = np.linspace(0, 1, 1000)
    for difference, is_good in ((0.0029, True), (0.0031, False), (np.nan, False), (np.inf, False)):
        predictions = expected.copy()
        predictions[7] += difference
        assert (scenarios.compare(predictions, live, expected, live) is None) is is_good
    exact = dataclasses.replace(live, may_rank=False)
    assert scenarios.compare(expected + 2e-5, exact, expected, exact) is not None
    assert scenarios.compare(expected + 0.9e-5, exact, expected, exact) is None


@pytest.mark.parametrize("name", ["narrow", "trees", "lightgbm", "ensemble", "post"])
def test_every_scenario_holds_for_built_in_kinds(tmp_path: Path, name: str) -> None:
    bundle = post_steps.make_bundle() if name == "post" else pickles.scenario_bundle(name)
    results = judged.judge(pickles.load_predict(bundle), make_subject(bundle, tmp_path, rows=300))
    assert get_failed(results) == {}
    assert set(get_notes(results).values()) <= {"too few values to compare"}
    assert len(results) >= 16


def test_a_step_that_mixes_eras_or_keeps_the_order_of_ties_is_no_finding(tmp_path: Path) -> None:
    bundle = pickles.scenario_bundle("trees")
    steps = (post.make_step("rank", scope="frame", ties="first"),)
    bundle = dataclasses.replace(bundle, post=steps)
    results = judged.judge(pickles.load_predict(bundle), make_subject(bundle, tmp_path, rows=300))
    assert get_failed(results) == {}
    assert get_notes(results).keys() == {TWO_ERAS}


@pytest.mark.parametrize("kind", ["int8", "float16", "bool", "Int8", "category"])
def test_live_data_of_any_type_can_be_judged(tmp_path: Path, kind: str) -> None:
    """Also with eras and ids of another type, few rows, and benchmark rows of other ids only."""
    ids = {"int8": pd.Index([*range(5)]), "category": pd.CategoricalIndex(list("abcde"))}
    index = ids.get(kind, pd.Index([f"n{row}" for row in range(5)])).set_names("id")
    live = pd.DataFrame(1, index=index, columns=NAMES)
    live["feature_1"] = [0, 1, 0, 1, 1]
    live = live.astype("int8" if kind == "category" else kind)
    live["era"] = pd.Categorical(["1", "1", "2", "2", "2"]) if kind == "category" else 7
    live.to_parquet(tmp_path / "live.parquet")
    benchmarks = pd.DataFrame({"bench_a": [0.5], "bench_b": [0.5]}, index=pd.Index(["other"], name="id"))
    table = pa.Table.from_pandas(benchmarks)
    table = table.set_column(2, "id", table["id"].cast(pa.large_string()))
    pq.write_table(table, tmp_path / "benchmarks.parquet")
    files = data.LiveFiles(live=tmp_path / "live.parquet", benchmarks=tmp_path / "benchmarks.parquet", rows=5)
    subject = scenarios.make_subject(BUNDLE, (), files)
    results = judged.judge(by_name, subject)
    assert get_failed(results) == {}
    assert results.keys() >= {COLUMNS, ROWS, NUMBERS, BENCHMARKS, TWO_ERAS}
    failed = get_failed(judged.judge(lambda live, other: by_name(live, other) * other.shape[1], subject))
    assert failed.keys() == {BENCHMARKS}, "its cause cannot be searched: no live row has a benchmark row"


def judge_golden(subject: scenarios.Subject, golden: Any) -> scenarios.Outcome:
    rows = dataclasses.replace(BUNDLE.golden, inputs=golden, predictions=np.zeros(len(golden)))
    return relations.judge_ranges(dataclasses.replace(subject, bundle=dataclasses.replace(BUNDLE, golden=rows)))


RANDOM = np.random.default_rng(4)
WHOLE = RANDOM.integers(0, 5, (20, 5)).astype(float)
IMPUTED = np.where(RANDOM.random((20, 5)) < 0.4, 1.98, WHOLE)


@pytest.mark.parametrize(
    "golden",
    [
        WHOLE,
        WHOLE[:1],
        np.full((20, 5), 2.0),
        np.full((20, 5), np.nan),
        IMPUTED,
        np.where(np.arange(5) == 1, WHOLE, 2.0),
        np.minimum(WHOLE, 1),
    ],
    ids=["whole", "one row", "constant", "missing", "imputed", "one that varies", "rare values"],
)
def test_golden_rows_in_the_units_of_the_live_rows_are_good(subject: scenarios.Subject, golden: Any) -> None:
    outcome = judge_golden(subject, golden)
    assert outcome.good is not False, outcome.detail


@pytest.mark.parametrize(
    ("golden", "cause"),
    [
        (
            WHOLE / 4,
            "values are expected from 0 to 1: golden rows 0 to 1, live rows 0 to 4 (generated, as in live data): fea",
        ),
        ((WHOLE - 2) / 1.41, "values are expected from -1.42 to 1.42"),
        (WHOLE + 5, "values are expected from 5 to 9"),
    ],
    ids=["scaled", "standardized", "shifted"],
)
def test_golden_rows_in_other_units_are_a_finding(subject: scenarios.Subject, golden: Any, cause: str) -> None:
    outcome = judge_golden(subject, golden)
    assert not outcome.good
    assert outcome.detail.startswith(cause)
    assert "train and export on values from 0 to 4, or scale them in the model" in outcome.fix


def test_the_units_of_a_slow_model_are_judged_by_more_rows_than_it_predicts(tmp_path: Path) -> None:
    bundle = twins.make_bundle("network", "units")
    files = data.make_shaped_data(features=bundle.features, benchmarks=(), rows=100, cache=tmp_path)
    slow = scenarios.make_subject(bundle, (), files, max_rows=20)
    assert (len(slow.live.live), len(slow.live.benchmarks)) == (20, 19)
    assert relations.judge_ranges(slow).good is False


def test_continuous_golden_rows_are_a_note_on_generated_rows(subject: scenarios.Subject) -> None:
    golden = RANDOM.random((20, 5))
    outcome = judge_golden(subject, golden)
    assert outcome.good is None
    assert outcome.detail.endswith("the model was trained on other data")
    assert outcome.fix == "set `validate.data` to rows of that data"
    outcome = judge_golden(dataclasses.replace(subject, is_shaped=False), golden)
    assert outcome.good is False


@pytest.mark.parametrize("name", twins.FUNCTIONS)
def test_only_broken_twins_are_refused_with_their_cause(tmp_path: Path, name: str) -> None:
    """tests/engine/test_twins.py tries some of them in containers."""
    failed = {}
    for read in twins.READ:
        subject = make_subject(twins.make_bundle(name, read), tmp_path, rows=100)
        failed[read] = get_failed(judged.judge(twins.make_function(name, read), subject))
    assert failed.pop("correct") == {}
    for read, problems in failed.items():
        relation, cause = twins.get_cause(name, read)
        assert problems.keys() == {relation}
        assert cause in problems[relation]


def compare_csv(subject: scenarios.Subject, values: Any, csv: Any) -> tuple[bool | None, str]:
    check = relations.compare_csv(subject, np.asarray(values, dtype=float), np.asarray(csv, dtype=float))
    assert check
    return check.good, check.detail


def test_the_csv_is_compared_with_the_predictions_of_the_same_rows(subject: scenarios.Subject) -> None:
    """A custom function may predict a row differently in a frame with more rows, but hardly all in another order."""
    values = RANDOM.random(1000)
    assert compare_csv(subject, values, values) == (True, "1,000 rows")
    good, detail = compare_csv(subject, values, np.where(np.arange(1000) == 7, 0, values))
    assert (good, detail[:24]) == (False, "1 of 1,000 rows differ, ")
    more = np.append(values, np.linspace(-5, 5, 500))
    assert compare_csv(subject, values, np.argsort(np.argsort(more)) / 1500)[0] is True
    good, detail = compare_csv(subject, values, -more)
    assert (good, detail[:78]) == (
        None,
        "1,000 rows alone and in the frame of 1,500 rows: rank correlation -1.000; the ",
    )
    assert relations.compare_csv(subject, np.full(1000, 0.5), more) is None
    assert relations.compare_csv(subject, np.full(1000, np.nan), more) is None
    assert compare_csv(subject, np.where(values < 0.5, np.inf, -1.7e308), values)[0] is False


def test_rows_of_a_model_without_ranks_are_the_same_in_any_frame(tmp_path: Path) -> None:
    bundle = dataclasses.replace(pickles.scenario_bundle("trees"), post=())
    values = RANDOM.random(300)
    plain = dataclasses.replace(make_subject(bundle, tmp_path, rows=300))
    assert compare_csv(plain, values, np.append(values, 0.5)) == (True, "300 rows")
    assert compare_csv(plain, values, np.append(values[::-1], 0.5))[0] is False
    ranked = dataclasses.replace(plain, steps=(post.make_step("rank"),))
    assert relations.compare_csv(ranked, values, np.append(values[::-1], 0.5)) is None
