"""The judge that looks: runs a pickle in the image it was registered for, locked and limited as the tournament does.

judge = runner.Runner(registry="127.0.0.1:41234/numerai", data=data)
with server.start(judge=judge, data=data) as sandbox: ...
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
_BOX = "/box"
_CHUNK = 1 << 20
_SEGMENTATION_FAULTS = (139, -11)
_NO_MEMORY = 137
_ABORTED = (134, -6)
_ERROR = re.compile(r"ERROR:root:|^(?!\w+:)\S*(?:Error|Exception)\b")
_BOX_OF_HELP = "-" * 80


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may use: the tournament's default."""

    cpus: float = 1
    memory: int = 4 << 30
    seconds: float = 600


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """How a container ended; ``code`` is None when it was killed for its time."""

    code: int | None
    out_of_memory: bool
    log: tuple[str, ...]
    files: tuple[str, ...]


class Runner:
    """Runs pickles on the engine. What it makes there carries its label, and is gone when the run has ended.

    Args:
        registry: Where the images are, such as ``127.0.0.1:41234/numerai``.
        data: The live data for all pickles, also for those registered for another data version.
        limits: What a run may use.

    Attributes:
        label: What its containers and volumes carry, and no other's.
    """

    def __init__(self, *, registry: str, data: live.Live, limits: Limits | None = None) -> None:
        self._registry = registry
        self._data = data
        self._limits = limits or Limits()
        self.label = f"{LABEL}={secrets.token_hex(6)}"

    def limited(self, limits: Limits) -> Runner:
        """Return one that runs the same, under the same label, with other limits."""
        other = Runner(registry=self._registry, data=self._data, limits=limits)
        other.label = self.label
        return other

    def run(self, job: runs.Job) -> runs.Outcome:
        reference = self.reference(job.image)
        try:
            with registry.connect_engine() as api:
                _pull(api, reference)
                return judge(self._run(api, reference, job.path), self._limits)
        except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
            return runs.Outcome(good=False, description=f"The model could not be run: {error}"[:300])

    def reference(self, image: sandbox_state.Image) -> str:
        """Return what a runtime is called in the registry."""
        return f"{self._registry}/{image.image}:{image.tag}"

    def close(self) -> None:
        """End what is running: a container that is killed ends its run, which cleans up."""
        with registry.connect_engine() as api:
            for item in api.containers(filters={"label": self.label}):
                with contextlib.suppress(docker.errors.APIError):
                    api.kill(item["Id"])

    def _run(self, api: Any, reference: str, pickle: Path) -> _Ended:
        files = self._data.files()
        named = {"model.pkl": pickle, live.LIVE: files[live.LIVE], live.BENCHMARKS: files[live.BENCHMARKS]}
        with self._container(api, reference) as container:
            api.put_archive(container, _BOX, _tar(named))
            api.start(container)
            timely = True
            try:
                api.wait(container, timeout=self._limits.seconds)
            except (requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout):
                timely = False  # the SDK reports a timeout like this
                api.kill(container)
            state = api.inspect_container(container)["State"]
            log = api.logs(container, tail=400).decode("utf-8", "replace").splitlines()
            with tarfile.open(fileobj=io.BytesIO(b"".join(api.get_archive(container, f"{_BOX}/out")[0]))) as out:
                return _Ended(
                    code=state["ExitCode"] if timely else None,
                    out_of_memory=state["OOMKilled"],
                    log=tuple(log),
                    files=tuple(out.getnames()),
                )

    @contextlib.contextmanager
    def _container(self, api: Any, reference: str) -> Iterator[str]:
        name, _, value = self.label.partition("=")
        labels = {name: value}
        # The image's own entry point, which takes these.
        command = ["--debug", "--model", f"{_BOX}/model.pkl", "--dataset", f"{_BOX}/{live.LIVE}"]
        command += ["--benchmarks", f"{_BOX}/{live.BENCHMARKS}", "--output_dir", f"{_BOX}/out"]
        with contextlib.ExitStack() as undo:
            volume = api.create_volume(labels=labels)["Name"]
            undo.callback(_removed, api.remove_volume, volume, force=True)
            container = api.create_container(
                reference,
                command=command,
                labels=labels,
                user="0:0",
                host_config=self._locked(api, volume),
            )["Id"]
            undo.callback(_removed, api.remove_container, container, force=True, v=True)
            yield container

    def _locked(self, api: Any, volume: str) -> Any:
        return api.create_host_config(
            binds={volume: {"bind": _BOX, "mode": "rw"}},
            network_mode="none",
            mem_limit=self._limits.memory,
            memswap_limit=self._limits.memory,  # the same figure as the memory: no swap
            nano_cpus=int(self._limits.cpus * 1e9),
            pids_limit=512,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            ulimits=[docker.types.Ulimit(name="core", soft=0, hard=0)],
            init=True,
        )


def judge(ended: _Ended, limits: Limits) -> runs.Outcome:
    """Say in a description how a run failed, or that it did not: it ended with 0 and there are predictions.

    A thread of pyarrow aborts a good run now and then when it is at its end.
    """
    above = ended.log[: ended.log.index(_BOX_OF_HELP)] if _BOX_OF_HELP in ended.log else ended.log
    reason = next((line for line in reversed(above) if _ERROR.search(line)), "")
    has_csv = any(name.endswith(".csv") for name in ended.files)
    if has_csv and (ended.code == 0 or (ended.code in _ABORTED and not reason)):
        return runs.Outcome(good=True, logs=ended.log)
    if ended.code == 0:
        description = "The model wrote no predictions."
    elif ended.code in _SEGMENTATION_FAULTS:
        description = runs.SEGMENTATION_FAULT
    elif ended.code is None:
        description = f"The model ran out of time: it may take {limits.seconds:g} seconds."
    elif ended.out_of_memory or ended.code == _NO_MEMORY:
        description = f"The model ran out of memory: it may use {limits.memory >> 20} MB."
    else:
        description = reason or f"Exit code {ended.code}"
    return runs.Outcome(good=False, description=description, logs=ended.log)


def _pull(api: Any, reference: str) -> None:
    """Have an image on the engine."""
    try:
        api.inspect_image(reference)
    except docker.errors.ImageNotFound:
        name, _, tag = reference.rpartition(":")
        for event in api.pull(name, tag=tag, stream=True, decode=True):
            if "error" in event:
                raise docker.errors.ImageNotFound(f"{reference}: {event['error']}") from None


def _removed(remove: Any, name: str, **options: Any) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        remove(name, **options)


def _tar(named: dict[str, Path]) -> Iterator[bytes]:
    """Yield a tar of files, readable by any user, and an empty folder ``out``; a file may be larger than memory."""
    now = int(time.time())
    folder = tarfile.TarInfo("out")
    folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, now
    yield folder.tobuf()
    for name, path in named.items():
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = path.stat().st_size, 0o644, now
        yield entry.tobuf()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
        yield b"\0" * (-entry.size % tarfile.BLOCKSIZE)
    yield b"\0" * 2 * tarfile.BLOCKSIZE
