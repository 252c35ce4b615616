"""Run one command and return what it left: ``python -I -S supervise.py FOLDER RESULTS COMMAND...``.

The command starts in ``FOLDER``, and its output is the standard error of this script. When it ends, this script prints
to standard output one line of JSON, and a line of base64 with the content of each regular file in ``RESULTS``, in the
order of the JSON::

    {"format": 1, "peak_bytes": largest resident size, "cpu_seconds": user + system,
     "count": how many files, "files": [{"name", "kind": "file", "folder", "link" or "other", "size": bytes of a file}]}

Of more than 100 files, the first are listed; of files that are larger than 128 MB together (which in a folder of that
size are sparse), none is printed.

It ends with the exit code of the command, or 128 and the signal's number, as a shell does. Standard library only.

The command can print this too, or kill this script: the host (``builder.validate.container_run``) takes the JSON and
the files as untrusted data, and learns from the engine how the run ended. When memory runs out, the kernel kills the
largest process; that is the command, so that this script survives to report it.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from typing import Any

COMMAND_NOT_FOUND = 127
MAX_FILES = 100
MAX_BYTES = 128 << 20
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
_CHUNK = 3 << 16  # a multiple of 3, so that the pieces of base64 join to one


def list_files(folder: str, names: list[str]) -> list[dict[str, Any]]:
    """Return the name, kind and size of files of a folder."""
    files = []
    for name in names:
        status = os.lstat(f"{folder}/{name}")
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "other")
        printable = os.fsencode(name).decode("utf-8", "backslashreplace")
        files.append({"name": printable, "kind": kind, "size": status.st_size if kind == "file" else 0})
    return files


def print_file(path: str, size: int) -> None:
    """Print the first ``size`` bytes of a file as a line of base64."""
    with open(path, "rb") as file:
        while size > 0 and (chunk := file.read(min(_CHUNK, size))):
            sys.stdout.buffer.write(base64.b64encode(chunk))
            size -= len(chunk)
    sys.stdout.buffer.write(b"\n")


def main(folder: str, results: str, command: list[str]) -> int:
    """Run the command, print what it left, and return its exit code."""
    try:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    except OSError as error:
        print(f"cannot run {command[0]}: {error}", file=sys.stderr)
        return COMMAND_NOT_FOUND
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    names = sorted(os.listdir(results))  # noqa: PTH208 - as pathlib would be slower to import
    files = list_files(results, names[:MAX_FILES])
    report = {
        "format": 1,
        "peak_bytes": usage.ru_maxrss * 1024,  # Linux counts in kilobytes
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "count": len(names),
        "files": files,
    }
    print(json.dumps(report), flush=True)
    if sum(item["size"] for item in files) <= MAX_BYTES:
        for name, item in zip(names, files, strict=False):
            if item["kind"] == "file":
                print_file(f"{results}/{name}", item["size"])
    sys.stdout.flush()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
