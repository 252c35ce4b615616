"""What a validation takes, gathered: the recorded bundle, the image, live data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import paths
from builder.build import artifact, target
from builder.bundle import post
from builder.config import model as config
from builder.image import resolve as image
from builder.validate import data

if TYPE_CHECKING:
    from builder.bundle import model as bundle_model
    from builder.engine import protocol as engine
    from builder.progress import Progress
    from builder.validate import run as validate


def prepare_task(
    made: artifact.Artifact,
    chosen: target.Target,
    on: engine.Engine,
    identity: str,
    progress: Progress,
    *,
    stand_in_python: str | None,
) -> validate.ValidationTask:
    """Return all that a validation takes: the bundle of the pickle, the image and the live data.

    Raises:
        errors.ArtifactError: What is recorded in ``dist/NAME`` is not what the manifest names.
        errors.DataError: The live data have faults.
        errors.ImageError: The image is not available.
    """
    from builder.build import recorded_inputs  # noqa: PLC0415 - numpy
    from builder.validate import run as validate  # noqa: PLC0415 - numpy

    terms = chosen.config.validate if chosen.config else config.ValidateConfig()
    found = recorded_inputs.read_model(made)
    if stand_in_python:
        where = image.resolve_stand_in(made.manifest.image.ref, stand_in_python, on, progress)
    else:
        where = target.find_image(chosen, made, on, progress)
    live, source = live_files(terms, found.bundle, chosen, post.find_required_columns(found.steps))
    return validate.ValidationTask(
        artifact=made,
        bundle=found.bundle,
        image=where,
        python=image.read_inventory(where, on, identity).python,
        files=live,
        source=source,
        data_version=data_version(made, chosen),
        limits=terms.limits,
    )


def data_version(made: artifact.Artifact, chosen: target.Target) -> str:
    """Return the config's data version; without a config, that of the validation before this."""
    from builder.validate import report  # noqa: PLC0415

    if chosen.config:
        return chosen.config.data_version
    return report.data_version(made.folder) or config.Config.data_version


def live_files(
    terms: config.ValidateConfig, bundle: bundle_model.Bundle, chosen: target.Target, needs: post.RequiredColumns
) -> tuple[data.LiveFiles, str]:
    """Return what to predict on, and what to call it in the report."""
    features = tuple(dict.fromkeys((*bundle.features, *needs.features)))
    benchmarks = tuple(dict.fromkeys((*bundle.benchmarks, *needs.benchmarks)))
    if isinstance(terms.data, config.LivePaths):
        from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415 - numpy
        from builder.validate import live_check  # noqa: PLC0415 - pyarrow

        found = live_check.check_files(
            terms.data.live,
            terms.data.benchmarks,
            features=features,
            benchmark_columns=benchmarks,
            needs_era=needs.era or kinds.needs_era(bundle.model),
            data_version=chosen.config.data_version if chosen.config else "",
        )
        return found, f"{terms.data.live.name}, {artifact.hash_file(terms.data.live)}"
    cache = paths.cache_folder() / "shaped"
    made = data.make_shaped_data(features=features, benchmarks=benchmarks, rows=terms.rows, cache=cache)
    return made, "shaped"
