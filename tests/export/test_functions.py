"""Functions out of a notebook: what they close over goes into the bundle, and the rest is refused by name."""

from __future__ import annotations

import functools
import importlib
import io
import math
import re
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from builder import errors
from builder.bundle import post
from builder.bundle.storage import read
from builder.export import export, known
from builder.export.function import closure, source
from builder.inside import collect_results
from builder.inside import custom as inside_custom
from tests.support import pickles

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = [f"feature_{place}" for place in range(4)]
WEIGHTS = np.random.default_rng(2).normal(size=4)
SCALE = 2.0
PARAMETERS: Any = {"w": WEIGHTS.astype("float32"), "k": np.float32(0.25), "deep": [{"names": ("a", "b")}]}
TABLE = pd.DataFrame({"shift": [0.25, 0.5]}, index=pd.Index(["a", "b"], name="key"))
LOOKUP = {f"feature_{place}": place / 7 for place in range(300)}


def sample(rows: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(4)
    frame = pd.DataFrame(
        random.integers(0, 5, size=(rows, 4)), columns=FEATURES, index=[f"n{row}" for row in range(rows)]
    )
    return frame.assign(era="0001", bench=random.random(rows), target=0.5)


def squashed(values: Any, scale: float = SCALE, *, middle: float = math.pi) -> Any:
    """Return values within 0 and 1."""
    return scipy.special.expit((values - middle) * scale)


def whole(live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> pd.DataFrame:
    """Predict, with a bit of everything."""
    inputs = live_features[FEATURES].fillna(2).to_numpy(dtype=float)
    values = inputs @ WEIGHTS + inputs @ PARAMETERS["w"] * PARAMETERS["k"] + TABLE["shift"].sum()
    values = values + LOOKUP["feature_7"] + scipy.stats.zscore(np.arange(3)).sum()
    near = live_benchmark_models["bench"].reindex(live_features.index).fillna(0.5).to_numpy()

    def mixed(one: Any) -> Any:
        return squashed(one) * 0.5 + rankdata(near) / len(near) * 0.5

    return pd.DataFrame({"prediction": mixed(values)}, index=live_features.index)


def exported(function: Any, folder: Path, **options: Any) -> Any:
    options = {"sample": sample(), "features": FEATURES, **options}
    done = export(function, folder / "bundle", **options)
    return done, read.read(folder / "bundle")


def refusal(function: Any, folder: Path, **options: Any) -> str:
    with pytest.raises(errors.ExportError) as refused:
        exported(function, folder, **options)
    assert not (folder / "bundle").exists()
    return str(refused.value)


def raw(made: Any) -> Any:
    return pickles.load_predict(made)


# ---- what is taken in


@pytest.fixture(scope="module")
def whole_exported(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what exporting ``whole`` said, the bundle, and its code."""
    folder = tmp_path_factory.mktemp("whole")
    done, made = exported(whole, folder, kind="custom", benchmark="bench")
    text = (folder / "bundle" / "code" / "model.py").read_text()
    assert str(folder) not in text
    return done, made, text


def test_a_function_predicts_the_same_out_of_its_pickle(whole_exported: Any) -> None:
    done, made, _ = whole_exported
    assert (done.kind, done.features, done.compared.difference) == ("custom", 4, 0)
    assert made.post == (), "nothing is done to what a function returns unless it is asked for"
    random = np.random.default_rng(8)
    inputs = random.integers(0, 5, size=(50, 5)).astype(float)
    inputs[::7, 1] = np.nan
    frames = collect_results.to_frames(inputs, FEATURES, ["bench"])
    pd.testing.assert_frame_equal(raw(made)(*frames), whole(*frames))


def test_golden_rows_are_the_functions_own(whole_exported: Any) -> None:
    _, made, _ = whole_exported
    frames = collect_results.to_frames(made.golden.inputs, FEATURES, ["bench"])
    np.testing.assert_array_equal(whole(*frames)["prediction"], made.golden.predictions)
    assert np.isnan(made.golden.inputs).any(), "it fills what is missing, so some of it is missing"


def test_the_code_can_be_read(whole_exported: Any) -> None:
    _, _, text = whole_exported
    for part in (
        "import numpy as np\nimport pandas as pd\n",
        "from scipy.stats import rankdata\nimport scipy.stats\n",
        "SCALE = 2.0\n",
        "WEIGHTS = None  # put in place by load\n",
        "def squashed(values: Any, scale: float = SCALE, *, middle: float = math.pi) -> Any:\n",
        '    WEIGHTS = bundle.arrays["WEIGHTS"]\n',
        '    TABLE = pandas.read_parquet(bundle.path("TABLE.parquet"))\n',
        '    LOOKUP = json.loads(bundle.read("LOOKUP.json"))\n',
        "    return whole\n",
    ):
        assert part in text


def test_a_closure_is_taken_with_its_values(tmp_path: Path) -> None:
    def made_with(shift: float, weights: Any) -> Any:
        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            values = live_features[FEATURES].fillna(2).to_numpy(dtype=float) @ weights + shift
            return pd.DataFrame({"prediction": scipy.special.expit(values)}, index=live_features.index)

        return predict

    function = made_with(0.5, np.arange(4.0))
    _, made = exported(function, tmp_path)
    frame = sample(30)
    pd.testing.assert_frame_equal(raw(made)(frame), function(frame))


def test_steps_come_on_top_when_they_are_asked_for(tmp_path: Path) -> None:
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        return live_features[["feature_0"]] * 10.0

    said = refusal(predict, tmp_path)
    assert "it predicts 0 to 40 on the sample, and the tournament takes [0, 1]: pass rank=" in said
    _, made = exported(predict, tmp_path, rank="era")
    assert made.post == (post.make_step("rank"),)
    frame = sample(30)
    expected = frame["feature_0"].rank(pct=True)
    np.testing.assert_allclose(raw(made)(frame, None)["prediction"], expected)
    assert exported(predict, tmp_path, rank=None)[1].post == ()


def test_a_function_that_takes_no_missing_values_has_none_in_its_golden_rows(tmp_path: Path) -> None:
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"prediction": live_features[FEATURES].mean(axis=1, skipna=False) / 5})

    assert not np.isnan(exported(predict, tmp_path)[1].golden.inputs).any()


def test_a_load_of_ones_own_reads_its_files(tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text("0.1,0.0,0.05,0.02")

    def load(bundle: Any) -> Any:
        weights = np.array(bundle.read("weights.csv").decode().split(","), dtype=float)
        names = list(bundle.features)

        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            values = live_features[names].fillna(2).to_numpy(dtype=float) @ weights
            return pd.DataFrame({"prediction": values}, index=live_features.index)

        return predict

    done, made = exported(load, tmp_path, files=[tmp_path / "weights.csv"])
    assert done.compared.difference == 0
    expected = sample(9)[FEATURES].to_numpy() @ [0.1, 0, 0.05, 0.02]
    np.testing.assert_allclose(raw(made)(sample(9))["prediction"], expected)
    assert set(made.model.files) == {"code/model.py", "files/weights.csv"}


@pytest.mark.parametrize("name", ["../../../victim.json", "/victim.json", "weights v2 (final).json", ""])
def test_a_file_that_would_lie_elsewhere_or_not_be_read_again_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "weights (final).csv").write_text("0.1")

    def load(bundle: Any) -> Any:
        return bundle

    said = refusal(load, tmp_path / "below", files={name: tmp_path / "weights (final).csv"})
    assert "cannot be named so in a bundle (a path in code/ or files/ of up to 8 parts, each of ASCII letters" in said
    assert [path.name for path in tmp_path.iterdir()] == ["weights (final).csv"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with modules of the user's own, which can be imported."""
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
            return Halver()(maths.halved(live_features[["feature_0"]].fillna(2)))

        def only_module(live_features):
            return maths.halved(live_features)
        """)
    )
    monkeypatch.syspath_prepend(folder)
    return folder


def test_a_module_of_ones_own_is_taken_in_when_it_is_listed(repository: Path, tmp_path: Path) -> None:
    function = importlib.import_module("notebook_test").predict
    said = refusal(function, tmp_path)
    assert '`Halver` is the class Halver, which is no data; have it in a module of yours and pass modules=["own' in said
    said = refusal(importlib.import_module("notebook_test").only_module, tmp_path)
    assert "is your own module ownpkg_test.maths, which the image does not have; take it in by modules=" in said
    _, made = exported(function, tmp_path, modules=["ownpkg_test.maths"])
    assert made.model.modules == ("ownpkg_test.maths",)
    np.testing.assert_array_equal(raw(made)(sample(9)).to_numpy(), sample(9)[["feature_0"]].to_numpy() / 4)


# ---- what is refused


class Squasher:
    def __call__(self, values: Any) -> Any:
        return values


SQUASHER = Squasher()
LOCK = threading.Lock()
FUNCTIONS = [len]
STATE = {"calls": 0}
OPEN = io.StringIO("text")
RANDOM = np.random.default_rng()
WIDE: Any = np.longdouble("0.5")


def uses_class(live: Any) -> Any:
    return Squasher()(live)


def uses_instance(live: Any) -> Any:
    return SQUASHER(live)


def uses_lock(live: Any) -> Any:
    return LOCK


def uses_functions(live: Any) -> Any:
    return FUNCTIONS[0](live)


def uses_file(live: Any) -> Any:
    return OPEN.read()


def uses_object_of_library(live: Any) -> Any:
    return norm.ppf(live)


def uses_nothing_known(live: Any) -> Any:
    return never_defined  # type: ignore[name-defined] # noqa: F821


def uses_its_place(live: Any) -> Any:
    return __file__


def takes_three(a: Any, b: Any, c: Any) -> Any:
    return a


@functools.cache
def _cached(value: Any) -> Any:
    return value


def uses_decorated(live: Any) -> Any:
    return _cached(live)


def counts(live_features: pd.DataFrame) -> pd.DataFrame:
    STATE["calls"] += 1
    return live_features[["feature_0"]] / 5 + STATE["calls"] / 1000


def draws(live_features: pd.DataFrame) -> pd.DataFrame:
    return live_features[["feature_0"]] / 8 + np.random.default_rng().random() / 10


def fails(live_features: pd.DataFrame) -> pd.DataFrame:
    return live_features[["feature_99"]]


def overflows(live_features: pd.DataFrame) -> pd.DataFrame:
    values = (40 * live_features[FEATURES].to_numpy()).mean(axis=1) / 160
    return pd.DataFrame({"prediction": values}, index=live_features.index)


@functools.wraps(fails)
def around(live_features: pd.DataFrame) -> pd.DataFrame:
    return live_features[["feature_0"]].clip(0, 1)


def uses_wide(live: Any) -> Any:
    return live * float(WIDE)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (
            uses_class,
            "`Squasher` is the class Squasher, which is no data; have it in a module of yours and pass modules",
        ),
        (uses_instance, "`SQUASHER` is of the type"),
        (uses_lock, "`LOCK` is of the type _thread.lock, which cannot be taken in; numbers, strings, lists"),
        (uses_functions, "`FUNCTIONS[0]` is of the type builtin_function_or_method"),
        (uses_file, "`OPEN` is of the type _io.StringIO, which cannot be taken in; read it where you train"),
        (
            uses_object_of_library,
            "`norm` is scipy.stats.norm, which is no data; import it in the function (from scipy.stats import norm)",
        ),
        (uses_nothing_known, "uses_nothing_known uses `never_defined`, which is not defined"),
        (uses_its_place, "uses_its_place uses __file__, which only this machine has"),
        (uses_decorated, "`_cached` is of the type functools._lru_cache_wrapper"),
        (takes_three, "takes_three takes (a: 'Any', b: 'Any', c: 'Any'); the tournament calls it with (live_features)"),
        (lambda live: live, "a lambda has no name to be saved under; write it as a function with def"),
        (fails, "fails fails on rows of the sample: KeyError:"),
        (draws, "saved, or run again, the function predicts up to"),
        (counts, "does it draw random numbers, keep a state, or was it edited after it ran?"),
        (around, "fails has another function around it, which is not taken in; do what that does in fails itself"),
        (uses_wide, "`WIDE` is of the type numpy.longdouble, which cannot be taken in"),
    ],
)
def test_what_cannot_be_taken_in_is_named(function: Any, says: str, tmp_path: Path) -> None:
    assert says in refusal(function, tmp_path)


@pytest.mark.parametrize("kind", ["int8", "float32"])
def test_whole_features_are_tried_in_the_type_that_live_data_has(kind: str, tmp_path: Path) -> None:
    rows = sample().assign(**sample()[FEATURES].astype(kind))
    said = refusal(overflows, tmp_path, sample=rows)
    assert "overflows predicts up to" in said
    assert 'begin with live_features[features].astype("float32")' in said
    rows[FEATURES] = rows[FEATURES].astype("float32") / 8  # no whole numbers: such data is never int8
    assert exported(overflows, tmp_path, sample=rows)[0].compared.difference == 0


def test_a_load_is_tried_like_any_function(tmp_path: Path) -> None:
    def load(bundle: Any) -> Any:
        names = list(bundle.features)

        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            values = (40 * live_features[names].to_numpy()).mean(axis=1) / 160
            return pd.DataFrame({"prediction": values}, index=live_features.index)

        return predict

    assert "load predicts up to" in refusal(load, tmp_path)


def test_a_load_that_draws_random_numbers_is_found(tmp_path: Path) -> None:
    def load(bundle: Any) -> Any:
        drawn = np.random.default_rng().random()
        return lambda live_features: live_features[[bundle.features[0]]] / 8 + drawn / 10

    assert "does it draw random numbers" in refusal(load, tmp_path)


def test_a_file_that_predict_reads_is_gone_by_then(tmp_path: Path) -> None:
    (tmp_path / "weights.csv").write_text("0.1,0.0,0.05,0.02")

    def load(bundle: Any) -> Any:
        path, names = bundle.path("weights.csv"), list(bundle.features)

        def predict(live_features: pd.DataFrame) -> pd.DataFrame:
            return live_features[names].astype(float) @ np.loadtxt(path, delimiter=",")[:, None]

        return predict

    said = refusal(load, tmp_path, files=[tmp_path / "weights.csv"])
    assert "in predict: FileNotFoundError" in said
    assert said.endswith("; the bundle's files are gone by then: read them in load")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.json", '{"weights": [1, 2], "account": {"api_key": "0123456789"}}'),
        ("settings.env", "# mine\nexport NUMERAI_SECRET_KEY='0123456789'\n"),
        ("notes.txt", f"made with {'QWERTYUIOPASDFGHJKLZXCVBNM234567' * 2}\n"),
    ],
)
def test_a_secret_in_a_file_is_not_put_in_a_bundle(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    def load(bundle: Any) -> Any:
        return lambda live_features: live_features[[bundle.features[0]]] / 8

    said = refusal(load, tmp_path, files=[tmp_path / name])
    assert "it is not put in a bundle" in said
    assert "0123456789" not in said
    assert "QWERTY" not in said


def test_files_that_only_sound_like_secrets_are_taken(tmp_path: Path) -> None:
    texts = {
        "model.yaml": "max_tokens: 4096000000\nn_tokens=1024\ntokenizer: models/bert-base\n",
        "layer.txt": ("self.token_embedding = nn.Embedding(n)\nfeature_secretive_x: 0.123456789\ntoken: 0.123456789"),
        "special.json": '{"bos_token": "<bos>", "eos_token": "endoftext", "tokenizer_class": "BertTokenizer"}',
        "deep.json": "[" * 300 + "]" * 300,
        # Such as a model's bytes: to look for a secret from each of its places would take hours.
        "model.hex": "a1" * 1_000_000,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)

    def load(bundle: Any) -> Any:
        return lambda live_features: live_features[[bundle.features[0]]] / 8

    done, made = exported(load, tmp_path, files=[tmp_path / name for name in texts])
    assert done.notes == ()
    assert set(made.model.files) == {"code/model.py", *(f"files/{name}" for name in texts)}


def test_ties_that_float32_breaks_in_another_way_are_no_overflow(tmp_path: Path) -> None:
    weights = np.full(4, 0.1, dtype=np.float32)

    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        product = pd.Series(live_features[FEATURES].to_numpy() @ weights, index=live_features.index)
        return product.rank(pct=True).to_frame("prediction")

    assert exported(predict, tmp_path)[0].kind == "custom"


NUMERAI_SECRET_KEY = "QWERTYUIOPASDFGHJKLZXCVBNM234567" * 2
TOKEN = "sk-0123456789abcdef"
ACCOUNT = {"name": "mine", "keys": [1, {"api_key": b"0123456789"}]}
NAMES = pd.DataFrame({"password": ["hunter22"]})
PLAIN = ["a", NUMERAI_SECRET_KEY]
NOTED = pd.DataFrame({"a": [1]})
NOTED.attrs["account"] = {"api_key": "0123456789"}
BY_KEY = pd.Series([1.0], index=[NUMERAI_SECRET_KEY])
TITLED = pd.Series([1.0], index=pd.Index([1], name=NUMERAI_SECRET_KEY))
NOWHERE = pd.Series(["a"], dtype=pd.CategoricalDtype(["a", NUMERAI_SECRET_KEY]))
ITSELF: list[Any] = []
ITSELF.append(ITSELF)
FOLDER = "/home/alice/data"
TOKENS = {"least": 3, "kinds": np.arange(3)}


def uses_token(live: Any) -> Any:
    return live[TOKEN]


def uses_account(live: Any) -> Any:
    return live[ACCOUNT]


def uses_names(live: Any) -> Any:
    return live[NAMES]


def uses_plain(live: Any) -> Any:
    return live[PLAIN]


def uses_noted(live: Any) -> Any:
    return live[NOTED]


def uses_by_key(live: Any) -> Any:
    return live[BY_KEY]


def uses_titled(live: Any) -> Any:
    return live[TITLED]


def uses_nowhere(live: Any) -> Any:
    return live[NOWHERE]


def uses_itself(live: Any) -> Any:
    return live[ITSELF]


def says_it(live: Any) -> Any:
    return live.get(secret_key="0123456789")


def takes_it(live: Any, token: str = "0123456789") -> Any:
    return live


def has_it_in_a_comment(live: Any) -> Any:
    return live  # QWERTYUIOPASDFGHJKLZXCVBNM234567QWERTYUIOPASDFGHJKLZXCVBNM234567


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (uses_token, "`TOKEN` is called like a secret and is text: it is not put in a bundle, which others see; do"),
        (uses_account, "`ACCOUNT['keys'][1]['api_key']` is called like a secret"),
        (uses_names, "`NAMES` is called like a secret"),
        (uses_plain, "`PLAIN[1]` has what looks like a secret"),
        (uses_noted, "`NOTED['account']['api_key']` is called like a secret"),
        (uses_by_key, "`BY_KEY` has what looks like a secret"),
        (uses_titled, "`TITLED` has what looks like a secret"),
        (uses_nowhere, "`NOWHERE` has what looks like a secret"),
        (says_it, "line 2 of says_it: `secret_key` is called like a secret"),
        (takes_it, "line 1 of takes_it: `token` is called like a secret"),
        (has_it_in_a_comment, "line 2 of has_it_in_a_comment has what looks like a secret"),
        (uses_itself, "`ITSELF[0]` contains itself"),
    ],
)
def test_a_secret_goes_into_no_bundle_and_no_message(function: Any, says: str, tmp_path: Path) -> None:
    said = refusal(function, tmp_path)
    assert says in said
    assert not re.search("QWERTY|0123|hunter", said)


def test_a_path_of_this_machine_is_noted_and_a_word_is_no_secret(tmp_path: Path) -> None:
    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        if not (FOLDER and "C:\\Users\\alice\\x.csv" and "/"):
            raise ValueError(TOKENS)
        return live_features[["feature_0"]] / 5

    done, _ = exported(predict, tmp_path)
    tail = "it is in the bundle for others to see, and leads nowhere in the image"
    assert sorted(str(done).split("\n")[1:]) == [
        f'note: `FOLDER` has a path, "/home/alice/data": {tail}',
        f'note: line 2 of predict has a path, "C:\\\\Users\\\\alice\\\\x.csv": {tail}',
    ]


def test_a_secret_in_a_module_is_found(repository: Path, tmp_path: Path) -> None:
    (repository / "keeper_test.py").write_text('halved = None\nAPI_KEY = "0123456789"\n')
    importlib.invalidate_caches()
    said = refusal(whole, tmp_path, benchmark="bench", modules=["keeper_test"])
    assert "line 2 of keeper_test: `API_KEY` is called like a secret" in said


def test_a_framework_that_cannot_be_imported_is_an_export_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Model:
        __module__ = "broken.models"

    (tmp_path / "broken_exporter.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(known, "MODULES", {"broken": "broken_exporter"})
    with pytest.raises(
        errors.ExportError, match=r"broken is installed here, but .* \(ImportError: libgomp\.so\.1: .*\);"
    ):
        known.find(Model())


def test_a_frameworks_object_is_sent_to_its_own_exporter(tmp_path: Path) -> None:
    from sklearn import linear_model

    fitted = linear_model.LinearRegression()

    def predict(live_features: pd.DataFrame) -> Any:
        return fitted.predict(live_features)

    said = refusal(predict, tmp_path)
    assert "`fitted` is of the type sklearn.linear_model._base.LinearRegression, which cannot be taken in" in said
    # Its own exporter may have sent it here.
    assert "where that is refused, save it to a file and read that in load(bundle), with files=" in said
    assert "export the model itself, export(model, ...)" in said


def gaussianized(live_features: pd.DataFrame) -> pd.DataFrame:
    from scipy.stats import norm as normal

    quantiles = normal.ppf(live_features[["feature_0"]].rank(pct=True) * 0.9)
    return pd.DataFrame(scipy.stats.norm.cdf(quantiles), index=live_features.index, columns=["prediction"])


def test_an_object_of_a_library_is_taken_from_it(tmp_path: Path) -> None:
    _, bundle = exported(gaussianized, tmp_path)
    assert 0 < bundle.golden.predictions.min() < bundle.golden.predictions.max() < 1


def test_one_name_for_two_things_is_refused(tmp_path: Path) -> None:
    def helper_of(SCALE: float) -> Any:  # noqa: N803
        def helper(values: Any) -> Any:
            return values * SCALE

        return helper

    helper = helper_of(3.0)

    def predict(live_features: pd.DataFrame) -> pd.DataFrame:
        return squashed(helper(live_features[["feature_0"]]))

    assert "`SCALE` is one thing in helper and another in squashed" in refusal(predict, tmp_path)


def test_without_source_there_is_nothing_to_save(tmp_path: Path) -> None:
    space: dict[str, Any] = {}
    exec("def predict(live_features):\n    return live_features", space)
    assert "the source of predict cannot be found; define it in a file" in refusal(space["predict"], tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "mlp"}, "kind='mlp': a function is of kind \"custom\""),
        ({"files": ["a.csv"]}, "files: a.csv: no such file"),
        ({"files": [__file__]}, "files= are read by a function load(bundle) that returns predict"),
        ({"modules": "ownpkg"}, "modules='ownpkg'; expected a list"),
        ({"modules": ["no_such_module"]}, "modules: there is no module 'no_such_module' here"),
        ({"modules": ["_csv"]}, "modules: _csv is in Python's standard library, which the image has; remove it from"),
        ({"modules": ["os"]}, "modules: os is in Python's standard library"),
        ({"modules": [np]}, "modules: numpy is also the name of another module in the image; rename yours"),
        ({"modules": [3]}, "modules: 3; expected a module, or its dotted name"),
        ({"files": [3]}, "files: 3; expected a list of paths, or a mapping"),
        (
            {"module": []},
            "no such option: module (did you mean modules?); this kind of model takes kind, modules, files",
        ),
    ],
)
def test_options_are_checked(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    assert says in refusal(whole, tmp_path, benchmark="bench", **options)


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


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def evaluated(value: Any, folder: Path) -> Any:
    data = closure.Data()
    text = data.expression(value, "value")
    (folder / "files").mkdir(exist_ok=True)
    for name, content in data.files.items():
        (folder / "files" / name).write_bytes(content)
    space = {name: importlib.import_module(name) for name in data.imports}
    given = inside_custom.CustomBundle({"features": [], "benchmarks": []}, data.arrays, folder)
    return eval(text, {**space, "bundle": given})


@hypothesis.settings(max_examples=150, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(value=values)
def test_data_comes_back_as_it_was(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert same(evaluated(value, tmp_path_factory.mktemp("data")), value)


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["n1", "n2"]),
        pd.DataFrame({"a": pd.Categorical(["x", "y"]), "b": np.array([1, 2], dtype="int8")}),
        pd.Series([0.5, 1.5], index=["x", "y"], name="w"),
        pd.Series([1, 2, 3]),
        pd.Index([f"feature_{place}" for place in range(900)], name="names"),
    ],
)
def test_frames_come_back_as_they_were(value: Any, tmp_path: Path) -> None:
    check: Any = {
        pd.DataFrame: pd.testing.assert_frame_equal,
        pd.Series: pd.testing.assert_series_equal,
        pd.Index: pd.testing.assert_index_equal,
    }[type(value)]
    check(evaluated(value, tmp_path), value)


def test_an_infinite_number_comes_back(tmp_path: Path) -> None:
    assert evaluated([math.inf, -math.inf], tmp_path) == [math.inf, -math.inf]
    assert math.isnan(evaluated({"a": math.nan}, tmp_path)["a"])


def test_one_array_under_two_names_is_kept_once() -> None:
    data = closure.Data()
    assert data.expression(WEIGHTS, "a") == data.expression(WEIGHTS, "b") == 'bundle.arrays["a"]'
    assert list(data.arrays) == ["a"]


def test_a_frame_that_parquet_does_not_keep_is_refused() -> None:
    with pytest.raises(errors.ExportError, match=r"the frame `table` does not come back from a parquet file as it was"):
        closure.Data().expression(pd.DataFrame({"a": [[1], {"b": 2}]}), "table")


def test_a_module_that_is_no_python_is_refused() -> None:
    name = "numpy._core._multiarray_umath"
    with pytest.raises(errors.ExportError, match=re.escape(f"modules: {name} is not written in Python")):
        source.module_sources([name])
