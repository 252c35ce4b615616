"""Prepare a validation: find the bundle that the pickle was built from, the image and the live data."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from builder import errors, paths
from builder.build import artifact, target
from builder.bundle import post
from builder.config import feature_sets
from builder.config import model as config
from builder.image import resolve
from builder.validate import data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.bundle import model as bundle_model
    from builder.engine import protocol
    from builder.progress import Progress
    from builder.tournament import live_files
    from builder.validate import checks
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
        errors.DataError: The live data or ``features.json`` have problems.
        errors.ImageError: The image is not available.
    """
    from builder.build import recorded_inputs  # noqa: PLC0415 - numpy
    from builder.validate import run as validate  # noqa: PLC0415 - numpy

    options = build_target.config.validate if build_target.config else config.ValidateConfig()
    # Before the image, which may have to be pulled.
    model = None if pickle.manifest.is_adopted else recorded_inputs.read_model(pickle)
    if stand_in_python:
        image = resolve.resolve_stand_in(pickle.manifest.image.ref, stand_in_python, engine, progress)
    else:
        image = target.find_image(build_target, pickle, engine, progress)
    inventory = resolve.read_inventory(image, engine, run_id)
    data_version = find_data_version(pickle, build_target)
    sets = _read_feature_sets(build_target.root, data_version)
    known = tuple(dict.fromkeys(name for names in sets.values() for name in names))
    notes: tuple[checks.Check, ...] = ()
    if model:
        bundle, required = model.bundle, post.find_required_columns(model.steps)
        files, source = find_live_files(options, bundle, build_target, required, progress, known=known)
    else:
        bundle, files, source, notes = _find_adopted_inputs(pickle, options, build_target, progress, known=known)
    return validate.ValidationTask(
        artifact=pickle,
        bundle=bundle,
        image=image,
        python=inventory.python,
        files=files,
        source=source,
        data_version=data_version,
        limits=options.limits,
        packages=inventory.packages,
        feature_sets=sets,
        steps=model.steps if model else (),
        exempt=_read_exempt(options, bundle, build_target),
        notes=notes,
    )


def _find_adopted_inputs(
    pickle: artifact.Artifact,
    options: config.ValidateConfig,
    build_target: target.Target,
    progress: Progress,
    *,
    known: Sequence[str],
) -> tuple[bundle_model.Bundle, data.LiveFiles, str, tuple[checks.Check, ...]]:
    """Return a bundle with the columns that a finished pickle names, the rows, their description, and notes."""
    from builder.validate import adopted  # noqa: PLC0415 - numpy
    from builder.validate.reading import read  # noqa: PLC0415

    reading, is_shaped = read.read(pickle.pickle), options.data == "shaped"
    # Files need not have all columns that occur as names in the pickle; generated rows do.
    bundle = adopted.choose_generated_columns(reading, known) if is_shaped else adopted.make_bundle((), ())
    required = post.find_required_columns(())
    files, source = find_live_files(options, bundle, build_target, required, progress, known=known)
    if not is_shaped:
        bundle = adopted.choose_columns(reading, files)
    return bundle, files, source, adopted.make_notes(reading, bundle)


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


def _read_feature_sets(root: Path, data_version: str) -> Mapping[str, Sequence[str]]:
    """Return the features of every feature set of a data version; none if its file is not found.

    Raises:
        errors.DataError: The file is invalid.
    """
    path = feature_sets.find(root, data_version)
    try:
        return feature_sets.read(path) if path else {}
    except ValueError as error:
        raise errors.DataError([str(error)]) from error


def find_live_files(
    options: config.ValidateConfig,
    bundle: bundle_model.Bundle,
    build_target: target.Target,
    required: post.RequiredColumns,
    progress: Progress,
    *,
    known: Sequence[str],
) -> tuple[data.LiveFiles, str]:
    """Return the files to predict on, and their description for the report; ``known`` are all features, if known."""
    features = tuple(dict.fromkeys((*bundle.features, *required.features)))
    benchmarks = tuple(dict.fromkeys((*bundle.benchmarks, *required.benchmarks)))
    if options.data == "shaped":
        cache = paths.cache_folder() / "shaped"
        files = data.make_shaped_data(
            features=features, benchmarks=benchmarks, known=known, rows=options.rows, cache=cache
        )
        return files, "shaped"
    from builder.bundle.kinds import catalog as kinds  # noqa: PLC0415 - numpy
    from builder.validate import live_check  # noqa: PLC0415 - pyarrow

    version = build_target.config.data_version if build_target.config else config.Config.data_version
    if options.data == "live":
        live_data, source = _fetch_live_data(version, build_target.root, progress)
        parquet = config.LivePaths(live=live_data.live, benchmarks=live_data.benchmarks)
    else:
        parquet, source = options.data, ""
    files = live_check.check_files(
        parquet.live,
        parquet.benchmarks,
        features=features,
        benchmark_columns=benchmarks,
        needs_era=required.era or kinds.needs_era(bundle.model),
        data_version=version,
    )
    return files, source or f"{parquet.live.name}, {artifact.hash_file(parquet.live)}"


def _fetch_live_data(version: str, root: Path, progress: Progress) -> tuple[live_files.LiveData, str]:
    """Return the live data of the last round, from the cache if the API does not answer; and their description.

    Raises:
        errors.NetworkError: The API does not answer, and the cache has no data of this version.
    """
    from builder.tournament import live_files, session, times  # noqa: PLC0415 - httpx

    try:
        with session.connect(progress, root=root) as api:
            live_data, now = live_files.fetch(api, version, progress), api.now()
    except errors.NetworkError as error:
        cached = live_files.find_cached(version, session.read_api_url(root))
        if cached is None:
            raise errors.NetworkError(
                f"validate.data: live: {error}; the cache has no {version} live data: "
                "try again later, or write data: shaped"
            ) from error
        live_data, now = cached, dt.datetime.now(dt.UTC)
        progress.note(f"note: {error}; using the live data of round {cached.round} from the cache")
    age = times.format_relative(live_data.open_time, now)
    return live_data, f"live data of round {live_data.round} ({version}; opened {age})"
