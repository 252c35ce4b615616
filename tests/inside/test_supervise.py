"""Supervise child processes: what each used and how it ended, including misbehaving ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from builder import paths

SUPERVISE = paths.inside_folder() / "supervise.py"


def child(name: str, source: str, *, seconds: float = 30, needs: tuple[str, ...] = ()) -> dict[str, Any]:
    arguments = [sys.executable, "-I", "-c", source]
    return {"name": name, "arguments": arguments, "folder": "/", "seconds": seconds, "needs": list(needs)}


def supervise(folder: Path, *children: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run the script, in a bare interpreter as in the image; return its reports by name."""
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"out": str(folder / "out"), "children": children}))
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", str(SUPERVISE), str(plan)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    return {path.stem: json.loads(path.read_bytes()) for path in (folder / "out").iterdir()}


def is_running(pid: int) -> bool:
    """Return whether a process runs and is not a zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def ends_soon(pid: int) -> bool:
    """Return whether a killed process ends within 10 seconds."""
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def test_a_report_has_these_keys_and_no_others(tmp_path: Path) -> None:
    report = supervise(tmp_path, child("one", "print('said')"))["one"]
    assert report.keys() == {
        "format",
        "name",
        "code",
        "timed_out",
        "seconds",
        "cpu_seconds",
        "peak_bytes",
        "log",
    }
    assert (report["format"], report["name"], report["code"], report["timed_out"]) == (1, "one", 0, False)
    assert report["log"] == "said\n"
    assert report["cpu_seconds"] > 0
    assert 0 < report["seconds"] < 30


def test_exit_codes_and_signals(tmp_path: Path) -> None:
    reports = supervise(
        tmp_path,
        child("three", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"),
        child("raises", "raise ValueError('reason')"),
        child("segfault", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
        child("killed", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
    )
    codes = {name: report["code"] for name, report in reports.items()}
    assert codes == {"three": 3, "raises": 1, "segfault": -signal.SIGSEGV, "killed": -signal.SIGKILL}
    assert sorted(reports["three"]["log"].split()) == ["err", "out"]
    assert "ValueError: reason" in reports["raises"]["log"]
    assert not any(report["timed_out"] for report in reports.values())


def test_a_child_is_skipped_if_its_needs_failed(tmp_path: Path) -> None:
    reports = supervise(
        tmp_path,
        child("good", "pass"),
        child("bad", "raise SystemExit(1)"),
        child("after good", "pass", needs=("good",)),
        child("after bad", "pass", needs=("good", "bad")),
        child("after what was not run", "pass", needs=("after bad",)),
    )
    assert reports.keys() == {"good", "bad", "after good"}


def test_a_time_out_kills_the_whole_group(tmp_path: Path) -> None:
    """A grandchild that ignores SIGTERM keeps the pipe open."""
    grandchild = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    source = (
        "import subprocess, sys, time\n"
        f"print(subprocess.Popen([sys.executable, '-I', '-c', {grandchild!r}]).pid, flush=True)\n"
        "time.sleep(600)"
    )
    report = supervise(tmp_path, child("long", source, seconds=2))["long"]
    assert report["timed_out"]
    assert report["code"] == -signal.SIGKILL
    assert report["seconds"] >= 2
    assert ends_soon(int(report["log"]))


def test_what_a_child_left_running_is_killed_before_the_next(tmp_path: Path) -> None:
    source = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-I', '-c', 'import time; time.sleep(600)']).pid, flush=True)"
    )
    reports = supervise(tmp_path, child("first", source), child("second", "print('ran')", needs=("first",)))
    assert reports["first"]["code"] == 0
    assert not reports["first"]["timed_out"]
    assert ends_soon(int(reports["first"]["log"]))
    assert reports["second"]["log"] == "ran\n"


def test_the_peak_is_the_childs_own(tmp_path: Path) -> None:
    """Gone again before its end, and the next child's is not added to it."""
    reports = supervise(
        tmp_path,
        child("large", "held = b'x' * (300 << 20); del held"),
        child("small", "pass"),
    )
    assert 300 << 20 < reports["large"]["peak_bytes"] < 360 << 20
    assert reports["small"]["peak_bytes"] < 60 << 20


def test_cpu_time_does_not_include_waiting(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    reports = supervise(tmp_path, child("busy", busy), child("asleep", "import time; time.sleep(0.5)"))
    assert reports["busy"]["cpu_seconds"] >= 0.5
    assert reports["asleep"]["seconds"] >= 0.5
    assert reports["asleep"]["cpu_seconds"] < reports["busy"]["cpu_seconds"]


def test_the_end_of_a_long_log_is_kept(tmp_path: Path) -> None:
    source = "import sys\nfor n in range(300000): print('line', n)\nprint('\\udcff last', end='')"
    script = f"import sys; sys.stdout.reconfigure(errors='surrogateescape'); exec({source!r})"
    report = supervise(tmp_path, child("chatty", script))["chatty"]
    assert report["code"] == 0
    assert (
        len(report["log"].encode()) <= 65536 + 2
    )  # an invalid byte becomes the replacement character, which has three bytes
    assert report["log"].endswith("line 299999\n\ufffd last")


def test_a_child_has_no_input_and_its_own_session(tmp_path: Path) -> None:
    source = "import os, sys; print(repr(sys.stdin.read()), os.getsid(0) == os.getpid(), os.getcwd())"
    assert supervise(tmp_path, child("one", source))["one"]["log"] == "'' True /\n"
