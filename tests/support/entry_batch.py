"""Run many pickles by the entry point of an image in one container, each in a process of its own.

A container starts, and Python imports pandas, more slowly than a small pickle runs: so the processes are forks of one
that has imported it.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from builder.engine import protocol, tar_stream
from builder.validate import container_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.engine import docker_engine
    from builder.image import resolve

_MAX_OUTPUT = 64 << 20
_DRIVER = """\
import base64, gc, json, os, runpy, sys
import pandas, pyarrow.dataset, pyarrow.parquet

gc.freeze()  # a fork that ends does not search the libraries' objects, which halves its CPU time

def run(number, live, script):
    results = f"/results/{number}"
    os.mkdir(results)
    child = os.fork()
    if not child:
        log = os.open(f"{results}/log", os.O_CREAT | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir("/")
        sys.argv = [script, "--debug", "--model", f"/box/{number}.pkl", "--dataset", f"/box/{live}"]
        sys.argv += ["--benchmarks", "/box/benchmarks.parquet", "--output_dir", results]
        runpy.run_path(script, run_name="__main__")
        sys.exit()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    files = {}
    for name in os.listdir(results):
        with open(f"{results}/{name}", "rb") as file:
            files[name] = base64.b64encode(file.read()).decode()
        os.remove(f"{results}/{name}")
    os.rmdir(results)
    return [code if code >= 0 else 128 - code, files]

for number, (live, script) in enumerate(json.load(open("/box/plan.json"))):
    ended = run(number, live, script)
    if ended[0] == 134 and len(ended[1]) > 1:  # a thread of pyarrow, see container_run.run_entry
        ended = run(number, live, script)
    print(json.dumps(ended), flush=True)
os._exit(0)
"""


def run(
    pickles: Sequence[tuple[bytes, str]],
    files: Mapping[str, Path],
    image: resolve.ResolvedImage,
    engine: docker_engine.DockerEngine,
    run_id: str,
) -> list[container_run.ContainerRun]:
    """Run pickles without a network and within 1 GiB; return how each ended.

    Args:
        pickles: The pickles, each with the name of its live rows, one of ``files``.
        files: Parquet files; ``benchmarks.parquet`` is given to every pickle.
        image: The image.
        engine: The engine.
        run_id: The id of the run.
    """
    plan = [[live, f"{image.workdir}/{image.entrypoint[-1]}"] for _, live in pickles]
    contents: dict[str, bytes | Path] = {
        **{f"{number}.pkl": content for number, (content, _) in enumerate(pickles)},
        **files,
        "plan.json": json.dumps(plan).encode(),
        "driver.py": _DRIVER.encode(),
    }
    tar = tar_stream.pack(tar_stream.TarEntry(name=name, content=content) for name, content in contents.items())
    limits = protocol.ContainerLimits(cpus=1, memory=1 << 30)
    command = ("python", f"{protocol.WORKDIR}/driver.py")
    with (
        engine.create_volume(image.handle, tar, run=run_id) as volume,
        engine.create_container(
            image.handle, command, run=run_id, limits=limits, network=False, volume=volume
        ) as container,
    ):
        container_exit = container.run(900)
        output, log = container.read_output(_MAX_OUTPUT), container.read_log(output=False)
    assert container_exit.code == 0, log
    return [_read(line) for line in output.splitlines()]


def _read(line: bytes) -> container_run.ContainerRun:
    code, files = json.loads(line)
    contents = {name: base64.b64decode(content) for name, content in files.items()}
    return container_run.ContainerRun(
        exit=protocol.Exit(code=code, out_of_memory=False, seconds=1),
        log=contents.pop("log").decode("utf-8", "replace"),
        usage=container_run.Usage(seconds=1),
        files=contents,
    )
