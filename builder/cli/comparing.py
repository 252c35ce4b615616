"""The new and the old pickle of a slot, run on the same live data, each in its own image, before it is replaced.

What comes out is shown and decides nothing: where the comparison cannot be made, a note says why.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder import config, errors
from builder.cli import session, target

if TYPE_CHECKING:
    from builder import engine, tournament
    from builder.progress import Progress
    from builder.upload import compare as comparison
    from builder.upload import plan as planning


def compare(
    api: tournament.Tournament,
    planned: planning.Plan,
    slot: tournament.Slot,
    old: tournament.Pickle,
    *,
    chosen: target.Target,
    yes: bool,
    progress: Progress,
) -> None:
    """Show how alike the predictions of two pickles are."""
    try:
        found = _compare(api, planned, slot, old, chosen=chosen, yes=yes, progress=progress)
    except errors.BuilderError as error:
        progress.note(f"note: the new and the old pickle of {slot.name} could not be compared: {error}")
        return
    if found.note:
        progress.note(f"note: the new and the old pickle of {slot.name} could not be compared: {found.note}")
    else:
        progress.note(
            f"the new pickle against the one that {slot.name} runs, on {found.rows:,} live rows: correlation "
            f"{found.pearson:.4f}, of ranks {found.spearman:.4f}"
        )


def _compare(
    api: tournament.Tournament,
    planned: planning.Plan,
    slot: tournament.Slot,
    old: tournament.Pickle,
    *,
    chosen: target.Target,
    yes: bool,
    progress: Progress,
) -> comparison.Comparison:
    from builder import download, image, live_data, paths, pinning, run, tournament, validate  # noqa: PLC0415 - only where there is an old one
    from builder.cli import online  # noqa: PLC0415
    from builder.upload import compare as stage  # noqa: PLC0415

    if tournament.DOWNLOAD_SCOPE not in api.token_info().scopes:
        raise errors.TokenError(f"the token lacks the scope {tournament.DOWNLOAD_SCOPE}")
    offered = next((one for one in api.images() if one.id == old.image_id), None)
    if offered is None:
        raise errors.ApiError("the tournament does not name the image of the old one")
    with tempfile.TemporaryDirectory(prefix="numerai-builder-") as folder:
        path = Path(folder, "old.pkl")
        auth = api.download_auth(slot.id, old.id)
        download.download(auth.url, path, what="the old pickle", progress=progress)
        files = live_data.fetch(api, planned.wish.data_version, paths.cache_folder(), progress)
        on: engine.Engine = session.connect(progress, yes=yes)
        terms = (chosen.config.validate if chosen.config else config.Validate()).limits
        registry = online.read_settings(chosen.config.root if chosen.config else None).registry
        with run.start(on) as identity:
            new_image = image.find_again(planned.wish.made.manifest.image, on, progress=progress)
            wanted = image.Wanted(ref=pinning.reference(offered, registry))
            old_image = image.resolve(wanted, on, pull=False, progress=progress)
            return stage.compare(
                new=planned.wish.made.pickle,
                new_image=new_image,
                old=path,
                old_image=old_image,
                files=files,
                limits=validate.Limits(cpus=terms.cpus, memory=terms.memory, seconds=terms.seconds),
                on=on,
                run=identity,
                progress=progress,
            )
