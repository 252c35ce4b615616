"""Run commands one after another and say what each used: ``python supervise.py PLAN``. Standard library only.

``PLAN`` is a JSON file ``{"out": folder, "children": [{"name", "arguments", "folder", "seconds", "needs"}]}``. Each
child runs with its output captured; ``OUT/NAME.json`` is written as it ends::

    {"format": 1, "name": ..., "code": exit status, or minus the signal's number, "timed_out": bool,
     "seconds": wall, "cpu_seconds": user + system, "peak_bytes": largest resident size, "log": the last 64 kB}

What a child started and left running is killed with it. A child whose ``needs`` names one that did not end with 0 is
not run. The kernel kills the largest process when memory runs out, which is the child: this script survives it and
still reports.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

LOG_BYTES = 65536


def keep_tail(stream: IO[bytes], tail: bytearray) -> None:
    """Read a stream to its end and keep the last of it, so that a chatty child can fill neither pipe nor disk."""
    with stream:
        while chunk := stream.read1(LOG_BYTES):  # type: ignore[attr-defined]
            tail += chunk
            del tail[:-LOG_BYTES]


def run(child: dict[str, Any]) -> dict[str, Any]:
    """Run one child to its end or its time limit."""
    started, tail = time.monotonic(), bytearray()
    process = subprocess.Popen(
        child["arguments"],
        cwd=child["folder"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    over = threading.Event()

    def stop() -> None:
        over.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(child["seconds"], stop)
    timer.start()
    reader = threading.Thread(target=keep_tail, args=(process.stdout, tail), daemon=True)
    reader.start()
    # It stays a zombie until what it started has been killed too: till then nobody else can have its number.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    timer.cancel()
    seconds = time.monotonic() - started
    os.killpg(process.pid, signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join(timeout=5)
    return {
        "format": 1,
        "name": child["name"],
        "code": process.returncode,
        "timed_out": over.is_set(),
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
        "log": tail.decode("utf-8", "replace"),
    }


def main(plan_path: str) -> None:
    """Run every child of the plan."""
    plan = json.loads(Path(plan_path).read_bytes())
    out, good = Path(plan["out"]), []
    out.mkdir(exist_ok=True)
    for child in plan["children"]:
        if all(name in good for name in child["needs"]):
            report = run(child)
            (out / f"{child['name']}.json").write_text(json.dumps(report))
            if report["code"] == 0:
                good.append(child["name"])


if __name__ == "__main__":
    main(sys.argv[1])
