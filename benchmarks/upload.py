"""A gigabyte put into storage by this tool against curl, to the same server; and what that takes of memory.

``python -m benchmarks.upload ADDRESS FILE SHA256`` is the process that is measured.
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
_PIECE = 1 << 22
_RUNS = 3
_KEY = "pickles/benchmark.pkl"  # one key for all, so that there are never more than two of them on the disk
_MOST_SECONDS = 1 / 0.9
_MOST_MEMORY = 64.0


@dataclass(frozen=True, kw_only=True)
class _Sent:
    seconds: float
    memory: float = 0.0


def rows() -> list[table.Row]:
    """Put the file by turns, after a turn that is not counted."""
    from builder.sandbox import server  # noqa: PLC0415 - here alone

    curl = shutil.which("curl")
    if curl is None:
        raise RuntimeError("curl, which the upload is measured against, is missing: install it")
    with tempfile.TemporaryDirectory(prefix="numerai-builder-") as folder, server.start() as sandbox:
        sandbox.state.lifetime *= 100
        path = Path(folder, "model.pkl")
        sha256 = _write(path)
        turns = [
            (
                _ours(sandbox.storage.sign("PUT", _KEY), path, sha256),
                _theirs(curl, sandbox.storage.sign("PUT", _KEY), path),
            )
            for _ in range(_RUNS + 1)
        ][1:]
    ours, theirs = ([turn[side].seconds for turn in turns] for side in (0, 1))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    memory = [turn[0].memory for turn in turns]
    return [
        table.Row(
            name="upload, 1 GB: seconds",
            against="curl -T",
            value=ratio,
            unit="x",
            target=round(_MOST_SECONDS, 2),
            detail=f"{statistics.median(ours):.2f} s, {statistics.median(theirs):.2f} s: {1 / ratio:.2f} of its rate",
        ),
        table.Row(
            name="upload, 1 GB: memory over idle",
            against="(peak)",
            value=statistics.median(memory),
            unit="MB",
            target=_MOST_MEMORY,
            detail=f"{min(memory):.1f} to {max(memory):.1f} MB over {_RUNS} runs",
        ),
    ]


def send(url: str, path: Path, sha256: str) -> _Sent:
    """Put the file from this very process."""
    from builder import (  # noqa: PLC0415
        progress,
        tournament,
    )
    from builder.net import http  # noqa: PLC0415 - in the process that is measured alone
    from builder.upload import storage  # noqa: PLC0415

    def renew() -> NoReturn:
        raise SystemExit("the address has expired")

    md5 = storage.compute_md5(path)  # before the sending, which is what is measured: curl works none out
    idle = _peak()
    http.create_client(
        url
    ).close()  # what is loaded for it counts as memory, and not as time: curl's own time leaves its start out
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
    return _Sent(seconds=time.perf_counter() - started, memory=_peak() - idle)


def _ours(url: str, path: Path, sha256: str) -> _Sent:
    command = [sys.executable, "-m", "benchmarks.upload", url, str(path), sha256]
    done = subprocess.run(command, cwd=project.ROOT, stdout=subprocess.PIPE, check=True)
    return _Sent(**json.loads(done.stdout))


def _theirs(curl: str, url: str, path: Path) -> _Sent:
    options = ("--silent", "--show-error", "--fail", "--write-out", "%{time_total}")
    command = [curl, *options, "--upload-file", str(path), url]
    return _Sent(seconds=float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def _write(path: Path) -> str:
    """Write bytes that nothing can make smaller; returns their sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, _BYTES, _PIECE):
            piece = os.urandom(min(_PIECE, _BYTES - start))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _peak() -> float:
    """Return the largest resident size of this process so far, in MB; getrusage's is its parent's at first."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


if __name__ == "__main__":
    sent = send(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    print(json.dumps({"seconds": sent.seconds, "memory": sent.memory}))
