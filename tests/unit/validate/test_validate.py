"""How a run is judged: each violated rule is a failed check with the number and the id.

The output of the scripts in the container is faked here; tests/inside tests the scripts themselves.
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
from builder.engine import protocol, run
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
def engine(tmp_path: Path) -> FakeEngine:
    return FakeEngine(tmp_path / "engine")


@pytest.fixture
def task(engine: FakeEngine, bundle: model.Bundle, tmp_path: Path) -> validate.ValidationTask:
    folder = tmp_path / "dist"
    pickle = manifests.commit(folder, b"pickle")
    live = tmp_path / "live.parquet"
    ids = pd.Index([f"n{number:015x}" for number in range(ROWS)], name="id")
    pd.DataFrame({"era": "X", "feature_0": 1.0}, index=ids).to_parquet(live)
    engine.add_image("runner:1")
    return validate.ValidationTask(
        data_version="v5.3",
        artifact=pickle,
        bundle=bundle,
        image=image.resolve(image.ImageRequest(ref="runner:1"), engine, pull=False, progress=progress.Silent()),
        python="3.11.2",
        files=data.LiveFiles(live=live, benchmarks=None, rows=ROWS),
        source="live.parquet",
        limits=LIMITS,
    )


def fake_run(
    engine: FakeEngine,
    *,
    entry: dict[str, Any] | None = None,
    collect: dict[str, Any] | None = None,
    results: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Set what the scripts in the container write, and how it ends."""
    engine.programs["supervise.py"] = make_program(entry=entry, collect=collect, results=results, **options)


def make_program(*, csv: str | None = None, **options: Any) -> Program:
    """Return a run that writes reports and a CSV; the other ``options`` are those of ``Program``."""
    reports = {name: options.pop(name, None) for name in ("entry", "collect", "results")}
    files = {f"out/{name}.json": json.dumps(report).encode() for name, report in reports.items() if report is not None}
    if csv is not None:
        files["csv/live_predictions-0a.csv"] = csv.encode()
    return Program(files=files, **options)


def validate_task(task: validate.ValidationTask, engine: FakeEngine) -> validate.Validation:
    with run.start(engine) as identity:
        result = validate.validate(task, engine, identity, progress.Silent())
    assert engine.list_leftovers() == []
    return result


def make_results(golden: list[float] | None, **changes: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "csv": csv_facts.make_facts(ROWS, **changes),
        "parameters": ["live_features"],
        "golden": golden,
    }


def get_failed_checks(result: validate.Validation) -> dict[str, str]:
    return {check.name: check.detail for check in result.checks if check.good is False}


def test_a_good_run_is_valid(task: validate.ValidationTask, engine: FakeEngine, golden: list[float]) -> None:
    fake_run(engine, entry=GOOD_ENTRY, results=make_results(golden))
    result = validate_task(task, engine)
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
    ("changes", "name", "detail"),
    [
        ({"columns": ["Prediction"]}, "column", "Prediction"),
        ({"columns": ["prediction", "other"]}, "column", "prediction, other"),
        ({"columns": []}, "column", "none"),
        (
            {"index_equal": False, "rows": 7, "missing_ids": ["n0000000000000aa"]},
            "index",
            "7 rows for 8 ids; missing ['n0000000000000aa'], unexpected []",
        ),
        (
            {"index_equal": False, "extra_ids": ["0"], "missing_ids": ["n0"]},
            "index",
            "8 rows for 8 ids; missing ['n0'], unexpected ['0']",
        ),
        ({"index_equal": False}, "index", "8 of 8 ids, in another order than in live_features"),
        (
            {"duplicate_ids": 2, "first_duplicate": "n0000000000000ac"},
            "ids",
            "2 duplicate ids, the first is n0000000000000ac",
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
def test_each_violated_rule_is_one_failed_check_with_its_number(
    task: validate.ValidationTask,
    engine: FakeEngine,
    golden: list[float],
    *,
    changes: dict[str, Any],
    name: str,
    detail: str,
) -> None:
    fake_run(engine, entry=GOOD_ENTRY, results=make_results(golden, **changes))
    result = validate_task(task, engine)
    assert not result.good
    assert get_failed_checks(result).keys() == {name}
    assert detail in get_failed_checks(result)[name]


def test_one_row_may_be_constant(task: validate.ValidationTask, engine: FakeEngine, golden: list[float]) -> None:
    one_row = dataclasses.replace(task, files=dataclasses.replace(task.files, rows=1))
    fake_run(engine, entry=GOOD_ENTRY, results=make_results(golden, rows=1, distinct=1))
    assert validate_task(one_row, engine).good


def test_exit_0_without_a_csv_fails(task: validate.ValidationTask, engine: FakeEngine, golden: list[float]) -> None:
    fake_run(engine, entry=GOOD_ENTRY, results={**make_results(golden), "csv": None})
    message = "the entry point ended with exit 0 and wrote no CSV: the function ended the process, as `sys.exit` does"
    assert get_failed_checks(validate_task(task, engine))["csv"].startswith(message)


def test_a_csv_that_cannot_be_read_is_reported(task: validate.ValidationTask, engine: FakeEngine) -> None:
    fake_run(
        engine, entry=GOOD_ENTRY, collect={"code": 1, "timed_out": False, "log": "Traceback\nIndexError: no columns\n"}
    )
    message = "the result could not be read in the image: exit 1: IndexError: no columns"
    assert get_failed_checks(validate_task(task, engine))["results"].startswith(message)
    fake_run(engine, entry=GOOD_ENTRY)
    assert "it printed nothing" in get_failed_checks(validate_task(task, engine))["results"]


# ---- parity


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e3])
@pytest.mark.parametrize("row", [0, 5])
def test_one_golden_row_that_differs_fails(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float], bad: float, row: int
) -> None:
    golden[row] = bad
    fake_run(engine, entry=GOOD_ENTRY, results=make_results(golden))
    result = validate_task(task, engine)
    assert get_failed_checks(result).keys() == {"golden rows: framework"}
    assert all(
        "6 rows, largest difference" in detail and "bound" in detail for detail in get_failed_checks(result).values()
    )


def test_a_difference_within_the_bound_passes(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    bound = prediction.compute_tolerance(np.array(golden))
    fake_run(engine, entry=GOOD_ENTRY, results=make_results([value + 0.9 * bound for value in golden]))
    assert validate_task(task, engine).good
    fake_run(engine, entry=GOOD_ENTRY, results=make_results([value + 1.1 * bound for value in golden]))
    assert not validate_task(task, engine).good


@pytest.mark.parametrize("count", [0, 5, 7])
def test_too_few_or_too_many_golden_rows_fail(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float], count: int
) -> None:
    fake_run(engine, entry=GOOD_ENTRY, results=make_results([*golden, 0.0][:count]))
    assert get_failed_checks(validate_task(task, engine))["golden rows: framework"] == f"{count} predictions for 6 rows"


def test_golden_rows_need_a_pickle_of_this_tool(task: validate.ValidationTask, engine: FakeEngine) -> None:
    fake_run(engine, entry=GOOD_ENTRY, results=make_results(None))
    assert "was not built by this tool" in get_failed_checks(validate_task(task, engine))["golden rows"]


# ---- how it ended


@pytest.mark.parametrize(
    ("entry", "options", "detail"),
    [
        ({"code": -9}, {"out_of_memory": True}, "it ran out of memory at 4 GiB (exit 137)"),
        ({"code": -9, "timed_out": True}, {}, "it exceeded the limit of 600 seconds"),
        ({"code": -11}, {}, "segmentation fault, exit 139"),
        ({"code": 1, "log": "KeyError: 'feature_9'\n"}, {}, "exit 1: KeyError: 'feature_9'"),
        (None, {"code": None}, "it exceeded the limit of 600 seconds"),
        (None, {"code": 137, "out_of_memory": True}, "it ran out of memory"),
        (None, {"code": 137}, "it ran out of memory"),
    ],
)
def test_a_failed_run_is_explained_and_not_judged_further(
    task: validate.ValidationTask,
    engine: FakeEngine,
    entry: dict[str, Any] | None,
    options: dict[str, Any],
    detail: str,
) -> None:
    fake_run(engine, entry={**GOOD_ENTRY, **entry} if entry else None, **options)
    result = validate_task(task, engine)
    assert [check.name for check in result.checks] == ["entry point"]
    assert detail in get_failed_checks(result)["entry point"]
    assert (result.usage is None) == (entry is None)


ABORTED = {**GOOD_ENTRY, "code": -6, "log": "terminate called without an active exception\n"}
CSV = "id,prediction\n" + "".join(f"n{number:015x},0.5\n" for number in range(ROWS))


def test_an_abort_after_the_csv_was_written_is_run_again(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    good_run = make_program(entry=GOOD_ENTRY, results=make_results(golden))
    engine.programs["supervise.py"] = dataclasses.replace(make_program(entry=ABORTED, csv=CSV), then=good_run)
    result = validate_task(task, engine)
    assert result.good
    assert "ran twice" in result.checks[0].detail
    assert "exit 134" in result.checks[0].detail
    assert result.usage is not None


def test_two_aborts_in_a_row_are_a_finding(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    second_run = dataclasses.replace(
        make_program(entry=ABORTED, csv=CSV), then=make_program(entry=GOOD_ENTRY, results=make_results(golden))
    )
    engine.programs["supervise.py"] = dataclasses.replace(make_program(entry=ABORTED, csv=CSV), then=second_run)
    detail = get_failed_checks(validate_task(task, engine))["entry point"]
    assert "aborted (exit 134) twice in a row" in detail
    assert validate_task(task, engine).good  # the third run: the pickle was run twice


@pytest.mark.parametrize(
    ("csv", "log", "detail"),
    [
        (None, ABORTED["log"], "aborted (exit 134) before its CSV was complete: terminate called"),
        ("", ABORTED["log"], "before its CSV was complete"),
        (CSV[:-1], ABORTED["log"], "before its CSV was complete"),
        (CSV[: CSV.rindex("n")], ABORTED["log"], "before its CSV was complete"),
        (None, f"ERROR:root:Pickle function returned 0 predictions\n{ABORTED['log']}", "returned no rows"),
    ],
)
def test_an_abort_before_the_csv_is_complete_is_not_run_again(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float], *, csv: str | None, log: str, detail: str
) -> None:
    good_run = make_program(entry=GOOD_ENTRY, results=make_results(golden))
    engine.programs["supervise.py"] = dataclasses.replace(
        make_program(entry={**ABORTED, "log": log}, csv=csv), then=good_run
    )
    assert detail in get_failed_checks(validate_task(task, engine))["entry point"]


def test_a_csv_that_is_too_large_does_not_count_as_complete(
    task: validate.ValidationTask, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "_MAX_CSV_BYTES", 4096)
    fake_run(engine, entry=ABORTED, csv=CSV)
    assert "before its CSV was complete" in get_failed_checks(validate_task(task, engine))["entry point"]


def test_a_note_in_a_stand_in_image_warns_about_its_seconds(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    fake_run(engine, entry=GOOD_ENTRY, results=make_results(golden))
    stand_in = dataclasses.replace(task, image=dataclasses.replace(task.image, kind="stand_in"))
    result = validate_task(stand_in, engine)
    assert result.good
    note = result.checks[-1]
    assert (note.name, note.good) == ("seconds", None)
    assert "2 to 4 times as much CPU" in note.detail
    assert dataclasses.asdict(note) in json.loads(report.to_bytes(result))["checks"]
    fake_run(engine, entry={**GOOD_ENTRY, "code": 1})
    assert [check.name for check in validate_task(stand_in, engine).checks] == ["entry point"]


def test_a_pickle_built_for_another_python_is_recognized(task: validate.ValidationTask, engine: FakeEngine) -> None:
    fake_run(engine, entry={**GOOD_ENTRY, "code": -11})
    result = validate_task(dataclasses.replace(task, python="3.13.5"), engine)
    assert (
        "the pickle was built for Python 3.11.2, but the image has Python 3.13.5"
        in get_failed_checks(result)["entry point"]
    )


def test_a_container_that_fails_before_the_run_is_an_engine_error(
    task: validate.ValidationTask, engine: FakeEngine
) -> None:
    fake_run(engine, code=125, log="no such runtime")
    with pytest.raises(errors.EngineError, match=r"exit 125 before the pickle was run: no such runtime"):
        validate_task(task, engine)
    assert engine.list_leftovers() == []


def test_a_container_that_succeeds_and_writes_nothing_is_an_engine_error(
    task: validate.ValidationTask, engine: FakeEngine
) -> None:
    fake_run(engine)
    with pytest.raises(errors.EngineError, match="could not copy /box/out out of a container"):
        validate_task(task, engine)


def test_an_image_without_an_entry_point_is_not_a_runner(task: validate.ValidationTask, engine: FakeEngine) -> None:
    fake_run(engine, entry=GOOD_ENTRY)
    bare = dataclasses.replace(task, image=dataclasses.replace(task.image, entrypoint=()))
    with pytest.raises(errors.ImageError, match=r"runner:1 has no entry point"):
        validate_task(bare, engine)
    assert engine.list_leftovers() == []


# ---- the report


def test_the_report_has_the_pickle_the_image_and_the_limits(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    fake_run(engine, entry=GOOD_ENTRY, results=make_results(golden, distinct=1))
    written_report = json.loads(report.to_bytes(validate_task(task, engine)))
    assert (written_report["format"], written_report["good"], written_report["name"]) == (1, False, "mlp")
    assert written_report["pickle"] == task.artifact.manifest.pickle.sha256
    assert written_report["limits"] == {"cpus": 1.0, "memory": 4 << 30, "seconds": 600}
    assert written_report["data"] == {"source": "live.parquet", "rows": ROWS, "version": "v5.3"}
    assert written_report["image"] == {
        "kind": "local",
        "identity": task.image.identity,
        "ref": "runner:1",
        "python": "3.11.2",
    }
    assert {"name": "not constant", "good": False, "detail": "1 different values"} in written_report["checks"]


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
def test_checks_pass_only_if_all_rules_are_met(
    task: validate.ValidationTask, changes: dict[str, Any], predicted: list[float] | None
) -> None:
    outcome = validate.ContainerResult(
        exit=protocol.Exit(code=0, out_of_memory=False),
        entry=GOOD_ENTRY,
        results=make_results(predicted, **changes),
        collect_report=None,
    )
    csv = csv_facts.make_facts(ROWS, **changes)
    checks = validate.judge_csv(task.files.rows, csv)
    rules_met = (
        csv["columns"] == ["prediction"]
        and csv["index_equal"]
        and csv["duplicate_ids"] == 0
        and csv["not_finite"] == 0
        and csv["lowest"] >= 0
        and csv["highest"] <= 1
        and csv["distinct"] > 1
    )
    assert all(check.good for check in checks) == rules_met
    checks_of_outcome, cause = validate.judge_outcome(outcome, validate._get_conditions(task), ROWS)
    assert (cause is None) == rules_met
    everything = [*checks_of_outcome, *validate._judge_golden(task, predicted)]
    assert all(isinstance(check.detail, str) and check.detail for check in everything)
