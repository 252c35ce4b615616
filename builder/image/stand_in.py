"""The look-alike of the runner image: the published package versions on a Python that can be had here.

Its identity is the spec hash, over all that goes into it; the engine's image id is only a handle. :func:`find` looks
for one, :func:`find_or_build` builds it when there is none. Nothing made with it is ever uploaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent import futures
from typing import TYPE_CHECKING

from builder import errors, locks, paths
from builder.engine import debian, run, tar_stream
from builder.engine import protocol as engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from builder.progress import Progress

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EDITIONS = {"oldest": "3.11", "newest": "3.13"}
"""Look-alikes of no published image, by the Python they are on: the oldest packages that any of them has (the pins of
3.10), and the newest that there were when they were last looked for. What goes into a pickle must work on both."""
STAND_IN_LABEL = "numerai-builder.stand-in"
INPUTS_LABEL = "numerai-builder.inputs"
SPEC_LABEL = "numerai-builder.spec"
BASE_LABEL = "numerai-builder.stand-in-base"
REPOSITORY = "numerai-builder/stand-in"

_DEBIAN_SUITES = {"3.11": "bookworm", "3.13": "trixie"}  # the releases whose own Python it is
_PULL_SECONDS = 120.0  # without a byte
_WHEEL_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
_ASK_LIMITS = engine.ContainerLimits(cpus=1, memory=256 << 20)
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandInBase:
    """Where the Python of a look-alike comes from."""

    suite: str | None = None
    """A Debian release, built here from packages; or else"""
    reference: str | None = None
    """an image to pull."""

    @property
    def kind(self) -> str:
        """Say which, as it goes into the identity."""
        return f"debian {self.suite}" if self.suite else f"image {self.reference}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """What decides which base can be had; :meth:`detect` reads it from the machine."""

    debian: bool
    amd64: bool
    root: bool
    mmdebstrap: bool

    @classmethod
    def detect(cls) -> Host:
        """Read the facts of this machine."""
        return cls(
            debian=debian.read_release().identity == "debian",
            amd64=platform.machine() == "x86_64",
            root=debian.is_root(),
            mmdebstrap=_has_mmdebstrap(),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandIn:
    """A look-alike that is on the engine. ``spec`` (64 hex digits) is its identity, ``tag`` carries it."""

    python: str
    spec: str
    tag: str
    image: engine.ImageFacts


def check_python(python: str) -> None:
    """Refuse a version that no look-alike is known for.

    Raises:
        errors.ImageError: it is none of :data:`PYTHONS` and :data:`EDITIONS`.
    """
    if python not in PYTHONS and python not in EDITIONS:
        known = ", ".join((*PYTHONS, *EDITIONS))
        raise errors.ImageError(f"no look-alike is known for Python {python!r}: choose one of {known}")


def list_bases(python: str) -> tuple[StandInBase, ...]:
    """Return the bases that a look-alike of this Python may have, the preferred one first."""
    check_python(python)
    release = EDITIONS.get(python, python)
    pulled = StandInBase(reference=f"python:{release}-slim")
    suite = _DEBIAN_SUITES.get(release)
    return (StandInBase(suite=suite), pulled) if suite else (pulled,)


def choose_base(python: str, host: Host) -> StandInBase:
    """Return the base to build on, on this host; pure."""
    by_packages = host.debian and host.amd64 and (host.root or host.mmdebstrap)
    return next(base for base in list_bases(python) if base.reference or by_packages)


def compute_inputs_hash(python: str, base: StandInBase) -> str:
    """Return the SHA-256 over all that a look-alike is made of, but for the exact release of its Python."""
    digest = hashlib.sha256()
    for part in (*(path.read_bytes() for path in _sources(python).values()), base.kind.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def compute_spec_hash(inputs: str, release: str) -> str:
    """Return a look-alike's identity: its inputs and the exact release of its Python, such as ``3.11.2``."""
    return hashlib.sha256(f"{inputs} {release}".encode()).hexdigest()


def format_tag(python: str, spec: str) -> str:
    """Return the name that a look-alike has on the engine."""
    return f"{REPOSITORY}:{python}-{spec[:16]}"


def find(on: engine.Engine, python: str) -> StandIn | None:
    """Return the look-alike of the present sources that is on the engine, or None.

    Raises:
        errors.EngineError: the engine does not answer.
        errors.ImageError: there is none for this Python anywhere.
    """
    for base in list_bases(python):
        for image in on.find_images_by_label(INPUTS_LABEL, compute_inputs_hash(python, base)):
            spec = image.labels.get(SPEC_LABEL, "")
            tag = format_tag(python, spec)
            # What was made from a look-alike carries its labels too, and so does what a cut-short build left.
            if tag in image.tags and image.labels.get(STAND_IN_LABEL) == python:
                return StandIn(python=python, spec=spec, tag=tag, image=image)
    return None


def find_or_build(on: engine.Engine, python: str, progress: Progress) -> StandIn:
    """Return the look-alike of the present sources; about a minute when it has to be built.

    Raises:
        errors.EngineError: the engine does not answer, or failed.
        errors.ImageError: no base can be had here, or there is none for this Python.
        errors.NetworkError: the wheels cannot be downloaded.
    """
    if found := find(on, python):
        return found
    lock = paths.cache_folder() / f"stand-in-{python}.lock"
    with locks.acquire(
        lock, lambda holder: progress.note(f"waiting for another run that builds the {python} look-alike ({holder})")
    ):
        # The run that was waited for may have built it.
        return find(on, python) or _build(on, python, progress)


def _build(on: engine.Engine, python: str, progress: Progress) -> StandIn:
    base = choose_base(python, Host.detect())
    inputs = compute_inputs_hash(python, base)
    if base.reference:  # first, because it may fail, and the rest would be in vain
        _pull(on, python, base.reference, progress)
    progress.step(f"downloading the packages of the look-alike of Python {python}, and its base")
    with futures.ThreadPoolExecutor(1) as beside, run.start(on) as identity:
        fetching = beside.submit(_fetch_wheels, python)  # one waits for the network while the other computes
        with _base_image(on, python, base, progress) as reference:
            spec = compute_spec_hash(inputs, _ask_release(on, reference, python, identity))
            files = _sources(python) | {f"wheels/{path.name}": path for path in fetching.result().iterdir()}
            progress.step(f"building the look-alike of Python {python}")
            try:
                on.build(
                    tar_stream.pack(tar_stream.TarEntry(name=name, content=path) for name, path in files.items()),
                    run=identity,
                    arguments={"BASE": reference, "PYTHON": python, "INPUTS": inputs, "SPEC": spec},
                    tag=format_tag(python, spec),
                    cache=False,
                    progress=progress,
                )
            finally:
                _sweep(on, {INPUTS_LABEL: inputs, BASE_LABEL: python})
    made = find(on, python)
    if made is None:
        raise errors.ImageError(
            f"the look-alike of Python {python} was built and is gone: somebody is removing images; run this again"
        )
    return made


@contextlib.contextmanager
def _base_image(on: engine.Engine, python: str, base: StandInBase, progress: Progress) -> Iterator[str]:
    """Have the base on the engine for a while; one that was made here loses its name again."""
    if base.reference:
        yield base.reference
        return
    tag = f"{REPOSITORY}-base:{python}"
    try:
        # No run label: what is built on it would inherit that, and be swept away with it.
        on.import_image(_root_file_system(str(base.suite), progress), tag=tag, changes=[f"LABEL {BASE_LABEL}={python}"])
        yield tag
    finally:
        with contextlib.suppress(errors.EngineError):
            on.remove_image(tag)


def _pull(on: engine.Engine, python: str, reference: str, progress: Progress) -> None:
    present = on.find_image(reference)
    if present is not None and present.platform == engine.PLATFORM:
        return
    progress.step(f"pulling {reference}")
    try:
        on.pull(reference, platform=engine.PLATFORM, seconds=_PULL_SECONDS, progress=progress)
    except errors.EngineError as error:
        raise errors.ImageError(
            f"no look-alike of Python {python} can be made here: its base {reference} is not on the engine, and "
            f"{error}. Pull or load that image by hand; or use Python {' or '.join(_DEBIAN_SUITES)} (`stand_in:` in "
            "the config, or PYTHON=), which as root on Debian, amd64, are made from Debian's own packages"
        ) from error


def _root_file_system(suite: str, progress: Progress) -> Iterator[bytes]:
    """Stream a small Debian with Python as a tar; made from the mirror that this machine uses."""
    log = paths.cache_folder() / f"mmdebstrap-{suite}.log"
    if not _has_mmdebstrap():
        progress.note("mmdebstrap is needed to make a base from Debian packages: going to install it")
        debian.install_packages(["mmdebstrap"], log=log.with_name("apt.log"), progress=progress)
    mirror = debian.find_mirror(debian.read_release().codename)
    if mirror is None:
        raise errors.ImageError(
            "apt knows of no archive of this Debian release, so none can be taken for the look-alike's base: run "
            "`apt-get update` (`apt-get indextargets` then shows what apt knows), then run this again"
        )
    command = ["mmdebstrap", "--variant=minbase", "--include=python3,python3-venv", "--architectures=amd64"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, suite, "-", mirror],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, "PATH": debian.search_path()},
            # When it fails it sends SIGHUP to all of its process group: that must not be ours, nor our caller's.
            start_new_session=True,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - asked for above
            while chunk := process.stdout.read(_CHUNK):
                yield chunk
            code = process.wait()
        finally:
            _end(process)
    if code != 0:
        raise errors.ImageError(
            f"mmdebstrap could not make a Debian {suite}: repair what its log says, then run this again; {log} ends:\n"
            f"{debian.read_last_lines(log)}"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that may be running still; it is asked, so that it takes its mounts away."""
    if process.stdout is not None:
        process.stdout.close()
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ask_release(on: engine.Engine, reference: str, python: str, identity: str) -> str:
    """Return the exact release of a base's Python."""
    command = ("python3", "-c", "import platform; print(platform.python_version())")
    with on.create_container(reference, command, run=identity, limits=_ASK_LIMITS, network=False) as container:
        container.run(60)
        said = container.read_log().strip()
    release = EDITIONS.get(python, python)
    if not re.fullmatch(re.escape(release) + r"\.\S+", said):
        raise errors.ImageError(
            f"the base {reference} should have Python {release}, and asked for its release it says {said!r}: remove "
            "that image (`docker image rm`), then run this again"
        )
    return said


def _fetch_wheels(python: str) -> Path:
    """Return a folder with exactly the wheels of the requirements file, downloaded when they are not there yet."""
    requirements = _sources(python)["requirements.txt"]
    wanted = requirements.read_text()
    folder = paths.cache_folder() / "wheels" / hashlib.sha256(wanted.encode()).hexdigest()[:16]
    if has_all_wheels(folder, wanted):
        return folder
    part, log = folder.with_suffix(".part"), paths.cache_folder() / "wheels" / f"{python}.log"
    for old in (part, folder):
        shutil.rmtree(old, ignore_errors=True)
    part.mkdir(parents=True)
    with log.open("wb") as output:
        code = subprocess.call(_download_command(python, requirements, part), stdout=output, stderr=output)
    if code != 0 or not has_all_wheels(part, wanted):
        shutil.rmtree(part)
        raise errors.NetworkError(
            f"pip could not download the packages of {requirements.name}: see that the package index which pip is set "
            f"to use answers, then run this again; {log} ends:\n{debian.read_last_lines(log)}"
        )
    part.rename(folder)
    return folder


def _download_command(python: str, requirements: Path, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["--only-binary=:all:", "--require-hashes", "--no-deps", "--implementation=cp"]
    command += [
        f"--python-version={EDITIONS.get(python, python)}",
        *(f"--platform={name}" for name in _WHEEL_PLATFORMS),
    ]
    return [*command, "-d", str(folder), "-r", str(requirements)]


def has_all_wheels(folder: Path, requirements: str) -> bool:
    """Tell whether a folder holds one file for each requirement, each with a hash that the requirements name."""
    if not folder.is_dir():
        return False
    known = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", requirements))
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()]
    return len(hashes) == len(re.findall(r"^\S+==", requirements, re.MULTILINE)) and known.issuperset(hashes)


def _sources(python: str) -> dict[str, Path]:
    """Return the files of a look-alike by their names in the build context."""
    folder = paths.docker_folder() / "stand_in"
    return {
        "Dockerfile": folder / "Dockerfile",
        "requirements.txt": folder / f"requirements-{python}.txt",
        "runner.py": folder / "runner.py",
    }


def _sweep(on: engine.Engine, labels: Mapping[str, str]) -> None:
    """Remove what a cut-short build left: it carries our labels, no name, and belongs to no run."""
    with contextlib.suppress(errors.EngineError):
        for key, value in labels.items():
            for image in on.find_images_by_label(key, value):
                if not image.tags and not image.digests and engine.RUN_LABEL not in image.labels:
                    on.remove_image(image.id)


def _has_mmdebstrap() -> bool:
    return shutil.which("mmdebstrap", path=debian.search_path()) is not None
