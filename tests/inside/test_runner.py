"""The look-alike's runner keeps the published contract: run as the program it is, on this machine's own pandas."""

from __future__ import annotations

import contextlib
import marshal
import pickle
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from builder import paths
from builder.validate import diagnose
from tests.support import fork_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNNER = paths.docker_folder() / "stand_in" / "runner.py"
GOOD = "def predict(features, benchmarks):\n    return features[['feature_a']].rank(pct=True)\n"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
FIRST = f"INFO:root:Running numerai-predict: - Python {PYTHON}"
RULE = "-" * 80

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with live data and an empty folder for the CSV."""
    ids = pd.Index([f"n{number:015x}" for number in range(6)], name="id")
    features = pd.DataFrame({"era": "X", "feature_a": np.arange(6, dtype=np.int8) % 5}, index=ids)
    features.to_parquet(tmp_path / "live.parquet")
    pd.DataFrame({"era": "X", "bench": np.linspace(0, 1, 6)}, index=ids).to_parquet(tmp_path / "benchmarks.parquet")
    (tmp_path / "out").mkdir()
    return tmp_path


def dump(folder: Path, source: str) -> Path:
    """Pickle the ``predict`` of a source by value, as one made in a notebook is."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(source, space)
    path = folder / "model.pkl"
    path.write_bytes(cloudpickle.dumps(space["predict"]))
    return path


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end; again if a thread of pyarrow aborts it, which its normal end allows now and then."""
    for _ in range(5):
        done = fork_server.run(
            [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode not in diagnose.ABORT_CODES:
            return done
        for path in written(folder):
            path.unlink()
    return done


def run(
    folder: Path, *extra: str, model: str | Path | None = None, data: bool = True
) -> subprocess.CompletedProcess[str]:
    named = ["--dataset", "live.parquet", "--benchmarks", "benchmarks.parquet"] if data else []
    return start(folder, str(RUNNER), "--model", str(model or "model.pkl"), "--output_dir", "out", *named, *extra)


def reason_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the reason for a refusal, once it is found right above the box of help, which ends the log."""
    assert done.returncode == 1, done.stderr
    lines = done.stderr.splitlines()
    first, last = (index for index, line in enumerate(lines) if line == RULE)
    assert last == len(lines) - 1
    assert 6 <= last - first - 1 <= 12
    assert diagnose.find_help_lines(lines) == set(range(first, last + 1))
    return lines[first - 1]


def written(folder: Path) -> list[Path]:
    return sorted((folder / "out").iterdir())


# ---- good runs


def test_a_good_model_ends_in_a_csv_of_index_and_columns(folder: Path) -> None:
    dump(folder, GOOD)
    done = run(folder, "--debug")
    assert done.returncode == 0, done.stderr
    (csv,) = written(folder)
    assert csv.name.startswith("live_predictions-")
    int(csv.stem.removeprefix("live_predictions-"), 16)
    read = pd.read_csv(csv, index_col="id")
    live = pd.read_parquet(folder / "live.parquet")
    assert list(read.index) == list(live.index)
    assert read["feature_a"].to_numpy() == pytest.approx(live["feature_a"].rank(pct=True).to_numpy())
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == FIRST
    assert all(re.match(r"[A-Z]+:[^:\s]+:", line) for line in lines)
    assert RULE not in lines


def test_one_parameter_gets_the_features_and_two_the_benchmarks_too(folder: Path) -> None:
    dump(folder, "def predict(features):\n    return features[['feature_a']] / 4\n")
    (folder / "benchmarks.parquet").rename(folder / "kept")
    assert run(folder).returncode == 0
    (folder / "kept").rename(folder / "benchmarks.parquet")
    dump(folder, "def predict(features, benchmarks):\n    return benchmarks[['bench']]\n")
    assert run(folder).returncode == 0
    assert {pd.read_csv(csv).columns[1] for csv in written(folder)} == {"feature_a", "bench"}


def test_only_the_first_column_has_to_be_within_0_and_1(folder: Path) -> None:
    dump(folder, "def predict(f, b):\n    return b[['bench']].assign(more=7.0, name='x')\n")
    assert run(folder).returncode == 0


def test_the_first_line_names_what_git_ref_holds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_REF", "a78dedd")
    assert run(folder).stderr.splitlines()[0] == FIRST.replace(": -", ":a78dedd -")


def test_debug_logs_what_every_library_says(folder: Path) -> None:
    source = (
        "def predict(f, b):\n    import logging\n    logging.getLogger('lib').debug('said')\n    return b[['bench']]\n"
    )
    dump(folder, source)
    assert "DEBUG:lib:said" in run(folder, "--debug").stderr.splitlines()
    assert "said" not in run(folder).stderr


# ---- what it refuses


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return None", "Pickle function is invalid - .*None"),
        ("return b['bench']", "Pickle function is invalid - .*Series.*DataFrame.*"),
        (
            "return type('Frame', (type(f),), {})(f[['feature_a']] / 4)",
            "Pickle function is invalid - .*Frame.*DataFrame.*",
        ),
        ("return b[['bench']].iloc[:0]", "Pickle function returned 0 predictions"),
        ("return b[['bench']].assign(more=float('nan'))", "Pickle function returned at least 1 NaN prediction"),
        ("return b[['bench']] * 1.5", "Pickle function returned .*between 0 and 1"),
        ("return b[['bench']] - 0.5", "Pickle function returned .*between 0 and 1"),
        ("return b[['era', 'bench']]", "Pickle function is invalid - .*not supported between.*"),
        ("return 1 + 'a'", "Pickle function is invalid - unsupported operand.*"),
    ],
)
def test_what_the_function_returns_is_checked(folder: Path, body: str, reason: str) -> None:
    dump(folder, f"def predict(f, b):\n    {body}\n")
    done = run(folder)
    assert re.fullmatch(f"ERROR:root:{reason}", reason_of(done))
    assert "Traceback" not in done.stderr
    assert written(folder) == []


@pytest.mark.parametrize(
    ("body", "last"),
    [
        ("raise KeyError('feature_z')", "KeyError: 'feature_z'"),
        ("return b[[]]", "IndexError: single positional indexer is out-of-bounds"),
    ],
)
def test_an_exception_of_the_function_is_logged_with_its_traceback(folder: Path, body: str, last: str) -> None:
    dump(folder, f"def predict(f, b):\n    {body}\n")
    done = run(folder)
    assert reason_of(done) == last
    assert f"ERROR:root:{last.partition(': ')[2]}\nTraceback (most recent call last):\n" in done.stderr


def test_a_type_error_of_the_function_has_a_traceback_with_debug_alone(folder: Path) -> None:
    dump(folder, "def predict(f, b):\n    return 1 + 'a'\n")
    assert "Traceback" not in run(folder).stderr
    done = run(folder, "--debug")
    assert "ERROR:root:Pickle function is invalid - unsupported" in done.stderr
    assert reason_of(done).startswith("TypeError: unsupported operand")


@pytest.mark.parametrize("parameters", ["", "a, b, c", "a, b, c=None"])
def test_another_number_of_parameters_is_refused(folder: Path, parameters: str) -> None:
    dump(folder, f"def predict({parameters}):\n    return None\n")
    assert re.fullmatch(r"ERROR:root:Pickle function is invalid - .*1 or 2", reason_of(run(folder)))


def test_variable_arguments_count_as_one_and_a_default_as_a_second(folder: Path) -> None:
    dump(folder, "def predict(*a):\n    assert len(a) == 1\n    return a[0][['feature_a']] / 4\n")
    assert run(folder).returncode == 0
    dump(folder, "def predict(f, b=None):\n    return b[['bench']]\n")
    assert run(folder).returncode == 0


def test_a_function_that_ends_the_process_ends_it_with_0_and_no_csv(folder: Path) -> None:
    dump(folder, "def predict(f):\n    import sys\n    sys.exit(0)\n")
    assert run(folder).returncode == 0
    assert written(folder) == []


OTHER_CODE = b"ctypes\nCodeType\n(" + b"I1\n" * 15 + b"tR."
"""What cloudpickle of Python 3.10 writes, in short: a code object of fewer parts."""


@pytest.mark.parametrize(
    ("content", "reason", "last"),
    [
        (b"no pickle at all", "Invalid pickle - invalid load key, 'n'.", "UnpicklingError: invalid load key, 'n'."),
        (
            b"\x80\x04\x95\xff\x00",
            "Invalid pickle - pickle data was truncated",
            "UnpicklingError: pickle data was trunc",
        ),
        (
            b"cno_such_module\nthing\n.",
            "Invalid pickle - No module named 'no_such_module'",
            "ModuleNotFoundError: No mod",
        ),
        (b"cbuiltins\nint\n(]tR.", f"Pickle incompatible with {PYTHON}", "TypeError: int() argument"),
        (OTHER_CODE, f"Pickle incompatible with {PYTHON}", "TypeError: code"),
    ],
)
def test_what_cannot_be_loaded_is_refused(folder: Path, content: bytes, reason: str, last: str) -> None:
    (folder / "model.pkl").write_bytes(content)
    done = run(folder)
    assert reason_of(done) == f"ERROR:root:{reason}"
    assert "Traceback" not in done.stderr
    done = run(folder, "--debug")
    assert f"ERROR:root:{reason}\n" in done.stderr
    assert last in done.stderr
    assert RULE in done.stderr


@pytest.mark.parametrize(
    ("content", "last"),
    [
        (b"cos\nno_such_name\n.", "AttributeError"),
        (b"", "EOFError"),
        (b"\x80\xff.", "ValueError: unsupported pickle protocol"),
        (pickle.dumps(marshal.loads)[:-1] + b"(C\x02\xff\xfftR.", "ValueError: bad marshal data"),
        (pickle.dumps({"weights": [1.0]}), "TypeError"),  # nothing to call
        (None, "FileNotFoundError"),
    ],
)
def test_other_failures_end_in_a_traceback(folder: Path, content: bytes | None, last: str) -> None:
    if content is not None:
        (folder / "model.pkl").write_bytes(content)
    done = run(folder)
    assert done.returncode == 1
    assert "Traceback (most recent call last):" in done.stderr
    assert last in done.stderr.splitlines()[-1]


# ---- options, and where the CSV goes


def test_a_csv_that_cannot_be_written_is_only_logged(folder: Path) -> None:
    dump(folder, GOOD)
    done = run(folder, "--output_dir", "/proc")  # a folder where even root can write no file
    assert done.returncode == 0
    assert "Traceback" in done.stderr
    assert "ERROR:root:[Errno 2]" in done.stderr


@pytest.mark.parametrize(
    "options",
    [["--output_dir", "nowhere"], ["--post_url", "http://127.0.0.1:1/"], ["--post_data", "a=b"]],
)
def test_options_that_do_not_go_together_end_in_a_type_error(folder: Path, options: list[str]) -> None:
    dump(folder, GOOD)
    done = run(folder, *options)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("TypeError: ")
    assert written(folder) == []


def test_the_model_is_required_and_help_names_every_option(folder: Path) -> None:
    done = start(folder, str(RUNNER))
    assert done.returncode == 2
    assert "--model" in done.stderr
    shown = start(folder, str(RUNNER), "--help").stdout
    for option in ("--dataset", "--benchmarks", "--output_dir", "--post_url", "--post_data", "--debug"):
        assert option in shown


def test_it_ends_as_a_process_normally_does(folder: Path) -> None:
    """What the model registers to be run at the end is run: the original does not cut its end short."""
    dump(
        folder,
        "def predict(f):\n    import atexit\n    atexit.register(print, 'ended')\n    return f[['feature_a']] / 4\n",
    )
    assert run(folder).stdout == "ended\n"


# ---- the network


class _Store(BaseHTTPRequestHandler):
    """Serves one file and keeps what is sent to it; each answer has the next status, the last one for ever."""

    content: ClassVar[bytes] = b""
    got: ClassVar[list[bytes]] = []
    statuses: ClassVar[list[int]] = []
    folder: ClassVar[Path]
    there: ClassVar[list[list[Path]]] = []

    def do_GET(self) -> None:
        self.got.append(self.path.encode())
        self._answer()
        self.wfile.write(self.content)

    def do_POST(self) -> None:
        self.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.there.append(written(self.folder))
        self._answer()

    def _answer(self) -> None:
        self.send_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path, *statuses: int, content: bytes = b"") -> Iterator[tuple[str, type[_Store]]]:
    fields = {"content": content, "got": [], "there": [], "statuses": list(statuses), "folder": folder}
    handler = type("Store", (_Store,), fields)
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def run_hurried(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[float]]:
    """Run with waits that are printed, not waited for; returns them too."""
    code = "import runpy, sys, time; time.sleep = print; del sys.argv[0]; runpy.run_path(sys.argv[0], None, '__main__')"
    named = ["--dataset", "live.parquet", "--benchmarks", "benchmarks.parquet", "--output_dir", "out", *arguments]
    done = start(folder, "-c", code, str(RUNNER), *named)
    return done, [float(line) for line in done.stdout.splitlines()]


def test_the_model_may_be_a_url_and_is_kept_in_the_output_folder(folder: Path) -> None:
    content = dump(folder, GOOD).read_bytes()
    (folder / "model.pkl").unlink()
    with serving(folder, 503, 200, content=content) as (address, store):
        done, waits = run_hurried(folder, "--model", f"{address}/slot/model.pkl?signature=1")
    assert done.returncode == 0, done.stderr
    assert store.got == [b"/slot/model.pkl?signature=1"] * 2
    assert len(waits) == 1
    assert (folder / "out" / "model.pkl").read_bytes() == content
    assert len(written(folder)) == 2
    assert "signature" not in done.stderr


@pytest.mark.parametrize(("status", "tries"), [(500, 10), (404, 1)])
def test_a_model_that_cannot_be_downloaded_ends_with_1(folder: Path, status: int, tries: int) -> None:
    with serving(folder, status) as (address, store):
        done, waits = run_hurried(folder, "--model", f"{address}/model.pkl")
    assert (done.returncode, len(store.got), len(waits)) == (1, tries, tries - 1)
    assert written(folder) == []


def test_the_predictions_are_posted_before_the_csv_is_written(folder: Path) -> None:
    dump(folder, GOOD)
    with serving(folder, 503, 204) as (address, store):
        done, _ = run_hurried(
            folder, "--model", "model.pkl", "--post_url", f"{address}/ok", "--post_data", "key=round%2F1&b=2"
        )
    assert done.returncode == 0, done.stderr
    assert store.there == [[], []]
    body = store.got[1].replace(b"\r\n", b"\n")
    (csv,) = written(folder)
    assert csv.read_bytes() in body
    assert b'name="key"\n\nround/1\n' in body
    assert b'name="b"\n\n2\n' in body
    assert f'filename="out/{csv.name}"\nContent-Type: text/csv\n'.encode() in body


@pytest.mark.parametrize(("status", "tries"), [(507, 10), (403, 1)])
def test_a_post_that_fails_ends_with_1_and_no_csv(folder: Path, status: int, tries: int) -> None:
    dump(folder, GOOD)
    with serving(folder, status) as (address, store):
        done, waits = run_hurried(folder, "--model", "model.pkl", "--post_url", address, "--post_data", "a=b")
    assert (done.returncode, len(store.got), len(waits)) == (1, tries, tries - 1)
    assert waits == sorted(set(waits))  # they grow
    assert str(status) in done.stderr.splitlines()[-1]
    assert written(folder) == []


def test_a_server_that_cannot_be_reached_is_tried_ten_times(folder: Path) -> None:
    dump(folder, GOOD)
    done, waits = run_hurried(folder, "--model", "model.pkl", "--post_url", "http://127.0.0.1:1/", "--post_data", "a=b")
    assert (done.returncode, len(waits)) == (1, 9)
    assert written(folder) == []


def test_a_dataset_with_an_absolute_path_is_a_local_file(folder: Path) -> None:
    dump(folder, GOOD)
    done = run(folder, "--dataset", str(folder / "nothing.parquet"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ERROR:root:Local dataset not found")
    assert run(folder, "--dataset", str(folder / "live.parquet")).returncode == 0


def test_data_that_is_not_here_is_downloaded_by_its_name_without_a_token(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """numerapi is the tournament's client, and its download the network: a module of that name stands for them."""
    (folder / "client").mkdir()
    (folder / "client" / "numerapi.py").write_text(
        "import shutil\n"
        "class NumerAPI:\n"
        "    def __init__(self):\n        pass\n"
        "    def download_dataset(self, name, dest):\n"
        "        print('asked for', name, flush=True)\n"
        "        shutil.copy('benchmarks.parquet' if 'benchmark' in name else 'live.parquet', dest)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder / "client"))
    dump(folder, GOOD)
    done = run(
        folder, "--dataset", "v5.2/live.parquet", "--benchmarks", "v5.2/live_benchmark_models.parquet", data=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["asked for v5.2/live.parquet", "asked for v5.2/live_benchmark_models.parquet"]
    assert (folder / "out" / "v5.2" / "live.parquet").is_file()
    assert run(folder, data=False).stdout.count("asked for") == 2
