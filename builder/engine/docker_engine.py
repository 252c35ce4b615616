"""The interface to a Docker Engine, or another engine with its API; the only module that imports the ``docker`` SDK.

:func:`connect` finds the engine that ``DOCKER_HOST`` or a docker context selects (:mod:`builder.engine.docker_config`)
and returns a :class:`DockerEngine`, whose methods send one or a few requests each.

The SDK, requests and urllib3 raise errors of many classes, so every request is made in one of two context managers,
which convert them to :class:`builder.errors.EngineError`: ``_translate_errors`` around any code, and
``_translate_answer_errors`` around code that only reads an answer, where a ``KeyError`` also is the engine's fault.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import os
import re
import shutil
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import docker
import docker.auth
import docker.errors
import docker.utils
import requests.exceptions
import urllib3.exceptions

from builder import errors
from builder.engine import docker_config, protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from builder.progress import Progress

MINIMUM_API = (1, 41)  # of Engine 20.10, the oldest engine that this tool was tested with
_MINIMUM_API_TEXT = ".".join(map(str, MINIMUM_API))

# Seconds without data from the engine. A build step may print nothing for minutes; other requests are answered at once.
_ANSWER_TIMEOUT, _BUILD_TIMEOUT = 120, 3600

_CONTAINERD_FOLDER = "/var/lib/containerd"
_MAX_BUILD_LOG = 1 << 20
_CPU_PERIOD = 100_000  # microseconds
_MIN_CPU_SHARES, _DEFAULT_CPU_SHARES = 2, 1024
_BUILDER_LINES = (" --->", "Removing intermediate container ")  # printed by the builder, not by a step

_COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")
"""The classic builder colors a step's standard error; the reset code comes in front of the next line of output."""
_LIBRARY_ERRORS = (
    docker.errors.DockerException,
    docker.errors.StreamParseError,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    ConnectionError,
)
# The errors of the HTTP libraries for a read that took too long; a ConnectionError may be caused by one.
_TIMEOUTS = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
# Raised while reading an answer that does not have the form of an engine's answer.
_MALFORMED = (LookupError, TypeError, AttributeError, ValueError)
_LOGIN_REQUIRED = re.compile(r"denied|unauthori[sz]ed|authenticat|no basic auth|forbidden|HTTP 40[13]", re.IGNORECASE)


def connect() -> DockerEngine:
    """Connect to the configured engine (``DOCKER_HOST`` or a docker context), or to the one at the default socket.

    Raises:
        errors.EngineChoiceError: The configuration is invalid, or the configured engine does not answer.
        errors.EngineError: No engine answers at the default socket, or the engine is too old.
    """
    endpoint = docker_config.find_endpoint(os.environ)
    api = _create_client(endpoint)
    try:
        with _translate_answer_errors("reach the container engine"):
            api.negotiate()
            version = tuple(int(part) for part in api.api_version.split("."))
    except errors.EngineError as error:
        if endpoint.source is None:
            raise
        root = list_causes(error)[-1]
        if not isinstance(root, OSError):
            raise errors.EngineChoiceError(f"the engine set by {endpoint.source} cannot be used: {error}") from error
        raise errors.EngineChoiceError(
            f"the engine set by {endpoint.source} does not answer: {str(root) or type(root).__name__}; start it, or "
            "set another one: this tool starts only the default engine"
        ) from error
    if version < MINIMUM_API:
        raise errors.EngineError(
            f"the container engine at {api.base_url} has API {api.api_version}, older than {_MINIMUM_API_TEXT} "
            "(Engine 20.10): update it"
        )
    return DockerEngine(api)


class _Client(docker.APIClient):
    """The SDK's client without its handling of logins.

    The SDK reads all logins when the client is created, and calls every credential helper before each build: a missing
    or broken helper would prevent a build even from an image that is already on the engine.
    """

    build_cpus: float | None = None

    def __init__(self, settings: Mapping[str, Any], **options: Any) -> None:
        self._settings = settings
        super().__init__(**options)

    def negotiate(self) -> None:
        """Use the engine's newest API version."""
        self._version = self.version(api_version=False)["ApiVersion"]

    def _post(self, url: str, **options: Any) -> Any:
        # The SDK's build has no option for the quota, which the engine's API has:
        # https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/ImageBuild
        if url.endswith("/build") and self.build_cpus:
            options["params"].update(cpuperiod=_CPU_PERIOD, cpuquota=int(self.build_cpus * _CPU_PERIOD))
        base: Any = super()  # the SDK has no type annotations
        return base._post(url, **options)  # noqa: SLF001

    @property
    def _general_configs(self) -> dict[str, Any]:
        # Without the key `auths`, the SDK takes all entries for logins. A first entry that is not an object makes it
        # ignore them.
        return {"": None, **{key: value for key, value in self._settings.items() if value}}

    @_general_configs.setter
    def _general_configs(self, _: object) -> None: ...

    @property
    def _auth_configs(self) -> _NoLogins:
        return _NoLogins({})

    @_auth_configs.setter
    def _auth_configs(self, _: object) -> None: ...


class _NoLogins(docker.auth.AuthConfig):
    is_empty = False  # the SDK would read the file again if it were empty


def _create_client(endpoint: docker_config.Endpoint) -> _Client:
    """Return a client; nothing is sent to the engine yet, except for an ``ssh://`` address.

    Raises:
        errors.EngineChoiceError: The address is invalid, or a library that it requires is not installed.
    """
    tls: Any = False
    try:
        if endpoint.tls:
            tls = docker.tls.TLSConfig(
                client_cert=endpoint.tls.pair, ca_cert=endpoint.tls.ca, verify=endpoint.tls.verify
            )
        return _Client(
            endpoint.client, base_url=endpoint.host, tls=tls, version=_MINIMUM_API_TEXT, timeout=_ANSWER_TIMEOUT
        )
    except Exception as error:  # ssh:// connects here, with paramiko, which may be missing or raise its own errors
        reason = docker_config.hide_password(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise errors.EngineChoiceError(
            f"{endpoint.source or 'the default engine'}: invalid engine address ({reason}); expected unix:///PATH, "
            "tcp://HOST:PORT or ssh://USER@HOST"
        ) from error


class DockerEngine:
    """See :class:`builder.engine.protocol.Engine`; uses the SDK's low-level client."""

    def __init__(self, api: Any) -> None:
        self._api = api  # docker.APIClient; Any, because the SDK has no type annotations

    def get_facts(self) -> protocol.EngineFacts:
        with _translate_answer_errors("read the engine's version"):
            answer = self._api.version()
            return protocol.EngineFacts(
                version=str(answer["Version"]),
                api=str(answer["ApiVersion"]),
                platform=f"{answer['Os']}/{answer['Arch']}",
            )

    def get_free_disk(self) -> int | None:
        with _translate_answer_errors("find the engine's disk"):
            answer = self._api.info()
            name, folder = answer.get("Name"), str(answer.get("DockerRootDir") or "")
            has_containerd_store = ["driver-type", "io.containerd.snapshotter.v1"] in (answer.get("DriverStatus") or [])
        # The containerd image store keeps images with containerd, whose folder is this one unless the engine started
        # containerd itself: https://docs.docker.com/engine/storage/containerd/
        if has_containerd_store and not os.path.isdir(f"{folder}/containerd/daemon"):  # noqa: PTH112 - as below
            folder = _CONTAINERD_FOLDER
        # An engine in a virtual machine is reached through a local socket too, but reports another host name.
        if name != socket.gethostname() or not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises PermissionError
            return None
        return shutil.disk_usage(folder).free

    def get_memory(self) -> int:
        with _translate_answer_errors("read the engine's memory size"):
            return int(self._api.info().get("MemTotal") or 0)

    def find_image(self, reference: str, /) -> protocol.ImageFacts | None:
        with _translate_answer_errors(f"look for the image {reference}"):
            try:
                return _to_image_facts(self._api.inspect_image(reference))
            except docker.errors.ImageNotFound:
                return None

    def find_images_by_label(self, key: str, value: str, /) -> list[protocol.ImageFacts]:
        with _translate_answer_errors(f"list images with the label {key}"):
            ids = [image["Id"] for image in self._api.images(filters={"label": f"{key}={value}"})]
        # Another run may have removed some in the meantime.
        images = [self.find_image(image_id) for image_id in ids]
        return [image for image in images if image is not None]

    def pull(self, reference: str, /, *, platform: str, seconds: float, progress: Progress) -> protocol.ImageFacts:
        name, tag = docker.utils.parse_repository_tag(reference)
        registry = docker.auth.resolve_repository_name(name)[0]
        headers, login_problem = {}, ""
        try:
            if login := docker_config.find_login(registry, os.environ):
                headers = {"X-Registry-Auth": _encode_login(login, registry)}
        except errors.LoginError as error:
            login_problem = str(error)  # reported only if the pull fails: most images require no login
        parameters = {"fromImage": name, "tag": tag or "latest", "platform": platform}
        layers: dict[str, tuple[int, int]] = {}  # bytes downloaded and in total, by the layer's id
        try:
            for event in self._stream_create(f"pull {reference}", parameters, seconds=seconds, headers=headers):
                with _translate_answer_errors(f"pull {reference}"):
                    detail = event.get("progressDetail") or {}
                    if event.get("status") == "Downloading" and detail.get("total"):
                        layers[event["id"]] = (int(detail["current"]), int(detail["total"]))
                        current, total = (sum(column) for column in zip(*layers.values(), strict=True))
                        progress.report_bytes(current, total)
        except errors.EngineError as error:
            if login_problem and _LOGIN_REQUIRED.search(str(error)):
                raise errors.EngineError(f"{error}; no login was sent: {login_problem}") from error
            if not any(isinstance(cause, _TIMEOUTS) for cause in list_causes(error)):
                raise
            raise errors.EngineError(
                f"could not pull {reference}: its registry sent no data for {seconds:g} seconds"
            ) from error
        image = self.find_image(reference)
        if image is None:
            raise errors.EngineError(f"the engine pulled {reference} but then could not find it: pull it by hand")
        return image

    def import_image(self, tar: Iterable[bytes], /, *, tag: str, changes: Iterable[str]) -> protocol.ImageFacts:
        repository, _, name = tag.rpartition(":")
        parameters = {
            "fromSrc": "-",
            "repo": repository,
            "tag": name,
            "changes": list(changes),
            "platform": protocol.PLATFORM,
        }
        for _ in self._stream_create(f"import {tag}", parameters, seconds=_BUILD_TIMEOUT, data=iter(tar)):
            pass
        with _translate_answer_errors(f"import {tag}"):
            return _to_image_facts(self._api.inspect_image(tag))

    def _stream_create(
        self, action: str, parameters: Mapping[str, Any], *, seconds: float, **request: Any
    ) -> Iterator[Any]:
        """Pull or import an image and yield the engine's events; fail after ``seconds`` without data.

        The SDK's own methods cannot set the platform of an import, and have no time limit for a pull; so this uses the
        private methods that they consist of.
        """
        with _translate_errors(action):
            url = self._api._url("/images/create")  # noqa: SLF001
            answer = self._api.post(url, params=parameters, stream=True, timeout=seconds, **request)
            self._api._raise_for_status(answer)  # noqa: SLF001
            for event in self._api._stream_helper(answer, decode=True):  # noqa: SLF001
                with _translate_answer_errors(action):
                    failed = event.get("error")
                if failed is not None:
                    raise errors.EngineError(f"could not {action}: {failed}")
                yield event

    def build(
        self,
        context: Iterable[bytes],
        /,
        *,
        run: str,
        arguments: Mapping[str, str],
        tag: str | None,
        cache: bool,
        progress: Progress,
        limits: protocol.ContainerLimits | None = None,
    ) -> protocol.BuildOutcome:
        image, step, log = "", "", _Tail()
        with _translate_errors("build"):
            self._api.build_cpus = limits.cpus if limits else None
            stream = self._api.build(
                container_limits={"memory": limits.memory, "memswap": limits.memory} if limits else None,
                fileobj=iter(context),  # a list would be sent as form fields
                custom_context=True,
                buildargs={**arguments, "RUN_ID": run},
                network_mode="none",
                use_config_proxy=False,  # useless without network, and a proxy's URL may contain a password
                nocache=not cache,
                rm=True,
                forcerm=True,
                tag=tag,
                decode=True,
                timeout=_BUILD_TIMEOUT,
            )
            # Close the stream at once on any error: the engine cancels a build when its client disconnects
            # (https://github.com/moby/moby/pull/9774).
            with contextlib.closing(stream):
                for event in stream:
                    with _translate_answer_errors("build"):
                        text, failed = _COLOR_CODES.sub("", event.get("stream", "")), event.get("error")
                        image = event.get("aux", {}).get("ID", image)
                    log.add(text)
                    if text.startswith("Step "):
                        step = text.strip()
                        progress.step(step)
                    if failed is not None:
                        raise errors.BuildError(_format_build_error(step, str(log), str(failed)))
        if not image:
            raise errors.BuildError("the engine ended the build without an image; was it stopped? Run it again")
        return protocol.BuildOutcome(image=image, log=str(log))

    @contextlib.contextmanager
    def create_volume(self, image: str, tar: Iterable[bytes], /, *, run: str) -> Iterator[str]:
        labels = {protocol.RUN_LABEL: run}
        with _translate_errors("fill a volume"):
            with _translate_answer_errors("create a volume"):
                volume = str(self._api.create_volume(labels=labels)["Name"])
            try:
                self.fill_volume(volume, image, tar, run=run)
                yield volume
            finally:
                self.remove(protocol.Leftover(kind="volume", id=volume, labels=labels))

    def fill_volume(self, volume: str, image: str, tar: Iterable[bytes], /, *, run: str) -> None:
        labels = {protocol.RUN_LABEL: run}
        # The volume is read-only in the container that uses it, and the engine copies no file to such a volume.
        host_config = self._api.create_host_config(binds={volume: {"bind": protocol.WORKDIR, "mode": "rw"}})
        with (
            _translate_errors("fill a volume"),
            self._create_idle_container(image, labels, f"create a container of {image}", host_config) as idle,
        ):
            self._api.put_archive(idle, protocol.WORKDIR, iter(tar))

    @contextlib.contextmanager
    def create_container(
        self,
        image: str,
        command: tuple[str, ...],
        /,
        *,
        run: str,
        limits: protocol.ContainerLimits,
        network: bool,
        volume: str | None = None,
    ) -> Iterator[DockerContainer]:
        labels = {protocol.RUN_LABEL: run}
        action = f"create a container of {image}"
        with _translate_errors(action):
            with _translate_answer_errors(action):
                answer = self._api.create_container(
                    image,
                    entrypoint=list(command),
                    command=[],
                    labels=labels,
                    working_dir=protocol.WORKDIR,
                    # The volume belongs to root; the image may name another user, who could not write to it.
                    user="0:0",
                    # The containerd image store would start the variant for the engine's own platform:
                    # https://docs.docker.com/build/building/multi-platform/
                    platform=protocol.PLATFORM,
                    use_config_proxy=network,  # not without need: a proxy's URL may contain a password
                    host_config=self._create_host_config(volume, limits, network=network),
                )
                container_id = str(answer["Id"])
            try:
                yield DockerContainer(self._api, container_id)
            finally:
                self.remove(protocol.Leftover(kind="container", id=container_id, labels=labels))

    @contextlib.contextmanager
    def copy_out(self, image: str, path: str, /, *, run: str) -> Iterator[Iterator[bytes]]:
        labels = {protocol.RUN_LABEL: run}
        action = f"copy {path} out of {image}"
        with _translate_errors(action), self._create_idle_container(image, labels, action) as idle:
            with _translate_answer_errors(action):
                content = self._api.get_archive(idle, path)[0]
            yield content

    @contextlib.contextmanager
    def _create_idle_container(
        self, image: str, labels: dict[str, str], action: str, host_config: Any = None
    ) -> Iterator[str]:
        """Create a container that is never started, only to copy files, and yield its id; remove it at the end.

        The API copies files from and to containers, not images or volumes (https://github.com/moby/moby/issues/34592).
        """
        with _translate_answer_errors(action):
            # An engine creates no container without a command.
            answer = self._api.create_container(
                image, command=["never-started"], labels=labels, use_config_proxy=False, host_config=host_config
            )
            container_id = str(answer["Id"])
        try:
            yield container_id
        finally:
            self.remove(protocol.Leftover(kind="container", id=container_id, labels=labels))

    def tag_image(self, image: str, tag: str, /) -> None:
        repository, _, name = tag.rpartition(":")
        with _translate_errors(f"tag {image} as {tag}"):
            self._api.tag(image, repository, name)

    def remove_image(self, reference: str, /) -> None:
        # A tag without force: the containerd image store would remove the image even if others were built from it, and
        # would then keep untagged images of every build from those, because an ancestor is missing:
        # https://github.com/moby/moby/blob/v28.5.2/daemon/containerd/image_delete.go
        force = reference.startswith("sha256:")
        with _translate_errors(f"remove the image {reference}"), contextlib.suppress(docker.errors.NotFound):
            self._api.remove_image(reference, force=force)

    def list_leftovers(self) -> list[protocol.Leftover]:
        filters = {"label": protocol.RUN_LABEL}
        with _translate_answer_errors("list what earlier runs left"):
            containers = self._api.containers(all=True, filters=filters)
            images = self._api.images(filters=filters, all=True)
            volumes = self._api.volumes(filters=filters).get("Volumes") or []
            # An image must be removed before its parent. Sorting by creation time would not do: it is in whole seconds.
            parents = {image["Id"]: image.get("ParentId", "") for image in images}
            images.sort(key=lambda image: _count_known_parents(image["Id"], parents), reverse=True)
            return [
                protocol.Leftover(kind=kind, id=str(item[key]), labels=item["Labels"] or {})
                for kind, key, items in (
                    ("container", "Id", containers),
                    ("image", "Id", images),
                    ("volume", "Name", volumes),
                )
                for item in items
            ]

    def remove(self, leftover: protocol.Leftover, /) -> None:
        calls: dict[str, Callable[..., Any]] = {
            "container": lambda name: self._api.remove_container(name, force=True, v=True),  # and its volumes
            "image": lambda name: self._api.remove_image(name, force=True),
            "volume": lambda name: self._api.remove_volume(name, force=True),
        }
        with (
            _translate_errors(f"remove the {leftover.kind} {leftover.id}"),
            contextlib.suppress(docker.errors.NotFound),
        ):
            calls[leftover.kind](leftover.id)

    def _create_host_config(self, volume: str | None, limits: protocol.ContainerLimits, *, network: bool) -> Any:
        """Return the host configuration of a locked container.

        A pickle can contain any code, so the container must not be able to harm the host: no network (unless
        requested), no swap, no capabilities, no new privileges, and no disk. The size of a volume cannot be limited on
        most disks (https://docs.docker.com/reference/cli/docker/volume/create/), so the volume is read-only; what the
        container writes is in its memory, which is limited, and in its log, which is rotated.
        """
        return self._api.create_host_config(
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
        with _translate_answer_errors("start a container"):
            self._api.start(self._id)
        self._is_started = True
        # Not waited for: the engine ends the stream when the container is removed.
        threading.Thread(target=self._watch_memory, daemon=True).start()

    def _set_cpu_shares(self, shares: int) -> None:
        # Not all engines with this API can do it, and nothing depends on it but the speed.
        with _translate_errors("set the CPU shares of a container"), contextlib.suppress(docker.errors.APIError):
            self._api.update_container(self._id, cpu_shares=shares)

    def _watch_memory(self) -> None:
        """Record the most memory that the engine reports; nothing is reported of a container that has ended."""
        with (
            contextlib.suppress(*_LIBRARY_ERRORS, *_MALFORMED),
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
        with _translate_answer_errors("run a container"):
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
        with _translate_errors("read a container's log"):
            url = self._api._url("/containers/{0}/logs", self._id)  # noqa: SLF001
            answer = self._api._get(url, params=parameters, stream=True)  # noqa: SLF001
            with contextlib.closing(answer):
                self._api._raise_for_status(answer)  # noqa: SLF001
                with _translate_answer_errors("read a container's log"):
                    yield self._api._multiplexed_response_stream_helper(answer)  # noqa: SLF001


def _count_known_parents(image: str, parents: Mapping[str, str]) -> int:
    """Return how many of an image's ancestors are in ``parents``."""
    count = 0
    while (image := parents.get(image, "")) in parents:
        count += 1
    return count


def _to_image_facts(answer: Mapping[str, Any]) -> protocol.ImageFacts:
    config = answer.get("Config") or {}
    return protocol.ImageFacts(
        id=answer["Id"],
        tags=tuple(answer.get("RepoTags") or ()),
        digests=tuple(answer.get("RepoDigests") or ()),
        labels=config.get("Labels") or {},
        entrypoint=tuple(config.get("Entrypoint") or ()),  # without CMD, which arguments replace
        workdir=config.get("WorkingDir") or "/",
        platform=f"{answer['Os']}/{answer['Architecture']}",
        size=answer["Size"],
        layers=tuple((answer.get("RootFS") or {}).get("Layers") or ()),
    )


class _Tail:
    """The end of a text that comes in pieces: at most :data:`_MAX_BUILD_LOG` characters."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0

    def add(self, text: str) -> None:
        """Append a piece."""
        self._pieces.append(text)
        self._length += len(text)
        if self._length > 2 * _MAX_BUILD_LOG:
            self._pieces = [str(self)]
            self._length = len(self._pieces[0])

    def __str__(self) -> str:
        return "".join(self._pieces)[-_MAX_BUILD_LOG:]


def _format_build_error(step: str, log: str, error: str) -> str:
    """Return a message with the step that failed and the last lines that it printed."""
    since = log.rpartition(step)[2] if step else ""
    printed = [line for line in since.splitlines() if line.strip() and not line.startswith(_BUILDER_LINES)][-20:]
    where = step or "before the first step"
    return "\n".join([f"the build failed at {where}: {error.strip()}", *(f"    {line}" for line in printed)])


@contextlib.contextmanager
def _translate_errors(action: str) -> Iterator[None]:
    """Convert the libraries' errors; ``action`` completes the message ``could not ...``."""
    try:
        yield
    except _LIBRARY_ERRORS as error:
        _raise_engine_error(action, error)


@contextlib.contextmanager
def _translate_answer_errors(action: str) -> Iterator[None]:
    """Translate errors in a block that only reads an answer of the engine: other errors mean a malformed answer."""
    with _translate_errors(action):
        try:
            yield
        except _MALFORMED as error:
            if isinstance(error, _LIBRARY_ERRORS) and not isinstance(error, requests.exceptions.JSONDecodeError):
                raise
            raise errors.EngineError(
                f"could not {action}: invalid answer from the container engine ({type(error).__name__}); check "
                "DOCKER_HOST or the docker context"
            ) from error


def _encode_login(login: docker_config.Login, registry: str) -> str:
    """Return a login as the value of the header ``X-Registry-Auth``."""
    if login.identity_token:
        auth = {"identitytoken": login.identity_token, "serveraddress": registry}
    else:
        auth = {"username": login.user, "password": login.password, "serveraddress": registry}
    return base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()


def _raise_engine_error(action: str, error: Exception) -> NoReturn:
    """Raise an EngineError, with a message of one line, for an error of the SDK."""
    if isinstance(error, docker.errors.APIError):
        detail = str(error.explanation or error)
        if "no space left" in detail:
            detail += "; the engine's disk is full: `docker system df` shows what fills it"
        raise errors.EngineError(f"could not {action}: the engine says: {detail}") from error
    root = list_causes(error)[-1]
    raise errors.EngineError(
        f"could not {action}: the container engine does not answer ({str(root) or type(root).__name__}); "
        "start it (`make engine` does on Debian and Ubuntu), then run this again"
    ) from error


def list_causes(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, the root cause last.

    The HTTP libraries below the SDK wrap an error in another one, as its cause, its context or an argument.
    """
    causes = [error]
    while True:
        last = causes[-1]
        inner = (
            last.__cause__
            or last.__context__
            or next((item for item in last.args if isinstance(item, Exception)), None)
        )
        if inner is None:
            return causes
        causes.append(inner)
