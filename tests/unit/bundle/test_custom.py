"""Bundles with custom code: they are checked without running the code, and predict."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from builder import errors
from builder.bundle import model as bundle_model
from builder.bundle import post
from builder.bundle.kinds import catalog as kinds
from builder.bundle.storage import files, read, write
from builder.inside import custom as inside_custom
from tests.support import custom, pickles


def problem_of(built: bundle_model.Bundle, folder: Path) -> str:
    with pytest.raises(errors.BundleError) as refused:
        write.write(folder / "bundle", built)
    assert not (folder / "bundle").exists()
    return str(refused.value).replace(f"{folder / 'bundle'}/", "")


# ---- in a bundle


def test_code_files_and_arrays_come_back(tmp_path: Path) -> None:
    helpers = {"shapes": "def flat(x):\n    return x\n", "pkg.deep.maths": "ONE = 1\n"}
    built = custom.make_bundle(modules=helpers, files={"sub/table.csv": b"a,b\n", "x.bin": b"\0\1"})
    write.write(tmp_path / "bundle", built)
    again = read.read(tmp_path / "bundle")
    model = again.model
    assert isinstance(model, bundle_model.Custom)
    assert set(model.files) == set(built.model.files)
    for name, content in built.model.files.items():
        assert model.files[name].read_bytes() == content
    assert model.modules == ("shapes", "pkg.deep.maths")
    np.testing.assert_array_equal(model.arrays["weights"], custom.WEIGHTS)
    write.write(tmp_path / "again", again)
    assert files.hash_bundle(tmp_path / "again") == files.hash_bundle(tmp_path / "bundle")
    assert kinds.get_kind_name(model) == "custom"
    assert kinds.is_bounded(model), "only running it can tell"


def test_it_needs_no_arrays(tmp_path: Path) -> None:
    write.write(tmp_path / "bundle", custom.make_bundle(arrays={}))
    assert dict(read.read(tmp_path / "bundle").model.arrays) == {}


def test_array_name_reserved_by_safetensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.BundleError, match=r"bundle\.json: arrays\.__metadata__: reserved by safetensors"):
        write.write(tmp_path / "bundle", custom.make_bundle(arrays={"__metadata__": custom.WEIGHTS}))


def test_write_refuses_too_many_numbers(tmp_path: Path) -> None:
    two_gigabytes = np.broadcast_to(np.float64(0), (1 << 13, 1 << 15))
    with pytest.raises(
        errors.BundleError, match=r"safetensors: has 2,147,483,648 bytes of arrays; expected at most 1,073,741,"
    ):
        write.write(tmp_path / "bundle", custom.make_bundle(arrays={"large": two_gigabytes}))
    assert not (tmp_path / "bundle").exists()


def test_the_host_never_runs_the_code(tmp_path: Path) -> None:
    code = custom.CODE + f"\nopen({str(tmp_path / 'ran')!r}, 'w')\n"
    write.write(tmp_path / "bundle", custom.make_bundle(code))
    read.read(tmp_path / "bundle")
    pickles.render_bundle(tmp_path / "out", custom.make_bundle(code))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def load(bundle)\n    pass\n", "code/model.py:1: expected ':'; fix the error: Python cannot parse the file"),
        ("def predict(x):\n    return x\n", "code/model.py: the function load is missing at the top level; write one"),
        ("def load():\n    pass\n", "code/model.py:1: load takes (); expected the bundle only"),
        ("\ndef load(a, b):\n    pass\n", "code/model.py:2: load takes (a, b); expected the bundle only"),
        ("def load(a, *, b):\n    pass\n", "code/model.py:1: load takes (a, *, b); expected the bundle only"),
        (
            "from .shapes import x\nload = x\n",
            "code/model.py:1: .shapes is a relative import, but code/model.py is not in a package; write the module's",
        ),
        (
            "def load(bundle):\n    return predict\n\ndef predict(x):\n    import shapes\n",
            "code/model.py:5: imports shapes inside a function, but the module does not exist when predict runs",
        ),
    ],
)
def test_code_problem_has_line_number(code: str, message: str, tmp_path: Path) -> None:
    assert message in problem_of(custom.make_bundle(code, modules={"shapes": "x = 1\n"}), tmp_path)


@pytest.mark.parametrize(
    "code", ["def load(bundle, extra=1): ...", "def load(*all): ...", "from shapes import load", "load = print"]
)
def test_load_with_optional_arguments_is_accepted(code: str, tmp_path: Path) -> None:
    write.write(tmp_path / "bundle", custom.make_bundle(code, modules={"shapes": "def load(bundle): ...\n"}))


def test_load_itself_may_import_a_helper(tmp_path: Path) -> None:
    code = "def load(bundle):\n    import shapes\n    return shapes.predict\n"
    write.write(tmp_path / "bundle", custom.make_bundle(code, modules={"shapes": "def predict(x): ...\n"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {"files/x": b""}}, "code/model.py: is missing; write the model's code there: def load(bundle)"),
        ({"modules": ("a.b",)}, "code/a/b.py: is missing, but `modules` lists a.b; put its file there, or remove it"),
        ({"modules": ("json",)}, "modules.0: json is in Python's standard library, which the image has"),
        ({"modules": ("numpy",)}, "modules.0: numpy is also the name of another module in the image; rename yours"),
        ({"modules": ("a", "a")}, "modules.1: duplicate a; list it once"),
        ({"modules": ("a.class",)}, "modules.0: a.class contains a Python keyword; rename the module"),
        ({"modules": ("a/b",)}, "expected text that is a module's dotted name, such as a.b"),
        ({"files": {"code/model.py": b"\xff"}}, "code/model.py: is not UTF-8 (byte 0); save it as UTF-8"),
        (
            {"files": {"code/model.py": custom.CODE.encode(), "code/more.py": b""}},
            "code/more.py: is not the file of a module in `modules`; list it, or move data to files/",
        ),
        (
            {"files": {"code/model.py": custom.CODE.encode(), "model.txt.gz": b""}},
            "files.model.txt.gz: a custom model has its code in code/ and its data in files/; move it there",
        ),
        (
            {"files": {"code/model.py": custom.CODE.encode(), "files/weights (final).json": b""}},
            'files: "files/weights (final).json" is not a valid name for a file of a bundle; expected a path in code/',
        ),
        (
            {"files": {"code/model.py": custom.CODE.encode(), "files/a": b"", "files/a/b": b""}},
            'files: "files/a" is a file, but "files/a/b" is inside it; rename one of them',
        ),
    ],
)
def test_file_problem_is_reported(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    whole = {"files": {"code/model.py": custom.CODE.encode()}, **changes}
    built = custom.make_bundle()
    faulty = bundle_model.Bundle(
        features=built.features, model=bundle_model.Custom(**whole), golden=built.golden, post=built.post
    )
    assert message in problem_of(faulty, tmp_path)


@pytest.mark.parametrize("name", ["files/../../../victim.json", "files/../victim.json", "/victim.json", "files//x"])
def test_nothing_is_written_outside_a_bundle(name: str, tmp_path: Path) -> None:
    built = custom.make_bundle()
    files_of_it = {"code/model.py": custom.CODE.encode(), name: b"new"}
    faulty = bundle_model.Bundle(
        features=built.features, model=bundle_model.Custom(files=files_of_it), golden=built.golden, post=built.post
    )
    (tmp_path / "victim.json").write_bytes(b"old")
    with pytest.raises(errors.BundleError, match="is not a valid name for a file of a bundle"):
        write.write(tmp_path / "below" / "bundle", faulty)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("victim.json", b"old")]


# ---- predicting


def live(rows: int = 6) -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.integers(0, 5, size=(rows, 3)), columns=[f"feature_{index}" for index in range(3)])
    return frame.set_index(pd.Index([f"n{row}" for row in range(rows)], name="id")).assign(era="X")


def test_function_without_steps_is_pickled_unchanged() -> None:
    predict = pickles.load_predict(custom.make_bundle())
    assert predict.__name__ == "predict"
    assert "MODEL" not in predict.__globals__
    expected = live()[["feature_0", "feature_1", "feature_2"]].to_numpy() @ custom.WEIGHTS
    np.testing.assert_array_equal(predict(live())["prediction"], expected)


@pytest.mark.parametrize("rows", [1, 6, 50])
def test_steps_are_applied_to_its_predictions(rows: int) -> None:
    raw, ranked = (
        pickles.load_predict(custom.make_bundle()),
        pickles.load_predict(custom.make_bundle(post=(post.make_step("rank"),))),
    )
    frame = live(rows)
    expected = raw(frame)["prediction"].rank(pct=True)
    pd.testing.assert_series_equal(ranked(frame, None)["prediction"], expected)


def test_two_frames_are_handed_to_a_function_of_two() -> None:
    code = """
    import pandas as pd

    def load(bundle):
        def predict(live_features, live_benchmark_models):
            values = live_benchmark_models["bench"].reindex(live_features.index)
            return values.to_frame("prediction").sort_values("prediction")
        return predict
    """
    predict = pickles.load_predict(custom.make_bundle(code, benchmarks=("bench",), post=(post.make_step("rank"),)))
    frame = live(4)
    benchmarks = pd.DataFrame({"era": "X", "bench": [0.4, 0.1, 0.3, 0.2]}, index=frame.index)
    answer = predict(frame, benchmarks.iloc[::-1])
    assert list(answer.index) == list(frame.index)
    assert list(answer["prediction"]) == [1, 0.25, 0.75, 0.5], "put back into the rows' order"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("live_features.iloc[:2]", "predict returned rows for other ids than those of live_features"),
        ("[1.0, 2.0]", "predict returned 2 values for 6 rows of live_features"),
    ],
)
def test_steps_report_invalid_input(returned: str, message: str) -> None:
    code = f"def load(bundle):\n    return predict\n\ndef predict(live_features):\n    return {returned}\n"
    predict = pickles.load_predict(custom.make_bundle(code, post=(post.make_step("rank"),)))
    with pytest.raises(ValueError, match=re.escape(message)):
        predict(live(), None)


# ---- what load is handed


def test_load_finds_its_files(tmp_path: Path) -> None:
    (tmp_path / "files" / "sub").mkdir(parents=True)
    (tmp_path / "files" / "sub" / "table.csv").write_bytes(b"a\n")
    inputs = inside_custom.CustomBundle({"features": ["a"], "benchmarks": []}, {}, tmp_path)
    assert inputs.read("sub/table.csv") == inputs.read("files/sub/table.csv") == b"a\n"
    assert inputs.path("sub/table.csv").is_file()
    with pytest.raises(FileNotFoundError, match=r"no file 'sub/tabel\.csv'; did you mean 'sub/table\.csv'\?"):
        inputs.read("sub/tabel.csv")
    with pytest.raises(inside_custom.CustomCodeError, match="refers to `bundle`"):
        cloudpickle.dumps(inputs)
