"""Any file is read without being executed: what it is, which Python made it, and why it would fail."""

from __future__ import annotations

import dataclasses
import enum
import functools
import gzip
import io
import json
import lzma
import pickle
import re
import sys
import zlib
from typing import TYPE_CHECKING, Any

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from builder import errors, published_pins
from builder.validate.reading import columns, describe_python, image_modules, read
from tests.support import bundles, clones
from tests.support import pickles as own_pickles

if TYPE_CHECKING:
    from pathlib import Path

RECORDED = clones.ROOT / "tests" / "data" / "pickles"
WEIGHTS = np.ones((30, 40), np.float32)
NAMES = [f"feature_{index}" for index in range(50)]


def predict(live_features: Any, live_benchmark_models: Any) -> Any:
    import scipy.stats

    return pd.DataFrame({"prediction": scipy.stats.rankdata(live_features[NAMES].to_numpy() @ WEIGHTS)})


def pickle_by_value(value: Any) -> bytes:
    """Return what ``cloudpickle.dumps`` writes in a notebook, where everything is in ``__main__``."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        content: bytes = cloudpickle.dumps(value)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    return content


ESTIMATOR = make_pipeline(StandardScaler(), LinearRegression()).fit([[0.0], [1.0]], [0.0, 1.0])


def predict_by_estimator(live_features: Any) -> Any:
    return ESTIMATOR.predict(live_features)


@pytest.fixture(scope="module")
def good() -> bytes:
    return pickle_by_value(predict)


# ---- a good pickle


def test_another_scikit_learn_than_the_images_is_a_note() -> None:
    content, fitted = pickle_by_value(predict_by_estimator), sklearn.__version__
    reading = read.read_buffer(content, image_python=f"3.{sys.version_info.minor}")
    present = published_pins.get_versions(f"3.{sys.version_info.minor}")["scikit-learn"]
    text = f"estimators of scikit-learn {fitted}, but the image has {present}: they may fail or predict differently"
    assert [note.text for note in reading.notes] == [text]
    assert reading.is_good
    same = content.replace(f"\x8c{chr(len(fitted))}{fitted}".encode("latin1"), f"\x8c\x05{present}".encode("latin1"))
    assert read.read_buffer(same, image_python=f"3.{sys.version_info.minor}").notes == ()


def test_a_good_pickle_is_described(good: bytes) -> None:
    reading = read.read_buffer(good)
    assert reading.is_good
    assert (reading.protocol, reading.root) == (5, "function predict with 2 parameters")
    assert reading.python == f"3.{sys.version_info.minor}"
    imports = {(item.module, item.when, item.provider) for item in reading.imports}
    assert imports >= {
        ("cloudpickle.cloudpickle", "load", "cloudpickle"),
        ("pandas", "load", "pandas"),
        ("scipy.stats", "call", "scipy"),
    }
    weights, names = reading.captures
    assert (weights.name, weights.kind) == ("WEIGHTS", "array float32 30x40")
    assert WEIGHTS.nbytes <= weights.size < WEIGHTS.nbytes + 300
    assert (names.name, names.kind) == ("NAMES", "list of 50")


def test_pickles_of_this_tool_are_good() -> None:
    reading = read.read_buffer(own_pickles.pickle_bundle(bundles.make_bundle(4)))
    assert reading.is_good, reading.problems
    assert [danger.name for danger in reading.dangers] == ["builtins.open"]  # the CPU limit of the container
    assert reading.dangers[0].function == "read_cpu_quota"


@pytest.mark.parametrize("python", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"])
def test_the_python_is_known_from_the_bytecode(python: str) -> None:
    reading = read.read(RECORDED / f"python{python}.pkl")
    assert reading.pythons == (python,)
    assert [item.module for item in reading.imports if item.when == "call"] == ["os", "scipy.stats"]
    assert reading.is_good == (python in {*published_pins.list_pythons(), published_pins.EXPERIMENTAL})
    assert ("experimental image" in str(reading.notes)) == (python == published_pins.EXPERIMENTAL)
    assert read.read(RECORDED / f"python{python}.pkl", image_python="3.12").is_good == (python == "3.12")


def test_a_python_without_opcode_table_is_reported_as_newer() -> None:
    content = (RECORDED / "python3.14.pkl").read_bytes()
    start = content.index(b"\x80\x00")  # RESUME
    reading = read.read_buffer(content[:start] + b"\xff" + content[start + 1 :])
    assert reading.pythons == ("3.15 or newer",)
    assert "not read completely" in reading.notes[0].text


def test_the_table_of_this_python_is_the_recorded_one() -> None:
    recorded = json.loads((clones.ROOT / "builder/validate/reading/pythons.json").read_bytes())
    entry = recorded[f"{sys.version_info.major}.{sys.version_info.minor}"]
    assert json.loads(json.dumps(describe_python.describe())) == entry


def test_a_function_with_computed_names_is_not_read_completely() -> None:
    content = (RECORDED / "python3.12.pkl").read_bytes()
    computed = b"coperator\nconcat\n\x8c\x03ran\x8c\x05kdata\x86R"
    assert content.count(b"\x8c\x08rankdata\x94") == 1
    edited = content.replace(b"\x8c\x08rankdata\x94", computed + b"\x94")
    edited = edited[:2] + edited[11:]  # without the frame, whose length is another one
    reading = read.read_buffer(edited)
    assert not reading.is_good
    assert "not read completely" in reading.notes[0].text


# ---- what is dangerous in it


def by_function(function: Any) -> bytes:
    return pickle_by_value(function)


def import_in_body(f: Any, b: Any) -> Any:
    import subprocess

    return subprocess.run(["touch", "marker"], check=True)


def import_by_name(f: Any, b: Any) -> Any:
    return __import__("o" + "s").system("touch marker")


def chain_of_attributes(f: Any, b: Any) -> Any:
    return pd.io.common.os.system("touch marker")


def load_nested(f: Any, b: Any) -> Any:
    from pickle import loads

    return loads(b"cos\nsystem\n(S'touch marker'\ntR.")


def use_network(f: Any, b: Any) -> Any:
    import urllib.request as web

    return web.urlopen("http://example.invalid")


def run_alias(f: Any, b: Any) -> Any:
    import os as harmless

    def inner() -> int:
        return harmless.system("touch marker")

    return inner()


class CallsItself:
    def __reduce__(self) -> Any:
        return import_by_name, (1, 2)


SUBIMPORT = b"ccloudpickle.cloudpickle\nsubimport\n"


@pytest.mark.parametrize(
    ("content", "danger"),
    [
        (pickle.dumps(own_pickles.Calls(eval, "1")), "executes code when it is loaded: builtins.eval"),
        (b"cposix\nsystem\n(S'touch marker'\ntR.", "runs a command when it is loaded: posix.system"),
        (b"(S'touch marker'\nios\nsystem\n.", "runs a command when it is loaded: os.system"),
        (b"(cos\nsystem\nS'touch marker'\no.", "runs a command when it is loaded: os.system"),
        (b"\x80\x02c__builtin__\neval\nU\x011\x85R.", "executes code when it is loaded: builtins.eval"),
        (b"\x80\x04\x80\x02c__builtin__\neval\nU\x011\x85R.", "executes code when it is loaded: builtins.eval"),
        (
            b"\x80\x04" + SUBIMPORT + b"coperator\nconcat\n\x8c\x01o\x8c\x01s\x86R\x85R.",
            "imports by a computed name when it is loaded: cloudpickle.cloudpickle.subimport",
        ),
        (
            b"\x80\x04cbuiltins\ngetattr\n" + SUBIMPORT + b"\x8c\x02os\x85Rcoperator\nconcat\n"
            b"\x8c\x03sys\x8c\x03tem\x86R\x86R.",
            "imports by a computed name when it is loaded: builtins.getattr",
        ),
        (b"csys\nmodules\nS'json'\nNs.", "changes what it imports when it is loaded: sys.modules"),
        (
            b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x9400h\x00h\x01\x93\x8c\x0ctouch marker\x85R.",
            "runs a command when it is loaded: posix.system",
        ),
        (
            b"\x80\x04V\\u006fs\nV\\u0073ystem\n\x93\x8c\x0ctouch marker\x85R.",
            "runs a command when it is loaded: os.system",
        ),
        (
            b"\x80\x04\x8c\x06pandas\x8c\x13io.common.os.system\x93\x8c\x0ctouch marker\x85R.",
            "runs a command when it is loaded: pandas.io.common.os.system",
        ),
        (
            b"\x80\x04cbuiltins\ngetattr\n" + SUBIMPORT + b"\x8c\x02os\x85R\x8c\x06system\x86R\x8c\x01x\x85R.",
            "runs a command when it is loaded: os.system",
        ),
        (
            pickle.dumps(own_pickles.Calls(map, __import__, ["os"])),
            "executes code when it is loaded: builtins.__import__",
        ),
        (
            b"\x80\x04coperator\nattrgetter\n\x8c\x06system\x85Rcnumpy\nos\n\x85R.",
            "calls a computed function when it is loaded: the result of operator.attrgetter",
        ),
        (pickle_by_value(CallsItself()), "calls a function of its own when it is loaded: import_by_name"),
        (
            b"\x80\x04" + SUBIMPORT + b"\x8c\nsubprocess\x85R.",
            "runs a command when it is called: subprocess",
        ),
        (
            b"\x80\x04" + SUBIMPORT + b"\x8c\x05numpy\x85R}\x8c\x03sum\x8c\x03maxsb.",
            "changes what it imports when it is loaded: numpy",
        ),
        (b"cnumpy\nmatrix\n}(S'sum'\nS'max'\nub.", "changes what it imports when it is loaded: numpy.matrix"),
        (by_function(import_in_body), "runs a command when it is called: subprocess.run (in import_in_body)"),
        (by_function(import_by_name), "executes code when it is called: builtins.__import__ (in import_by_name)"),
        (by_function(chain_of_attributes), "runs a command when it is called: pandas.io.common.os.system"),
        (by_function(load_nested), "executes code when it is called: pickle.loads (in load_nested)"),
        (by_function(use_network), "uses the network when it is called: urllib.request"),
        (by_function(run_alias), "runs a command when it is called: os.system (in inner)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_dangerous_is_found_and_not_executed(
    content: bytes, danger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reading = read.read_buffer(content)
    assert not reading.is_good
    assert any(str(item).startswith(danger) for item in reading.dangers), reading.dangers
    assert reading.dangers[0].is_severe
    assert list(tmp_path.iterdir()) == []


# ---- why it would fail


def refer_to_repository(f: Any, b: Any) -> Any:
    from agents.scale import scale  # type: ignore[import-not-found]

    return scale(f)


def take_three(a: Any, b: Any, c: Any) -> Any:
    return a


class NotCallable:
    def predict(self, f: Any) -> Any:
        return f


class Callable:
    def __init__(self) -> None:
        self.weights = WEIGHTS

    def __call__(self, live_features: Any, _: Any = None) -> Any:
        return live_features


def dump_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=WEIGHTS)
    return file.getvalue()


def dump_joblib(compress: int) -> bytes:
    file = io.BytesIO()
    joblib.dump({"weights": WEIGHTS}, file, compress=compress)
    return file.getvalue()


def dump_frame() -> bytes:
    file = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_parquet(file)
    return file.getvalue()


DOUBLED = b"\x80\x04]\x94" + b"".join(b"](h%ch%ce\x94" % (level, level) for level in range(60)) + b"."


@pytest.mark.parametrize(
    ("content", "cause", "fix"),
    [
        (b"", "the file is empty", "download the whole file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer", "git lfs pull"),
        (gzip.compress(b"x"), "compressed with gzip", "decompress it"),
        (lzma.compress(b"x"), "compressed with xz", "decompress it"),
        (b"\x28\xb5\x2f\xfd\x00", "compressed with zstd", "decompress it"),
        (zlib.compress(b"x"), "compressed with zlib", "joblib.load"),
        (dump_joblib(3), "compressed with zlib", "joblib.load"),
        (dump_joblib(0), "written by `joblib.dump`", "joblib.load"),
        (b"<!DOCTYPE html><html>", "an HTML page", "download the file itself"),
        (dump_npz(), "an npz file of numpy arrays", "export the model"),
        (b"PK\x03\x04" + bytes(26) + b"archive/data.pkl", "a file of `torch.save`", "load the model in a function"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "`torch.save` in its old format", "load the model in a function"),
        (b"\x08\x08\x12\x07pytorch", "an ONNX model", "export the model"),
        (dump_frame(), "a parquet file", "the function that predicts"),
        (b'{"weights": [1.0]}', "a JSON file", "export the model"),
        (b"no pickle at all", "not a pickle: it is a text file", "cloudpickle.dump"),
        (b"\x01\x02\x03", "not a pickle: it has the byte", "cloudpickle.dump"),
        (b"\x80\x06N.", "declares protocol 6", "cloudpickle.dump"),
        (
            b"\x80\x05\x8e" + (1 << 40).to_bytes(8, "little") + b"x.",
            "declares 1,099,511,627,776 bytes; it has 2",
            "whole",
        ),
        (
            b"\x80\x05\x96" + (20 << 30).to_bytes(8, "little") + b"x.",
            "declares 21,474,836,480 bytes; it has 2",
            "whole",
        ),
        (pickle.dumps(list(range(99)))[:50], "the pickle is truncated", "download the whole file"),
        (b"\x80\x04)" + b"\x85" * 1000, "has no STOP opcode at its end (at byte 1,003 of 1,003)", "whole file"),
        (b"\x80\x04h\x07.", "the pickle is damaged: it takes the memo's entry 7", "cloudpickle.dump"),
        (b"\x80\x04\x8cY\xc3\x28" + bytes(87) + b".", "a text that is not valid", "cloudpickle.dump"),
        (b"\x80\x04Nr\xff\xff\xff\xffN.", "allocates 68.7 GB for its memo", "do not load it"),
        (
            b"\x80\x04coperator\nconcat\n\x8c\x01o\x8c\x01s\x86R\x8c\x06system\x93.",
            "imports by a name that is computed",
            "cloudpickle.dump",
        ),
        (b"\x80\x04Pid\n.", "needs a loader of its own: a persistent id", "cloudpickle.dump"),
        (DOUBLED, "as a function, but it contains: list of 2", "dump a function"),
        (pickle.dumps(predict), "needs the module 'tests.", "register_pickle_by_value"),
        (b"c__main__\npredict\n.", "refers to predict in the program that wrote it", "cloudpickle.dump"),
        (
            b"\x80\x04cagents.model\nModel\n)\x81.",
            "needs the module 'agents.model', which no image has: load",
            "by_value",
        ),
        (
            by_function(refer_to_repository),
            "needs the module 'agents.scale', which the image does not have: call",
            "by_v",
        ),
        (by_function(take_three), "the function has 3 parameters", "define predict"),
        (pickle_by_value(NotCallable()), "but it contains: NotCallable object", "dump a function"),
        (
            cloudpickle.dumps(LinearRegression().fit(WEIGHTS, WEIGHTS[:, 0])),
            "but it contains: sklearn.linear_model._base.LinearRegression",
            "dump a function",
        ),
        (pickle.dumps({"weights": [1.0]}), "but it contains: dict of 1", "dump a function"),
        (pickle.dumps(WEIGHTS), "but it contains: array float32 30x40", "dump a function"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_fail_has_one_cause_and_fix(content: bytes, cause: str, fix: str) -> None:
    reading = read.read_buffer(content)
    assert not reading.is_good
    assert cause in reading.problems[0].text
    assert fix in reading.problems[0].fix


@pytest.mark.parametrize(
    ("extra", "note"), [(b"abc", "other data follows the pickle: 3 bytes"), (b"\x80\x04N.", "a second pickle follows")]
)
def test_bytes_after_the_pickle_are_noted(good: bytes, extra: bytes, note: str) -> None:
    reading = read.read_buffer(good + extra)
    assert note in reading.notes[0].text
    assert reading.problems == ()


@pytest.mark.parametrize(
    ("value", "root"),
    [(Callable(), "Callable object"), (functools.partial(predict, live_benchmark_models=None), "functools.partial")],
)
def test_objects_that_can_be_called_are_good(value: Any, root: str) -> None:
    reading = read.read_buffer(pickle_by_value(value))
    assert (reading.is_good, reading.root) == (True, root)
    assert reading.captures[0].kind == "array float32 30x40"


class Mode(enum.Enum):
    FAST = 1


@dataclasses.dataclass
class Model:
    members: list[Any]
    frame: pd.DataFrame
    mode: Mode = Mode.FAST

    def __call__(self, live_features: Any, _: Any) -> Any:
        return self.members[0].predict(live_features)


def test_usual_objects_are_not_dangerous() -> None:
    member = make_pipeline(StandardScaler(), LinearRegression()).fit(WEIGHTS, WEIGHTS[:, 0])
    frame = pd.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]}).astype({"a": "category"})
    reading = read.read_buffer(pickle_by_value(Model([member], frame)))
    assert reading.is_good, (reading.dangers, reading.problems)
    assert reading.root == "Model object"
    assert {capture.kind for capture in reading.captures} >= {"list of 1", "pandas.core.frame.DataFrame"}


def test_numpy_2_is_missing_in_an_image_with_numpy_1(good: bytes) -> None:
    content = good.replace(b"numpy._core.numeric", b"numpy.core.numeric\0") if np.__version__ < "2" else good
    assert "made with numpy 2, but the image has numpy 1" in str(
        read.read_buffer(content, image_python="3.10").problems
    )


def test_modules_have_other_names_than_their_packages() -> None:
    names = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml", "dateutil.tz": "python-dateutil"}
    expected = {**names, "os.path": "Python", "builtins": "Python", "numpy.linalg": "numpy", "no_such": None}
    assert {module: image_modules.find_package(module, "3.12") for module in expected} == expected
    assert image_modules.find_package("distutils", "3.11") == "Python"
    assert image_modules.find_package("distutils", "3.12") == "setuptools"
    assert image_modules.find_package("imp", "3.11") == "Python"
    assert image_modules.find_package("imp", "3.12") is None


@pytest.mark.parametrize("name", ["missing.pkl", ".", "/dev/null"])
def test_what_is_not_a_file_is_a_usage_error(name: str) -> None:
    with pytest.raises(errors.UsageError, match="pass the path of a pickle"):
        read.read(clones.ROOT / name)


def test_an_interrupt_while_a_file_is_searched_is_not_an_internal_error(
    good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(buffer: bytes) -> None:
        matches = re.finditer(b".", buffer)  # it refers to the mapped file, also from the traceback
        next(matches)
        raise KeyboardInterrupt

    (tmp_path / "model.pkl").write_bytes(good)
    monkeypatch.setattr(columns, "find_features_in_bytes", interrupt)
    monkeypatch.setattr(columns, "find_features", lambda _: ())
    with pytest.raises(KeyboardInterrupt):
        read.read(tmp_path / "model.pkl")
