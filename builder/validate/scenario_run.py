"""Run the scenarios in a container that is prepared while the entry point runs in another one.

Python and its libraries start there, and the inputs are made here; the pickle is loaded when the entry point has ended,
so that both never run at once.
"""

from __future__ import annotations

import contextlib
import math
from concurrent import futures
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.bundle import model as bundle_model
from builder.validate import container_run, scenarios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.engine import protocol
    from builder.validate import run as validate

_TIME_PART = 0.9  # of the time limit, for the scenarios; the rest is for the start and the end of the container
_MIN_ROWS = 20
_ERA_PART, _MAX_ERA_SECONDS = 0.2, 60  # of the entry point's seconds, to measure 200 eras
_MEMORY_PART = 0.7  # of the memory limit, for the frames of 200 eras


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a pickle predicts after the entry point's run, in this order: the most important first."""

    golden: scenarios.Input
    live: scenarios.Input
    relations: list[scenarios.Relation]

    @property
    def rows(self) -> int:
        """The rows of each input, except the golden one."""
        return len(self.live.live)

    def list_all(self) -> list[scenarios.Input]:
        """Return the inputs; the place of each is its number."""
        return [self.golden, self.live, *(relation.input for relation in self.relations)]


@dataclass(frozen=True, kw_only=True)
class ScenarioRun:
    """A run of the scenarios.

    Attributes:
        inputs: What it was to predict.
        result: How it ended, and the predictions.
        seconds: Its time limit. Those inputs that are always predicted may each take as long as the entry point's run.
        may_leave_out: Whether the entry point took so long that an honest pickle may not have predicted all inputs.
        cut_from: The rows that each input would have without the time limit; None if that changed nothing.
    """

    inputs: Inputs
    result: container_run.ContainerRun
    seconds: float
    may_leave_out: bool
    cut_from: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every input was predicted or raised an error, so that how it ended then does not matter."""
        return all(map(self.was_tried, range(len(self.inputs.list_all()))))

    def was_left_out(self, number: int) -> bool:
        """Return whether an input was not predicted, and the time limit explains it."""
        return self.may_leave_out and number >= scenarios.ALWAYS_PREDICTED and not self.was_tried(number)

    def was_tried(self, number: int) -> bool:
        """Return whether an input was predicted, or an error came of it."""
        return not self.result.files.keys().isdisjoint((f"{number}.f64", f"{number}.txt"))


@contextlib.contextmanager
def prepare(
    task: validate.ValidationTask, volume: str, engine: protocol.Engine, *, run: str
) -> Iterator[Callable[[float], ScenarioRun]]:
    """Prepare the run of the scenarios in the background.

    Args:
        task: What is validated.
        volume: The volume with the pickle, :data:`scenarios.SCRIPT_FILES` among its files.
        engine: The engine.
        run: The id of this run.

    Yields:
        The function that runs them. Its argument is the seconds that the entry point took.
    """
    limits = task.limits

    def fill(max_rows: int) -> Inputs:
        inputs = _make_inputs(task, max_rows)
        files = scenarios.make_files(inputs.list_all())
        container_run.fill_volume(volume, task.image, files, engine, run)
        return inputs

    def start() -> Inputs:
        command.start()
        return fill(scenarios.MAX_ROWS)

    def finish(entry_seconds: float) -> ScenarioRun:
        inputs = preparing.result()
        count, seconds = len(inputs.list_all()), _TIME_PART * limits.seconds
        max_rows = compute_max_rows(entry_seconds / task.files.rows, count, seconds)
        cut_from = inputs.rows if max_rows < inputs.rows else None
        if cut_from:
            inputs = fill(max_rows)
        plan = scenarios.make_plan(
            inputs.list_all(),
            seconds=seconds,
            era_seconds=min(_ERA_PART * entry_seconds, _MAX_ERA_SECONDS),
            memory=int(_MEMORY_PART * limits.memory),
        )
        container_run.fill_volume(volume, task.image, plan, engine, run)
        # An input takes no longer than the entry point's whole run, or twice that on a busy machine.
        may_leave_out = 2 * count * entry_seconds > seconds
        limit = limits.seconds + math.ceil(scenarios.ALWAYS_PREDICTED * entry_seconds)
        result = command.run(limit)
        return ScenarioRun(inputs=inputs, result=result, seconds=limit, may_leave_out=may_leave_out, cut_from=cut_from)

    with (
        container_run.create_command(scenarios.COMMAND, volume, task.image, limits, engine, run=run) as command,
        futures.ThreadPoolExecutor(1) as pool,
    ):
        preparing = pool.submit(start)
        yield finish


def compute_max_rows(row_seconds: float, count: int, seconds: float) -> int:
    """Return how many rows each of ``count`` inputs may have, if a row takes as long as in the entry point's run.

    They get half of the seconds, because loading the pickle takes a part of the others.
    """
    if row_seconds <= 0:
        return scenarios.MAX_ROWS
    return max(_MIN_ROWS, min(scenarios.MAX_ROWS, int(seconds / 2 / count / row_seconds)))


def _make_inputs(task: validate.ValidationTask, max_rows: int) -> Inputs:
    may_rank = isinstance(task.bundle.model, bundle_model.Custom | bundle_model.Ensemble)
    live = scenarios.read_live(task.files, may_rank=may_rank, max_rows=max_rows)
    return Inputs(
        golden=scenarios.make_golden_input(task.bundle),
        live=live,
        relations=scenarios.make_relations(live, task.bundle),
    )
