"""Run the scenarios in a container that is prepared while the entry point runs in another one.

Python and its libraries start there, and the inputs are made here; the pickle is loaded when the entry point has ended,
so that both never run at once.
"""

from __future__ import annotations

import contextlib
import math
from concurrent import futures
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.bundle import model as bundle_model
from builder.validate import adopted, advisory, container_run, relations, scenarios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from builder.config import model as config
    from builder.engine import protocol
    from builder.image import resolve
    from builder.validate import run as validate

_TIME_PART = 0.9  # of the time limit, for the scenarios; the rest is for the start and the end of the container
_MIN_ROWS = 20
_ROWS_SECONDS = 60  # for all rows, besides the seconds of the entry point: its start is counted as time for its rows
_FLOAT64_SIZE = 4  # times the size of the pickle that the memory must have: all its numbers again, twice as large
_ERA_PART, _MAX_ERA_SECONDS = 0.2, 60  # of the entry point's seconds, to measure 200 eras
_MEMORY_PART = 0.7  # of the memory limit, for the frames of 200 eras


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a pickle predicts after the entry point's run.

    Attributes:
        subject: What the scenarios are made for.
        planned: The scenarios.
        ordered: All inputs, the most important first; the place of each is its number.
        always: How many of the first are predicted in any case: golden rows, the live rows, the first scenario.
    """

    subject: scenarios.Subject
    planned: list[scenarios.Scenario]
    ordered: list[scenarios.Input]
    always: int

    @property
    def rows(self) -> int:
        """The rows of each input, except the golden one."""
        return len(self.subject.live.live)


@dataclass(frozen=True, kw_only=True)
class ScenarioRun:
    """A run of the scenarios.

    Attributes:
        inputs: What it was to predict.
        result: How it ended, and the predictions.
        seconds: Its time limit. Those inputs that are always predicted may each take as long as the entry point's run.
        first_optional: The number of the first input that an honest pickle may not have predicted in time.
        cut_from: The rows that each input would have without the time limit; None if that changed nothing.
    """

    inputs: Inputs
    result: container_run.ContainerRun
    seconds: float
    first_optional: int
    cut_from: int | None = None

    def find_left_out(self) -> frozenset[scenarios.Input]:
        """Return the inputs that were not predicted, and the time limit explains it."""
        files = self.result.files.keys()
        return frozenset(
            item
            for number, item in enumerate(self.inputs.ordered)
            if number >= self.first_optional and files.isdisjoint((f"{number}.f64", f"{number}.txt"))
        )


@contextlib.contextmanager
def prepare(
    make_inputs: Callable[[int], Inputs],
    volume: str,
    image: resolve.ResolvedImage,
    limits: config.LimitsConfig,
    engine: protocol.Engine,
    *,
    run: str,
    rows: int,
) -> Iterator[Callable[[float], ScenarioRun]]:
    """Prepare the run of the scenarios in the background.

    Args:
        make_inputs: Makes the inputs; its argument is how many rows each may have.
        volume: The volume with the pickle, :data:`scenarios.SCRIPT_FILES` among its files.
        image: The image.
        limits: The limits of the run.
        engine: The engine.
        run: The id of this run.
        rows: How many rows the entry point predicts.

    Yields:
        The function that runs them. Its argument is the seconds that the entry point took.
    """

    def fill(max_rows: int) -> Inputs:
        inputs = make_inputs(max_rows)
        files = scenarios.make_files(inputs.ordered)
        container_run.fill_volume(volume, image, files, engine, run)
        return inputs

    def start() -> Inputs:
        command.start()
        return fill(scenarios.MAX_ROWS)

    def finish(entry_seconds: float) -> ScenarioRun:
        inputs = preparing.result()
        count, seconds = len(inputs.ordered), _TIME_PART * limits.seconds
        row_seconds = entry_seconds / rows
        max_rows = compute_max_rows(row_seconds, count, min(seconds / 2, _ROWS_SECONDS + entry_seconds))
        cut_from = inputs.rows if max_rows < inputs.rows else None
        if cut_from:
            inputs = fill(max_rows)
        plan = scenarios.make_plan(
            inputs.ordered,
            always=inputs.always,
            seconds=seconds,
            era_seconds=min(_ERA_PART * entry_seconds, _MAX_ERA_SECONDS),
            memory=int(_MEMORY_PART * limits.memory),
        )
        container_run.fill_volume(volume, image, plan, engine, run)
        # An input takes no longer than the entry point's whole run, or twice that on a busy machine.
        in_time = int(seconds / (2 * entry_seconds)) if entry_seconds else count
        limit = limits.seconds + math.ceil(inputs.always * entry_seconds)
        result = command.run(limit)
        # The script stops before an input that would end too late if it took as long as the longest one before it, so
        # after half of the time at the earliest. A pickle that ended the process sooner, or crashed, had time.
        is_late = result.exit.code in (0, None) and result.usage.seconds >= seconds / 2
        return ScenarioRun(
            inputs=inputs,
            result=result,
            seconds=limit,
            first_optional=max(inputs.always, in_time) if is_late else count,
            cut_from=cut_from,
        )

    with (
        container_run.create_command(scenarios.COMMAND, volume, image, limits, engine, run=run) as command,
        futures.ThreadPoolExecutor(1) as pool,
    ):
        preparing = pool.submit(start)
        yield finish


def predict(
    pickle: Path,
    inputs: Sequence[scenarios.Input],
    image: resolve.ResolvedImage,
    limits: config.LimitsConfig,
    engine: protocol.Engine,
    *,
    run: str,
) -> container_run.ContainerRun:
    """Let a pickle predict some inputs in a container of its own."""
    files: dict[str, bytes | Path] = {
        container_run.MODEL: pickle,
        **scenarios.SCRIPT_FILES,
        **scenarios.make_files(inputs),
        **scenarios.make_plan(inputs, always=len(inputs), seconds=_TIME_PART * limits.seconds, era_seconds=0, memory=0),
    }
    with container_run.create_volume(image, files, engine, run) as volume:
        return container_run.run_command(scenarios.COMMAND, volume, image, limits, engine, run=run)


def compute_max_rows(row_seconds: float, count: int, seconds: float) -> int:
    """Return how many rows each of ``count`` inputs may have, if a row takes as long as in the entry point's run."""
    if row_seconds <= 0:
        return scenarios.MAX_ROWS
    return max(_MIN_ROWS, min(scenarios.MAX_ROWS, int(seconds / count / row_seconds)))


def make_scenarios(subject: scenarios.Subject) -> list[scenarios.Scenario]:
    """Return the required and the advisory scenarios."""
    equal = advisory.make_equal(subject)
    return [*relations.make_relations(subject, equal=equal), *advisory.make_notes(subject, equal=equal)]


def make_inputs(subject: scenarios.Subject, *first: scenarios.Input) -> Inputs:
    """Return the inputs of the scenarios, after those that come ``first``."""
    planned = make_scenarios(subject)
    ordered = scenarios.list_inputs([*first, subject.live, subject.final], planned)
    required = next(scenario for scenario in planned if scenario.is_required)
    always = 1 + max(map(ordered.index, required.inputs))
    return Inputs(subject=subject, planned=planned, ordered=ordered, always=always)


def make_task_inputs(task: validate.ValidationTask, max_rows: int) -> Inputs:
    """Return what is predicted to validate a pickle: the golden rows first, if it has any."""
    subject = scenarios.make_subject(
        task.bundle,
        task.steps,
        task.files,
        is_shaped=task.source == "shaped",
        tied_to=_find_tie(task),
        max_rows=max_rows,
    )
    if task.is_adopted:
        return adopted.drop_golden(make_inputs(subject))
    return make_inputs(subject, replace(scenarios.make_golden_input(task.bundle), in_float64=has_float64_run(task)))


def _find_tie(task: validate.ValidationTask) -> str:
    """Return the data version whose features are exactly those of the model, or an empty text."""
    known = {name for names in task.feature_sets.values() for name in names}
    return task.data_version if known == set(task.bundle.features) else ""


def has_float64_run(task: validate.ValidationTask) -> bool:
    """Return whether the golden rows are also predicted in float64: by models with float32 layers that fit twice."""
    model = task.bundle.model
    members = [member.model for member in model.members] if isinstance(model, bundle_model.Ensemble) else [model]
    is_rounded = any(isinstance(member, bundle_model.Network | bundle_model.Linear) for member in members)
    return is_rounded and _FLOAT64_SIZE * task.artifact.manifest.pickle.size <= task.limits.memory
