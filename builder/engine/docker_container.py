"""A container of :mod:`builder.engine.docker_engine`."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import docker.errors
import docker.types
import requests.exceptions

from builder.engine import docker_errors, protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIN_CPU_SHARES, _DEFAULT_CPU_SHARES = 2, 1024


def create_host_config(api: Any, volume: str | None, limits: protocol.ContainerLimits, *, network: bool) -> Any:
    """Return the host configuration of a locked container.

    A pickle can contain any code, so the container must not be able to harm the host: no network (unless
    requested), no swap, no capabilities, no new privileges, and no disk. The size of a volume cannot be limited on
    most disks (https://docs.docker.com/reference/cli/docker/volume/create/), so the volume is read-only; what the
    container writes is in its memory, which is limited, and in its log, which is rotated.
    """
    return api.create_host_config(
        binds={volume: {"bind": protocol.WORKDIR, "mode": "ro"}} if volume else {},
        network_mode="bridge" if network else "none",
        mem_limit=limits.memory,
        # Memory plus swap: the same value as the memory means no swap
        # (https://docs.docker.com/engine/containers/resource_constraints/#prevent-a-container-from-using-swap).
        memswap_limit=limits.memory,
        nano_cpus=int(limits.cpus * 1e9),
        # Threads count too. numpy and scipy each start one per core, so 64 fails on large hosts:
        # https://github.com/OpenMathLib/OpenBLAS/issues/4762
        pids_limit=512,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
        tmpfs={
            "/tmp": "rw,nosuid,nodev",  # noqa: S108 - the container's own
            protocol.RESULTS: f"rw,nosuid,nodev,size={protocol.RESULTS_BYTES},nr_inodes=1000",
        },
        ulimits=[docker.types.Ulimit(name="core", soft=0, hard=0)],
        # Two files of this size: the newest half of the log is there, and the results are printed last, in base64.
        log_config=docker.types.LogConfig(
            type="json-file", config={"max-size": str(2 * protocol.RESULTS_BYTES), "max-file": "2"}
        ),
        init=True,  # Python as process 1 would not reap orphans, which count towards pids_limit
    )


@dataclass
class DockerContainer:
    """A created container; see :class:`builder.engine.protocol.Container`."""

    _api: Any
    _id: str = field(repr=False)
    _is_started: bool = False
    _peak_bytes: int | None = None

    def start(self) -> None:
        self._set_cpu_shares(_MIN_CPU_SHARES)
        self._start()

    def _start(self) -> None:
        with docker_errors.translate_answer_errors("start a container"):
            self._api.start(self._id)
        self._is_started = True
        # Not waited for: the engine ends the stream when the container is removed.
        threading.Thread(target=self._watch_memory, daemon=True).start()

    def _set_cpu_shares(self, shares: int) -> None:
        # Not all engines with this API can do it, and nothing depends on it but the speed.
        with (
            docker_errors.translate_errors("set the CPU shares of a container"),
            contextlib.suppress(docker.errors.APIError),
        ):
            self._api.update_container(self._id, cpu_shares=shares)

    def _watch_memory(self) -> None:
        """Record the most memory that the engine reports; nothing is reported of a container that has ended."""
        with (
            contextlib.suppress(*docker_errors.LIBRARY_ERRORS, *docker_errors.MALFORMED),
            contextlib.closing(self._api.stats(self._id, decode=True)) as samples,
        ):
            for sample in samples:
                memory = sample["memory_stats"]
                # As `docker stats` counts: without the page cache that can be dropped, by its names in cgroup 1 and 2:
                # https://github.com/docker/cli/blob/v28.5.2/cli/command/container/stats_helpers.go#L227-L249
                cache = memory["stats"].get("total_inactive_file") or memory["stats"].get("inactive_file") or 0
                self._peak_bytes = max(self._peak_bytes or 0, int(memory["usage"]) - int(cache))

    def run(self, seconds: float, /) -> protocol.Exit:
        deadline = time.monotonic() + seconds
        if self._is_started:
            self._set_cpu_shares(_DEFAULT_CPU_SHARES)
        else:
            self._start()
        with docker_errors.translate_answer_errors("run a container"):
            try:
                self._api.wait(self._id, timeout=seconds)
            except (requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout):
                # The SDK raises the same errors for a timeout and for an engine that has stopped; the clock shows
                # which one it is.
                if time.monotonic() < deadline:
                    raise
                self._api.kill(self._id)
                return protocol.Exit(code=None, out_of_memory=False, seconds=seconds, peak_bytes=self._peak_bytes)
            state = self._api.inspect_container(self._id)["State"]
            started, ended = (dt.datetime.fromisoformat(state[key]) for key in ("StartedAt", "FinishedAt"))
            return protocol.Exit(
                code=int(state["ExitCode"]),
                out_of_memory=bool(state["OOMKilled"]),
                seconds=(ended - started).total_seconds(),
                peak_bytes=self._peak_bytes,
            )

    def read_output(self, max_bytes: int, /) -> bytes:
        content = bytearray()
        with self._open_log(stdout=True, stderr=False) as chunks:
            for chunk in chunks:
                content += chunk
                if len(content) >= max_bytes:
                    break
        del content[max_bytes:]  # in place: it may have 180 MB
        return bytes(content)

    def read_log(self, *, output: bool = True) -> str:
        tail = bytearray()
        with self._open_log(stdout=output, stderr=True) as chunks:
            for chunk in chunks:
                tail += chunk
                del tail[: -protocol.LOG_BYTES]
        return tail.decode("utf-8", "replace")

    @contextlib.contextmanager
    def _open_log(self, *, stdout: bool, stderr: bool) -> Iterator[Iterator[bytes]]:
        """Yield the pieces of the log; the SDK's own method cannot close a log that is not read to its end."""
        parameters = {"stdout": int(stdout), "stderr": int(stderr)}
        with docker_errors.translate_errors("read a container's log"):
            url = self._api._url("/containers/{0}/logs", self._id)  # noqa: SLF001
            answer = self._api._get(url, params=parameters, stream=True)  # noqa: SLF001
            with contextlib.closing(answer):
                self._api._raise_for_status(answer)  # noqa: SLF001
                with docker_errors.translate_answer_errors("read a container's log"):
                    yield self._api._multiplexed_response_stream_helper(answer)  # noqa: SLF001
