"""Prepare a validation: find the bundle that the pickle was built from, the image and the live data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import errors, paths
from builder.build import artifact, target
from builder.bundle import post
from builder.config import model as config
from builder.image import resolve
from builder.validate import data

if TYPE_CHECKING:
    from builder.bundle import model as bundle_model
    from builder.engine import protocol
    from builder.progress import Progress
    from builder.validate import run as validate


def prepare_task(
    pickle: artifact.Artifact,
    build_target: target.Target,
    engine: protocol.Engine,
    run_id: str,
    progress: Progress,
    *,
    stand_in_python: str | None,
) -> validate.ValidationTask:
    """Return the inputs of a validation.

    Args:
        pickle: The built pickle.
        build_target: Its folder, and its config if there is one.
        engine: The engine.
        run_id: The id of this run.
        progress: Reports the steps.
        stand_in_python: Validate in the stand-in image with this Python; None for the image of the build.

    Raises:
        errors.ArtifactError: The bundle recorded in ``dist/NAME`` does not match the manifest.
        errors.ConfigError: The config exempts a model that is not a custom function from relations.
        errors.DataError: The live data have problems.
        errors.ImageError: The image is not available.
    """
    from builder.build import recorded_inputs  # noqa: PLC0415 - numpy
    from builder.validate import run as validate  # noqa: PLC0415 - numpy

    options = build_target.config.validate if build_target.config else config.ValidateConfig()
    model = recorded_inputs.read_model(pickle)
    if stand_in_python:
        image = resolve.resolve_stand_in(pickle.manifest.image.ref, stand_in_python, engine, progress)
    else:
        image = target.find_image(build_target, pickle, engine, progress)
    files, source = find_live_files(options, model.bundle, build_target, post.find_required_columns(model.steps))
    return validate.ValidationTask(
        artifact=pickle,
        bundle=model.bundle,
        image=image,
        python=resolve.read_inventory(image, engine, run_id).python,
        files=files,
        source=source,
        data_version=find_data_version(pickle, build_target),
        limits=options.limits,
        steps=model.steps,
        exempt=_read_exempt(options, model.bundle, build_target),
    )


def _read_exempt(
    options: config.ValidateConfig, bundle: bundle_model.Bundle, build_target: target.Target
) -> dict[str, str]:
    """Return the reasons why relations are exempt.

    Raises:
        errors.ConfigError: The model is not a custom function.
    """
    from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415 - numpy

    reasons, kind = options.exempt.reasons, kinds.get_kind_name(bundle.model)
    if reasons and kind != "custom" and build_target.config:
        problem = f"the model is of the kind {kind}, and only a custom function can be exempt; remove it"
        raise errors.ConfigError([f"{build_target.config.file}: validate.exempt: {problem}"])
    return reasons


def find_data_version(pickle: artifact.Artifact, build_target: target.Target) -> str:
    """Return the data version of the config; without a config, that of the previous validation."""
    from builder.validate import report  # noqa: PLC0415

    if build_target.config:
        return build_target.config.data_version
    return report.find_data_version(pickle.folder) or config.Config.data_version


def find_live_files(
    options: config.ValidateConfig,
    bundle: bundle_model.Bundle,
    build_target: target.Target,
    required: post.RequiredColumns,
) -> tuple[data.LiveFiles, str]:
    """Return the files to predict on, and their description for the report."""
    features = tuple(dict.fromkeys((*bundle.features, *required.features)))
    benchmarks = tuple(dict.fromkeys((*bundle.benchmarks, *required.benchmarks)))
    if isinstance(options.data, config.LivePaths):
        from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415 - numpy
        from builder.validate import live_check  # noqa: PLC0415 - pyarrow

        files = live_check.check_files(
            options.data.live,
            options.data.benchmarks,
            features=features,
            benchmark_columns=benchmarks,
            needs_era=required.era or kinds.needs_era(bundle.model),
            data_version=build_target.config.data_version if build_target.config else "",
        )
        return files, f"{options.data.live.name}, {artifact.hash_file(options.data.live)}"
    cache = paths.cache_folder() / "shaped"
    return data.make_shaped_data(features=features, benchmarks=benchmarks, rows=options.rows, cache=cache), "shaped"
