"""Benchmark the upload of one gigabyte to storage against curl with the same server, and its memory.

``python -m benchmarks.upload URL FILE SHA256`` is the measured process.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from benchmarks import project, table

_BYTES = 1_000_000_000
_CHUNK = 1 << 22
_RUNS = 3
_KEY = "pickles/benchmark.pkl"  # the same for all uploads, so that at most two copies are on the disk
_MAX_RATIO = 1 / 0.9  # of the seconds: at least 90 % of curl's rate
_MAX_MEGABYTES = 64.0


@dataclass(frozen=True, kw_only=True)
class _Transfer:
    seconds: float
    megabytes: float = 0.0


def measure_rows() -> list[table.Row]:
    """Upload the file with both in turn, after a first turn that is not counted."""
    from builder.sandbox import server  # noqa: PLC0415 - not in the measured process

    curl = shutil.which("curl")
    if curl is None:
        raise RuntimeError("curl, the baseline of this benchmark, is not installed: install it")
    with tempfile.TemporaryDirectory(prefix="numerai-builder-") as folder, server.start() as sandbox:
        sandbox.state.lifetime *= 100
        path = Path(folder, "model.pkl")
        sha256 = _write(path)
        turns = [
            (
                _upload_with_builder(sandbox.storage.sign("PUT", _KEY), path, sha256),
                _upload_with_curl(curl, sandbox.storage.sign("PUT", _KEY), path),
            )
            for _ in range(_RUNS + 1)
        ][1:]
    ours, baseline = ([turn[side].seconds for turn in turns] for side in (0, 1))
    ratio = statistics.median(a / b for a, b in zip(ours, baseline, strict=True))
    megabytes = [turn[0].megabytes for turn in turns]
    return [
        table.Row(
            name="upload, 1 GB: seconds",
            against="curl -T",
            value=ratio,
            unit="x",
            target=round(_MAX_RATIO, 2),
            detail=f"{statistics.median(ours):.2f} s, {statistics.median(baseline):.2f} s: {1 / ratio:.2f} of its rate",
        ),
        table.Row(
            name="upload, 1 GB: memory over idle",
            against="(peak)",
            value=statistics.median(megabytes),
            unit="MB",
            target=_MAX_MEGABYTES,
            detail=f"{min(megabytes):.1f} to {max(megabytes):.1f} MB over {_RUNS} runs",
        ),
    ]


def send(url: str, path: Path, sha256: str) -> _Transfer:
    """Upload the file from this process."""
    from builder import progress, tournament  # noqa: PLC0415 - only in the measured process
    from builder.net import http  # noqa: PLC0415
    from builder.upload import storage  # noqa: PLC0415

    def renew() -> NoReturn:
        raise SystemExit("the upload URL has expired")

    md5 = storage.compute_md5(path)  # before the measurement, since curl computes none
    idle = _read_peak_megabytes()
    # Imports the libraries, whose memory counts but not their time: curl's time does not include its start either.
    http.create_client(url).close()
    started = time.perf_counter()
    storage.put(
        tournament.FileAuth(filename=path.name, url=url),
        path,
        sha256=sha256,
        md5=md5,
        size=path.stat().st_size,
        progress=progress.Silent(),
        clock_ahead=None,
        renew=renew,
        policy=storage.TransferPolicy(attempts=1),
    )
    return _Transfer(seconds=time.perf_counter() - started, megabytes=_read_peak_megabytes() - idle)


def _upload_with_builder(url: str, path: Path, sha256: str) -> _Transfer:
    command = [sys.executable, "-m", "benchmarks.upload", url, str(path), sha256]
    result = subprocess.run(command, cwd=project.ROOT, stdout=subprocess.PIPE, check=True)
    return _Transfer(**json.loads(result.stdout))


def _upload_with_curl(curl: str, url: str, path: Path) -> _Transfer:
    options = ("--silent", "--show-error", "--fail", "--write-out", "%{time_total}")
    command = [curl, *options, "--upload-file", str(path), url]
    return _Transfer(seconds=float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def _write(path: Path) -> str:
    """Write random bytes, which cannot be compressed; return their sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, _BYTES, _CHUNK):
            chunk = os.urandom(min(_CHUNK, _BYTES - start))
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _read_peak_megabytes() -> float:
    """Return the peak resident size of this process in MB; that of getrusage starts with the parent's."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024 / 1e6


if __name__ == "__main__":
    transfer = send(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    print(json.dumps({"seconds": transfer.seconds, "megabytes": transfer.megabytes}))
