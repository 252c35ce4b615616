"""Run commands one after another and report what each used: ``python supervise.py PLAN``. Standard library only.

``PLAN`` is a JSON file ``{"out": folder, "children": [{"name", "arguments", "folder", "seconds", "needs"}]}``. The
output of each child is captured, and ``OUT/NAME.json`` is written when it ends::

    {"format": 1, "name": ..., "code": exit status, or minus the signal's number, "timed_out": bool,
     "seconds": wall, "cpu_seconds": user + system, "peak_bytes": largest resident size, "log": the last 64 kB}

``seconds`` in the plan is a child's time limit. A child is skipped if one of its ``needs`` did not end with 0.
Processes that a child started and left running are killed when it ends.

When memory runs out, the kernel kills the largest process. That is the child, so this script survives to report it.
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
    """Read a stream to its end and keep the last :data:`LOG_BYTES` in ``tail``.

    A child that prints a lot must neither block on a full pipe nor fill the disk.
    """
    with stream:
        while chunk := stream.read1(LOG_BYTES):  # type: ignore[attr-defined]
            tail += chunk
            del tail[:-LOG_BYTES]


def run(child: dict[str, Any]) -> dict[str, Any]:
    """Run one child until it ends or reaches its time limit, and return its report."""
    started, tail = time.monotonic(), bytearray()
    process = subprocess.Popen(
        child["arguments"],
        cwd=child["folder"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a process group of its own, which can be killed as a whole
    )
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(child["seconds"], stop)
    timer.start()
    reader = threading.Thread(target=keep_tail, args=(process.stdout, tail), daemon=True)
    reader.start()
    # WNOWAIT leaves the child a zombie until its process group has been killed: until then no other process can get
    # its process id, so the kill cannot hit a stranger.
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
        "timed_out": timed_out.is_set(),
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,  # Linux counts in kilobytes
        "log": tail.decode("utf-8", "replace"),
    }


def main(plan_path: str) -> None:
    """Run the children of the plan and write their reports."""
    plan = json.loads(Path(plan_path).read_bytes())
    out, succeeded = Path(plan["out"]), []
    out.mkdir(exist_ok=True)
    for child in plan["children"]:
        if all(name in succeeded for name in child["needs"]):
            report = run(child)
            (out / f"{child['name']}.json").write_text(json.dumps(report))
            if report["code"] == 0:
                succeeded.append(child["name"])


if __name__ == "__main__":
    main(sys.argv[1])
