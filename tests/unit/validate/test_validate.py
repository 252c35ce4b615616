"""How a run is judged: by its CSV, its predictions of the golden rows, and how the engine says that it ended.

The output of the containers is faked here; tests/inside tests the scripts in them, tests/engine real pickles.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builder import errors, progress
from builder.bundle import model, prediction
from builder.config import model as config
from builder.engine import run
from builder.image import resolve as image
from builder.validate import checks, container_run, data, headroom, relations, report
from builder.validate import run as validate
from tests.support import bundles, container_output, custom, formulas, judged, manifests
from tests.support.fake_engine import FakeEngine, Program

ROWS = 8
IDS = [f"n{number:015x}" for number in range(ROWS)]
VALUES = np.linspace(0.125, 1, ROWS)
CSV = container_output.make_csv(IDS, VALUES)
LIMITS = config.LimitsConfig(cpus=1.0, memory=4 << 30, seconds=600)
GOOD_ENTRY = Program(output=container_output.make_entry(CSV), log="Predicting on 8 rows of live features\n")


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
    engine.add_image("runner:1")
    return validate.ValidationTask(
        data_version="v5.3",
        artifact=pickle,
        bundle=bundle,
        image=image.resolve(image.ImageRequest(ref="runner:1"), engine, pull=False, progress=progress.Silent()),
        python="3.11.2",
        files=write_live(tmp_path),
        source="live.parquet",
        limits=LIMITS,
    )


def write_live(folder: Path) -> data.LiveFiles:
    live, features = folder / "live.parquet", dict.fromkeys(bundles.make_bundle().features, np.int8(1))
    pd.DataFrame({"era": "X", **features}, index=pd.Index(IDS, name="id")).to_parquet(live)
    return data.LiveFiles(live=live, benchmarks=None, rows=ROWS)


def fake_run(engine: FakeEngine, entry: Program = GOOD_ENTRY, predicting: Program | None = None) -> None:
    """Set what the two containers print, and how they end."""
    engine.programs = {"predict_inputs.py": predicting or Program(), "predict.py": entry}


@functools.cache
def predict_others() -> list[Any]:
    """Return predictions of each input of the task after the golden rows, which are those in the CSV."""
    with tempfile.TemporaryDirectory() as folder:
        return judged.predict_by_id(bundles.make_bundle(), write_live(Path(folder)), VALUES)


def make_predicting(golden: Any, *others: Any, **options: Any) -> Program:
    """Return a run that predicts the golden rows, then others, and all inputs left as in the CSV."""
    left = predict_others()[len(others) :]
    return Program(output=container_output.make_predictions(golden, *others, *left), **options)


def validate_task(task: validate.ValidationTask, engine: FakeEngine) -> validate.Validation:
    with run.start(engine) as identity:
        result = validate.validate(task, engine, identity, progress.Silent())
    assert engine.list_leftovers() == []
    return result


def get_failed_checks(result: validate.Validation) -> dict[str, str]:
    return {check.name: check.text for check in result.checks if check.good is False}


def test_a_good_run_is_valid(task: validate.ValidationTask, engine: FakeEngine, golden: list[float]) -> None:
    fake_run(engine, GOOD_ENTRY, make_predicting(golden))
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
        "golden rows: float64",
        "same values: the CSV, and another run",
        "same values: columns in another order, and more",
        "same values: rows in another order",
        "same values: features as float32",
        "same values: features as float64",
        "same values: era as numbers",
        "same values: era as a category",
        "same range: golden rows and live rows",
        "a feature is missing",
        "NaN in places",
        "one feature all NaN",
        "one row",
        "same values: two eras together, and each alone",
        "all features equal in every row",
        "same values: a second call",
    ]
    notes = {check.name: check.text for check in result.checks if check.good is not True}
    assert notes == {"same range: golden rows and live rows": "too few values to compare"}
    assert result.usage == container_run.Usage(peak_bytes=150_000_000, seconds=1.5, cpu_seconds=1.25)
    assert "Predicting on 8 rows" in result.log


def test_a_bad_csv_is_not_valid(task: validate.ValidationTask, engine: FakeEngine, golden: list[float]) -> None:
    csv = container_output.make_csv(IDS, [0.5] * ROWS)
    fake_run(engine, Program(output=container_output.make_entry(csv)), make_predicting(golden))
    assert get_failed_checks(validate_task(task, engine))["not constant"].startswith("1 value in all rows; ")


def test_exit_0_without_a_csv_fails(task: validate.ValidationTask, engine: FakeEngine) -> None:
    fake_run(engine, Program(output=container_output.make_entry(None)))
    message = "the entry point ended with exit 0 and wrote no CSV: the function ended the process, as `sys.exit` does"
    assert get_failed_checks(validate_task(task, engine))["csv"].startswith(message)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"", "the pickle ended the process that returns its predictions"),
        (b"{}\n", "the pickle changed what its container returns"),
        (b"x" * 1_000_000, "the pickle changed what its container returns"),
        (container_output.make_entry(CSV)[:-9], "the files in the output folder are incomplete"),
        (container_output.make_entry(CSV) + b"more\n", "the files in the output folder are incomplete"),
        (container_output.make({"a.csv": CSV}), "it left 'a.csv' in the output folder; expected only the CSV"),
        (
            container_output.make({"live_predictions-1.csv": CSV, "live_predictions-2.csv": CSV}),
            "it left 'live_predictions-2.csv' in the output folder",
        ),
        (
            container_output.make(peak_bytes=-1),
            "the pickle changed what its container returns; expected only predictions (peak_bytes: -1",
        ),
        (
            container_output.make(cpu_seconds="x"),
            "the pickle changed what its container returns; expected only predictions (cpu_seconds",
        ),
        (
            container_output.make(files=[{"name": "\x1b[2J", "kind": "link", "size": 0}]),
            "the pickle left a link in the output folder: '[2J'",
        ),
    ],
)
def test_anything_but_a_csv_is_a_finding_in_one_line(
    task: validate.ValidationTask, engine: FakeEngine, output: bytes, text: str
) -> None:
    fake_run(engine, Program(output=output))
    result = validate_task(task, engine)
    detail = get_failed_checks(result)["results"]
    assert text in detail
    assert detail.isprintable()


MALFORMED = {
    "not UTF-8": (CSV.replace(b"n0", b"n\xff", 1), "csv"),
    "NUL": (CSV.replace(b"n0", b"n\0", 1), "csv"),
    "no header": (CSV.split(b"\n", 1)[1], "column"),
    "two columns": (CSV.replace(b"\n", b",1\n"), "column"),
    "a huge field": (CSV + b"n" * 200_000 + b",0.5\n", "csv"),
    "a missing id": (CSV[: CSV.rindex(b"n")], "index"),
    "another id": (CSV.replace(b"n00", b"n11", 1), "index"),
    "a duplicate id": (CSV + CSV[CSV.rindex(b"n") :], "ids"),
    "NaN": (CSV.replace(b"0.125\n", b"\n"), "finite"),
    "text": (CSV.replace(b"0.125\n", b"one\n"), "finite"),
    "empty": (b"", "csv"),
}


@pytest.mark.parametrize(("csv", "name"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_csv_is_a_finding(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float], csv: bytes, name: str
) -> None:
    fake_run(engine, Program(output=container_output.make_entry(csv)), make_predicting(golden))
    result = validate_task(task, engine)
    assert name in get_failed_checks(result)
    assert all(check.detail.isprintable() and len(check.detail) < 1000 for check in result.checks)


# ---- golden rows


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e3])
@pytest.mark.parametrize("row", [0, 5])
def test_one_golden_row_that_differs_fails(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float], bad: float, row: int
) -> None:
    golden[row] = bad
    fake_run(engine, GOOD_ENTRY, make_predicting(golden))
    result = validate_task(task, engine)
    assert get_failed_checks(result).keys() == {"golden rows: framework"}
    assert all(
        "6 rows, largest difference" in detail and "bound" in detail for detail in get_failed_checks(result).values()
    )


def test_a_difference_within_the_bound_passes(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    bound = prediction.compute_tolerance(np.array(golden))
    fake_run(engine, GOOD_ENTRY, make_predicting([value + 0.9 * bound for value in golden]))
    assert validate_task(task, engine).good
    fake_run(engine, GOOD_ENTRY, make_predicting([value + 1.1 * bound for value in golden]))
    assert not validate_task(task, engine).good


@pytest.mark.parametrize(
    ("predicting", "text"),
    [
        (make_predicting([0.0] * 5), "the pickle returned 40 bytes of predictions; expected 48 for 6 rows"),
        (make_predicting([0.0] * 7), "the pickle returned 56 bytes of predictions"),
        (Program(output=container_output.make({"0.f64": bytes(47)})), "the pickle returned 47 bytes of predictions"),
        (Program(output=container_output.make({"0.f64": bytes(24)})), "the pickle returned 24 bytes of predictions"),
        (Program(output=container_output.make({"0.npy": b"\x93NUMPY"})), "the pickle returned no predictions"),
        (Program(output=container_output.make({"0.txt": b"KeyError: 'x'"})), "the pickle failed: KeyError: 'x'; fix"),
        (Program(output=container_output.make()), "the pickle returned no predictions"),
        (Program(), "the pickle ended the process that returns its predictions"),
        (Program(code=137, out_of_memory=True), "they could not be predicted: it ran out of memory at 4 GiB"),
        (Program(code=1, log="Traceback\nIndexError: no rows\n"), "they could not be predicted: exit 1: IndexError"),
        (Program(code=None), "they could not be predicted: it exceeded the limit of 605 seconds"),
    ],
)
def test_without_predictions_of_the_golden_rows_it_is_not_valid(
    task: validate.ValidationTask, engine: FakeEngine, predicting: Program, text: str
) -> None:
    fake_run(engine, GOOD_ENTRY, predicting)
    failed = get_failed_checks(validate_task(task, engine))
    assert failed.keys() == {"golden rows: framework"}
    assert text in failed["golden rows: framework"]


def judge_float64(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float], files: dict[str, bytes]
) -> checks.Check:
    """Return the check of the golden rows in float64."""
    output = container_output.make({"0.f64": np.array(golden).tobytes(), **files})
    fake_run(engine, GOOD_ENTRY, Program(output=output))
    [check] = [check for check in validate_task(task, engine).checks if check.name == "golden rows: float64"]
    return check


def test_the_golden_rows_in_float64_report_what_a_difference_comes_from(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    other = [value + 0.5 for value in golden]
    files = {"0.float64.f64": np.array(golden).tobytes()}
    rounding = judge_float64(task, engine, other, files)
    assert (rounding.good, rounding.detail[:41]) == (None, "largest difference from the framework 0, ")
    assert "; from float32 0.5, bound" in rounding.detail
    files = {"0.float64.f64": np.array(other).tobytes()}
    conversion = judge_float64(task, engine, other, files)
    assert conversion.good is None, "the check of the framework's predictions has failed"
    assert re.match(r"largest difference from the framework 0\.5, bound \S+; from float32 0, bound", conversion.detail)
    assert judge_float64(task, engine, golden, files).good is False
    missing = judge_float64(task, engine, golden, {"0.float64.txt": b"MemoryError: \x1b[2J"})
    assert (missing.good, missing.detail) == (False, "the pickle failed: MemoryError: [2J")


def test_a_model_that_fits_only_once_or_has_no_float32_layers_is_not_run_in_float64(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    fake_run(engine, GOOD_ENTRY, make_predicting(golden))
    size = task.artifact.manifest.pickle.size
    small = dataclasses.replace(task, limits=dataclasses.replace(LIMITS, memory=4 * size - 1))
    custom_bundle = dataclasses.replace(task.bundle, model=custom.make_bundle().model)
    for changed in (small, dataclasses.replace(task, bundle=custom_bundle)):
        assert "golden rows: float64" not in {check.name for check in validate_task(changed, engine).checks}


def test_a_relation_that_does_not_hold_is_a_finding(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    fake_run(engine, GOOD_ENTRY, make_predicting(golden, np.arange(ROWS), np.arange(ROWS)[::-1]))
    failed = get_failed_checks(validate_task(task, engine))
    name = "same values: columns in another order, and more"
    assert failed[name].startswith("8 of 8 rows differ, the first at id n000000000000000; read each column by its name")
    fake_run(engine, GOOD_ENTRY, make_predicting(golden, np.zeros(1)))
    failed = get_failed_checks(validate_task(task, engine))
    assert failed.keys() == {"live rows"}
    assert failed["live rows"].startswith("the pickle returned 8 bytes of predictions; expected 64 for 8 rows; predict")


def test_a_pickle_that_predicts_differently_in_the_entry_point_is_refused(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    csv = container_output.make_csv(IDS, VALUES[::-1])
    fake_run(engine, Program(output=container_output.make_entry(csv)), make_predicting(golden))
    failed = get_failed_checks(validate_task(task, engine))
    assert failed.keys() == {relations.CSV}
    assert failed[relations.CSV].startswith(
        "8 of 8 rows differ, the first at id n000000000000000; the function predicts"
    )


def test_a_custom_function_that_fails_because_of_other_columns_is_refused_with_the_relation(
    task: validate.ValidationTask, engine: FakeEngine
) -> None:
    code = model.Custom(files={}, modules=(), arrays={})
    custom = dataclasses.replace(task, bundle=dataclasses.replace(task.bundle, model=code))
    failed_entry = Program(code=1, log="ValueError: 35 columns\n")
    predictions, error = np.zeros(ROWS).tobytes(), b"ValueError: 35 columns"
    name = "same values: columns in another order, and more"
    for files, columns in (
        ({"0.f64": predictions, "1.txt": error}, {name}),
        ({"0.txt": error, "1.txt": error}, set()),
        ({"0.f64": predictions, "1.f64": predictions}, set()),
        ({}, set()),
    ):
        fake_run(engine, failed_entry, Program(output=container_output.make(files)))
        failed = get_failed_checks(validate_task(custom, engine))
        assert failed.keys() == {"entry point", *columns}
        assert get_failed_checks(validate_task(task, engine)).keys() == {"entry point"}
    assert not validate_task(custom, engine).good


def test_inputs_that_a_slow_pickle_had_no_time_for_are_named(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    some = {f"{number}.f64": values.tobytes() for number, values in enumerate(predict_others()[:3], 1)}
    exact = np.asarray(golden, "<f8").tobytes()
    predicting = Program(output=container_output.make({"0.f64": exact, "0.float64.f64": exact, **some}), seconds=400)
    fake_run(engine, dataclasses.replace(GOOD_ENTRY, seconds=60), predicting)
    result = validate_task(task, engine)
    assert result.good
    notes = [check.text for check in result.checks if check.name == "left out"]
    assert notes[0].startswith("not predicted: same values: features as float32; same values: features as float64; ")
    assert notes[0].endswith(
        ", since these inputs may not take much longer than the entry point; make the model smaller or faster"
    )
    fake_run(engine, dataclasses.replace(GOOD_ENTRY, seconds=30), predicting)
    failed = get_failed_checks(validate_task(task, engine))
    names = ("features as float32", "features as float64", "era as numbers", "era as a category")
    assert failed.keys() == {*(f"same values: {name}" for name in names), "a feature is missing"}
    assert all(detail.startswith("the pickle returned no predictions; ") for detail in failed.values())
    # A pickle that ended the process had time for the others.
    for ended in (dataclasses.replace(predicting, seconds=200), dataclasses.replace(predicting, code=1)):
        fake_run(engine, dataclasses.replace(GOOD_ENTRY, seconds=60), ended)
        assert get_failed_checks(validate_task(task, engine)).keys() >= failed.keys()


def test_the_columns_in_another_order_are_never_left_out(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    exact = np.asarray(golden, "<f8").tobytes()
    files = {"0.f64": exact, "0.float64.f64": exact, "1.f64": VALUES.tobytes()}
    predicting = Program(output=container_output.make(files), seconds=500)
    fake_run(engine, dataclasses.replace(GOOD_ENTRY, seconds=500), predicting)
    failed = get_failed_checks(validate_task(task, engine))
    assert [*failed] == ["same values: columns in another order, and more"]


def test_the_end_of_a_run_that_returned_everything_does_not_matter(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    """Frames of 200 eras are measured then, which may need too much memory."""
    fake_run(engine, GOOD_ENTRY, make_predicting(golden, code=137, out_of_memory=True))
    assert validate_task(task, engine).good


def test_a_crash_in_a_later_input_leaves_the_predictions_before_it(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    bundle = dataclasses.replace(custom.make_bundle(), golden=task.bundle.golden)
    task = dataclasses.replace(task, bundle=bundle)
    required = judged.predict_by_id(bundle, task.files, VALUES)[:7]  # the live rows and the six required relations
    for count, is_good in ((7, True), (6, False)):
        output = container_output.make_predictions(golden, *required[:count])
        fake_run(engine, GOOD_ENTRY, Program(output=output, code=139))
        result = validate_task(task, engine)
        assert result.good is is_good
        text = "the pickle returned no predictions: the interpreter crashed (segmentation fault"
        missing = [check.name for check in result.checks if text in check.detail]
        assert "a feature is missing" in missing


# ---- how it ended


@pytest.mark.parametrize(
    ("entry", "detail"),
    [
        ({"code": 137, "out_of_memory": True}, "it ran out of memory at 4 GiB (exit 137)"),
        ({"code": 0, "out_of_memory": True}, "it ran out of memory at 4 GiB (exit 137)"),
        ({"code": 0, "seconds": 600.5}, "it exceeded the limit of 600 seconds"),
        ({"code": None}, "it exceeded the limit of 600 seconds"),
        ({"code": 139}, "segmentation fault, exit 139"),
        ({"code": 1, "log": "KeyError: 'feature_9'\n"}, "it reads the feature feature_9, which the live data"),
    ],
)
def test_a_failed_run_is_explained_and_not_judged_further(
    task: validate.ValidationTask, engine: FakeEngine, entry: dict[str, Any], detail: str
) -> None:
    """Its CSV is a good one, and so is its report."""
    fake_run(engine, dataclasses.replace(GOOD_ENTRY, **entry))
    result = validate_task(task, engine)
    assert [check.name for check in result.checks] == ["entry point"]
    assert detail in get_failed_checks(result)["entry point"]


ABORTED = dataclasses.replace(GOOD_ENTRY, code=134, log="terminate called without an active exception\n")


def test_an_abort_after_the_csv_was_written_is_run_again(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    fake_run(engine, dataclasses.replace(ABORTED, then=GOOD_ENTRY), make_predicting(golden))
    result = validate_task(task, engine)
    assert result.good
    assert "ran twice" in result.checks[0].detail
    assert "exit 134" in result.checks[0].detail


def test_two_aborts_in_a_row_are_a_finding(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    second_run = dataclasses.replace(ABORTED, then=GOOD_ENTRY)
    fake_run(engine, dataclasses.replace(ABORTED, then=second_run), make_predicting(golden))
    detail = get_failed_checks(validate_task(task, engine))["entry point"]
    assert "aborted (exit 134) twice in a row" in detail
    assert validate_task(task, engine).good  # the third run: the pickle was run twice


@pytest.mark.parametrize(
    ("csv", "log", "detail"),
    [
        (None, ABORTED.log, "aborted (exit 134) before its CSV was complete: terminate called"),
        (b"", ABORTED.log, "before its CSV was complete"),
        (CSV[:-1], ABORTED.log, "before its CSV was complete"),
        (CSV[: CSV.rindex(b"n")], ABORTED.log, "before its CSV was complete"),
        (None, f"ERROR:root:Pickle function returned 0 predictions\n{ABORTED.log}", "returned no rows"),
    ],
)
def test_an_abort_before_the_csv_is_complete_is_not_run_again(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float], *, csv: bytes | None, log: str, detail: str
) -> None:
    aborted = dataclasses.replace(ABORTED, output=container_output.make_entry(csv), log=log, then=GOOD_ENTRY)
    fake_run(engine, aborted, make_predicting(golden))
    assert detail in get_failed_checks(validate_task(task, engine))["entry point"]


def test_a_note_in_a_stand_in_image_warns_about_its_seconds(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    fake_run(engine, GOOD_ENTRY, make_predicting(golden))
    stand_in = dataclasses.replace(task, image=dataclasses.replace(task.image, kind="stand_in"))
    result = validate_task(stand_in, engine)
    assert result.good
    note = result.checks[-1]
    assert (note.name, note.good) == ("seconds", None)
    assert "2 to 4 times as much CPU" in note.detail
    assert dataclasses.asdict(note) in json.loads(report.to_bytes(result))["checks"]
    fake_run(engine, dataclasses.replace(GOOD_ENTRY, code=1))
    assert [check.name for check in validate_task(stand_in, engine).checks] == ["entry point"]


def test_a_run_close_to_its_limits_gets_notes(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    fake_run(engine, dataclasses.replace(GOOD_ENTRY, seconds=419), make_predicting(golden))
    ranges = "too few values to compare"
    assert {check.detail for check in validate_task(task, engine).checks if not check.good} == {ranges}
    output = container_output.make({"live_predictions-0a.csv": CSV}, peak_bytes=int(3.6e9))
    fake_run(engine, Program(output=output, seconds=480), make_predicting(golden))
    result = validate_task(task, engine)
    assert result.good
    notes = [check.detail for check in result.checks if check.good is None and check.detail != ranges]
    assert [note.partition(";")[0] for note in notes] == [
        "480 s are 80% of the limit of 600 s",
        "3.6 GB of memory, as reported from inside, are 84% of the limit of 4.3 GB",
    ]
    assert headroom.describe_usage(result.usage, LIMITS) == (
        "480.00 s (80.0% of 600 s); reported from inside: 3.6 GB of memory (83.8% of 4.3 GB), "
        "1.25 s of CPU (0% of 1 CPU)"
    )
    seen = dataclasses.replace(result.usage, seen_bytes=int(3.7e9))
    assert headroom.find_notes(seen, LIMITS)[1].startswith("3.7 GB of memory, seen by the engine, are 86% of")
    assert headroom.describe_usage(seen, LIMITS) == (
        "480.00 s (80.0% of 600 s), 3.7 GB of memory (86.1% of 4.3 GB); reported from inside: "
        "1.25 s of CPU (0% of 1 CPU)"
    )
    unknown = container_run.Usage(seconds=0)
    assert headroom.describe_usage(unknown, LIMITS) == "0.00 s (0.0% of 600 s)"


def test_a_pickle_built_for_another_python_is_recognized(task: validate.ValidationTask, engine: FakeEngine) -> None:
    fake_run(engine, Program(code=139))
    result = validate_task(dataclasses.replace(task, python="3.13.5"), engine)
    assert (
        "the pickle was built for Python 3.11.2, but the image has Python 3.13.5"
        in get_failed_checks(result)["entry point"]
    )


def test_an_image_that_cannot_run_the_script_is_an_image_error(
    task: validate.ValidationTask, engine: FakeEngine
) -> None:
    fake_run(engine, Program(code=127, log="exec python failed: No such file or directory"))
    with pytest.raises(errors.ImageError, match=r"runner:1 cannot run the pickle: exec python failed"):
        validate_task(task, engine)
    assert engine.list_leftovers() == []


def test_a_pickle_that_ends_like_a_missing_command_is_a_finding(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    """Without the pickle the image can run, so the pickle did it."""
    without_pickle = dataclasses.replace(GOOD_ENTRY, code=1, output=container_output.make())
    fake_run(engine, Program(code=127, then=without_pickle))
    failed = get_failed_checks(validate_task(task, engine))
    assert failed.keys() == {"entry point"}
    assert failed["entry point"].startswith("exit 127")
    fake_run(engine, GOOD_ENTRY, Program(code=127, then=Program(code=2, output=container_output.make())))
    assert get_failed_checks(validate_task(task, engine)).keys() == {"golden rows: framework"}


def test_an_image_without_an_entry_point_is_not_a_runner(task: validate.ValidationTask, engine: FakeEngine) -> None:
    bare = dataclasses.replace(task, image=dataclasses.replace(task.image, entrypoint=()))
    with pytest.raises(errors.ImageError, match=r"runner:1 has no entry point"):
        validate_task(bare, engine)
    assert engine.list_leftovers() == []


# ---- the report


def test_the_report_has_the_pickle_the_image_and_the_limits(
    task: validate.ValidationTask, engine: FakeEngine, golden: list[float]
) -> None:
    csv = container_output.make_csv(IDS, [0.5] * ROWS)
    fake_run(engine, Program(output=container_output.make_entry(csv)), make_predicting(golden))
    written_report = json.loads(report.to_bytes(validate_task(task, engine)))
    assert (written_report["format"], written_report["good"], written_report["name"]) == (2, False, "mlp")
    assert written_report["pickle"] == task.artifact.manifest.pickle.sha256
    assert written_report["limits"] == {"cpus": 1.0, "memory": 4 << 30, "seconds": 600}
    assert written_report["data"] == {"source": "live.parquet", "rows": ROWS, "version": "v5.3"}
    assert written_report["usage"] == {
        "seconds": 1.5,
        "seen_bytes": None,
        "reported_from_inside": {"peak_bytes": 150_000_000, "cpu_seconds": 1.25},
        "part_of_limits": {"seconds": 1.5 / 600, "memory": 150_000_000 / (4 << 30), "cpu": 1.25 / 1.5},
    }
    assert 0 <= written_report["scenarios"]["seconds"] <= 1.5
    assert written_report["image"] == {
        "kind": "local",
        "identity": task.image.identity,
        "ref": "runner:1",
        "python": "3.11.2",
    }
    (constant,) = (check for check in written_report["checks"] if check["good"] is False)
    assert (constant["name"], constant["detail"]) == ("not constant", "1 value in all rows")
    assert constant["fix"].startswith("check that the predictions depend on the features")
