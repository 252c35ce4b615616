"""Run a pickle in locked containers, and read what they return as untrusted data.

A container gets the pickle and inputs, and returns files and a log. How it ended is what the engine reports. A pickle
can contain any code, so it can influence everything that comes out of its container: the files are its predictions, to
be judged here, and the figures that come with them (``builder/inside/supervise.py``) judge nothing.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from builder import errors, paths, schema
from builder.engine import protocol, tar_stream
from builder.inside import supervise
from builder.text import sanitize
from builder.validate import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from builder.config import model as config
    from builder.image import resolve

MODEL, LIVE, BENCHMARKS = "model.pkl", "live.parquet", "benchmarks.parquet"
_SUPERVISE = "supervise.py"
_EXTRA_SECONDS = 10.0  # to start and stop a container, besides its time limit
_MAX_REPORT = 1 << 18  # of the line of JSON: at most 100 files
_MAX_OUTPUT = _MAX_REPORT + protocol.RESULTS_BYTES // 3 * 4 + 4 * supervise.MAX_FILES
_CSV = ("live_predictions-", ".csv")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a run used.

    Attributes:
        seconds: Wall clock seconds, as the engine reports them.
        peak_bytes: Peak resident memory in bytes, as reported from inside the container; None without a report.
        cpu_seconds: CPU seconds, from there too.
        seen_bytes: The most memory that the engine saw, which may miss a short peak; None if it saw none.
    """

    seconds: float
    peak_bytes: int | None = None
    cpu_seconds: float | None = None
    seen_bytes: int | None = None

    @property
    def memory(self) -> int | None:
        """The larger of the two figures of memory; None without any."""
        return max((size for size in (self.peak_bytes, self.seen_bytes) if size is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class ContainerRun:
    """How a run ended, and what it returned.

    Attributes:
        exit: How the container ended.
        log: The end of what was printed.
        usage: What it used.
        files: The files that it left, by name.
        problem: Why the files cannot be used; empty if they can.
        aborts: How many runs in a row ended with exit 134 after they had written the whole CSV. 0: this is the first
            run. 1: the first run aborted, this second run did not. 2: both did.
    """

    exit: protocol.Exit
    log: str
    usage: Usage
    files: Mapping[str, bytes]
    problem: str = ""
    aborts: int = 0

    @property
    def csv(self) -> bytes | None:
        """The CSV of the entry point; None if it wrote none."""
        return next((content for name, content in self.files.items() if is_csv_name(name)), None)

    def get_end(self, seconds: float) -> diagnose.RunEnd:
        """Return how it ended, to find the cause of a failure; ``seconds`` is its time limit."""
        return diagnose.RunEnd(
            code=self.exit.code,
            timed_out=self.exit.code is None or self.exit.seconds > seconds,
            out_of_memory=self.exit.out_of_memory,
            log=self.log,
            aborted_twice=self.aborts > 1,
        )


def is_csv_name(name: str) -> bool:
    """Return whether the runner names its CSV like this."""
    return name.startswith(_CSV[0]) and name.endswith(_CSV[1])


def create_volume(
    image: resolve.ResolvedImage, files: Mapping[str, bytes | Path], engine: protocol.Engine, run: str
) -> contextlib.AbstractContextManager[str]:
    """Create a volume with these files, by name, and the script that runs commands.

    For :func:`run_entry` they are ``model.pkl``, ``live.parquet`` and ``benchmarks.parquet``.
    """
    script = paths.inside_folder() / "supervise.py"
    return engine.create_volume(image.handle, _pack({**files, _SUPERVISE: script}), run=run)


def fill_volume(
    volume: str, image: resolve.ResolvedImage, files: Mapping[str, bytes | Path], engine: protocol.Engine, run: str
) -> None:
    """Add files, by name, to a volume from :func:`create_volume`."""
    engine.fill_volume(volume, image.handle, _pack(files), run=run)


def _pack(files: Mapping[str, bytes | Path]) -> Iterator[bytes]:
    return tar_stream.pack(tar_stream.TarEntry(name=name, content=content) for name, content in files.items())


def run_entry(
    volume: str,
    image: resolve.ResolvedImage,
    limits: config.LimitsConfig,
    engine: protocol.Engine,
    *,
    run: str,
    rows: int,
) -> ContainerRun:
    """Run the entry point of the image; a second time if the first run aborts after writing the CSV.

    A thread of pyarrow that is still starting sometimes aborts a process at its end with exit 134
    (https://github.com/apache/arrow/issues/34314). The pickle is only blamed if it happens twice.

    Args:
        volume: From :func:`create_volume`.
        image: The image.
        limits: The limits of the run.
        engine: The engine.
        run: The id of this run.
        rows: How many rows a whole CSV has.

    Raises:
        errors.EngineError: The engine failed.
        errors.ImageError: The image has no entry point, or cannot run ``python``.
    """
    if not image.entrypoint:
        raise errors.ImageError(f"{image.ref} has no entry point, so it is not a runner image")
    folder = protocol.WORKDIR
    options = ["--debug", "--model", f"{folder}/{MODEL}", "--dataset", f"{folder}/{LIVE}"]
    # The runner's default folder for the CSV may have other files.
    options += ["--benchmarks", f"{folder}/{BENCHMARKS}", "--output_dir", protocol.RESULTS]
    command = (*image.entrypoint, *options)
    start = image.workdir or "/"
    first = run_command(command, volume, image, limits, engine, run=run, folder=start)
    if not _is_abort_at_end(first, rows):
        return _refuse_other_files(first)
    second = run_command(command, volume, image, limits, engine, run=run, folder=start)
    return _refuse_other_files(dataclasses.replace(second, aborts=2 if _is_abort_at_end(second, rows) else 1))


def _is_abort_at_end(result: ContainerRun, rows: int) -> bool:
    """Return whether the entry point aborted after it had written the whole CSV."""
    csv = result.csv or b""
    return result.exit.code in diagnose.ABORT_CODES and csv.endswith(b"\n") and csv.count(b"\n") == rows + 1


def _refuse_other_files(result: ContainerRun) -> ContainerRun:
    """Return the run with a problem if it left anything besides one CSV."""
    others = [name for name in result.files if not is_csv_name(name)] or list(result.files)[1:]
    if result.problem or not others:
        return result
    problem = f"it left {sanitize(others[0])!r} in the output folder; expected only the CSV of the runner"
    return dataclasses.replace(result, problem=problem)


def run_command(
    command: Sequence[str],
    volume: str,
    image: resolve.ResolvedImage,
    limits: config.LimitsConfig,
    engine: protocol.Engine,
    *,
    run: str,
    folder: str = protocol.WORKDIR,
) -> ContainerRun:
    """Run a command in a locked container, and read what it left in :data:`protocol.RESULTS`.

    Args:
        command: The command.
        volume: From :func:`create_volume`.
        image: The image.
        limits: The limits of the run.
        engine: The engine.
        run: The id of this run.
        folder: Where the command starts.

    Raises:
        errors.EngineError: The engine failed.
        errors.ImageError: The image cannot run ``python``.
    """
    with create_command(command, volume, image, limits, engine, run=run, folder=folder) as created:
        return created.run()


@contextlib.contextmanager
def create_command(
    command: Sequence[str],
    volume: str,
    image: resolve.ResolvedImage,
    limits: config.LimitsConfig,
    engine: protocol.Engine,
    *,
    run: str,
    folder: str = protocol.WORKDIR,
) -> Iterator[Command]:
    """Create a locked container for a command; the arguments are those of :func:`run_command`."""
    # -I and -S: nothing of the image or the volume is imported into the script, and it starts faster.
    script = ("python", "-I", "-S", f"{protocol.WORKDIR}/{_SUPERVISE}", folder, protocol.RESULTS)
    create = functools.partial(
        engine.create_container,
        image.handle,
        (*script, *command),
        run=run,
        limits=protocol.ContainerLimits(cpus=limits.cpus, memory=limits.memory),
        network=False,
    )

    def check_image() -> None:
        """Run the command without the pickle, which may have ended the script as if the image had no command."""
        with create_volume(image, {}, engine, run) as empty, create(volume=empty) as other:
            other_exit = other.run(limits.seconds + _EXTRA_SECONDS)
            if other_exit.code == supervise.COMMAND_NOT_FOUND and not other.read_output(_MAX_OUTPUT):
                log = sanitize(other.read_log(output=False)[-500:])
                raise errors.ImageError(f"{image.ref} cannot run the pickle: {log}")

    with create(volume=volume) as container:
        yield Command(container, limits, check_image)


class Command:
    """A command in a locked container."""

    def __init__(
        self, container: protocol.Container, limits: config.LimitsConfig, check_image: Callable[[], None]
    ) -> None:
        self._container, self._limits, self._check_image = container, limits, check_image
        self._started: float | None = None

    def start(self) -> None:
        """Start it early, if it waits for a file in its volume; its seconds begin with :meth:`run`."""
        self._container.start()
        self._started = time.monotonic()

    def run(self, seconds: float | None = None) -> ContainerRun:
        """Run it to its end, within the time limit, and read what it left.

        Args:
            seconds: Another time limit than that of the limits.

        Raises:
            errors.EngineError: The engine failed.
            errors.ImageError: The image cannot run ``python``.
        """
        waited = 0.0 if self._started is None else time.monotonic() - self._started
        container_exit = self._container.run((seconds or self._limits.seconds) + _EXTRA_SECONDS)
        output, log = self._container.read_output(_MAX_OUTPUT), self._container.read_log(output=False)
        if container_exit.code == supervise.COMMAND_NOT_FOUND and not output:
            self._check_image()
        if container_exit.code is not None:  # otherwise it was killed after the seconds given above
            container_exit = dataclasses.replace(container_exit, seconds=max(0.0, container_exit.seconds - waited))
        return read_output(output, log, container_exit)


@dataclass(frozen=True, kw_only=True)
class _ReturnedFile:
    name: str
    kind: Literal["file", "folder", "link", "other"]
    size: Annotated[int, schema.require_between(0, 1 << 63)]


@dataclass(frozen=True, kw_only=True)
class _Report:
    format: Literal[1]
    peak_bytes: Annotated[int, schema.require_between(0, 1 << 50)]
    cpu_seconds: Annotated[float, schema.require_between(0, 1e9)]
    count: Annotated[int, schema.require_between(0, 1 << 20)]
    files: tuple[_ReturnedFile, ...]


def read_output(output: bytes, log: str, container_exit: protocol.Exit) -> ContainerRun:
    """Read the output of ``supervise.py``. What does not follow its format is a problem of the pickle.

    Args:
        output: What the container printed to standard output.
        log: What it printed to standard error.
        container_exit: How the container ended.
    """
    usage = Usage(seconds=container_exit.seconds, seen_bytes=container_exit.peak_bytes)
    if not output:
        problem = "the pickle ended the process that returns its predictions"
        return ContainerRun(exit=container_exit, log=log, usage=usage, files={}, problem=problem)
    line, *contents = output.split(b"\n", supervise.MAX_FILES + 1)
    report = _parse_report(line)
    if isinstance(report, str):
        return ContainerRun(exit=container_exit, log=log, usage=usage, files={}, problem=report)
    usage = dataclasses.replace(usage, peak_bytes=report.peak_bytes, cpu_seconds=report.cpu_seconds)
    files, problem = _decode_files(report, contents)
    return ContainerRun(exit=container_exit, log=log, usage=usage, files=files, problem=problem)


def _parse_report(line: bytes) -> _Report | str:
    """Return the report, or what is wrong with it."""
    wrong = "the pickle changed what its container returns; expected only predictions"
    if len(line) > _MAX_REPORT:
        return wrong
    data = schema.read_json(line)
    report = data if isinstance(data, list) else schema.parse(_Report, data)
    return f"{wrong} ({sanitize(str(report[0]))})" if isinstance(report, list) else report


def _decode_files(report: _Report, contents: Sequence[bytes]) -> tuple[dict[str, bytes], str]:
    """Return the files by name, and why they cannot be used."""
    if report.count > supervise.MAX_FILES:
        return (
            {},
            f"the pickle left {report.count:,} files in the output folder; expected at most {supervise.MAX_FILES}",
        )
    for item in report.files:
        if item.kind != "file":
            kind = {"folder": "a folder", "link": "a link"}.get(item.kind, "something that is not a file")
            return {}, f"the pickle left {kind} in the output folder: {sanitize(item.name)!r}"
    size = sum(item.size for item in report.files)
    if size > protocol.RESULTS_BYTES:
        limit = f"expected at most {protocol.RESULTS_BYTES:,}"
        return {}, f"the pickle left files of {size:,} bytes in the output folder; {limit}"
    files: dict[str, bytes] = {}
    for item, content in zip(report.files, contents, strict=False):
        try:
            files[item.name] = base64.b64decode(content, validate=True)
        except binascii.Error:
            break
        if len(files[item.name]) != item.size:
            break
    else:
        # The last line ends with a newline, so that nothing follows it.
        if len(files) == len(report.files) == len(contents) - 1 and contents[-1] == b"":
            return files, ""
    return {}, "the pickle changed what its container returns; the files in the output folder are incomplete"
