"""Run an image registry on the loopback interface (Debian's ``docker-registry``) and publish images in it.

Pushing a stand-in image takes the engine half a minute, most of it for compressing layers that were pushed before. So
all registries share their layers in the user's cache folder; tags and manifests belong to one registry and are removed
with it. The cache folder ``numerai-sandbox-registry`` can be removed while no registry runs.

    with registry.start() as address:
        ref = registry.publish("numerai-builder/stand-in:3.12-...", f"{address}/numerai/numerai_predict_py_3_12:1")
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import platformdirs

from builder import errors, locks
from builder import progress as reports
from builder.engine import debian

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PROGRAM = "docker-registry"
_ATTEMPTS = 5
STAND_IN_LABELS = "numerai-builder."
"""The prefix of the labels that mark an image as a stand-in."""
_CONFIG = """\
version: 0.1
log: {{level: info, formatter: text, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_START_SECONDS = 30
# The registry's storage: blobs/ has the bytes of all layers, repositories/ says which repository has which of them.
_REPOSITORIES = ("docker", "registry", "v2", "repositories")
_running: dict[str, Path] = {}
"""The repositories folder of each registry that this process started, by address."""
# Read at import: tests that later set XDG_CACHE_HOME for the tool still share the layers.
_CACHE = platformdirs.user_cache_path()


@contextlib.contextmanager
def start(*, port: int = 0, progress: reports.Progress | None = None) -> Iterator[str]:
    """Run a registry and yield its address, such as ``127.0.0.1:41234``; afterwards remove it with its data.

    Args:
        port: 0 selects a free port.
        progress: Receives the steps of installing docker-registry, if it is missing.

    Raises:
        errors.EngineError: docker-registry could not be installed or did not start.
    """
    program, cache = debian.find_program(PROGRAM, PROGRAM, progress or reports.Silent()), _create_cache_folder()
    # Inside the cache folder, because the registry renames finished uploads into the shared blobs.
    with (
        tempfile.TemporaryDirectory(prefix="running-", dir=cache) as folder,
        _share_layers(Path(folder, "data"), cache),
    ):
        config, log = Path(folder, "config.yml"), Path(folder, "log")
        config.write_text(_CONFIG.format(folder=folder, port=port))
        # REGISTRY_... overrides the config file, and is meant for another registry of this machine.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,  # Ctrl-C must not reach it: this process terminates it
            )
        try:
            address = _wait_for_address(process, log)
            _running[address] = Path(folder, "data", *_REPOSITORIES)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def push(image: str, reference: str) -> str:
    """Tag an image of the engine with a reference and push it.

    Returns:
        The reference by the digest in the registry, ``name@sha256:...``.
    """
    name, _, tag = reference.rpartition(":")
    with connect_engine() as api, _lock_layers(reference.partition("/")[0]):
        api.tag(image, name, tag)
        # Engines with a containerd image store send the digest only in this text.
        digests = [
            match[1]
            for event in _raise_errors(api.push(name, tag, stream=True, decode=True))
            if (match := re.search("digest: (sha256:[0-9a-f]{64})", event.get("status", "")))
        ]
    return f"{name}@{digests[-1]}"


def publish(image: str, reference: str, **labels: str) -> str:
    """Push a stand-in image as if it were the runner image: empty its stand-in labels, add ``labels``.

    Returns:
        The reference by digest. The engine keeps the image until :func:`remove_images`.
    """
    for remaining in reversed(range(_ATTEMPTS)):
        try:
            return push(_build_imitation(image, labels), reference)
        except docker.errors.NotFound:  # another sandbox removed it: the engine's cache gives both the same image
            if not remaining:
                raise
    raise AssertionError


def _build_imitation(image: str, labels: Mapping[str, str]) -> str:
    """Build an image that is not marked as a stand-in; return its id."""
    with connect_engine() as api:
        present = api.inspect_image(image)["Config"]["Labels"] or {}
        # A Dockerfile cannot remove an inherited label, only set it to an empty value.
        emptied = {name: "" for name in present if name.startswith(STAND_IN_LABELS)}
        text = "".join(f'LABEL "{name}"="{value}"\n' for name, value in {**emptied, **labels}.items())
        context = _create_context(f"FROM {image}\n{text}")
        events = api.build(fileobj=context, custom_context=True, rm=True, forcerm=True, decode=True)
        ids = [event["aux"]["ID"] for event in _raise_errors(events) if "ID" in event.get("aux", {})]
    return str(ids[-1])


def remove_images(*references: str) -> None:
    """Remove references from the engine, with the images that have no other reference."""
    with connect_engine() as api:
        for reference in references:
            with contextlib.suppress(docker.errors.NotFound):
                api.remove_image(reference, force=True)


def remove_images_of(address: str) -> None:
    """Remove all images of a registry from the engine."""
    with connect_engine() as api:
        references = [
            reference
            for image in api.images()
            for reference in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))
            if reference.startswith(f"{address}/")
        ]
    remove_images(*references)


@contextlib.contextmanager
def connect_engine() -> Iterator[Any]:
    """Connect to the engine of ``DOCKER_HOST``, or the local one, and yield the SDK's low-level client."""
    with contextlib.closing(docker.DockerClient.from_env(version="auto", timeout=120).api) as api:
        yield api


def _raise_errors(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the engine's events; raise an error at the first error event."""
    for event in events:
        if "error" in event:
            raise errors.EngineError(f"the engine could not publish an image of the sandbox: {event['error']}")
        yield event


def _create_context(dockerfile: str) -> io.BytesIO:
    content, stream = dockerfile.encode(), io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    stream.seek(0)
    return stream


def _create_cache_folder() -> Path:
    folder = _CACHE / "numerai-sandbox-registry"
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _share_layers(data: Path, cache: Path) -> Iterator[None]:
    """Give a registry the cached layers, and cache the layers that were pushed to it.

    The blobs folder is shared by a symbolic link. Which repository has which layers is in small files that never
    change; they are copied.
    """
    repositories = data.joinpath(*_REPOSITORIES)
    repositories.parent.mkdir(parents=True)
    (repositories.parent / "blobs").symlink_to(cache / "blobs")
    _copy_links(cache / "repositories", repositories)
    yield
    _copy_links(repositories, cache / "repositories")


@contextlib.contextmanager
def _lock_layers(address: str) -> Iterator[None]:
    """Let one process push at a time, with the layers of all pushes before it, so that none is compressed twice."""
    repositories, cache = _running.get(address), _create_cache_folder()
    if repositories is None:
        yield
        return
    with locks.acquire(cache / "lock", lambda _: None):
        _copy_links(cache / "repositories", repositories)
        yield
        _copy_links(repositories, cache / "repositories")


def _copy_links(source: Path, target: Path) -> None:
    """Copy the files that say which repository has which layers, but not tags and manifests."""
    for link in source.glob("**/_layers/sha256/*/link"):
        path = target / link.relative_to(source)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written to the side and renamed, because a registry may be reading this folder.
            part = path.with_name(f"{secrets.token_hex(4)}.part")
            part.write_bytes(link.read_bytes())
            part.replace(path)


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for the registry to print its address, and return it.

    The registry selects the port: a port selected here could be taken before it listens.
    """
    deadline = time.monotonic() + _START_SECONDS
    while not (match := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text(errors="replace"))):
        if process.poll() is not None or time.monotonic() > deadline:
            raise errors.EngineError(
                f"the sandbox's registry did not start; it printed:\n{debian.read_last_lines(log)}"
            )
        time.sleep(0.05)
    return match[1]
