"""Judge the scenarios of ``validate`` with a predict function of this process, or with fixed predictions."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.inside import predict_inputs
from builder.validate import checks, scenario_run, scenarios

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from builder.bundle import model, post
    from builder.validate import data


def judge(
    predict: Callable[..., Any], subject: scenarios.Subject, *, exempt: Mapping[str, str] | None = None
) -> dict[str, checks.Check]:
    """Predict all inputs as the script in the container does; return the checks by name."""
    planned = scenario_run.make_scenarios(subject)
    inputs = scenarios.list_inputs([subject.live, subject.final], planned)
    files: dict[str, bytes] = {}
    for number, item in enumerate(inputs):
        frames = [table.to_pandas().set_index("id") for table in (item.live, item.benchmarks)]
        copies = [frame.copy() for frame in frames]
        try:
            with warnings.catch_warnings(action="ignore"):  # a container prints them
                values = predict_inputs.predict_input(predict, *frames, before_post=item.before_post)
        except Exception as error:  # noqa: BLE001 - any, as there
            files[f"{number}.txt"] = f"{type(error).__name__}: {error}".encode()
        else:
            files[f"{number}.f64"] = values.astype("<f8").tobytes()
        frame_names = zip(scenarios.FRAMES, frames, copies, strict=True)
        changed = [name for name, frame, copy in frame_names if not frame.equals(copy)]
        files[f"{number}.changed"] = ",".join(changed).encode()
    results = scenarios.judge(planned, scenarios.Results(inputs, files), subject.live, exempt or {})
    return {check.name: check for check in results}


def predict_by_id(
    bundle: model.Bundle, files: data.LiveFiles, values: NDArray[np.float64], steps: tuple[post.Step, ...] = ()
) -> list[NDArray[np.float64]]:
    """Return predictions of each input after the golden rows: the value of each live row, 0 for any other id."""
    known = dict(zip(checks.read_ids(files.live), values.tolist(), strict=True))
    subject = scenarios.make_subject(bundle, steps, files)
    inputs = scenarios.list_inputs([subject.live, subject.final], scenario_run.make_scenarios(subject))
    return [np.array([known.get(name, 0.0) for name in item.live["id"].to_pylist()]) for item in inputs]
