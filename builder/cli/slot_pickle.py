"""Compare a validated pickle with the one that its slot runs now, without network: by the slot's log and the cache."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import errors
from builder.build import artifact
from builder.cli import remote_files
from builder.upload import slot_log
from builder.validate.page.content import SlotComparison

if TYPE_CHECKING:
    from pathlib import Path

    from builder.engine import protocol
    from builder.progress import Progress
    from builder.validate.run import Validation


@dataclass(frozen=True, kw_only=True)
class SlotPickle:
    """The pickle that a slot runs by its log.

    Attributes:
        path: Its file on this computer.
        filename: Its stored name.
        ref: The image that it was registered for.
    """

    path: Path
    filename: str
    ref: str


def compare(
    slot: str, validation: Validation, root: Path, engine: protocol.Engine, *, run: str, progress: Progress
) -> SlotComparison | None:
    """Run the pickle that a slot runs on the rows of a validation; return how similar the predictions are.

    None if the slot runs no other pickle, or if that is not on this computer.

    Args:
        slot: The slot's name or id.
        validation: The result of the new pickle.
        root: The folder of ``dist``.
        engine: The engine.
        run: The id of this run.
        progress: Receives the step.
    """
    from builder.image import resolve  # noqa: PLC0415 - numpy
    from builder.upload import compare as comparison  # noqa: PLC0415 - numpy

    task, predictions = validation.task, validation.evidence.predictions
    current = find(slot, root, new=task.artifact.manifest.pickle.sha256)
    if current is None or predictions is None:
        return None
    progress.step(f"running the pickle that {slot} runs now")
    try:
        image = resolve.resolve(resolve.ImageRequest(ref=current.ref), engine, pull=False, progress=progress)
        old = comparison.predict(
            current.path,
            image,
            task.files.live,
            benchmarks=task.files.benchmarks,
            limits=task.limits,
            engine=engine,
            run=run,
        )
    except (errors.BuilderError, OSError) as error:  # a comparison must not end a validation
        return SlotComparison(name=slot, text=f"not compared with {current.filename}: {' '.join(str(error).split())}")
    new = dict(zip(validation.evidence.ids, predictions.tolist(), strict=True))
    result = comparison.compare(new, old)
    text = f"{result} with {current.filename}, which it runs by this computer's log"
    return SlotComparison(name=slot, text=text, correlation=result.spearman)


def find(slot: str, root: Path, *, new: str) -> SlotPickle | None:
    """Return what a slot runs by its log; None if that has the hash ``new``, or is not on this computer."""
    logs = [entries for _, entries in slot_log.read_all()]
    # In one log, the order counts: the API's time, as the commands know it, may differ by a second.
    last = (slot_log.find_last(entries, slot_log.ASSIGNING, slot_log.GIVEN_BACK) for entries in logs)
    changes = [change for change in last if change and slot in {change.get_text("slot"), change.get_text("slot_id")}]
    identity = max(changes, key=lambda entry: entry.at).get_text("pickle") if changes else ""
    entries = list(itertools.chain.from_iterable(logs))
    named = [entry for entry in entries if identity and entry.get_text("pickle") == identity]
    sha256 = next((text for entry in named if (text := entry.get_text("sha256"))), "")
    planned = slot_log.find_last(slot_log.filter_by_pickle(entries, sha256), slot_log.PLANNED)
    if not sha256 or sha256 == new or planned is None:
        return None
    built = (path for path, manifest in artifact.read_manifests(root) if manifest.pickle.sha256 == sha256)
    paths = (remote_files.get_cached_path(identity), *(path.parent / artifact.PICKLE for path in built))
    path = next((path for path in paths if _has_hash(path, sha256)), None)
    filename = next((text for entry in named if (text := entry.get_text("filename"))), identity)
    return SlotPickle(path=path, filename=filename, ref=planned.get_text("ref")) if path else None


def _has_hash(path: Path, sha256: str) -> bool:
    try:
        return artifact.hash_file(path) == sha256
    except OSError:
        return False
