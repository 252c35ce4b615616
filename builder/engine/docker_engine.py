"""A Docker Engine, or what speaks its API: the one file that imports the ``docker`` SDK.

Whatever the SDK raises leaves as :class:`builder.errors.EngineError`. The engine is wherever ``DOCKER_HOST`` or the
docker CLI's context says (:mod:`builder.engine.docker_config`).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import shutil
import socket
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
from builder.engine import docker_config
from builder.engine import protocol as engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from builder.progress import Progress

MINIMUM_API = (1, 41)  # Engine 20.10, the oldest that the commands here were tried on
_MINIMUM_TEXT = ".".join(map(str, MINIMUM_API))

# Seconds without a byte from the engine. A build step may be silent for minutes; the rest answers at once or is gone.
_ANSWER_SECONDS, _BUILD_SECONDS = 120, 3600

_BUILDERS_OWN = (" --->", "Removing intermediate container ")  # lines that no step printed

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""What the builder puts around a step's standard error, the end of it in front of the next line of its output."""
_FOREIGN = (
    docker.errors.DockerException,
    docker.errors.StreamParseError,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    ConnectionError,
)
# A read that took too long, as the HTTP libraries call it; a ConnectionError may hold one.
_SILENCE = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)


# What reading an answer raises that has another form than an engine's.
_MALFORMED = (LookupError, TypeError, AttributeError, ValueError)
_WANTS_LOGIN = re.compile(r"denied|unauthori[sz]ed|authenticat|no basic auth|forbidden|HTTP 40[13]", re.IGNORECASE)


def connect() -> DockerEngine:
    """Connect to the engine that ``DOCKER_HOST`` or the docker CLI's context names.

    Raises:
        errors.EngineChoiceError: The choice cannot be resolved, or the chosen engine does not answer.
        errors.EngineError: None answers at the default socket, or it is too old.
    """
    endpoint = docker_config.find_endpoint(os.environ)
    api = _client(endpoint)
    try:
        with _asking("reach the container engine"):
            api.negotiate()
            version = tuple(int(part) for part in api.api_version.split("."))
    except errors.EngineError as error:
        if endpoint.source is None:
            raise
        root = causes(error)[-1]
        if not isinstance(root, OSError):
            raise errors.EngineChoiceError(f"the engine chosen by {endpoint.source} cannot be used: {error}") from error
        raise errors.EngineChoiceError(
            f"the engine chosen by {endpoint.source} does not answer: {str(root) or type(root).__name__}; start it, or "
            "choose another: an engine that was chosen is never started from here"
        ) from error
    if version < MINIMUM_API:
        raise errors.EngineError(
            f"the container engine at {api.base_url} speaks API {api.api_version}; "
            f"{_MINIMUM_TEXT} (Engine 20.10) or newer is needed: update it"
        )
    return DockerEngine(api)


class _Client(docker.APIClient):
    """The SDK's client without its part in logins.

    It reads them all while it is constructed, and asks every credential helper before each build: one that is missing
    or damaged would keep a pickle from being built from an image that is already here.
    """

    def __init__(self, settings: Mapping[str, Any], **options: Any) -> None:
        self._settings = settings
        super().__init__(**options)

    def negotiate(self) -> None:
        """Use the newest API that the engine speaks."""
        self._version = self.version(api_version=False)["ApiVersion"]

    @property
    def _general_configs(self) -> dict[str, Any]:
        # The first entry keeps the SDK from reading the others as logins.
        return {"": None, **{key: value for key, value in self._settings.items() if value}}

    @_general_configs.setter
    def _general_configs(self, _: object) -> None: ...

    @property
    def _auth_configs(self) -> _NoLogins:
        return _NoLogins({})

    @_auth_configs.setter
    def _auth_configs(self, _: object) -> None: ...


class _NoLogins(docker.auth.AuthConfig):
    is_empty = False  # an empty one is read again from the file


def _client(endpoint: docker_config.Endpoint) -> _Client:
    """Return a client that has not asked the engine anything yet.

    Raises:
        errors.EngineChoiceError: The address is not one, or a library for it is missing.
    """
    tls: Any = False
    try:
        if endpoint.tls:
            tls = docker.tls.TLSConfig(
                client_cert=endpoint.tls.pair, ca_cert=endpoint.tls.ca, verify=endpoint.tls.verify
            )
        return _Client(endpoint.client, base_url=endpoint.host, tls=tls, version=_MINIMUM_TEXT, timeout=_ANSWER_SECONDS)
    except Exception as error:  # ssh:// connects here, by a library that need not be installed
        reason = docker_config.shown(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise errors.EngineChoiceError(
            f"{endpoint.source or 'the default engine'}: cannot be used ({reason}); expected unix:///PATH, "
            "tcp://HOST:PORT or ssh://USER@HOST of an engine"
        ) from error


class DockerEngine:
    """A Docker Engine (or what speaks its API), through the SDK's low-level client."""

    def __init__(self, api: Any) -> None:
        self._api = api  # docker.APIClient; the SDK ships no types

    def get_facts(self) -> engine.EngineFacts:
        with _asking("ask the engine for its version"):
            answer = self._api.version()
            return engine.EngineFacts(
                version=str(answer["Version"]),
                api=str(answer["ApiVersion"]),
                platform=f"{answer['Os']}/{answer['Arch']}",
            )

    def get_free_disk(self) -> int | None:
        with _asking("ask the engine where it keeps images"):
            answer = self._api.info()
            name, folder = answer.get("Name"), str(answer.get("DockerRootDir") or "")
        # A virtual machine's engine is reached by a socket here too, and has a name of its own.
        if name != socket.gethostname() or not os.path.isdir(folder):  # noqa: PTH112 - may be forbidden
            return None
        return shutil.disk_usage(folder).free

    def get_memory(self) -> int:
        with _asking("ask the engine for its memory"):
            return int(self._api.info().get("MemTotal") or 0)

    def find_image(self, reference: str, /) -> engine.ImageFacts | None:
        with _asking(f"look for the image {reference}"):
            try:
                return _image_facts(self._api.inspect_image(reference))
            except docker.errors.ImageNotFound:
                return None

    def find_images_by_label(self, key: str, value: str, /) -> list[engine.ImageFacts]:
        with _asking(f"list images with the label {key}"):
            handles = [image["Id"] for image in self._api.images(filters={"label": f"{key}={value}"})]
        # Another run may have removed one in between.
        images = [self.find_image(handle) for handle in handles]
        return [image for image in images if image is not None]

    def pull(self, reference: str, /, *, platform: str, seconds: float, progress: Progress) -> engine.ImageFacts:
        name, tag = docker.utils.parse_repository_tag(reference)
        registry = docker.auth.resolve_repository_name(name)[0]
        headers, silent = {}, ""
        try:
            if login := docker_config.find_login(registry, os.environ):
                headers = {"X-Registry-Auth": _login_header(login, registry)}
        except errors.LoginError as error:
            silent = str(error)  # most images require no login
        parameters = {"fromImage": name, "tag": tag or "latest", "platform": platform}
        layers: dict[str, tuple[int, int]] = {}
        try:
            for event in self._create(f"pull {reference}", parameters, seconds=seconds, headers=headers):
                with _asking(f"pull {reference}"):
                    detail = event.get("progressDetail") or {}
                    if event.get("status") == "Downloading" and detail.get("total"):
                        layers[event["id"]] = (int(detail["current"]), int(detail["total"]))
                        done, total = (sum(column) for column in zip(*layers.values(), strict=True))
                        progress.report_bytes(done, total)
        except errors.EngineError as error:
            if silent and _WANTS_LOGIN.search(str(error)):
                raise errors.EngineError(f"{error}; asked without a login: {silent}") from error
            if not any(isinstance(one, _SILENCE) for one in causes(error)):
                raise
            raise errors.EngineError(
                f"could not pull {reference}: its registry said nothing for {seconds:g} seconds"
            ) from error
        image = self.find_image(reference)
        if image is None:
            raise errors.EngineError(f"the engine pulled {reference} and then did not have it: pull it by hand")
        return image

    def import_image(self, tar: Iterable[bytes], /, *, tag: str, changes: Iterable[str]) -> engine.ImageFacts:
        repository, _, name = tag.rpartition(":")
        parameters = {
            "fromSrc": "-",
            "repo": repository,
            "tag": name,
            "changes": list(changes),
            "platform": engine.PLATFORM,
        }
        for _ in self._create(f"import {tag}", parameters, seconds=_BUILD_SECONDS, data=iter(tar)):
            pass
        with _asking(f"import {tag}"):
            return _image_facts(self._api.inspect_image(tag))

    def _create(self, what: str, parameters: Mapping[str, Any], *, seconds: float, **request: Any) -> Iterator[Any]:
        """Yield what the engine says while it makes an image; give up after ``seconds`` without a word.

        The SDK's own calls leave the platform out of an import, and wait for a pull without any limit.
        """
        with _translated(what):
            url = self._api._url("/images/create")  # noqa: SLF001 - see above
            answer = self._api.post(url, params=parameters, stream=True, timeout=seconds, **request)
            self._api._raise_for_status(answer)  # noqa: SLF001
            for event in self._api._stream_helper(answer, decode=True):  # noqa: SLF001
                with _asking(what):
                    failed = event.get("error")
                if failed is not None:
                    raise errors.EngineError(f"could not {what}: {failed}")
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
    ) -> engine.BuildOutcome:
        image, log = "", []
        with _translated("build"):
            stream = self._api.build(
                fileobj=iter(context),  # a list would be sent as form fields
                custom_context=True,
                buildargs={**arguments, "RUN_ID": run},
                network_mode="none",
                use_config_proxy=False,  # nothing in it has a network, and a proxy's address may hold a password
                nocache=not cache,
                rm=True,
                forcerm=True,
                tag=tag,
                decode=True,
                timeout=_BUILD_SECONDS,
            )
            # Closed at once, whatever happens: an engine goes on with a build for as long as somebody listens.
            with contextlib.closing(stream):
                for event in stream:
                    with _asking("build"):
                        text, failed = _COLOUR.sub("", event.get("stream", "")), event.get("error")
                        image = event.get("aux", {}).get("ID", image)
                    log.append(text)
                    if text.startswith("Step "):
                        progress.step(text.strip())
                    if failed is not None:
                        raise errors.BuildError(_build_fault(log, str(failed)))
        if not image:
            raise errors.BuildError("the engine ended the build without an image; is it being stopped? Run it again")
        return engine.BuildOutcome(image=image, log="".join(log))

    @contextlib.contextmanager
    def create_container(
        self, image: str, command: tuple[str, ...], /, *, run: str, limits: engine.ContainerLimits, network: bool
    ) -> Iterator[DockerContainer]:
        labels = {engine.RUN_LABEL: run}
        with _translated(f"create a container of {image}"), contextlib.ExitStack() as undo:
            with _asking("create a volume"):
                volume = str(self._api.create_volume(labels=labels)["Name"])
            undo.callback(self.remove, engine.Leftover(kind="volume", id=volume, labels=labels))
            with _asking(f"create a container of {image}"):
                answer = self._api.create_container(
                    image,
                    entrypoint=list(command),
                    command=[],
                    labels=labels,
                    working_dir=engine.WORKDIR,
                    user="0:0",
                    use_config_proxy=network,  # its address may hold a password
                    host_config=self._locked(volume, limits, network=network),
                )
                created = str(answer["Id"])
            undo.callback(self.remove, engine.Leftover(kind="container", id=created, labels=labels))
            yield DockerContainer(self._api, created)

    @contextlib.contextmanager
    def copy_out(self, image: str, path: str, /, *, run: str) -> Iterator[Iterator[bytes]]:
        labels = {engine.RUN_LABEL: run}
        what = f"copy {path} out of {image}"
        with _translated(what):
            with _asking(what):
                answer = self._api.create_container(
                    image, command=["never-started"], labels=labels, use_config_proxy=False
                )
                created = str(answer["Id"])
            try:
                with _asking(what):
                    content = self._api.get_archive(created, path)[0]
                yield content
            finally:
                self.remove(engine.Leftover(kind="container", id=created, labels=labels))

    def tag_image(self, image: str, tag: str, /) -> None:
        repository, _, name = tag.rpartition(":")
        with _translated(f"tag {image} as {tag}"):
            self._api.tag(image, repository, name)

    def remove_image(self, reference: str, /) -> None:
        with _translated(f"remove the image {reference}"), contextlib.suppress(docker.errors.NotFound):
            self._api.remove_image(reference, force=True)

    def list_leftovers(self) -> list[engine.Leftover]:
        chosen = {"label": engine.RUN_LABEL}
        with _asking("look for what earlier runs left"):
            containers = self._api.containers(all=True, filters=chosen)
            images = self._api.images(filters=chosen, all=True)
            volumes = self._api.volumes(filters=chosen).get("Volumes") or []
            # An image can only go before the one it was built on. Their times are whole seconds, so those cannot tell.
            parents = {image["Id"]: image.get("ParentId", "") for image in images}
            images.sort(key=lambda image: _generation(image["Id"], parents), reverse=True)
            return [
                engine.Leftover(kind=kind, id=str(found[key]), labels=found["Labels"] or {})
                for kind, key, several in (
                    ("container", "Id", containers),
                    ("image", "Id", images),
                    ("volume", "Name", volumes),
                )
                for found in several
            ]

    def remove(self, leftover: engine.Leftover, /) -> None:
        calls: dict[str, Callable[..., Any]] = {
            "container": lambda name: self._api.remove_container(name, force=True, v=True),
            "image": lambda name: self._api.remove_image(name, force=True),
            "volume": lambda name: self._api.remove_volume(name, force=True),
        }
        with _translated(f"remove the {leftover.kind} {leftover.id}"), contextlib.suppress(docker.errors.NotFound):
            calls[leftover.kind](leftover.id)

    def _locked(self, volume: str, limits: engine.ContainerLimits, *, network: bool) -> Any:
        """Return the host configuration of a container that can do no harm; each line is a limit of its own."""
        return self._api.create_host_config(
            binds={volume: {"bind": engine.WORKDIR, "mode": "rw"}},
            network_mode="bridge" if network else "none",
            mem_limit=limits.memory,
            memswap_limit=limits.memory,  # the same figure as the memory: no swap
            nano_cpus=int(limits.cpus * 1e9),
            pids_limit=512,  # counts threads; numpy and scipy start one a core, and 64 fails on large hosts
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            tmpfs={"/tmp": "rw,nosuid,nodev"},  # noqa: S108 - the container's own
            ulimits=[docker.types.Ulimit(name="core", soft=0, hard=0)],
            init=True,
        )


@dataclass
class DockerContainer:
    """A created container; see :class:`builder.engine.protocol.Container`."""

    _api: Any
    _id: str = field(repr=False)

    def put(self, tar: Iterable[bytes], /) -> None:
        with _translated("copy files into a container"):
            self._api.put_archive(self._id, engine.WORKDIR, iter(tar))

    def run(self, seconds: float, /) -> engine.Exit:
        deadline = time.monotonic() + seconds
        with _asking("run a container"):
            self._api.start(self._id)
            try:
                self._api.wait(self._id, timeout=seconds)
            except (requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout):
                # Both mean "over the time" and both mean "the engine is gone": the clock tells which.
                if time.monotonic() < deadline:
                    raise
                self._api.kill(self._id)
                return engine.Exit(code=None, out_of_memory=False)
            state = self._api.inspect_container(self._id)["State"]
            return engine.Exit(code=int(state["ExitCode"]), out_of_memory=bool(state["OOMKilled"]))

    def get(self, path: str, /) -> Iterator[bytes]:
        what = f"copy {path} out of a container"
        with _asking(what):
            content = self._api.get_archive(self._id, path)[0]
        with _translated(what):
            yield from content

    def read_log(self) -> str:
        with _asking("read a container's log"):
            return str(self._api.logs(self._id, tail=400).decode("utf-8", "replace"))


def _generation(image: str, parents: Mapping[str, str]) -> int:
    """Return how many of the images it was built on are known."""
    count = 0
    while (image := parents.get(image, "")) in parents:
        count += 1
    return count


def _image_facts(answer: Mapping[str, Any]) -> engine.ImageFacts:
    config = answer.get("Config") or {}
    return engine.ImageFacts(
        id=answer["Id"],
        tags=tuple(answer.get("RepoTags") or ()),
        digests=tuple(answer.get("RepoDigests") or ()),
        labels=config.get("Labels") or {},
        entrypoint=tuple(config.get("Entrypoint") or ()),  # options take the place of CMD
        workdir=config.get("WorkingDir") or "/",
        platform=f"{answer['Os']}/{answer['Architecture']}",
        size=answer["Size"],
        layers=tuple((answer.get("RootFS") or {}).get("Layers") or ()),
    )


def _build_fault(log: list[str], error: str) -> str:
    """Say which step failed and what it printed last."""
    lines = "".join(log).splitlines()
    step = next((line for line in reversed(lines) if line.startswith("Step ")), "before the first step")
    since = lines[lines.index(step) + 1 :] if step in lines else []
    printed = [line for line in since if line.strip() and not line.startswith(_BUILDERS_OWN)][-20:]
    return "\n".join([f"the build failed at {step.strip()}: {error.strip()}", *(f"    {line}" for line in printed)])


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except _FOREIGN as error:
        _raise_ours(what, error)


@contextlib.contextmanager
def _asking(what: str) -> Iterator[None]:
    """Translate errors where nothing but an answer of the engine is read: any other error says that it is malformed."""
    with _translated(what):
        try:
            yield
        except _MALFORMED as error:
            if isinstance(error, _FOREIGN) and not isinstance(error, requests.exceptions.JSONDecodeError):
                raise
            raise errors.EngineError(
                f"could not {what}: the answer is not one of a container engine ({type(error).__name__}); check what "
                "DOCKER_HOST or the docker context names"
            ) from error


def _login_header(login: docker_config.Login, registry: str) -> str:
    """Return a login as an engine takes it."""
    if login.identity_token:
        auth = {"identitytoken": login.identity_token, "serveraddress": registry}
    else:
        auth = {"username": login.user, "password": login.password, "serveraddress": registry}
    return base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()


def _raise_ours(what: str, error: Exception) -> NoReturn:
    """Turn whatever the SDK raised into one sentence of ours."""
    if isinstance(error, docker.errors.APIError):
        detail = str(error.explanation or error)
        if "no space left" in detail:
            detail += "; the engine's disk is full: `docker system df` shows what fills it"
        raise errors.EngineError(f"could not {what}: the engine says: {detail}") from error
    root = causes(error)[-1]
    raise errors.EngineError(
        f"could not {what}: the container engine does not answer ({str(root) or type(root).__name__}); "
        "start it (`make engine` where this tool can), then run this again"
    ) from error


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and what is in it, the innermost last: the SDK and its HTTP library wrap one in several."""
    found = [error]
    while True:
        last = found[-1]
        inner = last.__cause__ or last.__context__ or next((a for a in last.args if isinstance(a, Exception)), None)
        if inner is None:
            return found
        found.append(inner)
