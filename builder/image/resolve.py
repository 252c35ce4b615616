"""Find or pull the runner image of a reference, and read which packages it contains.

| kind | what it is | identity |
| --- | --- | --- |
| exact | has a digest from the repository of its reference, and no stand-in label | that digest |
| local | a tag on this engine without a digest from its repository, such as a custom build | the hash of its layers |
| stand_in | an image that imitates the runner, built on this engine | its spec hash |

Only pickles from exact images may be uploaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from builder import commands, errors, paths, schema
from builder.config import values as config_values
from builder.engine import protocol, tar_stream
from builder.image import lockfile, runner_image, stand_in
from builder.registry import reference
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.progress import Progress
    from builder.registry import resolve as registry

Kind = Literal["exact", "local", "stand_in"]

STAND_IN_HINT = 'only to try this tool, set a stand-in image in the config: image.stand_in: "3.12"'
KNOWN_PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
_PULL_SECONDS = 30.0  # without data; a firewall that drops packets would otherwise delay a build for minutes
_RETRY_PULL_SECONDS = 24 * 3600
_UNPACKED_FACTOR = 2  # of the compressed size, at least; images of Python packages take more
_INVENTORY_LIMITS = protocol.ContainerLimits(cpus=1, memory=1 << 30)


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The contents of an image: its Python version (``3.11.2``) and all installed distributions."""

    python: Annotated[str, schema.require_line(40)]
    packages: dict[str, Annotated[str, schema.require_line(500)]]


@dataclass(frozen=True, kw_only=True)
class ResolvedImage:
    """A resolved runner image.

    Attributes:
        kind: See the module.
        ref: The reference in the config, also for a stand-in image.
        identity: ``sha256:...``; which hash that is depends on the kind.
        base: The reference for a Dockerfile's FROM; in the repository of ``ref``, even if another registry was used.
        source: The image's name on this engine; differs from ``base`` if it was pulled from another registry.
        handle: The engine's id; valid during this run only and never recorded.
        entrypoint: The image's command.
        workdir: The folder that the command starts in.
        labels: The image's labels.
    """

    kind: Kind
    ref: str
    identity: str
    base: str
    handle: str
    platform: str
    entrypoint: tuple[str, ...]
    workdir: str
    labels: Mapping[str, str] = field(default_factory=dict, compare=False)
    source: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class ImageRequest:
    """A request for an image.

    Attributes:
        ref: The reference.
        source: The reference in the registry set by ``NUMERAI_REGISTRY``; the same as ``ref`` if empty.
        stand_in: The config's ``image.stand_in``, such as ``3.11``, or None.
        digest: The pinned digest, or None; with it, no other image is accepted.
        key: The key in the lock file, if it is not ``ref``: ``default``.
    """

    ref: str
    source: str = ""
    stand_in: str | None = None
    digest: str | None = None
    key: str = ""

    @property
    def name(self) -> str:
        """The name to pull, with the digest if there is one."""
        return self.names[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The possible names on the engine; the first one is the name to pull."""
        refs = dict.fromkeys((self.source or self.ref, self.ref))
        return tuple(f"{reference.parse(ref).name}@{self.digest}" if self.digest else ref for ref in refs)


def resolve(
    request: ImageRequest,
    engine: protocol.Engine,
    *,
    pull: bool,
    progress: Progress,
    look_up: Callable[[str], registry.RemoteImage] | None = None,
) -> ResolvedImage:
    """Return the image from the engine, else pull it, else use the stand-in if one is allowed.

    Args:
        request: The reference and the alternatives.
        engine: The engine.
        pull: Pull even if the image is on the engine or a recent pull failed; not for a pinned image on the engine.
        progress: Shows pulls, builds and notes.
        look_up: Looks up a reference in the registry, to check the free disk space before a pull and whether the
            registry has an image found by its tag; None for no checks.

    Raises:
        errors.ImageError: The image is not available and no stand-in is allowed, or it is for another platform.
        errors.EngineError: The engine failed.
    """
    name, facts = next(
        ((name, facts) for name in request.names if (facts := engine.find_image(name))), (request.name, None)
    )
    if facts is not None and (request.digest or not pull):
        facts = _drop_unpublished_digest(request, name, facts, look_up, progress)
        return _check_usable(_describe(request.ref, name, facts), engine, progress)
    if facts is None and request.digest and engine.find_image(request.ref) is not None:
        progress.note(
            f"note: {request.ref} on this engine is not used: {lockfile.NAME} pins another image "
            f"({request.digest[:19]}...)"
        )
    pulled, reason = _pull(request, engine, pull=pull, progress=progress, look_up=look_up)
    if pulled is None and facts is not None:
        progress.note(f"note: could not pull {request.ref}; the image on this engine is used: {reason}")
    if pulled:
        return _check_usable(_describe(request.ref, request.name, pulled), engine, progress)
    if facts:
        facts = _drop_unpublished_digest(request, name, facts, look_up, progress)
        return _check_usable(_describe(request.ref, name, facts), engine, progress)
    return _use_stand_in(request, reason, engine, progress)


def read_inventory(image: ResolvedImage, engine: protocol.Engine, run: str) -> Inventory:
    """Return the contents of an image; they are read by a container once and then cached by the image's identity.

    Raises:
        errors.ImageError: Its Python is not supported, or a required package is missing.
    """
    cached = paths.cache_folder() / "images" / f"{image.identity.removeprefix('sha256:')}.json"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return _parse_inventory(json.loads(cached.read_bytes()))
    data = _run_inventory(image, engine, run)
    inventory = _parse_inventory(data)
    _check_inventory(image, inventory)
    cached.parent.mkdir(exist_ok=True)
    paths.write_atomically(cached, json.dumps(data).encode())
    return inventory


def _describe(ref: str, name: str, facts: protocol.ImageFacts) -> ResolvedImage:
    """Return the image with a ``name`` on the engine; ``name`` and ``ref`` may have different registries."""
    spec = facts.labels.get(stand_in.SPEC_LABEL, "")
    digest = _find_repository_digest(name, facts.digests)
    kind: Kind = "stand_in" if spec else "exact" if digest else "local"
    # An image that was built from a stand-in inherits its labels, but does not have its tag.
    if stand_in.format_tag(facts.labels.get(stand_in.STAND_IN_LABEL, ""), spec) in facts.tags:
        identity, source = f"sha256:{spec}", name
    elif digest and not spec:
        identity, source = digest.partition("@")[2], digest
    else:
        layers = hashlib.sha256("\n".join(facts.layers).encode()).hexdigest()
        identity, source = f"sha256:{layers}", name
    return ResolvedImage(
        kind=kind,
        ref=ref,
        identity=identity,
        base=_find_base(ref, source),
        source=source,
        handle=facts.id,
        platform=facts.platform,
        entrypoint=facts.entrypoint,
        workdir=facts.workdir,
        labels=facts.labels,
    )


def _drop_unpublished_digest(
    request: ImageRequest,
    name: str,
    facts: protocol.ImageFacts,
    look_up: Callable[[str], registry.RemoteImage] | None,
    progress: Progress,
) -> protocol.ImageFacts:
    """Return the facts of an image on the engine, without its digests if its registry does not have it.

    The containerd image store, the default since Docker Engine 29, gives a repository digest to every tagged image,
    also to one that was built here: https://github.com/moby/moby/issues/48747. Such a digest equals the image's id.
    """
    digest = _find_repository_digest(name, facts.digests)
    is_stand_in = bool(facts.labels.get(stand_in.SPEC_LABEL))
    if digest is None or digest.partition("@")[2] != facts.id or is_stand_in:
        return facts
    if look_up is None or reference.parse(name).digest is not None:
        return facts
    try:
        look_up(f"{reference.parse(request.name).name}@{facts.id}")
    except errors.BuilderError as error:
        progress.note(
            f"note: {name} on this engine is treated as a local image, because its digest could not be found in its "
            f"registry: {error}"
        )
        return dataclasses.replace(facts, digests=())
    return facts


def _find_base(ref: str, source: str) -> str:
    """Return the reference for FROM; it must not depend on the registry, because the manifest contains it."""
    if ref == config_values.DEFAULT_IMAGE or source.startswith(f"{stand_in.REPOSITORY}:"):
        return source  # `default` is not a reference
    actual, requested = reference.parse(source), reference.parse(ref)
    if actual.name == requested.name:
        return source
    return str(dataclasses.replace(requested, tag=actual.tag, digest=actual.digest))


def _check_usable(image: ResolvedImage, engine: protocol.Engine, progress: Progress) -> ResolvedImage:
    """Check that the engine can run an image; show a note if it has to be emulated."""
    _check_platform(image)
    if (platform := engine.get_facts().platform) != protocol.PLATFORM:
        progress.note(
            f"note: this engine is {platform}, but the tournament runs {protocol.PLATFORM}: the image is emulated and "
            "several times slower. Docker Desktop supports this; Linux requires qemu-user-static and binfmt-support"
        )
    return image


def _find_repository_digest(ref: str, digests: tuple[str, ...]) -> str | None:
    """Return the ``repository@digest`` that belongs to the repository of the reference, or None."""
    parsed = reference.parse(ref)
    parsed_digests = [(digest, reference.parse(digest)) for digest in digests]
    matching = [
        (text, item.digest)
        for text, item in parsed_digests
        if (item.registry, item.repository) == (parsed.registry, parsed.repository)
    ]
    # An image can have several digests from one repository; prefer the one in the reference.
    return next((text for text, digest in matching if digest == parsed.digest), matching[0][0] if matching else None)


def _check_platform(image: ResolvedImage) -> ResolvedImage:
    if image.platform != protocol.PLATFORM:
        raise errors.ImageError(
            f"{image.ref} on this engine is for {image.platform}, but the tournament runs {protocol.PLATFORM}: "
            f"remove it (`docker image rm {image.ref}`), then pull it with "
            f"`docker pull --platform {protocol.PLATFORM} {image.ref}`"
        )
    return image


def _pull(
    request: ImageRequest,
    engine: protocol.Engine,
    *,
    pull: bool,
    progress: Progress,
    look_up: Callable[[str], registry.RemoteImage] | None,
) -> tuple[protocol.ImageFacts | None, str]:
    """Pull an image; return it, or None and the reason.

    If a stand-in is allowed, a failure is remembered for a day: otherwise each build without network would wait.
    """
    name, is_required = request.name, request.stand_in is None
    failure_file = paths.cache_folder() / "pulls" / hashlib.sha256(name.encode()).hexdigest()
    if not pull and not is_required:
        with contextlib.suppress(OSError):
            if time.time() - failure_file.stat().st_mtime < _RETRY_PULL_SECONDS:
                return None, failure_file.read_text(encoding="utf-8")
    progress.step(f"asking the registry for {name}")
    if problem := _find_space_problem(name, engine, look_up):
        progress.note(f"note: {problem}")
        return None, problem
    try:
        image = engine.pull(name, platform=protocol.PLATFORM, seconds=_PULL_SECONDS, progress=progress)
    except errors.EngineError as error:
        engine.get_facts()  # raises another EngineError if the engine itself has stopped
        progress.note(f"note: {error}")
        failure_file.parent.mkdir(exist_ok=True)
        paths.write_atomically(failure_file, str(error).encode())
        return None, str(error)
    failure_file.unlink(missing_ok=True)
    return image, ""


def _find_space_problem(
    name: str, engine: protocol.Engine, look_up: Callable[[str], registry.RemoteImage] | None
) -> str:
    """Return why an image does not fit on the engine's disk; an empty string if it does or if that is unknown."""
    free = engine.get_free_disk() if look_up else None
    if look_up is None or free is None:
        return ""
    try:
        size = look_up(name).size
    except errors.BuilderError:
        return ""  # the engine may still reach the registry, for example through its own proxy
    if free >= _UNPACKED_FACTOR * size:
        return ""
    return (
        f"{name} has {size / 1e9:.1f} GB, at least {_UNPACKED_FACTOR * size / 1e9:.1f} GB unpacked, but the engine's "
        f"disk has only {free / 1e9:.1f} GB free: free some space (`docker system df` shows what fills it)"
    )


def _use_stand_in(request: ImageRequest, reason: str, engine: protocol.Engine, progress: Progress) -> ResolvedImage:
    if request.digest and request.stand_in is None:
        raise errors.ImageError(
            f"{request.name} is pinned in {lockfile.NAME} or in the config, but it is not on this engine and could "
            f"not be pulled: {reason}\n"
            "If the registry no longer has it, or it was an image of a sandbox (`make sandbox`) that has ended, run "
            f"`{commands.suggest_plain('pin')}` to pin the current image of {request.key or request.ref}; else pull it "
            "when there is a network, or load it (`docker load`)"
        )
    if request.stand_in is None:
        raise errors.ImageError(
            f"{request.ref} is not on this engine and could not be pulled: {reason}\n"
            f"Pull it when there is a network (`docker pull`), load it (`docker load`), or, {STAND_IN_HINT}"
        )
    return resolve_stand_in(request.ref, request.stand_in, engine, progress, fallback=True)


def _run_inventory(image: ResolvedImage, engine: protocol.Engine, run: str) -> dict[str, Any]:
    script = tar_stream.TarEntry(name="inventory.py", content=paths.inside_folder() / "inventory.py")
    command = ("python", f"{protocol.WORKDIR}/inventory.py")
    with (
        engine.create_volume(image.handle, tar_stream.pack([script]), run=run) as volume,
        engine.create_container(
            image.handle, command, run=run, limits=_INVENTORY_LIMITS, network=False, volume=volume
        ) as container,
    ):
        ending = container.run(120)
        output = container.read_log()
    if ending.code != 0:
        raise errors.ImageError(
            f"{image.ref} is not a runner image: it cannot run `python`; its output: {output[-500:]}"
        )
    try:
        # An image may print warnings before it.
        data: dict[str, Any] = json.loads(output[output.rfind("\n{") + 1 :])
        _parse_inventory(data)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise errors.ImageError(
            f"{image.ref} is not a runner image: its `python` does not run scripts; its output: {output[-500:]}"
        ) from error
    return data


def _parse_inventory(data: Any) -> Inventory:
    """Parse the output of the inventory script; raises ValueError, LookupError or TypeError if it is invalid."""
    inventory = schema.parse(Inventory, {"python": data["python"], "packages": data["packages"]})
    if isinstance(inventory, list):
        raise ValueError(inventory[0].text)  # noqa: TRY004 - a list of problems
    return inventory


def _check_inventory(image: ResolvedImage, inventory: Inventory) -> None:
    minor = ".".join(inventory.python.split(".")[:2])
    if minor not in KNOWN_PYTHONS:
        raise errors.ImageError(
            f"{image.ref} has Python {inventory.python} (supported: {', '.join(KNOWN_PYTHONS)}): "
            "use one of the tournament's images"
        )
    missing = [name for name in runner_image.REQUIRED_PACKAGES if name not in inventory.packages]
    if missing:
        raise errors.ImageError(f"{image.ref} is not a runner image: missing packages: {', '.join(missing)}")


def resolve_stand_in(
    ref: str, python: str, engine: protocol.Engine, progress: Progress, *, fallback: bool = False
) -> ResolvedImage:
    """Return the stand-in image with a Python version; build it if it does not exist.

    With ``fallback``, another one may replace it: see :data:`builder.image.stand_in.FALLBACKS`.

    Raises:
        errors.ImageError: The Python version is not supported, or the image cannot be built here.
    """
    built = stand_in.find_or_build(engine, python, progress, fallback=fallback)
    return _check_platform(
        ResolvedImage(
            kind="stand_in",
            ref=ref,
            identity=f"sha256:{built.spec}",
            base=built.tag,
            source=built.tag,
            handle=built.image.id,
            platform=built.image.platform,
            entrypoint=built.image.entrypoint,
            workdir=built.image.workdir,
        )
    )


def find_recorded_image(
    recorded: runner_image.RunnerImage,
    engine: protocol.Engine,
    *,
    registry: str,
    progress: Progress,
    rebuild_command: str,
) -> ResolvedImage:
    """Return the image that a pickle was built in, and no other.

    Args:
        recorded: The image's entry in the manifest.
        engine: The engine.
        registry: The registry of the tournament's images.
        progress: Shows a pull.
        rebuild_command: The command that builds the pickle again, for messages.

    Raises:
        errors.ImageError: The image is no longer available, or its name now resolves to another image.
    """
    source = settings.to_pull_reference(recorded.base, registry)
    names = dict.fromkeys((source, recorded.base))
    name, facts = next(((name, facts) for name in names if (facts := engine.find_image(name))), (source, None))
    if facts is None and recorded.kind == "stand_in":
        image = resolve_stand_in(recorded.ref, ".".join(recorded.python.split(".")[:2]), engine, progress)
    elif facts is None and recorded.kind == "exact":
        facts = _pull_recorded_image(source, engine, progress, rebuild_command)
        image = _describe(recorded.ref, source, facts)
    elif facts is None:
        raise errors.ImageError(
            f"{recorded.base}, in which the pickle was built, is no longer on this engine: build or load it again, "
            f"or build the pickle again in another image: `{rebuild_command}`"
        )
    else:
        # A local image may have got a digest since: it was pushed, or is now in a containerd image store.
        facts = dataclasses.replace(facts, digests=()) if recorded.kind == "local" else facts
        image = _describe(recorded.ref, name, facts)
    if (image.kind, image.identity) != (recorded.kind, recorded.identity):
        raise errors.ImageError(
            f"{recorded.base} is now another image ({image.kind}, {image.identity}) than the one that the pickle was "
            f"built in ({recorded.kind}, {recorded.identity}): run `{rebuild_command}` to build it again"
        )
    return image


def _pull_recorded_image(
    name: str, engine: protocol.Engine, progress: Progress, rebuild_command: str
) -> protocol.ImageFacts:
    """Pull the image that a pickle was built in.

    Raises:
        errors.EngineError: The engine has stopped.
        errors.ImageError: The image cannot be pulled.
    """
    progress.step(f"pulling {name}")
    try:
        return engine.pull(name, platform=protocol.PLATFORM, seconds=_PULL_SECONDS, progress=progress)
    except errors.EngineError as error:
        engine.get_facts()  # raises another EngineError if the engine itself has stopped
        raise errors.ImageError(
            f"{name}, in which the pickle was built, is no longer on this engine and could not be pulled: {error}\n"
            f"If the registry no longer has it, run `make pin` and `{rebuild_command}` to build the pickle in the "
            "current image; else pull it when there is a network, or load it (`docker load`)"
        ) from error
