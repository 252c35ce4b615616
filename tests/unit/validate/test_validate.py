"""What is made of a run's figures: each broken term of the contract is a failed check that names the figure and the id.

The container's scripts are stood in for by what they would have left; they themselves are tested with the image.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import errors, progress
from builder.bundle import prediction
from builder.config import model as config
from builder.engine import protocol as engine
from builder.engine import run
from builder.image import resolve as image
from builder.validate import data, report
from builder.validate import run as validate
from tests.support import bundles, csv_facts, formulas, manifests
from tests.support.fake_engine import FakeEngine, Program

if TYPE_CHECKING:
    from pathlib import Path

    from builder.bundle import model

ROWS = 8
LIMITS = config.LimitsConfig(cpus=1.0, memory=4 << 30, seconds=600)
GOOD_ENTRY: dict[str, Any] = {
    "format": 1,
    "name": "entry",
    "code": 0,
    "timed_out": False,
    "seconds": 1.5,
    "cpu_seconds": 1.25,
    "peak_bytes": 200_000_000,
    "log": "Predicting on 8 rows of live features\n",
}


@pytest.fixture
def bundle() -> model.Bundle:
    return bundles.make_bundle()


@pytest.fixture
def golden(bundle: model.Bundle) -> list[float]:
    return [float(value) for value in formulas.predict(bundle.model, bundle.golden.inputs.astype(np.float64))]


@pytest.fixture
def on(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path / "engine")


@pytest.fixture
def task(on: FakeEngine, bundle: model.Bundle, tmp_path: Path) -> validate.ValidationTask:
    folder = tmp_path / "dist"
    made = manifests.commit(folder, b"pickle")
    live = tmp_path / "live.parquet"
    ids = pd.Index([f"n{number:015x}" for number in range(ROWS)], name="id")
    pd.DataFrame({"era": "X", "feature_0": 1.0}, index=ids).to_parquet(live)
    on.add_image("runner:1")
    return validate.ValidationTask(
        data_version="v5.2",
        artifact=made,
        bundle=bundle,
        image=image.resolve(image.ImageRequest(ref="runner:1"), on, pull=False, progress=progress.Silent()),
        python="3.11.2",
        files=data.LiveFiles(live=live, benchmarks=None, rows=ROWS),
        source="live.parquet",
        limits=LIMITS,
    )


def leaving(
    on: FakeEngine,
    *,
    entry: dict[str, Any] | None = None,
    measure: dict[str, Any] | None = None,
    measured: dict[str, Any] | None = None,
    **ended: Any,
) -> None:
    """Say what the scripts in the container leave, and how it ends."""
    on.programs["supervise.py"] = left(entry=entry, measure=measure, measured=measured, **ended)


def left(*, csv: str | None = None, **reports: Any) -> Program:
    """Return what a run leaves: its reports, and the CSV; the rest is how it ends."""
    named = {name: reports.pop(name, None) for name in ("entry", "measure", "measured")}
    files = {f"out/{name}.json": json.dumps(content).encode() for name, content in named.items() if content is not None}
    if csv is not None:
        files["csv/live_predictions-0a.csv"] = csv.encode()
    return Program(files=files, **reports)


def judge(task: validate.ValidationTask, on: FakeEngine) -> validate.Validation:
    with run.start(on) as identity:
        result = validate.validate(task, on, identity, progress.Silent())
    assert on.list_leftovers() == []
    return result


def measured(golden: list[float] | None, **changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "csv": csv_facts.make_facts(ROWS, **changes),
        "parameters": ["live_features"],
        "golden": golden,
    }


def failed(result: validate.Validation) -> dict[str, str]:
    return {check.name: check.detail for check in result.checks if check.good is False}


def test_a_good_run_is_valid(task: validate.ValidationTask, on: FakeEngine, golden: list[float]) -> None:
    leaving(on, entry=GOOD_ENTRY, measured=measured(golden))
    result = judge(task, on)
    assert result.good
    assert [check.name for check in result.checks] == [
        "entry point",
        "column",
        "index",
        "ids",
        "finite",
        "in [0, 1]",
        "not constant",
        "golden rows: framework",
    ]
    assert all(check.good and check.detail for check in result.checks)
    assert result.usage == validate.Usage(peak_bytes=200_000_000, seconds=1.5, cpu_seconds=1.25)
    assert "Predicting on 8 rows" in result.log


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({"columns": ["Prediction"]}, "column", "Prediction"),
        ({"columns": ["prediction", "other"]}, "column", "prediction, other"),
        ({"columns": []}, "column", "none"),
        (
            {"index_equal": False, "rows": 7, "missing_ids": ["n0000000000000aa"]},
            "index",
            "7 rows for 8 ids; missing ['n0000000000000aa'], not asked for []",
        ),
        (
            {"index_equal": False, "extra_ids": ["0"], "missing_ids": ["n0"]},
            "index",
            "8 rows for 8 ids; missing ['n0'], not asked for ['0']",
        ),
        ({"index_equal": False}, "index", "8 of 8 ids, in another order than that of live_features"),
        (
            {"duplicate_ids": 2, "first_duplicate": "n0000000000000ac"},
            "ids",
            "2 there twice, the first is n0000000000000ac",
        ),
        (
            {"not_finite": 3, "first_not_finite": "n0000000000000ab"},
            "finite",
            "3 values are not finite, the first at id n0000000000000ab",
        ),
        ({"lowest": -0.25, "first_outside": "n1"}, "in [0, 1]", "-0.25 to 1, the first outside at id n1"),
        ({"highest": 1.0000001}, "in [0, 1]", "0.125 to 1"),
        ({"lowest": None, "highest": None}, "in [0, 1]", "no values"),
        ({"distinct": 1}, "not constant", "1 different values"),
        ({"distinct": 0}, "not constant", "0 different values"),
    ],
)
def test_each_broken_term_is_one_failed_check_with_its_figure(
    task: validate.ValidationTask, on: FakeEngine, golden: list[float], *, changes: dict[str, Any], name: str, said: str
) -> None:
    leaving(on, entry=GOOD_ENTRY, measured=measured(golden, **changes))
    result = judge(task, on)
    assert not result.good
    assert failed(result).keys() == {name}
    assert said in failed(result)[name]


def test_one_row_may_be_constant(task: validate.ValidationTask, on: FakeEngine, golden: list[float]) -> None:
    one = dataclasses.replace(task, files=dataclasses.replace(task.files, rows=1))
    leaving(on, entry=GOOD_ENTRY, measured=measured(golden, rows=1, distinct=1))
    assert judge(one, on).good


def test_exit_0_without_a_csv_is_no_success(task: validate.ValidationTask, on: FakeEngine, golden: list[float]) -> None:
    leaving(on, entry=GOOD_ENTRY, measured={**measured(golden), "csv": None})
    said = (
        "the entry point ended with exit 0 and wrote no CSV: the function ended the process itself, as `sys.exit` does"
    )
    assert failed(judge(task, on))["csv"].startswith(said)


def test_a_csv_that_cannot_be_read_is_told(task: validate.ValidationTask, on: FakeEngine) -> None:
    leaving(on, entry=GOOD_ENTRY, measure={"code": 1, "timed_out": False, "log": "Traceback\nIndexError: no columns\n"})
    said = "the result could not be read in the image: exit 1: IndexError: no columns"
    assert failed(judge(task, on))["measuring"].startswith(said)
    leaving(on, entry=GOOD_ENTRY)
    assert "it printed nothing" in failed(judge(task, on))["measuring"]


# ---- parity


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e3])
@pytest.mark.parametrize("row", [0, 5])
def test_one_golden_row_that_differs_fails(
    task: validate.ValidationTask, on: FakeEngine, golden: list[float], bad: float, row: int
) -> None:
    golden[row] = bad
    leaving(on, entry=GOOD_ENTRY, measured=measured(golden))
    result = judge(task, on)
    assert failed(result).keys() == {"golden rows: framework"}
    assert all("6 rows, largest difference" in said and "bound" in said for said in failed(result).values())


def test_a_difference_within_the_bound_holds(
    task: validate.ValidationTask, on: FakeEngine, golden: list[float]
) -> None:
    bound = prediction.compute_tolerance(np.array(golden))
    leaving(on, entry=GOOD_ENTRY, measured=measured([value + 0.9 * bound for value in golden]))
    assert judge(task, on).good
    leaving(on, entry=GOOD_ENTRY, measured=measured([value + 1.1 * bound for value in golden]))
    assert not judge(task, on).good


@pytest.mark.parametrize("count", [0, 5, 7])
def test_too_few_or_too_many_golden_rows_fail(
    task: validate.ValidationTask, on: FakeEngine, golden: list[float], count: int
) -> None:
    leaving(on, entry=GOOD_ENTRY, measured=measured([*golden, 0.0][:count]))
    assert failed(judge(task, on))["golden rows: framework"] == f"{count} predictions for 6 rows"


def test_a_pickle_of_somebody_else_has_no_golden_rows(task: validate.ValidationTask, on: FakeEngine) -> None:
    leaving(on, entry=GOOD_ENTRY, measured=measured(None))
    assert "not of this tool's making" in failed(judge(task, on))["golden rows"]


# ---- how it ended


@pytest.mark.parametrize(
    ("entry", "ended", "said"),
    [
        ({"code": -9}, {"out_of_memory": True}, "it ran out of memory at 4 GiB (exit 137)"),
        ({"code": -9, "timed_out": True}, {}, "it ran over the limit of 600 seconds"),
        ({"code": -11}, {}, "segmentation fault, exit 139"),
        ({"code": 1, "log": "KeyError: 'feature_9'\n"}, {}, "exit 1: KeyError: 'feature_9'"),
        (None, {"code": None}, "it ran over the limit of 600 seconds"),
        (None, {"code": 137, "out_of_memory": True}, "it ran out of memory"),
    ],
)
def test_a_run_that_failed_is_explained_and_judged_no_further(
    task: validate.ValidationTask, on: FakeEngine, entry: dict[str, Any] | None, ended: dict[str, Any], said: str
) -> None:
    leaving(on, entry={**GOOD_ENTRY, **entry} if entry else None, **ended)
    result = judge(task, on)
    assert [check.name for check in result.checks] == ["entry point"]
    assert said in failed(result)["entry point"]
    assert (result.usage is None) == (entry is None)


ABORTED = {**GOOD_ENTRY, "code": -6, "log": "terminate called without an active exception\n"}
CSV = "id,prediction\n" + "".join(f"n{number:015x},0.5\n" for number in range(ROWS))


def test_an_abort_after_the_csv_is_whole_is_run_once_more(
    task: validate.ValidationTask, on: FakeEngine, golden: list[float]
) -> None:
    good = left(entry=GOOD_ENTRY, measured=measured(golden))
    on.programs["supervise.py"] = dataclasses.replace(left(entry=ABORTED, csv=CSV), then=good)
    result = judge(task, on)
    assert result.good
    assert "ran twice" in result.checks[0].detail
    assert "exit 134" in result.checks[0].detail
    assert result.usage is not None


def test_two_aborts_in_a_row_are_a_finding(task: validate.ValidationTask, on: FakeEngine, golden: list[float]) -> None:
    again = dataclasses.replace(left(entry=ABORTED, csv=CSV), then=left(entry=GOOD_ENTRY, measured=measured(golden)))
    on.programs["supervise.py"] = dataclasses.replace(left(entry=ABORTED, csv=CSV), then=again)
    detail = failed(judge(task, on))["entry point"]
    assert "aborted (exit 134) twice in a row" in detail
    assert judge(task, on).good  # the third run: it was run twice


@pytest.mark.parametrize(
    ("csv", "log", "said"),
    [
        (None, ABORTED["log"], "aborted (exit 134) without a whole CSV: terminate called"),
        ("", ABORTED["log"], "without a whole CSV"),
        (CSV[:-1], ABORTED["log"], "without a whole CSV"),
        (CSV[: CSV.rindex("n")], ABORTED["log"], "without a whole CSV"),
        (None, f"ERROR:root:Pickle function returned 0 predictions\n{ABORTED['log']}", "returned no rows"),
    ],
)
def test_an_abort_without_a_whole_csv_is_judged_at_once(
    task: validate.ValidationTask, on: FakeEngine, golden: list[float], *, csv: str | None, log: str, said: str
) -> None:
    good = left(entry=GOOD_ENTRY, measured=measured(golden))
    on.programs["supervise.py"] = dataclasses.replace(left(entry={**ABORTED, "log": log}, csv=csv), then=good)
    assert said in failed(judge(task, on))["entry point"]


def test_a_csv_that_is_too_large_is_not_taken_for_whole(
    task: validate.ValidationTask, on: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "_MOST_CSV_BYTES", 4096)
    leaving(on, entry=ABORTED, csv=CSV)
    assert "without a whole CSV" in failed(judge(task, on))["entry point"]


def test_in_a_look_alike_a_note_says_that_its_seconds_are_too_good(
    task: validate.ValidationTask, on: FakeEngine, golden: list[float]
) -> None:
    leaving(on, entry=GOOD_ENTRY, measured=measured(golden))
    look_alike = dataclasses.replace(task, image=dataclasses.replace(task.image, kind="stand_in"))
    result = judge(look_alike, on)
    assert result.good
    note = result.checks[-1]
    assert (note.name, note.good) == ("seconds", None)
    assert "2 to 4 times as much CPU" in note.detail
    assert dataclasses.asdict(note) in json.loads(report.to_bytes(result))["checks"]
    leaving(on, entry={**GOOD_ENTRY, "code": 1})
    assert [check.name for check in judge(look_alike, on).checks] == ["entry point"]


def test_a_pickle_made_for_another_python_is_named(task: validate.ValidationTask, on: FakeEngine) -> None:
    leaving(on, entry={**GOOD_ENTRY, "code": -11})
    result = judge(dataclasses.replace(task, python="3.13.5"), on)
    assert "the pickle was made for Python 3.11.2, and the image has Python 3.13.5" in failed(result)["entry point"]


def test_a_container_that_fails_before_the_run_is_the_engines_matter(
    task: validate.ValidationTask, on: FakeEngine
) -> None:
    leaving(on, code=125, log="no such runtime")
    with pytest.raises(errors.EngineError, match=r"exit 125 before the pickle was run: no such runtime"):
        judge(task, on)
    assert on.list_leftovers() == []


def test_a_container_that_ends_well_and_leaves_nothing_is_an_error(
    task: validate.ValidationTask, on: FakeEngine
) -> None:
    leaving(on)
    with pytest.raises(errors.EngineError, match="could not copy /box/out out of a container"):
        judge(task, on)


def test_an_image_without_an_entry_point_is_no_runner(task: validate.ValidationTask, on: FakeEngine) -> None:
    leaving(on, entry=GOOD_ENTRY)
    bare = dataclasses.replace(task, image=dataclasses.replace(task.image, entrypoint=()))
    with pytest.raises(errors.ImageError, match=r"runner:1 has no entry point"):
        judge(bare, on)
    assert on.list_leftovers() == []


# ---- the report


def test_the_report_says_what_where_and_under_which_limits(
    task: validate.ValidationTask, on: FakeEngine, golden: list[float]
) -> None:
    leaving(on, entry=GOOD_ENTRY, measured=measured(golden, distinct=1))
    written = json.loads(report.to_bytes(judge(task, on)))
    assert (written["format"], written["good"], written["name"]) == (1, False, "mlp")
    assert written["pickle"] == task.artifact.manifest.pickle.sha256
    assert written["limits"] == {"cpus": 1.0, "memory": 4 << 30, "seconds": 600}
    assert written["data"] == {"source": "live.parquet", "rows": ROWS, "version": "v5.2"}
    assert written["image"] == {
        "kind": "local",
        "identity": task.image.identity,
        "ref": "runner:1",
        "python": "3.11.2",
    }
    assert {"name": "not constant", "good": False, "detail": "1 different values"} in written["checks"]


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "columns": st.lists(st.text(max_size=5), max_size=3),
            "index_equal": st.booleans(),
            "duplicate_ids": st.integers(0, 5),
            "missing_ids": st.lists(st.text(max_size=5), max_size=3),
            "not_finite": st.integers(0, 5),
            "lowest": finite,
            "highest": finite,
            "distinct": st.integers(0, 9),
        },
    ),
    predicted=st.none() | st.lists(st.floats(), max_size=8),
)
@settings(max_examples=50)
def test_whatever_was_measured_only_a_kept_contract_is_good(
    task: validate.ValidationTask, changes: dict[str, Any], predicted: list[float] | None
) -> None:
    outcome = validate.ContainerResult(
        exit=engine.Exit(code=0, out_of_memory=False),
        entry=GOOD_ENTRY,
        measured=measured(predicted, **changes),
        measuring=None,
    )
    csv = csv_facts.make_facts(ROWS, **changes)
    checks = validate.judge_csv(task.files.rows, csv)
    kept = (
        csv["columns"] == ["prediction"]
        and csv["index_equal"]
        and csv["duplicate_ids"] == 0
        and csv["not_finite"] == 0
        and csv["lowest"] >= 0
        and csv["highest"] <= 1
        and csv["distinct"] > 1
    )
    assert all(check.good for check in checks) == kept
    judged, cause = validate.judge_outcome(outcome, validate._where(task), ROWS)
    assert (cause is None) == kept
    everything = [*judged, *validate._judge_golden(task, predicted)]
    assert all(isinstance(check.detail, str) and check.detail for check in everything)
