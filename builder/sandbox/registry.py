"""A real image registry on the loopback: Debian's ``docker-registry``, with images of its own.

Pushing a look-alike takes the engine half a minute, nearly all of it to compress layers that were pushed before. So
the bytes of layers are kept in the user's cache folder, where all registries that are started here share them; what
has a name or a digest in one is its own, and gone with it. The folder ``numerai-sandbox-registry`` there may be
removed whenever none runs.

with registry.start() as address:
    by_digest = registry.publish("numerai-builder/stand-in:3.11-...", f"{address}/numerai/numerai_predict_py_3_11:1")
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
    from collections.abc import Iterable, Iterator

PROGRAM = "docker-registry"
STAND_IN_LABELS = "numerai-builder."
"""How the labels begin that say of an image that it is a look-alike."""
_CONFIG = """\
version: 0.1
log: {{level: info, formatter: text, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_START_SECONDS = 30
_REPOSITORIES = ("docker", "registry", "v2", "repositories")
_running: dict[str, Path] = {}
"""Where the registries that this process started have their repositories, by address."""
# As it is when this is imported: tests that give the tool a cache of its own share this one all the same.
_CACHE = platformdirs.user_cache_path()


@contextlib.contextmanager
def start(*, port: int = 0, progress: reports.Progress | None = None) -> Iterator[str]:
    """Run a registry; yields its address such as ``127.0.0.1:41234``, and is gone afterwards with its data.

    Args:
        port: 0 takes a free one.
        progress: Receives a note if a missing program is installed.

    Raises:
        errors.EngineError: It could not be installed, or does not start.
    """
    program, kept = debian.find_program(PROGRAM, PROGRAM, progress or reports.Silent()), _kept_folder()
    # Beside what is kept: an upload is moved there when it is whole.
    with tempfile.TemporaryDirectory(prefix="running-", dir=kept) as folder, _shared_layers(Path(folder, "data"), kept):
        config, log = Path(folder, "config.yml"), Path(folder, "log")
        config.write_text(_CONFIG.format(folder=folder, port=port))
        # Settings for a registry of this machine must not apply to this one.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,  # a Ctrl-C is for who started it, and who started it ends it
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
    """Give an image of the engine a name in a registry and push it.

    Returns:
        The reference with the digest that the registry gave, ``name@sha256:...``.
    """
    name, _, tag = reference.rpartition(":")
    with connect_engine() as api, _kept_in_mind(reference.partition("/")[0]):
        api.tag(image, name, tag)
        digests = [
            event["aux"]["Digest"]
            for event in _checked(api.push(name, tag, stream=True, decode=True))
            if "aux" in event
        ]
    return f"{name}@{digests[-1]}"


def publish(image: str, reference: str, **labels: str) -> str:
    """Push a look-alike as if it were the runner: what labels it as one is emptied, ``labels`` are added.

    Returns:
        Its reference by digest. The engine has it by both names until :func:`forget`.
    """
    with connect_engine() as api:
        held = api.inspect_image(image)["Config"]["Labels"] or {}
        emptied = {name: "" for name in held if name.startswith(STAND_IN_LABELS)}
        text = "".join(f'LABEL "{name}"="{value}"\n' for name, value in {**emptied, **labels}.items())
        context = _context(f"FROM {image}\n{text}")
        events = api.build(fileobj=context, custom_context=True, rm=True, forcerm=True, decode=True)
        built = [event["aux"]["ID"] for event in _checked(events) if "ID" in event.get("aux", {})]
    return push(built[-1], reference)


def forget(*references: str) -> None:
    """Remove names of images, and images that have no other, from the engine."""
    with connect_engine() as api:
        for reference in references:
            with contextlib.suppress(docker.errors.NotFound):
                api.remove_image(reference, force=True)


def forget_all(address: str) -> None:
    """Remove every image that the engine has from a registry, whoever pulled it."""
    with connect_engine() as api:
        names = [
            name
            for image in api.images()
            for name in (*(image["RepoTags"] or ()), *(image["RepoDigests"] or ()))
            if name.startswith(f"{address}/")
        ]
    forget(*names)


@contextlib.contextmanager
def connect_engine() -> Iterator[Any]:
    """Connect to the engine that ``DOCKER_HOST`` or the docker CLI's context names."""
    with contextlib.closing(docker.DockerClient.from_env(version="auto", timeout=120).api) as api:
        yield api


def _checked(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what the engine reports, up to an error."""
    for event in events:
        if "error" in event:
            raise errors.EngineError(f"the engine could not publish an image of the sandbox: {event['error']}")
        yield event


def _context(dockerfile: str) -> io.BytesIO:
    content, archive_file = dockerfile.encode(), io.BytesIO()
    with tarfile.open(fileobj=archive_file, mode="w") as archive:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    archive_file.seek(0)
    return archive_file


def _kept_folder() -> Path:
    folder = _CACHE / "numerai-sandbox-registry"
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _shared_layers(data: Path, kept: Path) -> Iterator[None]:
    """Give a registry the cached layers, and cache its new ones: the files that list them are tiny and never change."""
    repositories = data.joinpath(*_REPOSITORIES)
    repositories.parent.mkdir(parents=True)
    (repositories.parent / "blobs").symlink_to(kept / "blobs")
    _copy_links(kept / "repositories", repositories)
    yield
    _copy_links(repositories, kept / "repositories")


@contextlib.contextmanager
def _kept_in_mind(address: str) -> Iterator[None]:
    """Have one process push at a time, and each know what those before it pushed: nothing is compressed twice."""
    repositories, kept = _running.get(address), _kept_folder()
    if repositories is None:
        yield
        return
    with locks.acquire(kept / "lock", lambda _: None):
        _copy_links(kept / "repositories", repositories)
        yield
        _copy_links(repositories, kept / "repositories")


def _copy_links(source: Path, target: Path) -> None:
    """Copy which repository has which layers; which images it has stays where it is."""
    for link in source.glob("**/_layers/sha256/*/link"):
        path = target / link.relative_to(source)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{secrets.token_hex(4)}.part")
            part.write_bytes(link.read_bytes())
            part.replace(path)


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return where it listens, as it says itself once it does: no port is chosen here that somebody else may take."""
    deadline = time.monotonic() + _START_SECONDS
    while not (match := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text(errors="replace"))):
        if process.poll() is not None or time.monotonic() > deadline:
            raise errors.EngineError(
                f"the sandbox's registry does not start; it printed:\n{debian.read_last_lines(log)}"
            )
        time.sleep(0.05)
    return match[1]
