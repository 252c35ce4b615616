"""The look-alike's runner keeps the published contract: run as the program it is, on this machine's own pandas."""

from __future__ import annotations

import contextlib
import pickle
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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNNER = paths.docker_folder() / "stand_in" / "runner.py"
GOOD = "def predict(features, benchmarks):\n    return features[['feature_a']].rank(pct=True)\n"

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


def run(
    folder: Path, *extra: str, model: str | Path | None = None, data: bool = True
) -> subprocess.CompletedProcess[str]:
    named = ["--dataset", "live.parquet", "--benchmarks", "benchmarks.parquet"] if data else []
    command = [sys.executable, str(RUNNER), "--model", str(model or "model.pkl"), "--output_dir", "out", *named, *extra]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


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
    first, second = done.stderr.splitlines()[:2]
    assert "look-alike" in first
    assert second.endswith(f"Python {sys.version_info.major}.{sys.version_info.minor}")


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


# ---- what it refuses


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "returned None"),
        ("return b['bench']", "it returned Series"),
        ("return type('Frame', (type(f),), {})(f[['feature_a']] / 4)", "it returned Frame"),
        ("return b[['bench']].iloc[:0]", "empty"),
        ("return b[[]]", "empty"),
        ("return b[['bench']].assign(more=float('nan'))", "6 NaN"),
        ("return b[['bench']] * 1.5", "go from 0.0 to 1.5"),
        ("return b[['bench']] - 0.5", "go from -0.5 to 0.5"),
        ("return b[['era', 'bench']]", "no numbers"),
        ("raise KeyError('feature_z')", "KeyError: 'feature_z'"),
    ],
)
def test_what_the_function_gives_is_checked(folder: Path, body: str, said: str) -> None:
    dump(folder, f"def predict(f, b):\n    {body}\n")
    done = run(folder)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert written(folder) == []


@pytest.mark.parametrize("parameters", ["", "a, b, c", "a, b, c=None"])
def test_another_number_of_parameters_fails(folder: Path, parameters: str) -> None:
    dump(folder, f"def predict({parameters}):\n    return None\n")
    done = run(folder)
    assert done.returncode == 1
    assert "must take 1 or 2" in done.stderr


def test_a_pickle_of_something_else_fails(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(pickle.dumps({"weights": [1.0]}))
    done = run(folder)
    assert done.returncode == 1
    assert "no function but dict" in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no pickle at all", "UnpicklingError"),
        (b"cbuiltins\nint\n(]tR.", "TypeError: "),
        (b"cno_such_module\nthing\n.", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_three_faults_of_loading_are_reported(folder: Path, content: bytes, said: str) -> None:
    (folder / "model.pkl").write_bytes(content)
    done = run(folder)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in run(folder, "--debug").stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"cos\nno_such_name\n.", "AttributeError"), (b"", "EOFError"), (None, "FileNotFoundError")],
)
def test_other_faults_of_loading_end_in_a_traceback(folder: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (folder / "model.pkl").write_bytes(content)
    done = run(folder)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert said in done.stderr.splitlines()[-1]


# ---- where the CSV goes


def test_a_csv_that_cannot_be_written_is_only_logged(folder: Path) -> None:
    dump(folder, GOOD)
    done = run(folder, "--output_dir", "/proc")  # a folder where even root can write no file
    assert done.returncode == 0
    assert "could not be saved" in done.stderr


def test_the_output_folder_must_exist(folder: Path) -> None:
    dump(folder, GOOD)
    done = run(folder, "--output_dir", "nowhere")
    assert done.returncode == 1
    assert "nowhere does not exist" in done.stderr


def test_the_model_is_required_and_help_names_every_option(folder: Path) -> None:
    done = subprocess.run([sys.executable, str(RUNNER)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--model" in done.stderr
    shown = subprocess.run([sys.executable, str(RUNNER), "--help"], capture_output=True, text=True, check=False).stdout
    for option in ("--dataset", "--benchmarks", "--output_dir", "--post_url", "--post_data", "--debug"):
        assert option in shown


# ---- the network


class _Store(BaseHTTPRequestHandler):
    """Serves one file and keeps what is sent to it; ``/full`` takes nothing."""

    content: ClassVar[bytes] = b""
    got: ClassVar[list[bytes]] = []

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def do_POST(self) -> None:
        self.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(507 if self.path == "/full" else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(content: bytes = b"") -> Iterator[tuple[str, type[_Store]]]:
    handler = type("Store", (_Store,), {"content": content, "got": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def test_the_model_may_be_a_url(folder: Path) -> None:
    with serving(dump(folder, GOOD).read_bytes()) as (address, _):
        (folder / "model.pkl").unlink()
        assert run(folder, model=f"{address}/slot/model.pkl?signature=1").returncode == 0
    assert len(written(folder)) == 1


def test_the_csv_is_posted_with_its_form_fields(folder: Path) -> None:
    dump(folder, GOOD)
    with serving() as (address, store):
        done = run(folder, "--post_url", f"{address}/ok", "--post_data", '{"key": "round-1"}')
        assert done.returncode == 0, done.stderr
        (body,) = store.got
        assert written(folder)[0].read_bytes() in body.replace(b"\r\n", b"\n")
        assert b"round-1" in body
        failed = run(folder, "--post_url", f"{address}/full")
    assert failed.returncode == 1
    assert "507" in failed.stderr


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
    assert run(folder, data=False).stdout.count("asked for") == 2
