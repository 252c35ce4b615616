"""A pickle of 1 GB on its way to storage: the time against curl's to the same server, and the memory over idle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.table import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE = 1 << 30
_RUNS = 5
_LEAST, _MOST_MB = 0.9, 64.0
_ROOT = Path(__file__).resolve().parents[1]
_SERVER = """
import sys
from tests.sandbox import runs, server
with server.start() as sandbox:
    name = runs.key("bench.pkl")
    for line in sys.stdin:
        print(sandbox.storage.sign("PUT", name), flush=True)
        sandbox.storage.path(name).unlink(missing_ok=True)
"""
_SENDER = """
import json, pathlib, sys, time
from builder.progress import Silent
from builder.tournament import FileAuth
from builder.upload import storage
import httpx
def used(key):
    text = pathlib.Path("/proc/self/status").read_text()
    return int(text.partition(key)[2].split()[0]) / 1000
path, sha256, size, url = sys.argv[1:]
source = storage.describe(pathlib.Path(path), sha256=sha256, size=int(size))
idle, started = used("VmRSS:"), time.perf_counter()
storage.put(source, lambda: FileAuth(filename="bench.pkl", url=url), Silent())
print(json.dumps([time.perf_counter() - started, used("VmHWM:") - idle]))
"""


def rows() -> list[Row]:
    """Send it by each in turn, a few times; the first turn is not counted."""
    curl = shutil.which("curl")
    if curl is None:
        raise SystemExit("curl is not there to measure against: install it (Debian: apt-get install curl)")
    ours, theirs, memory = [], [], []
    with tempfile.TemporaryDirectory(prefix="numerai-builder-bench-") as folder, _server() as server:
        path = Path(folder, "model.pkl")
        sha256 = _write(path)
        for _ in range(_RUNS + 1):
            seconds, peak = _send(path, sha256, _address(server))
            ours.append(seconds)
            memory.append(peak)
            theirs.append(_curl(curl, path, _address(server)))
    ratio = statistics.median(one / other for one, other in zip(ours[1:], theirs[1:], strict=True))
    detail = f"{statistics.median(ours[1:]):.2f} s and {statistics.median(theirs[1:]):.2f} s for 1 GB"
    return [
        Row(name="upload, 1 GB", against="curl", value=ratio, unit="x", target=1 / _LEAST, detail=detail),
        Row(
            name="upload, 1 GB: memory",
            against="(over idle)",
            value=max(memory),
            unit="MB",
            target=_MOST_MB,
            detail=f"the most of {_RUNS + 1} runs",
        ),
    ]


@contextlib.contextmanager
def _server() -> Iterator[subprocess.Popen[str]]:
    """Run the stand-in's storage in a process of its own, so that neither client has it inside."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.communicate()


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write("\n")
    server.stdin.flush()
    return server.stdout.readline().strip()


def _write(path: Path) -> str:
    digest, block = hashlib.sha256(), os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(_SIZE >> 20):
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


def _send(path: Path, sha256: str, url: str) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", _SENDER, str(path), sha256, str(_SIZE), url],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def _curl(curl: str, path: Path, url: str) -> float:
    command = [curl, "--silent", "--show-error", "--fail", "--upload-file", str(path), "--header", "Content-Type:"]
    done = subprocess.run(
        [*command, "--header", "Expect:", "--output", os.devnull, "--write-out", "%{time_total}", url],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)
