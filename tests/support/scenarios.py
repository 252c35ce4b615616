"""Scenarios of live data that a pickle must handle, run by tests here and as a script in the images.

``python scenarios.py FOLDER...`` predicts with ``FOLDER/model.pkl`` on the frames of ``FOLDER/case.npz`` and prints a
JSON object by folder, ``{scenario: null, or the traceback of the failure}``. Needs numpy, pandas and pyarrow.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pickle that ranks within eras, and data to predict on.

    Attributes:
        predict: The loaded function.
        features: The model's features.
        columns: Its benchmark columns, possibly none.
        live: Whole features 0 to 4 (int8), ``era`` of several values, a target; index ``id``.
        benchmarks: A value for every id and benchmark column.
        expected: float64 (rows,): the float64 reference's predictions before the rank.
        bound: The largest difference from them that is allowed.
    """

    predict: Any
    features: list[str]
    columns: list[str]
    live: pd.DataFrame
    benchmarks: pd.DataFrame
    expected: NDArray[np.float64]
    bound: float

    def raw(self, live: pd.DataFrame | None = None, benchmarks: pd.DataFrame | None = None) -> NDArray[np.float64]:
        """Predict before the rank; frames that are not passed are those of the case."""
        function = self.predict.__globals__["predict_raw"]
        result: NDArray[np.float64] = function(
            self.live if live is None else live, self.benchmarks if benchmarks is None else benchmarks
        )
        assert result.dtype == np.float64
        return result

    @property
    def imputation(self) -> dict[str, float]:
        """The number that replaces a missing value, by input."""
        model = self.predict.__globals__["MODEL"]
        imputation: dict[str, float] = {}
        for member in model.get("members", [model]):
            names = member["features"] + member["benchmarks"]
            values = (member.get("prepare") or member).get("imputation")
            if values is not None:  # a booster handles missing values itself
                imputation |= dict(zip(names, (float(value) for value in values), strict=True))
            imputation |= {names[index]: value for index, value, _ in member.get("far", ())}
        return imputation


def load(folder: Path) -> Case:
    """Return the case of ``folder``: ``model.pkl`` and ``case.npz``."""
    predict = pd.read_pickle(folder / "model.pkl")
    model = predict.__globals__["MODEL"]
    with np.load(folder / "case.npz", allow_pickle=False) as stored:
        inputs, expected, bound = stored["inputs"], stored["expected"], float(stored["bound"])
    features, columns = list(model["features"]), list(model["benchmarks"])
    rows, count = len(inputs), len(features)
    index = pd.Index([f"n{row:015x}" for row in range(rows)], name="id")
    live = pd.DataFrame(inputs[:, :count].astype(np.int8), index=index, columns=features)
    live.insert(0, "era", [f"{row % 3 + 1:04d}" for row in range(rows)])
    live["target"] = np.nan
    return Case(
        predict=predict,
        features=features,
        columns=columns,
        live=live,
        benchmarks=pd.DataFrame(inputs[:, count:], index=index, columns=columns),
        expected=expected,
        bound=bound,
    )


@contextlib.contextmanager
def expect_error(*words: str) -> Iterator[None]:
    """Expect a ValueError whose message contains all of these words."""
    try:
        yield
    except ValueError as error:
        message = str(error)
    else:
        raise AssertionError(f"no error; expected one with {words}")
    missing_words = [word for word in words if word not in message]
    assert not missing_words, f"{message!r} does not contain {missing_words}"


def assert_near(predictions: NDArray[np.float64], expected: NDArray[np.float64], bound: float) -> None:
    """Compare within ``bound``."""
    assert predictions.shape == expected.shape
    largest = float(np.abs(predictions - expected).max())
    assert largest <= bound, f"differs by {largest}, more than {bound}"


def assert_same(predictions: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    """Compare exactly."""
    np.testing.assert_array_equal(predictions, expected)


def predictions_are_the_reference(case: Case) -> None:
    assert_near(case.raw(), case.expected, case.bound)


def one_float_column_with_the_same_index(case: Case) -> None:
    predictions = case.predict(case.live, case.benchmarks)
    assert type(predictions) is pd.DataFrame
    assert list(predictions.columns) == ["prediction"]
    assert predictions["prediction"].dtype == np.float64
    assert predictions.index.identical(case.live.index)
    assert predictions["prediction"].between(0, 1).all()


def ranks_are_those_of_pandas(case: Case) -> None:
    ranks = pd.Series(case.raw(), index=case.live.index).groupby(case.live["era"]).rank(pct=True)
    assert_same(case.predict(case.live, case.benchmarks)["prediction"].to_numpy(), ranks.to_numpy())


def permuted_and_extra_columns_are_the_same(case: Case) -> None:
    turned = case.live[case.live.columns[::-1]]
    turned.insert(1, "feature_of_tomorrow", "text")
    benchmarks = case.benchmarks[case.benchmarks.columns[::-1]].assign(another=np.nan)
    assert_same(case.raw(turned, benchmarks), case.raw())


def a_missing_feature_is_reported(case: Case) -> None:
    with expect_error("live_features", f"1 of {len(case.features)}", repr(case.features[1])):
        case.predict(case.live.drop(columns=case.features[1]), case.benchmarks)


def five_of_many_missing_features_are_reported(case: Case) -> None:
    reduced = case.live[["era", case.features[0]]]
    count = len(case.features) - 1
    with expect_error(f"is missing {count} of {count + 1}", *map(repr, case.features[1:6]), f"and {count - 5} more"):
        case.predict(reduced, case.benchmarks)


def a_duplicate_feature_is_reported(case: Case) -> None:
    doubled = pd.concat([case.live, case.live[[case.features[2]]]], axis=1)
    with expect_error("live_features", "twice", repr(case.features[2])):
        case.predict(doubled, case.benchmarks)


def a_missing_era_is_reported(case: Case) -> None:
    with expect_error("live_features", "'era'"):
        case.predict(case.live.drop(columns="era"), case.benchmarks)


def no_rows_are_an_error(case: Case) -> None:
    with expect_error("live_features", "no rows"):
        case.predict(case.live.iloc[:0], case.benchmarks)


def number_types_are_the_same(case: Case) -> None:
    expected = case.raw()
    for kind in ("int64", "uint8", "float32", "float64", "Int8"):
        assert_same(case.raw(case.live.astype(dict.fromkeys(case.features, kind))), expected)
    mixed = {name: ("int8", "float32", "float64", "Int8")[index % 4] for index, name in enumerate(case.features)}
    assert_same(case.raw(case.live.astype(mixed)), expected)


def add_missing_values(case: Case) -> pd.DataFrame:
    """Return the live frame as float32 with scattered NaN, and one column of NaN."""
    live = case.live.astype(dict.fromkeys(case.features, "float32"))
    for index, name in enumerate(case.features):
        live.loc[live.index[index % 7 :: 7], name] = np.nan
    live[case.features[1]] = np.nan
    return live


def missing_values_are_imputed(case: Case) -> None:
    live, benchmarks = add_missing_values(case), case.benchmarks.copy()
    if case.columns:
        benchmarks.iloc[::3, 0] = np.nan
    predictions = case.raw(live, benchmarks)
    assert np.isfinite(predictions).all()
    imputed = live.astype(dict.fromkeys(case.features, "float64")).fillna(case.imputation)
    assert_same(predictions, case.raw(imputed, benchmarks.fillna(case.imputation)))


def nullable_columns_are_the_same(case: Case) -> None:
    live = add_missing_values(case)
    expected = case.raw(live)
    for kind in ("Int8", "Float64"):
        assert_same(case.raw(live.astype(dict.fromkeys(case.features, kind))), expected)


def arrow_columns_are_the_same(case: Case) -> None:
    import pyarrow as pa

    arrow = case.live.astype(dict.fromkeys(case.features, pd.ArrowDtype(pa.int8())))
    assert_same(case.raw(arrow), case.raw())
    nullable = add_missing_values(case).astype(dict.fromkeys(case.features, "Float64"))
    assert_same(
        case.raw(nullable.astype(dict.fromkeys(case.features, pd.ArrowDtype(pa.float32())))),
        case.raw(add_missing_values(case)),
    )


def fragmented_frames_are_the_same(case: Case) -> None:
    columns = [case.live[[name]].copy() for name in case.live.columns]
    assert_same(case.raw(pd.concat(columns, axis=1)), case.raw())
    rows_first = pd.DataFrame(np.ascontiguousarray(case.live[case.features].to_numpy()), columns=case.features)
    assert_same(case.raw(rows_first.set_index(case.live.index)), case.raw())


def shuffled_rows_are_the_same(case: Case) -> None:
    live = case.live.sample(frac=1, random_state=1)
    assert_near(pd.Series(case.raw(live), index=live.index)[case.live.index].to_numpy(), case.raw(), case.bound)
    ranked = case.predict(live, case.benchmarks).loc[case.live.index, "prediction"]
    of_era = case.live.groupby("era")["era"].transform("size")
    steps = (ranked - case.predict(case.live, case.benchmarks)["prediction"]) * of_era
    assert float(steps.abs().max()) <= 3


def one_row(case: Case) -> None:
    for row in (0, len(case.live) - 1):
        single = case.live.iloc[[row]]
        assert_near(case.raw(single), case.expected[[row]], case.bound)
        assert case.predict(single, case.benchmarks)["prediction"].tolist() == [1.0]


def two_eras_together_are_the_same_as_alone(case: Case) -> None:
    together = case.live[case.live["era"] != "0003"]
    both = pd.Series(case.raw(together), index=together.index)
    for _, alone in together.groupby("era"):
        assert_near(case.raw(alone), both[alone.index].to_numpy(), case.bound)
        ranked = case.predict(together, case.benchmarks).loc[alone.index, "prediction"]
        steps = (case.predict(alone, case.benchmarks)["prediction"] - ranked).abs() * len(alone)
        assert float(steps.max()) <= 3


def equal_rows_are_equal(case: Case) -> None:
    live = case.live.copy()
    live[case.features] = np.int8(2)
    benchmarks = pd.DataFrame(0.5, index=case.benchmarks.index, columns=case.columns)
    assert float(np.ptp(case.raw(live, benchmarks))) <= case.bound
    assert np.isfinite(case.predict(live, benchmarks)["prediction"]).all()


def eras_of_any_type(case: Case) -> None:
    expected = case.predict(case.live, case.benchmarks)["prediction"].to_numpy()
    numbers = case.live["era"].astype(int)
    unused = pd.CategoricalDtype(["0003", "0001", "0002", "0004"])
    for era in (numbers, numbers.astype(float), case.live["era"].astype("string"), case.live["era"].astype(unused)):
        assert_same(case.predict(case.live.assign(era=era), case.benchmarks)["prediction"].to_numpy(), expected)
    live_only = case.predict(case.live.assign(era="X"), case.benchmarks)["prediction"].to_numpy()
    assert_same(live_only, pd.Series(case.raw()).rank(pct=True).to_numpy())


def rows_without_an_era_are_a_group(case: Case) -> None:
    expected = case.predict(case.live, case.benchmarks)["prediction"].to_numpy()
    eras = case.live["era"].where(case.live["era"] != "0002")
    for era in (eras, eras.astype("string"), eras.astype("category"), pd.to_numeric(eras)):
        assert_same(case.predict(case.live.assign(era=era), case.benchmarks)["prediction"].to_numpy(), expected)


def shuffled_and_extra_benchmarks_are_the_same(case: Case) -> None:
    more = pd.DataFrame(0.9, index=pd.Index(["nfff", "nffe"], name="id"), columns=case.columns)
    benchmarks = pd.concat([more, case.benchmarks]).sample(frac=1, random_state=2)
    assert_same(case.raw(benchmarks=benchmarks), case.raw())


def ids_without_benchmarks_are_imputed(case: Case) -> None:
    covered = case.benchmarks.iloc[1::2]
    absent = case.benchmarks.copy()
    absent.iloc[::2] = np.nan
    with contextlib.redirect_stdout(io.StringIO()) as output:
        predictions = case.raw(benchmarks=covered)
    lines = output.getvalue().splitlines()
    assert_same(predictions, case.raw(benchmarks=absent))
    rows = len(case.live)
    counted = {f"numerai-builder: {-(-rows // 2)} of {rows} rows have no {name}, an input" for name in case.columns}
    assert {line.removesuffix(" of the model") for line in lines} == counted


def a_missing_benchmark_is_reported(case: Case) -> None:
    if not case.columns:
        assert_same(case.predict(case.live, None).to_numpy(), case.predict(case.live, case.benchmarks).to_numpy())
        return
    with expect_error("live_benchmark_models", "None", repr(case.columns[0])):
        case.predict(case.live, None)
    with expect_error("live_benchmark_models", f"1 of {len(case.columns)}", repr(case.columns[0])):
        case.predict(case.live, case.benchmarks.drop(columns=case.columns[0]))
    with expect_error("live_benchmark_models", "twice", repr(case.live.index[0])):
        case.predict(case.live, pd.concat([case.benchmarks, case.benchmarks.iloc[:1]]))


def inputs_are_not_changed(case: Case) -> None:
    for live in (case.live, add_missing_values(case)):
        frames = (live, case.benchmarks)
        before = [frame.copy(deep=True) for frame in frames]
        arrays = [column.to_numpy() for frame in frames for _, column in frame.items()]
        flags = [(array.flags.writeable, array.flags.owndata) for array in arrays]
        case.predict(*frames)
        for frame, copy in zip(frames, before, strict=True):
            pd.testing.assert_frame_equal(frame, copy, check_exact=True)
            assert frame.columns.identical(copy.columns)
            assert frame.index.identical(copy.index)
            assert frame.flags == copy.flags
            assert frame.attrs == copy.attrs
        now = [column.to_numpy() for frame in frames for _, column in frame.items()]
        assert flags == [(array.flags.writeable, array.flags.owndata) for array in now]


def read_only_inputs_work(case: Case) -> None:
    values = case.live[case.features].to_numpy(copy=True)
    values.setflags(write=False)
    live = pd.DataFrame(values, index=case.live.index, columns=case.features, copy=False).assign(era=case.live["era"])
    assert_same(case.raw(live), case.raw())


def two_calls_are_the_same(case: Case) -> None:
    first = case.predict(case.live, case.benchmarks)
    case.predict(case.live.iloc[:3], case.benchmarks)
    pd.testing.assert_frame_equal(case.predict(case.live, case.benchmarks), first, check_exact=True)


def two_hundred_eras(case: Case) -> None:
    times = -(-600 // len(case.live))
    live = pd.concat([case.live] * times, ignore_index=True)
    live["era"] = [f"{row % 200:04d}" for row in range(len(live))]
    benchmarks = pd.concat([case.benchmarks] * times, ignore_index=True)
    assert_near(case.raw(live, benchmarks), np.tile(case.expected, times), case.bound)
    ranks = pd.Series(case.raw(live, benchmarks)).groupby(live["era"]).rank(pct=True)
    assert_same(case.predict(live, benchmarks)["prediction"].to_numpy(), ranks.to_numpy())


SCENARIOS: dict[str, Callable[[Case], None]] = {
    scenario.__name__: scenario
    for scenario in (
        predictions_are_the_reference,
        one_float_column_with_the_same_index,
        ranks_are_those_of_pandas,
        permuted_and_extra_columns_are_the_same,
        a_missing_feature_is_reported,
        five_of_many_missing_features_are_reported,
        a_duplicate_feature_is_reported,
        a_missing_era_is_reported,
        no_rows_are_an_error,
        number_types_are_the_same,
        missing_values_are_imputed,
        nullable_columns_are_the_same,
        arrow_columns_are_the_same,
        fragmented_frames_are_the_same,
        shuffled_rows_are_the_same,
        one_row,
        two_eras_together_are_the_same_as_alone,
        equal_rows_are_equal,
        eras_of_any_type,
        rows_without_an_era_are_a_group,
        shuffled_and_extra_benchmarks_are_the_same,
        ids_without_benchmarks_are_imputed,
        a_missing_benchmark_is_reported,
        inputs_are_not_changed,
        read_only_inputs_work,
        two_calls_are_the_same,
        two_hundred_eras,
    )
}


def main(folders: list[str]) -> None:
    """Run all scenarios on the case of each folder and print the outcomes."""
    outcomes: dict[str, dict[str, str | None]] = {}
    for folder in map(Path, folders):
        case = load(folder)
        outcomes[folder.name] = {name: _outcome(scenario, case) for name, scenario in SCENARIOS.items()}
    print(json.dumps(outcomes))


def _outcome(scenario: Callable[[Case], None], case: Case) -> str | None:
    try:
        scenario(case)
    except Exception:  # noqa: BLE001 - any failure is reported by the test on the host
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
