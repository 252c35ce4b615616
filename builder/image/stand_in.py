"""Build stand-in images: images that imitate the runner, with its published package versions, for use without it.

A stand-in image is identified by its spec hash, which covers everything that goes into it. :func:`find` returns an
existing one, :func:`find_or_build` builds it if necessary. Pickles built in it are never uploaded.
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
from builder.engine import debian, protocol, run, tar_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from builder.progress import Progress

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EDITIONS = {"oldest": "3.11", "newest": "3.13"}
"""Stand-in images for tests without a published image, and their Python: with the oldest packages of all runner images
(the pins of 3.10), and with the newest packages at the time of their last update. Pickles must work on both."""
STAND_IN_LABEL = "numerai-builder.stand-in"
INPUTS_LABEL = "numerai-builder.inputs"
SPEC_LABEL = "numerai-builder.spec"
BASE_LABEL = "numerai-builder.stand-in-base"
REPOSITORY = "numerai-builder/stand-in"

_DEBIAN_SUITES = {"3.11": "bookworm", "3.13": "trixie"}  # the releases that contain this Python
_PULL_TIMEOUT = 120.0  # seconds without data
_WHEEL_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
_READ_LIMITS = protocol.ContainerLimits(cpus=1, memory=256 << 20)
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandInBase:
    """The source of a stand-in image's Python."""

    suite: str | None = None
    """A Debian release, whose packages are installed here; None with ``reference``."""
    reference: str | None = None
    """An image to pull; None with ``suite``."""

    @property
    def kind(self) -> str:
        """The base as it is included in the inputs hash."""
        return f"debian {self.suite}" if self.suite else f"image {self.reference}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """The facts that decide which base is available; :meth:`detect` reads them from the machine."""

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
    """A stand-in image on the engine; ``spec`` (64 hex digits) is its identity, and ``tag`` contains its start."""

    python: str
    spec: str
    tag: str
    image: protocol.ImageFacts


def check_python(python: str) -> None:
    """Check that there is a stand-in image for a version.

    Raises:
        errors.ImageError: It is not in :data:`PYTHONS` or :data:`EDITIONS`.
    """
    if python not in PYTHONS and python not in EDITIONS:
        choices = ", ".join((*PYTHONS, *EDITIONS))
        raise errors.ImageError(f"there is no stand-in image for Python {python!r}: choose one of {choices}")


def list_bases(python: str) -> tuple[StandInBase, ...]:
    """Return the possible bases of a stand-in image, the preferred one first."""
    check_python(python)
    release = EDITIONS.get(python, python)
    pulled = StandInBase(reference=f"python:{release}-slim")
    suite = _DEBIAN_SUITES.get(release)
    return (StandInBase(suite=suite), pulled) if suite else (pulled,)


def choose_base(python: str, host: Host) -> StandInBase:
    """Return the preferred base that is available on a host."""
    by_packages = host.debian and host.amd64 and (host.root or host.mmdebstrap)
    return next(base for base in list_bases(python) if base.reference or by_packages)


def compute_inputs_hash(python: str, base: StandInBase) -> str:
    """Return the SHA-256 of everything that goes into a stand-in image, except for the exact release of its Python."""
    digest = hashlib.sha256()
    for part in (*(path.read_bytes() for path in _list_sources(python).values()), base.kind.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def compute_spec_hash(inputs: str, release: str) -> str:
    """Return a stand-in image's identity, from its inputs and the exact release of its Python, such as ``3.11.2``."""
    return hashlib.sha256(f"{inputs} {release}".encode()).hexdigest()


def format_tag(python: str, spec: str) -> str:
    """Return the tag of a stand-in image on the engine."""
    return f"{REPOSITORY}:{python}-{spec[:16]}"


def find(engine: protocol.Engine, python: str) -> StandIn | None:
    """Return the stand-in image built from the current sources if it is on the engine, or None.

    Raises:
        errors.EngineError: The engine does not answer.
        errors.ImageError: The Python version is not supported.
    """
    for base in list_bases(python):
        for image in engine.find_images_by_label(INPUTS_LABEL, compute_inputs_hash(python, base)):
            spec = image.labels.get(SPEC_LABEL, "")
            tag = format_tag(python, spec)
            # Images built from a stand-in inherit its labels, and an interrupted build leaves labelled images.
            if tag in image.tags and image.labels.get(STAND_IN_LABEL) == python:
                return StandIn(python=python, spec=spec, tag=tag, image=image)
    return None


def find_or_build(engine: protocol.Engine, python: str, progress: Progress) -> StandIn:
    """Return the stand-in image from the current sources; build it if necessary, which takes about a minute.

    Raises:
        errors.EngineError: The engine does not answer, or failed.
        errors.ImageError: No base is available here, or the Python version is not supported.
        errors.NetworkError: The wheels cannot be downloaded.
    """
    if stand_in := find(engine, python):
        return stand_in
    lock = paths.cache_folder() / f"stand-in-{python}.lock"
    with locks.acquire(
        lock,
        lambda holder: progress.note(f"waiting for another run that builds the {python} stand-in image ({holder})"),
    ):
        # Another run may have built it while this one waited.
        return find(engine, python) or _build(engine, python, progress)


def _build(engine: protocol.Engine, python: str, progress: Progress) -> StandIn:
    base = choose_base(python, Host.detect())
    inputs = compute_inputs_hash(python, base)
    if base.reference:  # first, because it may fail
        _pull(engine, python, base.reference, progress)
    progress.step(f"downloading the packages and the base of the Python {python} stand-in image")
    with futures.ThreadPoolExecutor(1) as executor:
        wheels = executor.submit(_download_wheels, python)  # at the same time as the base is built
        # The base keeps its tag until the run's images are removed: a containerd image store removes the untagged
        # parents of an image with it, even if the stand-in was built from them too.
        with _provide_base(engine, python, base, progress) as reference, run.start(engine) as identity:
            spec = compute_spec_hash(inputs, _read_python_release(engine, reference, python, identity))
            files = _list_sources(python) | {f"wheels/{path.name}": path for path in wheels.result().iterdir()}
            progress.step(f"building the Python {python} stand-in image")
            try:
                engine.build(
                    tar_stream.pack(tar_stream.TarEntry(name=name, content=path) for name, path in files.items()),
                    run=identity,
                    arguments={"BASE": reference, "PYTHON": python, "INPUTS": inputs, "SPEC": spec},
                    tag=format_tag(python, spec),
                    cache=False,
                    progress=progress,
                )
            finally:
                _remove_untagged_images(engine, {INPUTS_LABEL: inputs, BASE_LABEL: python})
    built = find(engine, python)
    if built is None:
        raise errors.ImageError(
            f"the Python {python} stand-in image was built, but it is not on the engine: another process may be "
            "removing images; run this again"
        )
    return built


@contextlib.contextmanager
def _provide_base(engine: protocol.Engine, python: str, base: StandInBase, progress: Progress) -> Iterator[str]:
    """Yield the reference of the base on the engine; remove its tag afterwards if it was built here."""
    if base.reference:
        yield base.reference
        return
    tag = f"{REPOSITORY}-base:{python}"
    try:
        # Without a run label: images built from it would inherit that and be removed with the run.
        engine.import_image(
            _create_root_file_system(str(base.suite), progress), tag=tag, changes=[f"LABEL {BASE_LABEL}={python}"]
        )
        yield tag
    finally:
        with contextlib.suppress(errors.EngineError):
            engine.remove_image(tag)


def _pull(engine: protocol.Engine, python: str, reference: str, progress: Progress) -> None:
    present = engine.find_image(reference)
    if present is not None and present.platform == protocol.PLATFORM:
        return
    progress.step(f"pulling {reference}")
    try:
        pulled = engine.pull(reference, platform=protocol.PLATFORM, seconds=_PULL_TIMEOUT, progress=progress)
    except errors.EngineError as error:
        raise errors.ImageError(
            f"cannot build the Python {python} stand-in image: its base {reference} is not on the engine, and "
            f"{error}. Pull or load that image by hand; or use Python {' or '.join(_DEBIAN_SUITES)} (`stand_in:` in "
            "the config, or PYTHON=), which root can build from Debian packages on Debian amd64"
        ) from error
    # A containerd image store keeps both variants under one name, and builds with the one for its own platform.
    if pulled.platform != protocol.PLATFORM:
        raise errors.ImageError(
            f"cannot build the Python {python} stand-in image: this engine also has {reference} for {pulled.platform}, "
            f"and would use that; remove it (`docker image rm {reference}`), then run this again"
        )


def _create_root_file_system(suite: str, progress: Progress) -> Iterator[bytes]:
    """Stream a small Debian with Python as a tar, created from this machine's Debian mirror."""
    log = paths.cache_folder() / f"mmdebstrap-{suite}.log"
    if not _has_mmdebstrap():
        progress.note("mmdebstrap, which creates a base from Debian packages, is missing: going to install it")
        debian.install_packages(["mmdebstrap"], log=log.with_name("apt.log"), progress=progress)
    mirror = debian.find_mirror(debian.read_release().codename)
    if mirror is None:
        raise errors.ImageError(
            "apt has no archive of this Debian release, from which the stand-in image's base could be built: run "
            "`apt-get update` (`apt-get indextargets` then lists the archives), then run this again"
        )
    command = ["mmdebstrap", "--variant=minbase", "--include=python3,python3-venv", "--architectures=amd64"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, suite, "-", mirror],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, "PATH": debian.get_search_path()},
            # When mmdebstrap fails, it sends SIGHUP to its process group, which must not include this process.
            start_new_session=True,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - not None because of PIPE
            while chunk := process.stdout.read(_CHUNK):
                yield chunk
            code = process.wait()
        finally:
            _stop_process(process)
    if code != 0:
        raise errors.ImageError(
            f"mmdebstrap could not create Debian {suite}: fix the error in its log, then run this again; {log} ends "
            "with:\n"
            f"{debian.read_last_lines(log)}"
        )


def _stop_process(process: subprocess.Popen[bytes]) -> None:
    """Stop a program if it is still running; with SIGTERM first, so that mmdebstrap can unmount its file systems."""
    if process.stdout is not None:
        process.stdout.close()
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read_python_release(engine: protocol.Engine, reference: str, python: str, identity: str) -> str:
    """Return the exact release of a base's Python, such as ``3.11.2``."""
    command = ("python3", "-c", "import platform; print(platform.python_version())")
    with engine.create_container(reference, command, run=identity, limits=_READ_LIMITS, network=False) as container:
        container.run(60)
        output = container.read_log().strip()
    release = EDITIONS.get(python, python)
    if not re.fullmatch(re.escape(release) + r"\.\S+", output):
        raise errors.ImageError(
            f"the base {reference} has Python {output!r}, not {release}: remove that image (`docker image rm`), then "
            "run this again"
        )
    return output


def _download_wheels(python: str) -> Path:
    """Return a folder with exactly the wheels of the requirements file; download them if necessary."""
    requirements = _list_sources(python)["requirements.txt"]
    content = requirements.read_text()
    folder = paths.cache_folder() / "wheels" / hashlib.sha256(content.encode()).hexdigest()[:16]
    if has_all_wheels(folder, content):
        return folder
    partial, log = folder.with_suffix(".part"), paths.cache_folder() / "wheels" / f"{python}.log"
    for old in (partial, folder):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    with log.open("wb") as output:
        code = subprocess.call(_download_command(python, requirements, partial), stdout=output, stderr=output)
    if code != 0 or not has_all_wheels(partial, content):
        shutil.rmtree(partial)
        raise errors.NetworkError(
            f"pip could not download the packages of {requirements.name}: check that pip's package index answers, then "
            f"run this again; {log} ends with:\n{debian.read_last_lines(log)}"
        )
    partial.rename(folder)
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
    """Tell whether a folder contains one file for each requirement, all with hashes from the requirements."""
    if not folder.is_dir():
        return False
    known_hashes = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", requirements))
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()]
    return len(hashes) == len(re.findall(r"^\S+==", requirements, re.MULTILINE)) and known_hashes.issuperset(hashes)


def _list_sources(python: str) -> dict[str, Path]:
    """Return the source files of a stand-in image by their names in the build context."""
    folder = paths.docker_folder() / "stand_in"
    return {
        "Dockerfile": folder / "Dockerfile",
        "requirements.txt": folder / f"requirements-{python}.txt",
        "runner.py": folder / "runner.py",
    }


def _remove_untagged_images(engine: protocol.Engine, labels: Mapping[str, str]) -> None:
    """Remove images of an interrupted build: those with our labels that have no tag and belong to no run."""
    with contextlib.suppress(errors.EngineError):
        for key, value in labels.items():
            for image in engine.find_images_by_label(key, value):
                if not image.tags and not image.digests and protocol.RUN_LABEL not in image.labels:
                    engine.remove_image(image.id)


def _has_mmdebstrap() -> bool:
    return shutil.which("mmdebstrap", path=debian.get_search_path()) is not None
