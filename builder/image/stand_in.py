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
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, interrupts, locks, paths
from builder.engine import debian, protocol, run, tar_stream
from builder.image import host_pythons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from builder.progress import Progress

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
EDITIONS = {"oldest": "3.11", "newest": "3.13", "boosters": "3.12", "full": "3.12"}
"""Stand-in images for tests without a published image, and their Python. Pickles must work on all of them."""
DIFFERENCES = {
    "oldest": "the oldest packages of all runner images (the pins of 3.10)",
    "newest": "the newest packages at the time of the last update instead of the pins",
    "boosters": "xgboost-cpu instead of xgboost; of the larger frameworks only CatBoost",
    "full": "xgboost-cpu and tensorflow-cpu instead of xgboost and tensorflow; no torch, no numerai-tools",
}
"""What an edition has that is not in the published pins of its Python; a label of the image."""
FALLBACKS = {"3.12": "3.11"}
"""What replaces a stand-in image on a machine without a base for it: Debian has no Python 3.12."""
STAND_IN_LABEL = "numerai-builder.stand-in"
INPUTS_LABEL = "numerai-builder.inputs"
SPEC_LABEL = "numerai-builder.spec"
BASE_LABEL = "numerai-builder.stand-in-base"
REPOSITORY = "numerai-builder/stand-in"

_DEBIAN_SUITES = {"3.11": "bookworm", "3.13": "trixie"}  # the releases that contain this Python
_LIBRARIES = "libstdc++6"  # Debian's packages that the wheels load
_PULL_TIMEOUT = 30.0  # seconds without data; a firewall that drops packets would otherwise delay the next base
# In pip's own order, so that an image has the same wheels as the published ones.
_WHEEL_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# The last hook proves that the shared libraries of the standard library's modules are there.
_HOST_PYTHON_HOOKS = (
    'ln -sf {0} "$1/usr/local/bin/python3"',
    'chroot "$1" ldconfig',
    f'chroot "$1" /usr/local/bin/{{0}} -c "import {host_pythons.MODULES}"',
)
_READ_LIMITS = protocol.ContainerLimits(cpus=1, memory=256 << 20)
_CHUNK = 1 << 20


class NoBaseError(errors.ImageError):
    """This machine has no base for a stand-in image, and none could be pulled."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandInBase:
    """The source of a stand-in image's Python: exactly one of the three."""

    suite: str | None = None
    """A Debian release with this Python, built from packages."""
    reference: str | None = None
    """An image to pull."""
    from_host: bool = False
    """A Python of this machine, copied into this machine's Debian release."""

    @property
    def kind(self) -> str:
        """The source as text, which is part of the image's identity."""
        source = f"debian {self.suite}" if self.suite else "host python"
        return f"image {self.reference}" if self.reference else f"{source} with {_LIBRARIES}"


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
    suite = _DEBIAN_SUITES.get(release)
    others = StandInBase(reference=f"python:{release}-slim"), StandInBase(from_host=True)
    return (StandInBase(suite=suite), *others) if suite else others


def choose_bases(python: str, host: Host) -> list[StandInBase]:
    """Return the bases that may be available on a host, the preferred one first."""
    by_packages = host.debian and host.amd64 and (host.root or host.mmdebstrap)
    return [base for base in list_bases(python) if base.reference or by_packages]


def compute_inputs_hash(python: str, base: StandInBase) -> str:
    """Return the SHA-256 of everything that goes into a stand-in image, except for the exact release of its Python."""
    digest = hashlib.sha256()
    # The name is a part because 3.10 and oldest have the same files, and builds remove images by this hash.
    for part in (python.encode(), base.kind.encode(), *(path.read_bytes() for path in _list_sources(python).values())):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def compute_spec_hash(inputs: str, release: str, tree: str = "") -> str:
    """Return a stand-in image's identity.

    Args:
        inputs: The hash of its inputs.
        release: The exact release of its Python, such as ``3.11.2``.
        tree: The hash of that Python's files, if it was copied from this machine.
    """
    return hashlib.sha256(f"{inputs} {release} {tree}".strip().encode()).hexdigest()


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


def find_or_build(engine: protocol.Engine, python: str, progress: Progress, *, fallback: bool = False) -> StandIn:
    """Return the stand-in image from the current sources; build it if necessary, which takes about a minute.

    With ``fallback``, return the image of :data:`FALLBACKS` if there is no base for it here; a note reports it.

    Raises:
        errors.EngineError: The engine does not answer, or failed.
        NoBaseError: No base is available here.
        errors.ImageError: The base could not be created, or the Python version is not supported.
        errors.NetworkError: The wheels cannot be downloaded.
    """
    if stand_in := find(engine, python):
        return stand_in
    # Not in the cache folder: two builds for one engine, also from two caches, would remove each other's images.
    lock = Path(tempfile.gettempdir()) / f"numerai-builder-{os.getuid()}-stand-in-{python}.lock"
    try:
        with locks.acquire(
            lock,
            lambda holder: progress.note(f"waiting for another run that builds the {python} stand-in image ({holder})"),
        ):
            # Another run may have built it while this one waited.
            return find(engine, python) or _build(engine, python, progress)
    except errors.EngineError:
        # Other users of the engine have locks of their own: one may have built it, and removed what this build used.
        if stand_in := find(engine, python):
            return stand_in
        raise
    except NoBaseError as error:
        if not fallback or python not in FALLBACKS:
            raise
        reason = str(error).partition("\n")[0]
        progress.note(f"note: the Python {FALLBACKS[python]} stand-in image is used: {reason}")
        return find_or_build(engine, FALLBACKS[python], progress)


def _build(engine: protocol.Engine, python: str, progress: Progress) -> StandIn:
    base, host_python = _find_base(engine, python, choose_bases(python, Host.detect()), progress)
    inputs = compute_inputs_hash(python, base)
    progress.step(f"downloading the packages and the base of the Python {python} stand-in image")
    with (
        tempfile.TemporaryDirectory(dir=paths.cache_folder(), prefix="stand-in-") as temporary,
        _start_installation(python, Path(temporary, "packages")) as wait_for_packages,
    ):
        packages, archive, tree_hash = Path(temporary, "packages"), Path(temporary, "python.tar"), ""
        if host_python:
            tree_hash = host_pythons.pack(host_python, archive)
        options = _list_base_options(base, host_python, archive)
        # The base keeps its tag until the run's images are removed: a containerd image store removes the untagged
        # parents of an image with it, even if the stand-in was built from them too.
        with _provide_base(engine, python, base, options, progress) as reference, run.start(engine) as identity:
            release = _read_python_release(engine, reference, python, identity)
            spec = compute_spec_hash(inputs, release, tree_hash)
            wait_for_packages()
            progress.step(f"building the Python {python} stand-in image")
            quiet = run.QUIET_SECONDS
            try:
                outcome = engine.build(
                    tar_stream.pack(_list_context(python, release, packages)),
                    run=identity,
                    arguments={
                        "BASE": reference,
                        "PYTHON": python,
                        "INPUTS": inputs,
                        "SPEC": spec,
                        "DIFFERENCES": DIFFERENCES.get(python, ""),
                    },
                    tag=None,
                    cache=False,
                    progress=progress,
                )
                # An image that another user built in the meantime keeps the tag, for it may already be in use.
                if find(engine, python) is None:
                    engine.tag_image(outcome.image, format_tag(python, spec))
                quiet = 0.0
            finally:
                with interrupts.defer():
                    _remove_untagged_images(engine, python, inputs, quiet=quiet)
    built = find(engine, python)
    if built is None:
        raise errors.ImageError(
            f"the Python {python} stand-in image was built, but it is not on the engine: another process may be "
            "removing images; run this again"
        )
    return built


def _find_base(
    engine: protocol.Engine, python: str, bases: Iterable[StandInBase], progress: Progress
) -> tuple[StandInBase, host_pythons.HostPython | None]:
    """Return the first base that is available, and the Python of this machine if it is that.

    Raises:
        NoBaseError: None is available.
    """
    release, problems = EDITIONS.get(python, python), []
    for base in bases:
        if base.suite:
            return base, None
        if base.reference:
            try:
                _pull(engine, base.reference, progress)
            except errors.EngineError as error:
                engine.get_facts()  # raises another EngineError if the engine itself has stopped
                problems.append(f"{base.reference} is not on the engine, and {error}")
            except errors.ImageError as error:
                problems.append(str(error))
            else:
                return base, None
        else:
            try:
                host_python = host_pythons.find(release)
            except errors.ImageError as error:
                problems.append(str(error))
            else:
                progress.note(f"the stand-in image is built with Python {host_python.release} of {host_python.prefix}")
                return base, host_python
    raise NoBaseError(
        f"cannot build the Python {python} stand-in image: {'; '.join(problems)}\n"
        f"Pull or load python:{release}-slim by hand; on Debian amd64, install Python {release} with pyenv or uv, or "
        f"use Python {' or '.join(_DEBIAN_SUITES)} (`stand_in:` in the config, or PYTHON=), which root can build from "
        "Debian packages"
    )


def _list_base_options(base: StandInBase, host_python: host_pythons.HostPython | None, archive: Path) -> list[str]:
    """Return the options of mmdebstrap for a base, with the Debian release at the end."""
    if host_python is None:
        return [f"--include=python3,{_LIBRARIES}", str(base.suite)]
    hooks = [f"tar-in {shlex.quote(str(archive))} /usr/local", *_HOST_PYTHON_HOOKS]
    options = [f"--customize-hook={hook.format(host_python.program.name)}" for hook in hooks]
    return [*options, f"--include={','.join((*host_python.packages, _LIBRARIES))}", debian.read_release().codename]


def _list_context(python: str, release: str, packages: Path) -> Iterator[tar_stream.TarEntry]:
    """Yield the files of the build context; the installed packages are where a virtual environment has them."""
    for name, path in _list_sources(python).items():
        yield tar_stream.TarEntry(name=name, content=path)
    site = f"venv/lib/python{'.'.join(release.split('.')[:2])}/site-packages"
    for path in sorted(packages.rglob("*")):
        if path.is_file():
            yield tar_stream.TarEntry(name=f"{site}/{path.relative_to(packages)}", content=path)


@contextlib.contextmanager
def _provide_base(
    engine: protocol.Engine, python: str, base: StandInBase, options: list[str], progress: Progress
) -> Iterator[str]:
    """Yield the reference of the base on the engine; remove its tag afterwards if it was built here."""
    if base.reference:
        yield base.reference
        return
    # Of this user: at the end the tag is removed, and another user's build may still need its own.
    tag = f"{REPOSITORY}-base:{python}-{os.getuid()}"
    try:
        # Without a run label: images built from it would inherit that and be removed with the run.
        engine.import_image(
            _create_root_file_system(options, progress), tag=tag, changes=[f"LABEL {BASE_LABEL}={python}"]
        )
        yield tag
    finally:
        with contextlib.suppress(errors.EngineError):
            engine.remove_image(tag)


def _pull(engine: protocol.Engine, reference: str, progress: Progress) -> None:
    present = engine.find_image(reference)
    if present is None or present.platform != protocol.PLATFORM:
        progress.step(f"pulling {reference}")
        pulled = engine.pull(reference, platform=protocol.PLATFORM, seconds=_PULL_TIMEOUT, progress=progress)
        # A containerd image store keeps both variants under one name, and builds with the one for its own platform.
        if pulled.platform != protocol.PLATFORM:
            raise errors.ImageError(
                f"this engine also has {reference} for {pulled.platform}, and would use that; remove it "
                f"(`docker image rm {reference}`), then run this again"
            )


def _create_root_file_system(options: list[str], progress: Progress) -> Iterator[bytes]:
    """Stream a small Debian as a tar, created from this machine's Debian mirror."""
    suite = options[-1]
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
    # Debian's essential packages are enough: apt is not used in the image.
    command = ["mmdebstrap", "--variant=essential", "--architectures=amd64", *options, "-", mirror]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
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


@contextlib.contextmanager
def _start_installation(python: str, folder: Path) -> Iterator[Callable[[], None]]:
    """Start pip, which installs the packages of the image's Python into a folder; yield the function that waits for it.

    That function raises errors.NetworkError if pip fails. pip checks the hashes of the packages.
    """
    requirements = _list_sources(python)["requirements.txt"]
    log = paths.cache_folder() / f"stand-in-{python}.log"
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["--only-binary=:all:", "--require-hashes", "--no-deps", "--no-compile", "--implementation=cp"]
    # pip's resolver compares Requires-Python with the Python that runs it, not with --python-version; the lock file was
    # resolved for that version.
    command.append("--ignore-requires-python")
    command += [f"--python-version={EDITIONS.get(python, python)}", f"--target={folder}", "-r", str(requirements)]
    command += [f"--platform={name}" for name in _WHEEL_PLATFORMS]
    # pip cannot remove its temporary files when it is stopped: they are removed with the folder.
    environment = {**os.environ, "TMPDIR": str(folder.parent)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)

    def wait() -> None:
        if process.wait() != 0:
            raise errors.NetworkError(
                f"pip could not install the packages of {requirements.name}: check that pip's package index answers, "
                f"then run this again; {log} ends with:\n{debian.read_last_lines(log)}"
            )

    try:
        yield wait
    finally:
        _stop_process(process)


def _list_sources(python: str) -> dict[str, Path]:
    """Return the source files of a stand-in image by their names in the build context."""
    folder = paths.docker_folder() / "stand_in"
    return {
        "Dockerfile": folder / "Dockerfile",
        "requirements.txt": folder / f"requirements-{python}.txt",
        "runner.py": folder / "runner.py",
    }


def _remove_untagged_images(engine: protocol.Engine, python: str, inputs: str, *, quiet: float) -> None:
    """Remove images of an interrupted build: those with our labels that have no tag and belong to no run."""

    def find() -> list[protocol.ImageFacts]:
        labels = ((INPUTS_LABEL, inputs), (BASE_LABEL, python))
        return [
            image
            for label in labels
            for image in engine.find_images_by_label(*label)
            # With other inputs it is a step of a pickle's build from an earlier stand-in image.
            if image.labels.get(INPUTS_LABEL, inputs) == inputs
            and protocol.RUN_LABEL not in image.labels
            and not image.tags
            and not image.digests
        ]

    def remove(image: protocol.ImageFacts) -> None:
        with contextlib.suppress(errors.EngineError):  # a container of the interrupted step may still use it
            engine.remove_image(image.id)

    with contextlib.suppress(errors.EngineError):  # it would hide the error that ended the build
        run.remove_all(find, remove, quiet=quiet)


def _has_mmdebstrap() -> bool:
    return shutil.which("mmdebstrap", path=debian.get_search_path()) is not None
