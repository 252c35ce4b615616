"""The new pickle beside the one that a slot runs: both on the same live data, each in its own image, locked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import errors
from builder.build import target
from builder.cli import engine_session, remote_files
from builder.config import model as config

if TYPE_CHECKING:
    from pathlib import Path

    from builder import tournament
    from builder.progress import Progress
    from builder.upload.plan import UploadRequest


def compare(
    request: UploadRequest,
    old: tournament.UploadedPickle,
    pickle_target: target.Target,
    api: tournament.Tournament,
    root: Path,
    *,
    progress: Progress,
) -> str:
    """Return how similar the predictions are, or why they could not be compared; neither ends an upload."""
    try:
        return _compare(request, old, pickle_target, api, root, progress=progress)
    except (errors.BuilderError, OSError) as error:
        return f"not compared: {' '.join(str(error).split())} (--no-compare leaves it out)"


def _compare(
    request: UploadRequest,
    old: tournament.UploadedPickle,
    pickle_target: target.Target,
    api: tournament.Tournament,
    root: Path,
    *,
    progress: Progress,
) -> str:
    from builder.engine import run  # noqa: PLC0415 - numpy
    from builder.image import resolve as image  # noqa: PLC0415 - numpy
    from builder.upload import compare as stage  # noqa: PLC0415

    container_engine = engine_session.find()  # none is installed or started for this
    ref = remote_files.reference(api, old, root)
    content = remote_files.fetch(api, old, progress)
    live, benchmarks, source = _live_files(request, pickle_target, api, progress)
    limits = config.ValidateConfig().limits
    where = (
        target.find_image(pickle_target, request.artifact, container_engine, progress),
        image.resolve(image.ImageRequest(ref=ref), container_engine, pull=False, progress=progress),
    )
    with run.start(container_engine) as identity:
        progress.step("running the new pickle")
        new = stage.predict(
            request.artifact.pickle,
            where[0],
            live,
            benchmarks=benchmarks,
            limits=limits,
            engine=container_engine,
            run=identity,
        )
        progress.step("running what the slot runs now")
        try:
            before = stage.predict(
                content, where[1], live, benchmarks=benchmarks, limits=limits, engine=container_engine, run=identity
            )
        except errors.DataError as error:
            raise errors.DataError([f"what the slot runs now: {error}"]) from error
    return f"{stage.compare(new, before)} of {source}"


def _live_files(
    request: UploadRequest, pickle_target: target.Target, api: tournament.Tournament, progress: Progress
) -> tuple[Path, Path | None, str]:
    """Return what to predict on: what the config validates on, else the tournament's live data of today."""
    terms = pickle_target.config.validate if pickle_target.config else config.ValidateConfig()
    if isinstance(terms.data, config.LivePaths):
        return terms.data.live, terms.data.benchmarks, terms.data.live.name
    live, benchmarks = remote_files.fetch_live(api, request.data_version, progress)
    return live, benchmarks, f"today's live data, {request.data_version}"
