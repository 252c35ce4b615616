"""The interface to a Docker Engine, or another engine with its API.

Only the modules ``docker_*`` of this package import the ``docker`` SDK.

:func:`connect` finds the engine that ``DOCKER_HOST`` or a docker context selects (:mod:`builder.engine.docker_config`)
and returns a :class:`DockerEngine`, whose methods send one or a few requests each.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import socket
from typing import TYPE_CHECKING, Any

import docker
import docker.auth
import docker.errors
import docker.utils

from builder import errors
from builder.engine import build_log, docker_client, docker_config, docker_container, docker_errors, protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from builder.progress import Progress

_BUILD_TIMEOUT = 3600  # seconds without data from the engine; a build step may print nothing for minutes

_CONTAINERD_FOLDER = "/var/lib/containerd"
_LOGIN_REQUIRED = re.compile(r"denied|unauthori[sz]ed|authenticat|no basic auth|forbidden|HTTP 40[13]", re.IGNORECASE)


def connect() -> DockerEngine:
    """Connect to the configured engine (``DOCKER_HOST`` or a docker context), or to the one at the default socket.

    Raises:
        errors.EngineChoiceError: The configuration is invalid, or the configured engine does not answer.
        errors.EngineError: No engine answers at the default socket, or the engine is too old.
    """
    endpoint = docker_config.find_endpoint(os.environ)
    api = docker_client.create_client(endpoint)
    try:
        with docker_errors.translate_answer_errors("reach the container engine"):
            api.negotiate()
            version = tuple(int(part) for part in api.api_version.split("."))
    except errors.EngineError as error:
        if endpoint.source is None:
            raise
        root = docker_errors.list_causes(error)[-1]
        if not isinstance(root, OSError):
            raise errors.EngineChoiceError(f"the engine set by {endpoint.source} cannot be used: {error}") from error
        raise errors.EngineChoiceError(
            f"the engine set by {endpoint.source} does not answer: {str(root) or type(root).__name__}; start it, or "
            "set another one: this tool starts only the default engine"
        ) from error
    if version < docker_client.MINIMUM_API:
        raise errors.EngineError(
            f"the container engine at {api.base_url} has API {api.api_version}, older than "
            f"{docker_client.MINIMUM_API_TEXT} (Engine 20.10): update it"
        )
    return DockerEngine(api)


class DockerEngine:
    """See :class:`builder.engine.protocol.Engine`; uses the SDK's low-level client."""

    def __init__(self, api: Any) -> None:
        self._api = api  # docker.APIClient; Any, because the SDK has no type annotations

    def get_facts(self) -> protocol.EngineFacts:
        with docker_errors.translate_answer_errors("read the engine's version"):
            answer = self._api.version()
            return protocol.EngineFacts(
                version=str(answer["Version"]),
                api=str(answer["ApiVersion"]),
                platform=f"{answer['Os']}/{answer['Arch']}",
            )

    def get_free_disk(self) -> int | None:
        with docker_errors.translate_answer_errors("find the engine's disk"):
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
        with docker_errors.translate_answer_errors("read the engine's memory size"):
            return int(self._api.info().get("MemTotal") or 0)

    def find_image(self, reference: str, /) -> protocol.ImageFacts | None:
        with docker_errors.translate_answer_errors(f"look for the image {reference}"):
            try:
                return _to_image_facts(self._api.inspect_image(reference))
            except docker.errors.ImageNotFound:
                return None

    def find_images_by_label(self, key: str, value: str, /) -> list[protocol.ImageFacts]:
        with docker_errors.translate_answer_errors(f"list images with the label {key}"):
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
                with docker_errors.translate_answer_errors(f"pull {reference}"):
                    detail = event.get("progressDetail") or {}
                    if event.get("status") == "Downloading" and detail.get("total"):
                        layers[event["id"]] = (int(detail["current"]), int(detail["total"]))
                        current, total = (sum(column) for column in zip(*layers.values(), strict=True))
                        progress.report_bytes(current, total)
        except errors.EngineError as error:
            if login_problem and _LOGIN_REQUIRED.search(str(error)):
                raise errors.EngineError(f"{error}; no login was sent: {login_problem}") from error
            if not any(isinstance(cause, docker_errors.TIMEOUTS) for cause in docker_errors.list_causes(error)):
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
        with docker_errors.translate_answer_errors(f"import {tag}"):
            return _to_image_facts(self._api.inspect_image(tag))

    def _stream_create(
        self, action: str, parameters: Mapping[str, Any], *, seconds: float, **request: Any
    ) -> Iterator[Any]:
        """Pull or import an image and yield the engine's events; fail after ``seconds`` without data.

        The SDK's own methods cannot set the platform of an import, and have no time limit for a pull; so this uses the
        private methods that they consist of.
        """
        with docker_errors.translate_errors(action):
            url = self._api._url("/images/create")  # noqa: SLF001
            answer = self._api.post(url, params=parameters, stream=True, timeout=seconds, **request)
            self._api._raise_for_status(answer)  # noqa: SLF001
            for event in self._api._stream_helper(answer, decode=True):  # noqa: SLF001
                with docker_errors.translate_answer_errors(action):
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
        image, step, log = "", "", build_log.Tail()
        with docker_errors.translate_errors("build"):
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
                    with docker_errors.translate_answer_errors("build"):
                        text, failed = build_log.COLOR_CODES.sub("", event.get("stream", "")), event.get("error")
                        image = event.get("aux", {}).get("ID", image)
                    log.add(text)
                    if text.startswith("Step "):
                        step = text.strip()
                        progress.step(step)
                    if failed is not None:
                        raise errors.BuildError(build_log.format_build_error(step, str(log), str(failed)))
        if not image:
            raise errors.BuildError("the engine ended the build without an image; was it stopped? Run it again")
        return protocol.BuildOutcome(image=image, log=str(log))

    @contextlib.contextmanager
    def create_volume(self, image: str, tar: Iterable[bytes], /, *, run: str) -> Iterator[str]:
        labels = {protocol.RUN_LABEL: run}
        with docker_errors.translate_errors("fill a volume"):
            with docker_errors.translate_answer_errors("create a volume"):
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
            docker_errors.translate_errors("fill a volume"),
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
    ) -> Iterator[docker_container.DockerContainer]:
        labels = {protocol.RUN_LABEL: run}
        action = f"create a container of {image}"
        with docker_errors.translate_errors(action):
            with docker_errors.translate_answer_errors(action):
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
                    host_config=docker_container.create_host_config(self._api, volume, limits, network=network),
                )
                container_id = str(answer["Id"])
            try:
                yield docker_container.DockerContainer(self._api, container_id)
            finally:
                self.remove(protocol.Leftover(kind="container", id=container_id, labels=labels))

    @contextlib.contextmanager
    def copy_out(self, image: str, path: str, /, *, run: str) -> Iterator[Iterator[bytes]]:
        labels = {protocol.RUN_LABEL: run}
        action = f"copy {path} out of {image}"
        with docker_errors.translate_errors(action), self._create_idle_container(image, labels, action) as idle:
            with docker_errors.translate_answer_errors(action):
                content = self._api.get_archive(idle, path)[0]
            yield content

    @contextlib.contextmanager
    def _create_idle_container(
        self, image: str, labels: dict[str, str], action: str, host_config: Any = None
    ) -> Iterator[str]:
        """Create a container that is never started, only to copy files, and yield its id; remove it at the end.

        The API copies files from and to containers, not images or volumes (https://github.com/moby/moby/issues/34592).
        """
        with docker_errors.translate_answer_errors(action):
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
        with docker_errors.translate_errors(f"tag {image} as {tag}"):
            self._api.tag(image, repository, name)

    def remove_image(self, reference: str, /) -> None:
        # A tag without force: the containerd image store would remove the image even if others were built from it, and
        # would then keep untagged images of every build from those, because an ancestor is missing:
        # https://github.com/moby/moby/blob/v28.5.2/daemon/containerd/image_delete.go
        force = reference.startswith("sha256:")
        with (
            docker_errors.translate_errors(f"remove the image {reference}"),
            contextlib.suppress(docker.errors.NotFound),
        ):
            self._api.remove_image(reference, force=force)

    def list_leftovers(self) -> list[protocol.Leftover]:
        filters = {"label": protocol.RUN_LABEL}
        with docker_errors.translate_answer_errors("list what earlier runs left"):
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
            docker_errors.translate_errors(f"remove the {leftover.kind} {leftover.id}"),
            contextlib.suppress(docker.errors.NotFound),
        ):
            calls[leftover.kind](leftover.id)


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


def _encode_login(login: docker_config.Login, registry: str) -> str:
    """Return a login as the value of the header ``X-Registry-Auth``."""
    if login.identity_token:
        auth = {"identitytoken": login.identity_token, "serveraddress": registry}
    else:
        auth = {"username": login.user, "password": login.password, "serveraddress": registry}
    return base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
