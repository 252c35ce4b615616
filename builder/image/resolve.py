"""Which runner image is meant, what is in it, and whether what is made with it may ever be uploaded.

| kind | what it is | identity |
| --- | --- | --- |
| exact | has a repository digest from the registry that its reference names, and no stand-in label | that digest |
| local | a tag on this engine without such a digest (somebody's own build) | the hash of its layers |
| stand_in | a look-alike made here | its spec hash |
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from builder import errors, paths, schema
from builder.engine import protocol as engine
from builder.engine import tar_stream
from builder.image import lockfile, runner_image, stand_in
from builder.registry import reference
from builder.tournament import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.progress import Progress
    from builder.registry import resolve as registry

Kind = Literal["exact", "local", "stand_in"]

KNOWN_PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
"""Packages that making a pickle takes."""
_PULL_SECONDS = 30.0  # without a byte; a firewall that drops would otherwise hold a build for minutes
_ASK_AGAIN_SECONDS = 24 * 3600
_UNPACKED = 2  # times its size on the way: less than any image of Python packages takes
_SMALL = engine.ContainerLimits(cpus=1, memory=1 << 30)


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What an image holds: its Python (``3.11.2``) and every installed distribution."""

    python: Annotated[str, schema.require_line(40)]
    packages: dict[str, Annotated[str, schema.require_line(500)]]


@dataclass(frozen=True, kw_only=True)
class ResolvedImage:
    """A resolved runner image.

    Attributes:
        kind: See the module.
        ref: The reference that the config names, whatever stands in for it.
        identity: ``sha256:...``; which hash that is depends on the kind.
        base: What a Dockerfile's FROM names: under the name of ``ref``, whichever registry it was pulled from.
        source: What this engine has it under; the same as ``base``, unless it was pulled from another registry.
        handle: The engine's id: good within this run, recorded nowhere.
        entrypoint: The image's own command.
        workdir: The folder it starts in.
        labels: The image's own.
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
    """Which image is meant.

    Attributes:
        ref: The reference.
        source: The reference at the registry that ``NUMERAI_REGISTRY`` names; the same as ``ref`` if empty.
        stand_in: The config's ``image.stand_in``, such as ``3.11``, or None.
        digest: The pin, where there is one: then it is this image or none.
        key: What the lock file has it under, if that is not ``ref``: ``default``.
    """

    ref: str
    source: str = ""
    stand_in: str | None = None
    digest: str | None = None
    key: str = ""

    @property
    def name(self) -> str:
        """What is pulled: the digest, where there is a pin."""
        return self.names[0]

    @property
    def names(self) -> tuple[str, ...]:
        """What the engine may have it under, the first as it is pulled."""
        refs = dict.fromkeys((self.source or self.ref, self.ref))
        return tuple(f"{reference.parse(ref).name}@{self.digest}" if self.digest else ref for ref in refs)


def resolve(
    wanted: ImageRequest,
    on: engine.Engine,
    *,
    pull: bool,
    progress: Progress,
    ask: Callable[[str], registry.RemoteImage] | None = None,
) -> ResolvedImage:
    """Return the image that a config means: here first, then the registry, then the stand-in.

    Args:
        wanted: The reference, and what may be used.
        on: The engine.
        pull: Ask the registry even if the image is here, or if it lately could not be had; a pin that is here stays.
        progress: Told of pulls and builds.
        ask: What the registry says of a reference, to know before a pull whether there is room for it.

    Raises:
        errors.ImageError: it cannot be had and no stand-in is named, or it is for another platform.
        errors.EngineError: the engine failed.
    """
    name, here = next(((name, facts) for name in wanted.names if (facts := on.find_image(name))), (wanted.name, None))
    if here is not None and (wanted.digest or not pull):
        return _told(_describe(wanted.ref, name, here), on, progress)
    if here is None and wanted.digest and on.find_image(wanted.ref) is not None:
        progress.note(
            f"note: {wanted.ref} on this engine is another image than the one that {lockfile.NAME} pins "
            f"({wanted.digest[:19]}...), and is not used"
        )
    pulled, reason = _ask_registry(wanted, on, pull=pull, progress=progress, ask=ask)
    if pulled is None and here is not None:
        progress.note(
            f"note: {wanted.ref} is on this engine and is used as it is; it could not be asked for again: {reason}"
        )
    if pulled:
        return _told(_describe(wanted.ref, wanted.name, pulled), on, progress)
    if here:
        return _told(_describe(wanted.ref, name, here), on, progress)
    return _stand_in(wanted, reason, on, progress)


def read_inventory(image: ResolvedImage, on: engine.Engine, run: str) -> Inventory:
    """Return what is in the image, asked of the image itself once and remembered by its identity.

    Raises:
        errors.ImageError: it has no Python that this tool knows, or lacks a package that making a pickle takes.
    """
    cached = paths.cache_folder() / "images" / f"{image.identity.removeprefix('sha256:')}.json"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        return _read_inventory(json.loads(cached.read_bytes()))
    answer = _ask_image(image, on, run)
    found = _read_inventory(answer)
    _check_inventory(image, found)
    cached.parent.mkdir(exist_ok=True)
    paths.write_atomically(cached, json.dumps(answer).encode())
    return found


def _describe(ref: str, name: str, facts: engine.ImageFacts) -> ResolvedImage:
    """Return the image that the engine has under ``name``, which may be at another registry than ``ref``."""
    spec = facts.labels.get(stand_in.SPEC_LABEL, "")
    digest = _repository_digest(name, facts.digests)
    kind: Kind = "stand_in" if spec else "exact" if digest else "local"
    # What somebody built on a look-alike has its label too, and is another image.
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
        base=_base(ref, source),
        source=source,
        handle=facts.id,
        platform=facts.platform,
        entrypoint=facts.entrypoint,
        workdir=facts.workdir,
        labels=facts.labels,
    )


def _base(ref: str, source: str) -> str:
    """Return what FROM names: the manifest must not depend on the registry that an image was pulled from."""
    here, named = reference.parse(source), reference.parse(ref)
    if source.startswith(f"{stand_in.REPOSITORY}:") or here.name == named.name:
        return source
    return str(dataclasses.replace(named, tag=here.tag, digest=here.digest))


def _told(image: ResolvedImage, on: engine.Engine, progress: Progress) -> ResolvedImage:
    """Return an image that can be used, once what a person should know of it is said."""
    _checked(image)
    if (own := on.get_facts().platform) != engine.PLATFORM:
        progress.note(
            f"note: this engine is {own} and the tournament runs {engine.PLATFORM}: the image is emulated here, "
            "several times slower. Docker Desktop can; on Linux it takes qemu-user-static and binfmt-support"
        )
    return image


def _repository_digest(ref: str, digests: tuple[str, ...]) -> str | None:
    """Return the ``repository@digest`` that came from the repository which the reference names."""
    parsed = reference.parse(ref)
    held = [(digest, reference.parse(digest)) for digest in digests]
    ours = [
        (text, one.digest)
        for text, one in held
        if (one.registry, one.repository) == (parsed.registry, parsed.repository)
    ]
    # An image may have several: the one that the config pins, if it pins one.
    return next((text for text, digest in ours if digest == parsed.digest), ours[0][0] if ours else None)


def _checked(image: ResolvedImage) -> ResolvedImage:
    if image.platform != engine.PLATFORM:
        raise errors.ImageError(
            f"{image.ref} is here for {image.platform}, and the tournament runs {engine.PLATFORM}: "
            f"pull it with `docker pull --platform {engine.PLATFORM} {image.ref}`"
        )
    return image


def _ask_registry(
    wanted: ImageRequest,
    on: engine.Engine,
    *,
    pull: bool,
    progress: Progress,
    ask: Callable[[str], registry.RemoteImage] | None,
) -> tuple[engine.ImageFacts | None, str]:
    """Return the pulled image, or None and why not.

    Where a stand-in would do, a failure is remembered for a day: each build would wait for the network otherwise.
    """
    name, asks_in_vain = wanted.name, wanted.stand_in is None
    memory = paths.cache_folder() / "pulls" / hashlib.sha256(name.encode()).hexdigest()
    if not pull and not asks_in_vain:
        with contextlib.suppress(OSError):
            if time.time() - memory.stat().st_mtime < _ASK_AGAIN_SECONDS:
                return None, memory.read_text(encoding="utf-8")
    progress.step(f"asking the registry for {name}")
    if lacking := _lacking_room(name, on, ask):
        progress.note(f"note: {lacking}")
        return None, lacking
    try:
        found = on.pull(name, platform=engine.PLATFORM, seconds=_PULL_SECONDS, progress=progress)
    except errors.EngineError as error:
        on.get_facts()  # an engine that is gone is another matter: this says so
        progress.note(f"note: {error}")
        memory.parent.mkdir(exist_ok=True)
        paths.write_atomically(memory, str(error).encode())
        return None, str(error)
    memory.unlink(missing_ok=True)
    return found, ""


def _lacking_room(name: str, on: engine.Engine, ask: Callable[[str], registry.RemoteImage] | None) -> str:
    """Say so where an image cannot fit on the engine's disk; nothing where it can, or where that is not known."""
    free = on.get_free_disk() if ask else None
    if ask is None or free is None:
        return ""
    try:
        size = ask(name).size
    except errors.BuilderError:
        return ""  # the engine may have another way to the registry: its word counts
    if free >= _UNPACKED * size:
        return ""
    return (
        f"{name} is {size / 1e9:.1f} GB to pull and takes at least {_UNPACKED * size / 1e9:.1f} GB unpacked; the "
        f"engine's disk has {free / 1e9:.1f} GB free: make room (`docker system df` shows what fills it)"
    )


def _stand_in(wanted: ImageRequest, reason: str, on: engine.Engine, progress: Progress) -> ResolvedImage:
    if wanted.digest and wanted.stand_in is None:
        raise errors.ImageError(
            f"{wanted.name}, which is pinned in {lockfile.NAME} or in the config, is not on this engine and could "
            f"not be pulled: {reason}\n"
            f"Where the registry no longer has it or is gone, `make pin` pins what {wanted.key or wanted.ref} means "
            "now; else pull it where there is a network, or load it (`docker load`)"
        )
    if wanted.stand_in is None:
        raise errors.ImageError(
            f"{wanted.ref} is not on this engine, and could not be pulled: {reason}\n"
            "Pull it by hand where there is a network (`docker pull`), load it (`docker load`), or, to try the tool "
            'out only, name a look-alike in the config: image.stand_in: "3.11"'
        )
    return resolve_stand_in(wanted.ref, wanted.stand_in, on, progress)


def _ask_image(image: ResolvedImage, on: engine.Engine, run: str) -> dict[str, Any]:
    script = tar_stream.TarEntry(name="inventory.py", content=paths.inside_folder() / "inventory.py")
    with on.create_container(
        image.handle, ("python", f"{engine.WORKDIR}/inventory.py"), run=run, limits=_SMALL, network=False
    ) as container:
        container.put(tar_stream.pack([script]))
        ended = container.run(120)
        printed = container.read_log()
    if ended.code != 0:
        raise errors.ImageError(
            f"{image.ref} has no Python that starts as `python`, so it is no runner image; it said: {printed[-500:]}"
        )
    try:
        # What an image prints beside it (a warning of its own) comes before.
        answer: dict[str, Any] = json.loads(printed[printed.rfind("\n{") + 1 :])
        _read_inventory(answer)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise errors.ImageError(
            f"{image.ref} has a `python` that runs no script, so it is no runner image; it said: {printed[-500:]}"
        ) from error
    return answer


def _read_inventory(answer: Any) -> Inventory:
    """Check an answer, which came out of a container; raises ValueError, LookupError or TypeError if it is no such."""
    found = schema.parse(Inventory, {"python": answer["python"], "packages": answer["packages"]})
    if isinstance(found, list):
        raise ValueError(found[0].text)  # noqa: TRY004 - the list is of faults
    return found


def _check_inventory(image: ResolvedImage, found: Inventory) -> None:
    minor = ".".join(found.python.split(".")[:2])
    if minor not in KNOWN_PYTHONS:
        raise errors.ImageError(
            f"{image.ref} has Python {found.python}; this tool knows {', '.join(KNOWN_PYTHONS)}: "
            "name one of the tournament's images"
        )
    lacking = [name for name in runner_image.REQUIRED_PACKAGES if name not in found.packages]
    if lacking:
        raise errors.ImageError(f"{image.ref} lacks {', '.join(lacking)}, so it is no runner image")


def resolve_stand_in(ref: str, python: str, on: engine.Engine, progress: Progress) -> ResolvedImage:
    """Return the look-alike with this Python, made when there is none.

    Raises:
        errors.ImageError: there is no such look-alike, or none can be made here.
    """
    made = stand_in.find_or_build(on, python, progress)
    return _checked(
        ResolvedImage(
            kind="stand_in",
            ref=ref,
            identity=f"sha256:{made.spec}",
            base=made.tag,
            source=made.tag,
            handle=made.image.id,
            platform=made.image.platform,
            entrypoint=made.image.entrypoint,
            workdir=made.image.workdir,
        )
    )


def find_recorded_image(
    recorded: runner_image.RunnerImage, on: engine.Engine, *, registry: str, progress: Progress, rebuild_command: str
) -> ResolvedImage:
    """Return the image that a manifest names: the very same one, or an error.

    Args:
        recorded: What the manifest says of it.
        on: The engine.
        registry: Where the tournament's images are pulled from.
        progress: Told of a pull.
        again: The command that builds the pickle again, for messages.

    Raises:
        errors.ImageError: it is gone and cannot be had again, or its name now means another image.
    """
    source = settings.to_pull_reference(recorded.base, registry)
    names = dict.fromkeys((source, recorded.base))
    name, facts = next(((name, facts) for name in names if (facts := on.find_image(name))), (source, None))
    if facts is None and recorded.kind == "stand_in":
        found = resolve_stand_in(recorded.ref, ".".join(recorded.python.split(".")[:2]), on, progress)
    elif facts is None and recorded.kind == "exact":
        facts = _pull_again(source, on, progress, rebuild_command)
        found = _describe(recorded.ref, source, facts)
    elif facts is None:
        raise errors.ImageError(
            f"{recorded.base}, in which the pickle was made, is no longer on this engine: build or load it again, "
            f"or build the pickle again in another: `{rebuild_command}`"
        )
    else:
        found = _describe(recorded.ref, name, facts)
    if (found.kind, found.identity) != (recorded.kind, recorded.identity):
        raise errors.ImageError(
            f"{recorded.base} is now another image ({found.kind}, {found.identity}) than the one that the pickle was "
            f"made in ({recorded.kind}, {recorded.identity}): run `{rebuild_command}` to build it again"
        )
    return found


def _pull_again(name: str, on: engine.Engine, progress: Progress, rebuild_command: str) -> engine.ImageFacts:
    """Pull the image that a pickle was made in.

    Raises:
        errors.EngineError: The engine is gone.
        errors.ImageError: The image cannot be had.
    """
    progress.step(f"pulling {name}")
    try:
        return on.pull(name, platform=engine.PLATFORM, seconds=_PULL_SECONDS, progress=progress)
    except errors.EngineError as error:
        on.get_facts()  # an engine that is gone is another matter: this says so
        raise errors.ImageError(
            f"{name}, in which the pickle was made, is not on this engine any more, and not to be had: {error}\n"
            f"Where the registry no longer has it, `make pin` and `{rebuild_command}` build the pickle in what is there now; "
            "else pull it where there is a network, or load it (`docker load`)"
        ) from error
