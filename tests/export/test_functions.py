"""Functions from a notebook: the bundle contains what they close over; the error names what it cannot contain."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import math
import re
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from builder import errors
from builder.bundle import post
from builder.export import frameworks
from builder.export.function import closure, included
from builder.inside import custom as inside_custom
from builder.inside import predict_inputs
from tests.support import pickles
from tests.support.functions import FEATURES, export_and_read, get_error, sample

WEIGHTS = np.random.default_rng(2).normal(size=4)
SCALE = 2.0
PARAMETERS: Any = {"w": WEIGHTS.astype("float32"), "k": np.float32(0.25), "deep": [{"names": ("a", "b")}]}
TABLE = pd.DataFrame({"shift": [0.25, 0.5]}, index=pd.Index(["a", "b"], name="key"))
LOOKUP = {f"feature_{index}": index / 7 for index in range(300)}


def squash(values: Any, scale: float = SCALE, *, middle: float = math.pi) -> Any:
    """Return values within 0 and 1."""
    return scipy.special.expit((values - middle) * scale)


def combined(live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> pd.DataFrame:
    """Predict from all kinds of closed-over data: arrays, parameters, frames, tables, modules, functions."""
    inputs = live_features[FEATURES].fillna(2).to_numpy(dtype=float)
    values = inputs @ WEIGHTS + inputs @ PARAMETERS["w"] * PARAMETERS["k"] + TABLE["shift"].sum()
    values = values + LOOKUP["feature_7"] + scipy.stats.zscore(np.arange(3)).sum()
    near = live_benchmark_models["bench"].reindex(live_features.index).fillna(0.5).to_numpy()

    def mix(values: Any) -> Any:
        return squash(values) * 0.5 + rankdata(near) / len(near) * 0.5

    return pd.DataFrame({"prediction": mix(values)}, index=live_features.index)


def raw(bundle: Any) -> Any:
    return pickles.load_predict(bundle)


# ---- what is included


@pytest.fixture(scope="module")
def exported_function(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the result of exporting ``combined``, the bundle, and its code."""
    folder = tmp_path_factory.mktemp("combined")
    result, bundle = export_and_read(combined, folder, kind="custom", benchmark="bench")
    text = (folder / "bundle" / "code" / "model.py").read_text()
    assert str(folder) not in text
    return result, bundle, text


def test_pickle_predicts_the_same_as_the_function(exported_function: Any) -> None:
    result, bundle, _ = exported_function
    assert (result.kind, result.features, result.parity.difference) == ("custom", 4, 0)
    assert bundle.post == (), "there is no rank by default"
    versions = (f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "pandas", "scipy"))
    assert bundle.trained["packages"] == tuple(versions)
    random = np.random.default_rng(8)
    inputs = random.integers(0, 5, size=(50, 5)).astype(float)
    inputs[::7, 1] = np.nan
    frames = predict_inputs.to_frames(inputs, FEATURES, ["bench"])
    pd.testing.assert_frame_equal(raw(bundle)(*frames), combined(*frames))


def test_golden_predictions_are_the_functions(exported_function: Any) -> None:
    _, bundle, _ = exported_function
    frames = predict_inputs.to_frames(bundle.golden.inputs, FEATURES, ["bench"])
    np.testing.assert_array_equal(combined(*frames)["prediction"], bundle.golden.predictions)
    assert np.isnan(bundle.golden.inputs).any(), "the function fills missing inputs, so golden rows have some"


def test_generated_code(exported_function: Any) -> None:
    _, _, text = exported_function
    for part in (
        "import numpy as np\n",
        "import pandas as pd\n",
        "from scipy.stats import rankdata\nimport scipy.stats\n",
        "def squash(values: Any, scale: float = None, *, middle: float = None) -> Any:\n",
        "squash.__defaults__ = (scale,)\n",
        'WEIGHTS = bundle.arrays["WEIGHTS"]\n',
        'TABLE = pandas.read_parquet(bundle.path("TABLE.parquet"))\n',
        'LOOKUP = json.loads(bundle.read("LOOKUP.json"))\n',
        "    return combined\n",
    ):
        assert part in text


def test_closure_variables_are_included(tmp_path: Path) -> None:
    def make_predict(shift: float, weights: Any) -> Any:
        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            values = live_features[FEATURES].fillna(2).to_numpy(dtype=float) @ weights + shift
            return pd.DataFrame({"prediction": scipy.special.expit(values)}, index=live_features.index)

        return predict

    function = make_predict(0.5, np.arange(4.0))
    _, bundle = export_and_read(function, tmp_path)
    frame = sample(30)
    pd.testing.assert_frame_equal(raw(bundle)(frame), function(frame))


def test_steps_are_added_only_if_passed(tmp_path: Path) -> None:
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        return live_features[["feature_0"]].set_axis(["prediction"], axis=1) * 10.0

    message = get_error(predict, tmp_path)
    assert "predictions on the sample are from 0 to 40; the tournament accepts [0, 1]: pass rank=" in message
    _, bundle = export_and_read(predict, tmp_path, rank="era")
    assert bundle.post == (post.make_step("rank"),)
    frame = sample(30)
    expected = frame["feature_0"].rank(pct=True)
    np.testing.assert_allclose(raw(bundle)(frame, None)["prediction"], expected)
    assert export_and_read(predict, tmp_path, rank=None)[1].post == ()


def test_function_without_support_for_nan_has_complete_golden_rows(tmp_path: Path) -> None:
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"prediction": live_features[FEATURES].mean(axis=1, skipna=False) / 5})

    assert not np.isnan(export_and_read(predict, tmp_path)[1].golden.inputs).any()


def test_load_reads_its_files(tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text("0.1,0.0,0.05,0.02")

    def load(bundle: Any) -> Any:
        weights = np.array(bundle.read("weights.csv").decode().split(","), dtype=float)
        names = list(bundle.features)

        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            values = live_features[names].fillna(2).to_numpy(dtype=float) @ weights
            return pd.DataFrame({"prediction": values}, index=live_features.index)

        return predict

    result, bundle = export_and_read(load, tmp_path, files=[tmp_path / "weights.csv"])
    assert result.parity.difference == 0
    expected = sample(9)[FEATURES].to_numpy() @ [0.1, 0, 0.05, 0.02]
    np.testing.assert_allclose(raw(bundle)(sample(9))["prediction"], expected)
    assert set(bundle.model.files) == {"code/model.py", "files/weights.csv"}


@pytest.mark.parametrize("name", ["../../../victim.json", "/victim.json", "weights v2 (final).json", ""])
def test_invalid_file_name_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "weights (final).csv").write_text("0.1")

    def load(bundle: Any) -> Any:
        return bundle

    message = get_error(load, tmp_path / "below", files={name: tmp_path / "weights (final).csv"})
    assert (
        f'export: invalid names in a bundle: "{name}"; expected a path in code/ or files/ of up to 8 parts' in message
    )
    assert "each of ASCII letters" in message
    assert [path.name for path in tmp_path.iterdir()] == ["weights (final).csv"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the user's modules, which can be imported."""
    folder = tmp_path / "repository"
    (folder / "ownpkg_test").mkdir(parents=True)
    (folder / "ownpkg_test" / "__init__.py").write_text("")
    (folder / "ownpkg_test" / "maths.py").write_text(
        "class Halver:\n    def __call__(self, values):\n        return values / 2\n\nhalved = Halver()\n"
    )
    (folder / "notebook_test.py").write_text(
        textwrap.dedent("""
        import ownpkg_test.maths as maths
        from ownpkg_test.maths import Halver

        def predict(live_features):
            halves = Halver()(maths.halved(live_features["feature_0"].fillna(2)))
            return halves.to_frame("prediction")

        def late(live_features):
            import ownpkg_test.maths
            from ownpkg_test.maths import halved

            halves = ownpkg_test.maths.Halver()(halved(live_features["feature_0"].fillna(2)))
            return halves.to_frame("prediction")        """)
    )
    monkeypatch.syspath_prepend(folder)
    for name in ("notebook_test", "ownpkg_test", "ownpkg_test.maths"):
        monkeypatch.delitem(sys.modules, name, raising=False)  # of another test's folder
    return folder


@pytest.mark.parametrize(
    ("name", "modules", "added"),
    [
        ("predict", ["ownpkg_test.maths"], []),
        ("predict", [], ["includes your modules ownpkg_test.maths"]),
        ("late", [], ["includes your modules ownpkg_test, ownpkg_test.maths"]),
    ],
    ids=["listed", "found", "late"],
)
def test_own_module_is_included(
    repository: Path, tmp_path: Path, name: str, modules: list[str], added: list[str]
) -> None:
    function = getattr(importlib.import_module("notebook_test"), name)
    result, bundle = export_and_read(function, tmp_path, modules=modules)
    assert "ownpkg_test.maths" in bundle.model.modules
    assert list(result.notes) == added
    np.testing.assert_array_equal(raw(bundle)(sample(9)).to_numpy(), sample(9)[["feature_0"]].to_numpy() / 4)


# ---- what is caught


LOCK = threading.Lock()
STATE = {"calls": 0}
OPEN = io.TextIOWrapper(io.BytesIO(b"text"))
ROWS = sample()
SCALER = StandardScaler().fit(np.ones((3, 1)))
RANDOM = np.random.default_rng()


def uses_lock(live: Any) -> Any:
    return LOCK


def uses_file(live: Any) -> Any:
    return OPEN.read()


def uses_undefined(live: Any) -> Any:
    return never_defined  # type: ignore[name-defined] # noqa: F821


def uses_file_name(live: Any) -> Any:
    return __file__


def takes_three(a: Any, b: Any, c: Any) -> Any:
    return a


async def waits(live: Any) -> Any:
    return live


def fits(live: pd.DataFrame) -> Any:
    return SCALER.fit_transform(live[["feature_0"]])


def returns_captured(live: pd.DataFrame) -> Any:
    return TABLE


def looks_up_captured(live: pd.DataFrame) -> Any:
    return TABLE.loc[live.index]  # the error lists all ids


def counts(live_features: pd.DataFrame) -> pd.DataFrame:
    STATE["calls"] += 1
    return (live_features["feature_0"] / 5 + STATE["calls"] / 1000).to_frame("prediction")


def draws(live_features: pd.DataFrame) -> pd.DataFrame:
    return (live_features["feature_0"] / 8 + np.random.default_rng().random() / 10).to_frame("prediction")


def fails(live_features: pd.DataFrame) -> pd.DataFrame:
    return live_features[["feature_99"]]


def overflows(live_features: pd.DataFrame) -> pd.DataFrame:
    values = (40 * live_features[FEATURES].to_numpy()).mean(axis=1) / 160
    return pd.DataFrame({"prediction": values}, index=live_features.index)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (uses_lock, "`LOCK` has type _thread.lock, which a bundle cannot contain; create it in the function"),
        (uses_file, "`OPEN` has type _io.TextIOWrapper, which a bundle cannot contain; read it before"),
        (uses_undefined, "uses_undefined uses `never_defined`, which is not defined"),
        (uses_file_name, "uses_file_name uses __file__, which does not exist in a pickle"),
        (
            takes_three,
            "takes_three takes (a, b, c); the tournament calls it with (live_features) or (live_features, live",
        ),
        (waits, "waits is an async function or a generator; the tournament expects a DataFrame: write it with return"),
        (
            lambda live: live["feature_0"],
            'returns Series; the tournament expects a DataFrame: return result.to_frame("',
        ),
        (lambda _live: 0.5, 'returns float; the tournament expects a DataFrame: return pd.DataFrame({"prediction"'),
        (
            lambda live: live[["feature_0"]] / 4,
            "returns the columns feature_0; the tournament expects one, prediction: return series.to_frame",
        ),
        (
            lambda live: LinearRegression().fit(ROWS[FEATURES], ROWS["target"]).predict(live[FEATURES]),
            "fits a model on `ROWS` each time it predicts; fit it before",
        ),
        (lambda _live: Path("no.csv").read_text(), "the image has no files of yours: open it before, outside of the"),
        (fits, "line 2 of fits fits `SCALER` when it predicts, which changes it for the next call; fit it before"),
        (
            returns_captured,
            "possible causes: `TABLE` is a frame from here, which does not have the ids of live rows",
        ),
        (looks_up_captured, "possible causes: `TABLE` is a frame from here, which does not have the ids of live rows"),
        (fails, "fails fails on rows of the sample: KeyError:"),
        (draws, "predictions of the function differ by up to"),
        (counts, "does it draw random numbers, have a state, or was its source edited after it was defined?"),
    ],
)
def test_unsupported_part_is_named(function: Any, expected: str, tmp_path: Path) -> None:
    message = get_error(function, tmp_path)
    assert expected in message
    assert len(message) < 1_000


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_integer_features_are_also_tried_as_int8(kind: str, tmp_path: Path) -> None:
    rows = sample().assign(**sample()[FEATURES].astype(kind))
    message = get_error(overflows, tmp_path, sample=rows)
    assert "predictions of overflows differ by up to" in message
    assert 'start with live_features[features].astype("float32")' in message
    rows[FEATURES] = rows[FEATURES].astype("float32") / 8  # not integers, so that live data cannot be int8
    assert export_and_read(overflows, tmp_path, sample=rows)[0].parity.difference == 0


def test_load_is_also_tried_with_int8(tmp_path: Path) -> None:
    def load(bundle: Any) -> Any:
        names = list(bundle.features)

        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            values = (40 * live_features[names].to_numpy()).mean(axis=1) / 160
            return pd.DataFrame({"prediction": values}, index=live_features.index)

        return predict

    assert "predictions of load differ by up to" in get_error(load, tmp_path)


def test_load_that_draws_random_numbers_is_refused(tmp_path: Path) -> None:
    def load(bundle: Any) -> Any:
        drawn = np.random.default_rng().random()
        return lambda live_features: live_features[[bundle.features[0]]] / 8 + drawn / 10

    message = get_error(load, tmp_path)
    assert "line 2 of load draws random numbers without a seed (np.random.default_rng); pass a fixed seed" in message


def test_predict_cannot_read_files(tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text("0.1,0.0,0.05,0.02")

    def load(bundle: Any) -> Any:
        path, names = bundle.path("weights.csv"), list(bundle.features)

        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            return live_features[names].astype(float) @ np.loadtxt(path, delimiter=",")[:, None]

        return predict

    message = get_error(load, tmp_path, files=[tmp_path / "weights.csv"])
    assert "in predict: FileNotFoundError" in message
    assert message.endswith("; the bundle's files exist only during load: read them there")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.json", '{"weights": [1, 2], "account": {"api_key": "0123456789"}}'),
        ("settings.env", "# mine\nexport NUMERAI_SECRET_KEY='0123456789'\n"),
        ("notes.txt", f"bundle with {'QWERTYUIOPASDFGHJKLZXCVBNM234567' * 2}\n"),
    ],
)
def test_secret_in_a_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    def load(bundle: Any) -> Any:
        return lambda live_features: live_features[[bundle.features[0]]] / 8

    message = get_error(load, tmp_path, files=[tmp_path / name])
    assert "it must not contain secrets" in message
    assert "0123456789" not in message
    assert "QWERTY" not in message


def test_names_similar_to_secrets_are_accepted(tmp_path: Path) -> None:
    texts = {
        "model.yaml": "max_tokens: 4096000000\nn_tokens=1024\ntokenizer: models/bert-base\n",
        "layer.txt": ("self.token_embedding = nn.Embedding(n)\nfeature_secretive_x: 0.123456789\ntoken: 0.123456789"),
        "special.json": '{"bos_token": "<bos>", "eos_token": "endoftext", "tokenizer_class": "BertTokenizer"}',
        "deep.json": "[" * 300 + "]" * 300,
        # Like the bytes of a model: a search with a regular expression from each position would take hours.
        "model.hex": "a1" * 1_000_000,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)

    def load(bundle: Any) -> Any:
        return lambda live_features: live_features[[bundle.features[0]]] / 8

    result, bundle = export_and_read(load, tmp_path, files=[tmp_path / name for name in texts])
    assert result.notes == ()
    assert set(bundle.model.files) == {"code/model.py", *(f"files/{name}" for name in texts)}


def test_other_float32_rounding_is_not_an_overflow(tmp_path: Path) -> None:
    weights = np.full(4, 0.1, dtype=np.float32)

    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        product = pd.Series(live_features[FEATURES].to_numpy() @ weights, index=live_features.index)
        return product.rank(pct=True).to_frame("prediction")

    assert export_and_read(predict, tmp_path)[0].kind == "custom"


NUMERAI_SECRET_KEY = "QWERTYUIOPASDFGHJKLZXCVBNM234567" * 2
TOKEN = "sk-0123456789abcdef"
ACCOUNT = {"name": "mine", "keys": [1, {"api_key": b"0123456789"}]}
NAMES = pd.DataFrame({"password": ["hunter22"]})
TEXTS = ["a", NUMERAI_SECRET_KEY]
WITH_ATTRS = pd.DataFrame({"a": [1]})
WITH_ATTRS.attrs["account"] = {"api_key": "0123456789"}
WITH_INDEX = pd.Series([1.0], index=[NUMERAI_SECRET_KEY])
WITH_INDEX_NAME = pd.Series([1.0], index=pd.Index([1], name=NUMERAI_SECRET_KEY))
WITH_UNUSED_CATEGORY = pd.Series(["a"], dtype=pd.CategoricalDtype(["a", NUMERAI_SECRET_KEY]))
RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)
FOLDER = "/home/alice/data"
TOKENS = {"least": 3, "kinds": np.arange(3)}


def uses_token(live: Any) -> Any:
    return live[TOKEN]


def uses_account(live: Any) -> Any:
    return live[ACCOUNT]


def uses_names(live: Any) -> Any:
    return live[NAMES]


def uses_texts(live: Any) -> Any:
    return live[TEXTS]


def uses_attrs(live: Any) -> Any:
    return live[WITH_ATTRS]


def uses_index(live: Any) -> Any:
    return live[WITH_INDEX]


def uses_index_name(live: Any) -> Any:
    return live[WITH_INDEX_NAME]


def uses_unused_category(live: Any) -> Any:
    return live[WITH_UNUSED_CATEGORY]


def uses_recursive(live: Any) -> Any:
    return live[RECURSIVE]


def has_keyword(live: Any) -> Any:
    return live.get(secret_key="0123456789")


def has_default(live: Any, token: str = "0123456789") -> Any:
    return live


def has_comment(live: Any) -> Any:
    return live  # QWERTYUIOPASDFGHJKLZXCVBNM234567QWERTYUIOPASDFGHJKLZXCVBNM234567


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            uses_token,
            "`TOKEN` is named like a secret: others can read a bundle, so it must not contain secrets; remove it",
        ),
        (uses_account, "`ACCOUNT['keys'][1]['api_key']` is named like a secret"),
        (uses_names, "`NAMES` is named like a secret"),
        (uses_texts, "`TEXTS[1]` contains what looks like a secret"),
        (uses_attrs, "`WITH_ATTRS['account']['api_key']` is named like a secret"),
        (uses_index, "`WITH_INDEX` contains what looks like a secret"),
        (uses_index_name, "`WITH_INDEX_NAME` contains what looks like a secret"),
        (uses_unused_category, "`WITH_UNUSED_CATEGORY` contains what looks like a secret"),
        (has_keyword, "line 2 of has_keyword: `secret_key` is named like a secret"),
        (has_default, "line 1 of has_default: `token` is named like a secret"),
        (has_comment, "line 2 of has_comment contains what looks like a secret"),
        (uses_recursive, "`RECURSIVE[0]` contains itself"),
    ],
)
def test_secret_is_refused_and_not_shown(function: Any, expected: str, tmp_path: Path) -> None:
    message = get_error(function, tmp_path)
    assert expected in message
    assert not re.search("QWERTY|0123|hunter", message)


def test_local_path_is_noted_and_word_is_not_a_secret(tmp_path: Path) -> None:
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        if not (FOLDER and "C:\\Users\\alice\\x.csv" and "/"):
            raise ValueError(TOKENS)
        return (live_features["feature_0"] / 5).to_frame("prediction")

    result, _ = export_and_read(predict, tmp_path)
    tail = "which others can read in the bundle and the image does not have"
    assert sorted(str(result).split("\n")[1:]) == [
        f'note: `FOLDER` has the path "/home/alice/data", {tail}',
        f'note: line 2 of predict has the path "C:\\\\Users\\\\alice\\\\x.csv", {tail}',
    ]


def test_secret_in_a_module_is_refused(repository: Path, tmp_path: Path) -> None:
    (repository / "keeper_test.py").write_text('halved = None\nAPI_KEY = "0123456789"\n')
    importlib.invalidate_caches()
    message = get_error(combined, tmp_path, benchmark="bench", modules=["keeper_test"])
    assert "line 2 of keeper_test: `API_KEY` is named like a secret" in message


def test_framework_that_cannot_be_imported_is_an_export_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        __module__ = "broken.models"

    (tmp_path / "broken_exporter.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(frameworks, "MODULES", {"broken": "broken_exporter"})
    with pytest.raises(errors.ExportError, match=r"broken is installed, but .* \(ImportError: libgomp\.so\.1: .*\);"):
        frameworks.find_framework(Model())


def gaussianize(live_features: pd.DataFrame) -> pd.DataFrame:
    from scipy.stats import norm as normal

    quantiles = normal.ppf(live_features[["feature_0"]].rank(pct=True) * 0.9)
    return pd.DataFrame(scipy.stats.norm.cdf(quantiles), index=live_features.index, columns=["prediction"])


def test_object_of_a_library_is_imported(tmp_path: Path) -> None:
    _, bundle = export_and_read(gaussianize, tmp_path)
    assert 0 < bundle.golden.predictions.min() < bundle.golden.predictions.max() < 1


def test_name_with_two_values(tmp_path: Path) -> None:
    def helper_of(SCALE: float) -> Any:  # noqa: N803
        def helper(values: Any) -> Any:
            return values * SCALE

        return helper

    helper = helper_of(3.0)

    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        return squash(helper(live_features[["feature_0"]])).set_axis(["prediction"], axis=1)

    _, bundle = export_and_read(predict, tmp_path)
    pd.testing.assert_frame_equal(raw(bundle)(sample(9)), predict(sample(9)))


def test_function_without_source_is_refused(tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec("def predict(live_features):\n    return live_features", space)
    assert "the source of predict is not available; define it in a file" in get_error(space["predict"], tmp_path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kind": "mlp"}, "invalid value 'mlp' for kind; expected 'custom'"),
        ({"files": ["a.csv"]}, "files not found: a.csv; pass paths of existing files"),
        ({"files": [__file__]}, "files= requires a function load(bundle) that reads them"),
        ({"modules": "ownpkg"}, "invalid value 'ownpkg' for modules; expected a list"),
        ({"modules": ["no_such_module"]}, "modules: module 'no_such_module' not found"),
        ({"modules": ["_csv"]}, "modules: _csv is in Python's standard library, which the image has; remove it from"),
        ({"modules": ["os"]}, "modules: os is in Python's standard library"),
        ({"modules": [np]}, "modules: numpy is also the name of another module in the image; rename yours"),
        ({"modules": [3]}, "invalid value 3 for modules; expected a module, or its dotted name"),
        ({"files": [3]}, "invalid value 3 for files; expected a list of paths, or a mapping"),
        (
            {"module": []},
            "unknown option: module (did you mean modules?); this kind of model accepts kind, modules, files",
        ),
    ],
)
def test_invalid_option_is_named(options: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert expected in get_error(combined, tmp_path, benchmark="bench", **options)


# ---- data as text

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.sampled_from(["int8", "int64", "float32", "float64", "bool"]).map(lambda kind: np.ones(3, dtype=kind))
    | st.floats(width=32, allow_nan=False).map(np.float32)
    | st.just(np.array("2026-01-01", dtype="datetime64[D]"))
)
keys = st.text(max_size=5) | st.integers() | st.tuples(st.integers())
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=12,
) | st.frozensets(st.text(max_size=3))


def is_same(first: Any, second: Any) -> bool:
    if type(first) is not type(second):
        return False
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and first.shape == second.shape and bool((first == second).all())
    if isinstance(first, dict):
        return list(first) == list(second) and all(is_same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(is_same, first, second))
    return bool(first == second)


def evaluate(value: Any, folder: Path) -> Any:
    data = closure.ClosureData()
    text = data.to_expression(value, "value")
    (folder / "files").mkdir(exist_ok=True)
    for name, content in data.files.items():
        (folder / "files" / name).write_bytes(content)
    space = {name: importlib.import_module(name) for name in data.imports}
    bundle = inside_custom.CustomBundle({"features": [], "benchmarks": []}, data.arrays, folder)
    return eval(text, {**space, "bundle": bundle})


@hypothesis.settings(max_examples=150, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(value=values)
def test_data_round_trip(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert is_same(evaluate(value, tmp_path_factory.mktemp("data")), value)


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["n1", "n2"]),
        pd.DataFrame({"a": pd.Categorical(["x", "y"]), "b": np.array([1, 2], dtype="int8")}),
        pd.Series([0.5, 1.5], index=["x", "y"], name="w"),
        pd.Series([1, 2, 3]),
        pd.Index([f"feature_{index}" for index in range(900)], name="names"),
    ],
)
def test_frame_round_trip(value: Any, tmp_path: Path) -> None:
    check: Any = {
        pd.DataFrame: pd.testing.assert_frame_equal,
        pd.Series: pd.testing.assert_series_equal,
        pd.Index: pd.testing.assert_index_equal,
    }[type(value)]
    check(evaluate(value, tmp_path), value)


def test_infinity_round_trip(tmp_path: Path) -> None:
    assert evaluate([math.inf, -math.inf], tmp_path) == [math.inf, -math.inf]
    assert math.isnan(evaluate({"a": math.nan}, tmp_path)["a"])


def test_array_with_two_names_is_stored_once() -> None:
    data = closure.ClosureData()
    assert data.to_expression(WEIGHTS, "a") == data.to_expression(WEIGHTS, "b") == 'bundle.arrays["a"]'
    assert list(data.arrays) == ["a"]


def test_frame_that_parquet_changes_is_refused() -> None:
    with pytest.raises(errors.ExportError, match=r"the frame `table` changes when it is saved to a parquet file"):
        closure.ClosureData().to_expression(pd.DataFrame({"a": [[1], {"b": 2}]}), "table")


def test_extension_module_is_refused() -> None:
    name = "numpy._core._multiarray_umath"
    with pytest.raises(errors.ExportError, match=re.escape(f"modules: {name} is not written in Python")):
        included.read_modules([name])
