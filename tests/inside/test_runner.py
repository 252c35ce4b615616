"""The stand-in's runner behaves as published; it is run as a script with this environment's pandas."""

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
from builder.validate import diagnose, runner_log
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
    """A folder with live data and an empty folder for the CSV."""
    ids = pd.Index([f"n{number:015x}" for number in range(6)], name="id")
    features = pd.DataFrame({"era": "X", "feature_a": np.arange(6, dtype=np.int8) % 5}, index=ids)
    features.to_parquet(tmp_path / "live.parquet")
    pd.DataFrame({"era": "X", "bench": np.linspace(0, 1, 6)}, index=ids).to_parquet(tmp_path / "benchmarks.parquet")
    (tmp_path / "out").mkdir()
    return tmp_path


def write_pickle(folder: Path, source: str) -> Path:
    """Pickle the ``predict`` of a source by value, as from a notebook."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(source, space)
    path = folder / "model.pkl"
    path.write_bytes(cloudpickle.dumps(space["predict"]))
    return path


def run_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end; retry if a thread of pyarrow aborts it, which happens now and then at its end."""
    for _ in range(5):
        result = fork_server.run(
            [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60
        )
        if result.returncode not in diagnose.ABORT_CODES:
            return result
        for path in list_output(folder):
            path.unlink()
    return result


def run(
    folder: Path, *extra: str, model: str | Path | None = None, data: bool = True
) -> subprocess.CompletedProcess[str]:
    data_options = ["--dataset", "live.parquet", "--benchmarks", "benchmarks.parquet"] if data else []
    return run_script(
        folder, str(RUNNER), "--model", str(model or "model.pkl"), "--output_dir", "out", *data_options, *extra
    )


def read_reason(result: subprocess.CompletedProcess[str]) -> str:
    """Return the reason for a refusal, and check that it is right above the box of help, which ends the log."""
    assert result.returncode == 1, result.stderr
    lines = result.stderr.splitlines()
    first, last = (index for index, line in enumerate(lines) if line == RULE)
    assert last == len(lines) - 1
    assert 6 <= last - first - 1 <= 12
    assert runner_log.find_help_lines(lines) == set(range(first, last + 1))
    return lines[first - 1]


def list_output(folder: Path) -> list[Path]:
    return sorted((folder / "out").iterdir())


# ---- successful runs


def test_a_good_model_writes_a_csv_with_index_and_columns(folder: Path) -> None:
    write_pickle(folder, GOOD)
    result = run(folder, "--debug")
    assert result.returncode == 0, result.stderr
    (csv,) = list_output(folder)
    assert csv.name.startswith("live_predictions-")
    int(csv.stem.removeprefix("live_predictions-"), 16)
    read = pd.read_csv(csv, index_col="id")
    live = pd.read_parquet(folder / "live.parquet")
    assert list(read.index) == list(live.index)
    assert read["feature_a"].to_numpy() == pytest.approx(live["feature_a"].rank(pct=True).to_numpy())
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0] == FIRST
    assert all(re.match(r"[A-Z]+:[^:\s]+:", line) for line in lines)
    assert RULE not in lines


def test_one_parameter_gets_the_features_and_two_the_benchmarks_too(folder: Path) -> None:
    write_pickle(folder, "def predict(features):\n    return features[['feature_a']] / 4\n")
    (folder / "benchmarks.parquet").rename(folder / "kept")
    assert run(folder).returncode == 0
    (folder / "kept").rename(folder / "benchmarks.parquet")
    write_pickle(folder, "def predict(features, benchmarks):\n    return benchmarks[['bench']]\n")
    assert run(folder).returncode == 0
    assert {pd.read_csv(csv).columns[1] for csv in list_output(folder)} == {"feature_a", "bench"}


def test_only_the_first_column_has_to_be_within_0_and_1(folder: Path) -> None:
    write_pickle(folder, "def predict(f, b):\n    return b[['bench']].assign(more=7.0, name='x')\n")
    assert run(folder).returncode == 0


def test_the_first_line_contains_git_ref(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_REF", "a78dedd")
    assert run(folder).stderr.splitlines()[0] == FIRST.replace(": -", ":a78dedd -")


def test_debug_includes_the_logs_of_libraries(folder: Path) -> None:
    source = (
        "def predict(f, b):\n    import logging\n    logging.getLogger('lib').debug('said')\n    return b[['bench']]\n"
    )
    write_pickle(folder, source)
    assert "DEBUG:lib:said" in run(folder, "--debug").stderr.splitlines()
    assert "said" not in run(folder).stderr


# ---- refusals


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
    write_pickle(folder, f"def predict(f, b):\n    {body}\n")
    result = run(folder)
    assert re.fullmatch(f"ERROR:root:{reason}", read_reason(result))
    assert "Traceback" not in result.stderr
    assert list_output(folder) == []


@pytest.mark.parametrize(
    ("body", "last"),
    [
        ("raise KeyError('feature_z')", "KeyError: 'feature_z'"),
        ("return b[[]]", "IndexError: single positional indexer is out-of-bounds"),
    ],
)
def test_an_exception_of_the_function_is_logged_with_its_traceback(folder: Path, body: str, last: str) -> None:
    write_pickle(folder, f"def predict(f, b):\n    {body}\n")
    result = run(folder)
    assert read_reason(result) == last
    assert f"ERROR:root:{last.partition(': ')[2]}\nTraceback (most recent call last):\n" in result.stderr


def test_a_type_error_of_the_function_has_a_traceback_with_debug_alone(folder: Path) -> None:
    write_pickle(folder, "def predict(f, b):\n    return 1 + 'a'\n")
    assert "Traceback" not in run(folder).stderr
    result = run(folder, "--debug")
    assert "ERROR:root:Pickle function is invalid - unsupported" in result.stderr
    assert read_reason(result).startswith("TypeError: unsupported operand")


@pytest.mark.parametrize("parameters", ["", "a, b, c", "a, b, c=None"])
def test_any_other_number_of_parameters_is_refused(folder: Path, parameters: str) -> None:
    write_pickle(folder, f"def predict({parameters}):\n    return None\n")
    assert re.fullmatch(r"ERROR:root:Pickle function is invalid - .*1 or 2", read_reason(run(folder)))


def test_variable_arguments_count_as_one_and_a_default_as_a_second(folder: Path) -> None:
    write_pickle(folder, "def predict(*a):\n    assert len(a) == 1\n    return a[0][['feature_a']] / 4\n")
    assert run(folder).returncode == 0
    write_pickle(folder, "def predict(f, b=None):\n    return b[['bench']]\n")
    assert run(folder).returncode == 0


def test_a_function_that_ends_the_process_ends_it_with_0_and_no_csv(folder: Path) -> None:
    write_pickle(folder, "def predict(f):\n    import sys\n    sys.exit(0)\n")
    assert run(folder).returncode == 0
    assert list_output(folder) == []


OTHER_CODE = b"ctypes\nCodeType\n(" + b"I1\n" * 15 + b"tR."
"""A code object with fewer arguments, as cloudpickle on Python 3.10 writes it."""


@pytest.mark.parametrize(
    ("content", "reason", "last"),
    [
        (b"not a pickle", "Invalid pickle - invalid load key, 'n'.", "UnpicklingError: invalid load key, 'n'."),
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
def test_a_pickle_that_cannot_be_loaded_is_refused(folder: Path, content: bytes, reason: str, last: str) -> None:
    (folder / "model.pkl").write_bytes(content)
    result = run(folder)
    assert read_reason(result) == f"ERROR:root:{reason}"
    assert "Traceback" not in result.stderr
    result = run(folder, "--debug")
    assert f"ERROR:root:{reason}\n" in result.stderr
    assert last in result.stderr
    assert RULE in result.stderr


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
    result = run(folder)
    assert result.returncode == 1
    assert "Traceback (most recent call last):" in result.stderr
    assert last in result.stderr.splitlines()[-1]


# ---- options and the CSV


def test_a_csv_that_cannot_be_written_is_only_logged(folder: Path) -> None:
    write_pickle(folder, GOOD)
    result = run(folder, "--output_dir", "/proc")  # a folder where even root can write no file
    assert result.returncode == 0
    assert "Traceback" in result.stderr
    assert "ERROR:root:[Errno 2]" in result.stderr


@pytest.mark.parametrize(
    "options",
    [["--output_dir", "nowhere"], ["--post_url", "http://127.0.0.1:1/"], ["--post_data", "a=b"]],
)
def test_options_that_do_not_go_together_end_in_a_type_error(folder: Path, options: list[str]) -> None:
    write_pickle(folder, GOOD)
    result = run(folder, *options)
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("TypeError: ")
    assert list_output(folder) == []


def test_the_model_is_required_and_help_lists_every_option(folder: Path) -> None:
    result = run_script(folder, str(RUNNER))
    assert result.returncode == 2
    assert "--model" in result.stderr
    shown = run_script(folder, str(RUNNER), "--help").stdout
    for option in ("--dataset", "--benchmarks", "--output_dir", "--post_url", "--post_data", "--debug"):
        assert option in shown


def test_the_process_ends_normally(folder: Path) -> None:
    """Functions that the model registers with atexit are run, as by the original."""
    write_pickle(
        folder,
        "def predict(f):\n    import atexit\n    atexit.register(print, 'ended')\n    return f[['feature_a']] / 4\n",
    )
    assert run(folder).stdout == "ended\n"


# ---- the network


class _Store(BaseHTTPRequestHandler):
    """Serve one file and keep what is sent; each response has the next status, and the last one is repeated."""

    content: ClassVar[bytes] = b""
    requests: ClassVar[list[bytes]] = []
    statuses: ClassVar[list[int]] = []
    folder: ClassVar[Path]
    files_when_posted: ClassVar[list[list[Path]]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path.encode())
        self._answer()
        self.wfile.write(self.content)

    def do_POST(self) -> None:
        self.requests.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.files_when_posted.append(list_output(self.folder))
        self._answer()

    def _answer(self) -> None:
        self.send_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path, *statuses: int, content: bytes = b"") -> Iterator[tuple[str, type[_Store]]]:
    fields = {"content": content, "requests": [], "files_when_posted": [], "statuses": list(statuses), "folder": folder}
    handler = type("Store", (_Store,), fields)
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def run_without_delays(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[float]]:
    """Run with delays that are printed instead of waited for; return them too."""
    code = "import runpy, sys, time; time.sleep = print; del sys.argv[0]; runpy.run_path(sys.argv[0], None, '__main__')"
    data_options = [
        "--dataset",
        "live.parquet",
        "--benchmarks",
        "benchmarks.parquet",
        "--output_dir",
        "out",
        *arguments,
    ]
    result = run_script(folder, "-c", code, str(RUNNER), *data_options)
    return result, [float(line) for line in result.stdout.splitlines()]


def test_the_model_may_be_a_url_and_is_kept_in_the_output_folder(folder: Path) -> None:
    content = write_pickle(folder, GOOD).read_bytes()
    (folder / "model.pkl").unlink()
    with serving(folder, 503, 200, content=content) as (address, store):
        result, waits = run_without_delays(folder, "--model", f"{address}/slot/model.pkl?signature=1")
    assert result.returncode == 0, result.stderr
    assert store.requests == [b"/slot/model.pkl?signature=1"] * 2
    assert len(waits) == 1
    assert (folder / "out" / "model.pkl").read_bytes() == content
    assert len(list_output(folder)) == 2
    assert "signature" not in result.stderr


@pytest.mark.parametrize(("status", "tries"), [(500, 10), (404, 1)])
def test_a_model_that_cannot_be_downloaded_ends_with_1(folder: Path, status: int, tries: int) -> None:
    with serving(folder, status) as (address, store):
        result, waits = run_without_delays(folder, "--model", f"{address}/model.pkl")
    assert (result.returncode, len(store.requests), len(waits)) == (1, tries, tries - 1)
    assert list_output(folder) == []


def test_the_predictions_are_posted_before_the_csv_is_written(folder: Path) -> None:
    write_pickle(folder, GOOD)
    with serving(folder, 503, 204) as (address, store):
        result, _ = run_without_delays(
            folder, "--model", "model.pkl", "--post_url", f"{address}/ok", "--post_data", "key=round%2F1&b=2"
        )
    assert result.returncode == 0, result.stderr
    assert store.files_when_posted == [[], []]
    body = store.requests[1].replace(b"\r\n", b"\n")
    (csv,) = list_output(folder)
    assert csv.read_bytes() in body
    assert b'name="key"\n\nround/1\n' in body
    assert b'name="b"\n\n2\n' in body
    assert f'filename="out/{csv.name}"\nContent-Type: text/csv\n'.encode() in body


@pytest.mark.parametrize(("status", "tries"), [(507, 10), (403, 1)])
def test_a_failed_post_ends_with_1_and_no_csv(folder: Path, status: int, tries: int) -> None:
    write_pickle(folder, GOOD)
    with serving(folder, status) as (address, store):
        result, waits = run_without_delays(folder, "--model", "model.pkl", "--post_url", address, "--post_data", "a=b")
    assert (result.returncode, len(store.requests), len(waits)) == (1, tries, tries - 1)
    assert waits == sorted(set(waits))  # they increase
    assert str(status) in result.stderr.splitlines()[-1]
    assert list_output(folder) == []


def test_an_unreachable_server_is_tried_ten_times(folder: Path) -> None:
    write_pickle(folder, GOOD)
    result, waits = run_without_delays(
        folder, "--model", "model.pkl", "--post_url", "http://127.0.0.1:1/", "--post_data", "a=b"
    )
    assert (result.returncode, len(waits)) == (1, 9)
    assert list_output(folder) == []


def test_a_dataset_with_an_absolute_path_is_a_local_file(folder: Path) -> None:
    write_pickle(folder, GOOD)
    result = run(folder, "--dataset", str(folder / "nothing.parquet"))
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("ERROR:root:Local dataset not found")
    assert run(folder, "--dataset", str(folder / "live.parquet")).returncode == 0


def test_a_dataset_that_is_not_a_local_file_is_downloaded_without_a_token(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake module replaces numerapi, the tournament's client."""
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
    write_pickle(folder, GOOD)
    result = run(
        folder, "--dataset", "v5.3/live.parquet", "--benchmarks", "v5.3/live_benchmark_models.parquet", data=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["asked for v5.3/live.parquet", "asked for v5.3/live_benchmark_models.parquet"]
    assert (folder / "out" / "v5.3" / "live.parquet").is_file()
    assert run(folder, data=False).stdout.count("asked for") == 2
