"""Compares the new pickle with the one that a slot runs: both predict the same live data, each in its own image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import errors
from builder.build import target
from builder.cli import engine_session, remote_files
from builder.config import model as config
from builder.tournament import live_files, session

if TYPE_CHECKING:
    from pathlib import Path

    from builder import tournament
    from builder.progress import Progress
    from builder.upload.plan import UploadRequest


def compare(
    request: UploadRequest,
    old: tournament.UploadedPickle,
    build_target: target.Target,
    api: tournament.Tournament,
    root: Path,
    *,
    progress: Progress,
) -> str:
    """Return how similar the predictions are, or why they could not be compared.

    Errors are part of the text because a failed comparison must not end an upload.
    """
    try:
        return _compare(request, old, build_target, api, root, progress=progress)
    except (errors.BuilderError, OSError) as error:
        return f"not possible: {' '.join(str(error).split())} (--no-compare skips the comparison)"


def _compare(
    request: UploadRequest,
    old: tournament.UploadedPickle,
    build_target: target.Target,
    api: tournament.Tournament,
    root: Path,
    *,
    progress: Progress,
) -> str:
    from builder.engine import run  # noqa: PLC0415 - numpy
    from builder.image import resolve as image  # noqa: PLC0415 - numpy
    from builder.upload import compare as stage  # noqa: PLC0415

    engine = engine_session.find()  # a comparison is optional: do not install or start an engine for it
    ref = remote_files.reference(api, old, session.read_registry(root))
    content = remote_files.fetch(api, old, progress)
    live, benchmarks, source = _find_live_data(request, build_target, api, progress)
    limits = config.ValidateConfig().limits
    new_image = target.find_image(build_target, request.artifact, engine, progress)
    old_image = image.resolve(image.ImageRequest(ref=ref), engine, pull=False, progress=progress)
    with run.start(engine) as run_id:
        progress.step("running the new pickle")
        new = stage.predict(
            request.artifact.pickle, new_image, live, benchmarks=benchmarks, limits=limits, engine=engine, run=run_id
        )
        progress.step("running the slot's current pickle")
        try:
            before = stage.predict(
                content, old_image, live, benchmarks=benchmarks, limits=limits, engine=engine, run=run_id
            )
        except errors.DataError as error:
            raise errors.DataError([f"the slot's current pickle: {error}"]) from error
    return f"{stage.compare(new, before)} of {source}"


def _find_live_data(
    request: UploadRequest, build_target: target.Target, api: tournament.Tournament, progress: Progress
) -> tuple[Path, Path | None, str]:
    """Return the live features, benchmarks and their name: the config's own live data, or the tournament's of today."""
    settings = build_target.config.validate if build_target.config else config.ValidateConfig()
    if isinstance(settings.data, config.LivePaths):
        return settings.data.live, settings.data.benchmarks, settings.data.live.name
    data = live_files.fetch(api, request.data_version, progress)
    return data.live, data.benchmarks, f"the live data of round {data.round}, {data.version}"
