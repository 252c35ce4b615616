"""Run a registered pickle in a container of its image, locked down and limited as at the tournament.

runner = run_in_container.ContainerRunner(registry="127.0.0.1:41234/numerai", data=data)
with server.start(runner=runner, data=data) as sandbox: ...
"""

from __future__ import annotations

import contextlib
import io
import re
import secrets
import tarfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker.errors
import docker.types
import requests.exceptions

from builder.sandbox import live, registry, runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.sandbox import state as sandbox_state

LABEL = "numerai-sandbox.run"
_WORKDIR = "/box"
_CHUNK = 1 << 20
# Exit codes: 128 + the signal if an init process passes it on, else the negative signal.
_SEGMENTATION_FAULTS = (139, -11)
_NO_MEMORY = 137  # SIGKILL: the kernel kills the process that exceeds the memory limit
_ABORTED = (134, -6)
_ERROR = re.compile(r"ERROR:root:|^(?!\w+:)\S*(?:Error|Exception)\b")
_HELP_RULE = "-" * 80  # the runner prints a block of help after this line


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """The resources of a run, by default the tournament's; ``memory`` is in bytes."""

    cpus: float = 1
    memory: int = 4 << 30
    seconds: float = 600


@dataclass(frozen=True, kw_only=True)
class _ContainerResult:
    """How a container ended; ``code`` is None if it was killed at the time limit."""

    code: int | None
    out_of_memory: bool
    log: tuple[str, ...]
    files: tuple[str, ...]


class ContainerRunner:
    """Runs pickles on the engine. Its containers and volumes have its label and are removed when the run ends.

    Args:
        registry: Where to pull images from, such as ``127.0.0.1:41234/numerai``.
        data: The data of every run, for all data versions.
        limits: The resources of a run.

    Attributes:
        label: ``name=value`` of the label, unique to this runner.
    """

    def __init__(self, *, registry: str, data: live.LiveData, limits: RunLimits | None = None) -> None:
        self._registry = registry
        self._data = data
        self._limits = limits or RunLimits()
        self.label = f"{LABEL}={secrets.token_hex(6)}"

    def with_limits(self, limits: RunLimits) -> ContainerRunner:
        """Return a copy with other limits and the same label."""
        other = ContainerRunner(registry=self._registry, data=self._data, limits=limits)
        other.label = self.label
        return other

    def run(self, job: runs.Job) -> runs.Outcome:
        reference = self.get_reference(job.image)
        try:
            with registry.connect_engine() as api:
                _pull(api, reference)
                return _to_outcome(self._run(api, reference, job.path), self._limits)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            return runs.Outcome(succeeded=False, description=f"The model could not be run: {error}"[:300])

    def get_reference(self, image: sandbox_state.Image) -> str:
        """Return the reference of an image in the registry."""
        return f"{self._registry}/{image.image}:{image.tag}"

    def close(self) -> None:
        """Kill the running containers; each run then ends and cleans up."""
        with registry.connect_engine() as api:
            for container in api.containers(filters={"label": self.label}):
                with contextlib.suppress(docker.errors.APIError):
                    api.kill(container["Id"])

    def _run(self, api: Any, reference: str, pickle: Path) -> _ContainerResult:
        files = self._data.write_files()
        inputs = {"model.pkl": pickle, live.LIVE: files[live.LIVE], live.BENCHMARKS: files[live.BENCHMARKS]}
        with self._create_container(api, reference) as container:
            api.put_archive(container, _WORKDIR, _create_tar(inputs))
            api.start(container)
            timed_out = False
            try:
                api.wait(container, timeout=self._limits.seconds)
            except (requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout):
                # The SDK does not wrap the errors of a timeout: https://github.com/docker/docker-py/issues/933
                timed_out = True
                api.kill(container)
            state = api.inspect_container(container)["State"]
            log = api.logs(container, tail=400).decode("utf-8", "replace").splitlines()
            with tarfile.open(fileobj=io.BytesIO(b"".join(api.get_archive(container, f"{_WORKDIR}/out")[0]))) as out:
                return _ContainerResult(
                    code=None if timed_out else state["ExitCode"],
                    out_of_memory=state["OOMKilled"],
                    log=tuple(log),
                    files=tuple(out.getnames()),
                )

    @contextlib.contextmanager
    def _create_container(self, api: Any, reference: str) -> Iterator[str]:
        name, _, value = self.label.partition("=")
        labels = {name: value}
        # Arguments of the image's own entry point.
        command = ["--debug", "--model", f"{_WORKDIR}/model.pkl", "--dataset", f"{_WORKDIR}/{live.LIVE}"]
        command += ["--benchmarks", f"{_WORKDIR}/{live.BENCHMARKS}", "--output_dir", f"{_WORKDIR}/out"]
        with contextlib.ExitStack() as undo:
            volume = api.create_volume(labels=labels)["Name"]
            undo.callback(_remove, api.remove_volume, volume, force=True)
            container = api.create_container(
                reference,
                command=command,
                labels=labels,
                user="0:0",
                host_config=self._create_host_config(api, volume),
            )["Id"]
            undo.callback(_remove, api.remove_container, container, force=True, v=True)
            yield container

    def _create_host_config(self, api: Any, volume: str) -> Any:
        return api.create_host_config(
            binds={volume: {"bind": _WORKDIR, "mode": "rw"}},
            network_mode="none",
            mem_limit=self._limits.memory,
            memswap_limit=self._limits.memory,  # memory and swap together: no swap
            nano_cpus=int(self._limits.cpus * 1e9),
            pids_limit=512,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            ulimits=[docker.types.Ulimit(name="core", soft=0, hard=0)],
            init=True,
        )


def _to_outcome(result: _ContainerResult, limits: RunLimits) -> runs.Outcome:
    """Return success if the exit code is 0 and there are predictions, or else a description of the failure."""
    lines = result.log[: result.log.index(_HELP_RULE)] if _HELP_RULE in result.log else result.log
    reason = next((line for line in reversed(lines) if _ERROR.search(line)), "")
    has_csv = any(name.endswith(".csv") for name in result.files)
    # A thread of pyarrow sometimes aborts the process at exit, after the predictions were written:
    # https://github.com/apache/arrow/issues/34314
    if has_csv and (result.code == 0 or (result.code in _ABORTED and not reason)):
        return runs.Outcome(succeeded=True, logs=result.log)
    if result.code == 0:
        description = "The model wrote no predictions."
    elif result.code in _SEGMENTATION_FAULTS:
        description = runs.SEGMENTATION_FAULT
    elif result.code is None:
        description = f"The model ran out of time: the limit is {limits.seconds:g} seconds."
    elif result.out_of_memory or result.code == _NO_MEMORY:
        description = f"The model ran out of memory: the limit is {limits.memory >> 20} MB."
    else:
        description = reason or f"Exit code {result.code}"
    return runs.Outcome(succeeded=False, description=description, logs=result.log)


def _pull(api: Any, reference: str) -> None:
    """Pull an image unless the engine has it."""
    try:
        api.inspect_image(reference)
    except docker.errors.ImageNotFound:
        name, _, tag = reference.rpartition(":")
        for event in api.pull(name, tag=tag, stream=True, decode=True):
            if "error" in event:
                raise docker.errors.ImageNotFound(f"{reference}: {event['error']}") from None


def _remove(remove: Any, name: str, **options: Any) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        remove(name, **options)


def _create_tar(files: dict[str, Path]) -> Iterator[bytes]:
    """Yield the chunks of a tar archive with an empty folder ``out`` and the files, readable by any user.

    In chunks, because a file may be larger than memory.
    """
    now = int(time.time())
    folder = tarfile.TarInfo("out")
    folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, now
    yield folder.tobuf()
    for name, path in files.items():
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = path.stat().st_size, 0o644, now
        yield entry.tobuf()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
        yield b"\0" * (-entry.size % tarfile.BLOCKSIZE)
    yield b"\0" * 2 * tarfile.BLOCKSIZE  # the end of a tar archive
