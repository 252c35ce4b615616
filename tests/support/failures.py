"""Pickles that fail at the tournament, and beside each a twin that does nearly the same and is correct."""

from __future__ import annotations

import functools
import gzip
import marshal
import pickle
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support import pickles

LIVE, NO_ERA = "live.parquet", "no_era.parquet"
BENCHMARK = "v53_lgbm_ender20"
GOOD_BODY = "return (f['feature_a'] / 4).to_frame('prediction')"
_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12345\n"


class _Callable:
    """A pickle that evaluates a text when it is loaded; ``functools.partial`` takes only what is callable."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __reduce__(self) -> Any:
        return eval, (self._text,)

    def __call__(self, *arguments: Any) -> None:
        """Do nothing: only what it is loaded as is called."""


def make_function(body: str, parameters: str = "f, b", *, protocol: int = 4) -> bytes:
    """Pickle a function as its source, which every Python compiles for itself when it loads the pickle."""
    source = f"def predict({parameters}):\n    {body}\n"
    call = pickles.Calls(eval, f"(lambda space: exec({source!r}, space) or space['predict'])({{}})")
    return pickle.dumps(call, protocol=protocol)


GOOD = make_function(GOOD_BODY)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A pickle that fails.

    Attributes:
        bad: The pickle.
        twin: The correct twin.
        cause: A part of the cause that is reported.
        fix: A part of the fix.
        remote: A part of the cause if only the log and the exit code of a run there are known; empty for the same.
        live: The rows on which the bad one fails; the twin always gets ``LIVE``.
    """

    bad: bytes
    twin: bytes
    cause: str
    fix: str
    remote: str = ""
    live: str = LIVE


def _make_failure(
    bad: bytes | str, twin: bytes | str, cause: str, fix: str, remote: str = "", *, live: str = LIVE
) -> Failure:
    """Return a failure; a text is the body of ``predict(f, b)``."""
    contents = [make_function(item) if isinstance(item, str) else item for item in (bad, twin)]
    return Failure(bad=contents[0], twin=contents[1], cause=cause, fix=fix, remote=remote, live=live)


_FRAME = "return a DataFrame"
_REJECTED = "its predictions were rejected"
_INDEX = "return one row for each row of live_features"
_IMAGE = "build it in the image"
_PLUS = "import pandas as pd; p = (f['feature_a'] / 4).to_frame('prediction'); "

# What the function returns.
RETURNED = {
    "None": _make_failure("return None", GOOD, "the function returned None", _FRAME),
    "a Series": _make_failure(
        "return f['feature_a'] / 4",
        "return (f['feature_a'] / 4).to_frame().set_axis(['prediction'], axis=1)",
        "the function returned pandas.core.series.Series, not exactly",
        _FRAME,
    ),
    "no rows": _make_failure(
        f"{_PLUS}return p.iloc[:0]",
        f"{_PLUS}return pd.concat([p.iloc[:0], p])",
        "the function returned no rows",
        _FRAME,
    ),
    "no columns": _make_failure(
        "return f[[]]",
        "return f[[]].assign(prediction=f['feature_a'] / 4)",
        "the function returned a DataFrame without columns",
        _FRAME,
    ),
    "NaN": _make_failure(
        "return (f['feature_a'].where(f['feature_a'] > 0) / 4).to_frame('prediction')",
        "return (f['feature_a'].where(f['feature_a'] > 0) / 4).fillna(0.5).to_frame('prediction')",
        "the function returned NaN",
        "fill missing values",
    ),
    "outside 0 to 1": _make_failure(
        "return f['feature_a'].rank().to_frame('prediction')",
        "return f['feature_a'].rank(pct=True).to_frame('prediction')",
        "the function returned predictions outside 0 to 1",
        "rank",
    ),
    "constant": _make_failure(
        "return (f['feature_a'] * 0 + 0.5).to_frame('prediction')",
        "return ((f['feature_a'] > 3) * 0.5 + 0.25).to_frame('prediction')",  # two values
        "not constant: 1 value in all rows",
        "depend on the features",
        _REJECTED,
    ),
    "index: numbers": _make_failure(
        f"{_PLUS}return p.reset_index(drop=True)",
        f"{_PLUS}return p.reset_index(drop=True).set_axis(f.index)",
        "index: 40 rows for 40 ids; missing: n000000000000000,",
        _INDEX,
        _REJECTED,
    ),
    "index: order": _make_failure(
        f"{_PLUS}return p.sort_values('prediction')",
        f"{_PLUS}return p.sort_values('prediction').reindex(f.index)",
        "index: 40 of 40 ids, in another order than in live_features",
        _INDEX,
        _REJECTED,
    ),
    "index: fewer rows": _make_failure(
        f"{_PLUS}return p[p['prediction'] > 0]",
        f"{_PLUS}return p[p['prediction'] > 0].reindex(f.index).fillna(0)",
        "index: 32 rows for 40 ids; missing: n000000000000000,",
        _INDEX,
        _REJECTED,
    ),
    "index: a row twice": _make_failure(
        f"{_PLUS}return pd.concat([p, p.iloc[:1]])",
        f"{_PLUS}p = pd.concat([p, p.iloc[:1]]); return p[~p.index.duplicated()]",
        "index: 41 rows for 40 ids; missing: none",
        _INDEX,
        _REJECTED,
    ),
    "column: name": _make_failure(
        f"{_PLUS}return p.rename(columns=str.title)",
        f"{_PLUS}return p.rename(columns=str.title).rename(columns=str.lower)",
        "column: Prediction; expected one column, prediction",
        "one column, named `prediction`",
        _REJECTED,
    ),
    "column: two": _make_failure(
        f"{_PLUS}return p.assign(era='X')",
        f"{_PLUS}return p.assign(era='X')[['prediction']]",
        "column: prediction, era; expected one column, prediction",
        "one column, named `prediction`",
        _REJECTED,
    ),
}
# What the function reads and does.
CALLED = {
    "parameters": Failure(
        bad=make_function(GOOD_BODY, "f, b, c"),
        twin=make_function(GOOD_BODY, "f, b=None"),
        cause="neither 1 nor 2 parameters",
        fix="give it one",
    ),
    "feature drift": _make_failure(
        "return f['feature_z'].to_frame('prediction')",
        "return (f.get('feature_z', f['feature_a']) / 4).to_frame('prediction')",
        "it reads the feature feature_z, which the live data",
        "data_version",
    ),
    "feature drift: some of a list": _make_failure(
        "return f[['feature_a', 'feature_z']]",
        "return (f.reindex(columns=['feature_a', 'feature_z']).mean(axis=1) / 4).to_frame('prediction')",
        "it reads the feature feature_z, which the live data",
        "data_version",
    ),
    "a key that is not missing in the data": _make_failure(
        "{'feature_b': 1}['feature_a']; " + GOOD_BODY,
        "{'feature_b': 1}.get('feature_a'); " + GOOD_BODY,
        "exit 1: KeyError: 'feature_a': the data have this column",
        "fix the model or function",
        "it reads the feature feature_a",
    ),
    "NaN: no benchmark row": _make_failure(
        f"return b['{BENCHMARK}'].reindex(f.index).to_frame('prediction')",
        f"return b['{BENCHMARK}'].reindex(f.index).fillna(0.5).to_frame('prediction')",
        "the function returned NaN",
        "also in rows without a benchmark model",
    ),
    "missing benchmark": _make_failure(
        "return b['v53_lgbm_x'].reindex(f.index).to_frame('prediction')",
        f"return b['{BENCHMARK}'].reindex(f.index).fillna(0.5).to_frame('prediction')",
        "it reads the benchmark model v53_lgbm_x, which",
        "by its name",
    ),
    "missing column": _make_failure(
        "return (f['feature_a'] / f['data_type'].map(len)).to_frame('prediction')",
        "return (f['feature_a'] / 4 / f['era'].map(len)).to_frame('prediction')",
        "it reads the column data_type",
        "columns of live",
    ),
    "missing era": _make_failure(
        "return f.groupby('era')['feature_a'].rank(pct=True).to_frame('prediction')",
        "return f.groupby('era')['feature_a'].rank(pct=True).to_frame('prediction')",
        "it reads the column era, which is not among",
        "columns of live",
        live=NO_ERA,
    ),
    "an error": _make_failure(
        f"len(f) + 'a'; {GOOD_BODY}",
        f"str(len(f)) + 'a'; {GOOD_BODY}",
        "exit 1: TypeError: unsupported operand",
        "fix the model or function",
    ),
    "exit 2": _make_failure(
        "import sys; sys.exit(2)",
        "import contextlib, sys\n    with contextlib.suppress(SystemExit): sys.exit(2)\n    " + GOOD_BODY,
        "exit 2 without an error in the log: the function ended the process",
        "return the predictions",
        "the tournament reports: exit code 2",
    ),
    "exit 0": _make_failure(
        "import sys; sys.exit(0)",
        "import atexit; atexit.register(len, ''); " + GOOD_BODY,
        "wrote no CSV: the function ended the process",
        "return the predictions",
        _REJECTED,
    ),
    "abort": _make_failure(
        "import os; os.abort()",
        "import os, signal; os.kill(os.getpid(), 0); " + GOOD_BODY,
        "aborted (exit 134) before its CSV was complete",
        "leaves threads running",
        "the interpreter aborted (exit 134)",
    ),
    "segmentation fault": _make_failure(
        "import ctypes; ctypes.string_at(0)",
        "import ctypes; ctypes.string_at(b'abc'); " + GOOD_BODY,
        "segmentation fault, exit 139",
        "make pickle",
        "the interpreter crashed",
    ),
    "an array that is too large": _make_failure(
        "import numpy; numpy.ones(1 << 36)",
        "import numpy; numpy.empty(1 << 28); " + GOOD_BODY,  # 2 GiB that are never touched
        "ran out of memory at 1 GiB",
        "make the model smaller",
        "ran out of memory",
    ),
    "killed for its memory": _make_failure(
        "x = [bytearray(b'1') * (1 << 28) for _ in range(5)]; " + GOOD_BODY,
        "x = [len(bytearray(b'1') * (1 << 28)) for _ in range(5)]; " + GOOD_BODY,  # one after the other
        "ran out of memory at 1 GiB (exit 137)",
        "make the model smaller",
        "ran out of memory",
    ),
    "network": _make_failure(
        "import urllib.request as r; r.urlopen('http://example.invalid', timeout=5)",
        "import urllib.request as r; r.Request('http://example.invalid').full_url; " + GOOD_BODY,
        "uses the network",
        "into the pickle",
    ),
    "module only in the image": _make_failure(
        "import statsmodels; " + GOOD_BODY,
        "import sklearn; " + GOOD_BODY,
        "this stand-in does not have; the tournament's image has statsmodels 0",
        "ref",
        "the module 'statsmodels'",
    ),
    "module missing at call": _make_failure(
        "import no_such_module; " + GOOD_BODY,
        "try: import no_such_module\n    except ImportError: pass\n    " + GOOD_BODY,
        "the module 'no_such_module', which is not in the image",
        "from a bundle",
    ),
}
# What the runner loads.
_OTHER = "another Python or numpy"
_OWN_MODULE = (
    '(lambda s: exec(\'import sys, types\\nsys.modules["agents"] = types.ModuleType("agents")\\nimport agents\\n'
    'def predict(f): return (f["feature_a"] / 4).to_frame("prediction")\\nagents.predict = predict\', s) '
    "or s['predict'])({})"
)
_OWN_CODE = (
    '(lambda t, s: t.FunctionType(t.CodeType.replace(compile(\'def predict(f): return (f["feature_a"] / 4)'
    ".to_frame(\"prediction\")', 'x', 'exec').co_consts[0], co_name='p'), s))(__import__('types'), {})"
)
_SOURCE = f"def predict(f):\n    {GOOD_BODY}\n".encode()


def _make_inflated(module: str, content: bytes) -> bytes:
    """Pickle a function that the pickle contains compressed."""
    text = f"(lambda s: exec(__import__({module!r}).decompress({content!r}), s) or s['predict'])({{}})"
    return pickle.dumps(pickles.Calls(eval, text))


LOADED = {
    "module missing": _make_failure(
        b"cno_such_module\nthing\n.",
        pickle.dumps(functools.partial(_Callable("lambda n, f: (f['feature_a'] / n).to_frame('prediction')"), 4)),
        "the module 'no_such_module'",
        "from a bundle",
    ),
    "repository": _make_failure(
        b"cagents.model\npredict\n.",
        pickle.dumps(pickles.Calls(eval, _OWN_MODULE)),
        "the module 'agents'",
        "from a bundle",
    ),
    "function of the program": _make_failure(
        b"c__main__\npredict\n.",
        GOOD,
        "needs 'predict' of the module '__main__'",
        "from a bundle",
    ),
    "code of another Python": _make_failure(
        b"ctypes\nCodeType\n(I1\nI1\ntR.", pickle.dumps(pickles.Calls(eval, _OWN_CODE)), _OTHER, _IMAGE
    ),
    "marshal of another Python": _make_failure(
        pickle.dumps(marshal.loads)[:-1] + b"(C\x02\xff\xfftR.",
        make_function("import marshal; marshal.loads(marshal.dumps(predict.__code__)); " + GOOD_BODY),
        _OTHER,
        _IMAGE,
    ),
    "protocol of another Python": _make_failure(b"\x80\xff.", make_function(GOOD_BODY, protocol=2), _OTHER, _IMAGE),
    "another numpy": _make_failure(
        b"cnumpy._core.no_such_module\nthing\n.",
        pickle.dumps(
            functools.partial(
                _Callable("lambda n, f: (f[['feature_a']] @ n / 4).set_axis(['prediction'], axis=1)"), np.ones((1, 1))
            ),
        ),
        _OTHER,
        _IMAGE,
    ),
    "no pickle": _make_failure(
        b"no pickle at all",
        make_function(GOOD_BODY, protocol=0),
        "not a valid pickle: invalid load key, 'n'.",
        "build it",
    ),
    "truncated": _make_failure(GOOD[:-20], GOOD + b"trailing bytes", "empty or truncated", "build it again"),
    "empty": _make_failure(b"", GOOD, "empty or truncated", "build it again"),
    "no function": _make_failure(
        pickle.dumps({"weights": [1.0]}),
        pickle.dumps(
            pickles.Calls(
                eval,
                "type('M', (), {'__call__': lambda self, f: (f['feature_a'] / 4).to_frame('prediction')})()",
            )
        ),
        "the pickle contains {'weights': [1.0]}, which is not a function",
        "dump a function",
    ),
    "gzip": _make_failure(
        gzip.compress(GOOD, mtime=0),
        _make_inflated("gzip", gzip.compress(_SOURCE, mtime=0)),
        "compressed with gzip",
        "decompress it",
    ),
    "zlib": _make_failure(
        zlib.compress(GOOD), _make_inflated("zlib", zlib.compress(_SOURCE)), "compressed with zlib", "joblib.load"
    ),
    "Git LFS pointer": _make_failure(
        _POINTER.encode(),
        make_function(f"{_POINTER!r}; {GOOD_BODY}"),
        "a Git LFS pointer",
        "git lfs pull",
    ),
}
FAILURES = {**RETURNED, **CALLED, **LOADED}
