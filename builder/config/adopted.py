"""Write the config of a finished pickle, and the copy of it that the config names."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder import errors, paths, schema
from builder.config import init, init_text, model
from builder.text import describe, escape

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = "adopted"  # below configs/


@dataclass(frozen=True, kw_only=True)
class AdoptRequest:
    """The arguments of ``adopt``.

    Attributes:
        pickle: The file.
        root: The folder that contains ``configs/``, or will contain it.
        name: Of the config.
        image: ``image.ref`` of the config; None for ``default``, or for what an existing config has.
        stand_in: ``image.stand_in`` of the config, or None.
        slot: ``upload.model`` of a new config, or None.
        data_version: Of a new config.
        force: Whether an existing config of something else may be replaced.
    """

    pickle: Path
    root: Path
    name: str
    image: str | None = None
    stand_in: str | None = None
    slot: str | None = None
    data_version: str = model.Config.data_version
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class AdoptPlan:
    """The config of a finished pickle.

    Attributes:
        config: The config; its ``pickle`` is where the pickle is copied to.
        text: The text of its file; None if the file exists and stays as it is.
    """

    config: model.Config
    text: str | None

    @property
    def copy(self) -> Path:
        """The path of the pickle that the config names."""
        return self.config.pickle or Path()  # the config always has one


def plan(request: AdoptRequest) -> AdoptPlan:
    """Return the config for a pickle; writes nothing.

    Raises:
        errors.UsageError: The root is not a folder, or the image or the stand-in is invalid.
        errors.RefusedError: The config or the copy exists and is of something else.
    """
    root = Path(os.path.realpath(request.root))
    configs = root / "configs"
    init.check_folders(root, configs)
    file = configs / f"{request.name}.yaml"
    other = next((path for path in sorted(configs.rglob(file.name)) if path != file), None)
    if other:
        raise errors.RefusedError(
            f"{other}: has the name {request.name} too, and dist/{request.name} is its folder; pass another --name"
        )
    image = _parse_image(request)
    existing = _load_existing(file, request, image)
    if existing:
        return AdoptPlan(config=existing, text=None)
    copy = configs / _FOLDER / f"{request.name}.pkl"
    init.check_copy_folder(copy.parent, "pickle")
    if os.path.lexists(copy) and not (request.force and copy.is_file()) and not _is_same(request.pickle, copy):
        raise errors.RefusedError(
            f"{copy}: already exists and is not this pickle; move it away, pass --force (make: FORCE=1) to replace it, "
            "or --name (make: NAME=...) for another name"
        )
    config = model.Config(
        name=request.name,
        image=image,
        pickle=copy,
        data_version=request.data_version,
        upload=model.UploadConfig(model=request.slot) if request.slot else None,
        file=file,
        root=root,
    )
    path = f"{_FOLDER}/{copy.name}"
    text = init_text.render_adopted(config, path=path, has_schema=(configs / "schema.json").is_file())
    return AdoptPlan(config=config, text=text)


@contextlib.contextmanager
def publish(plan: AdoptPlan, pickle: Path) -> Iterator[None]:
    """Write the config and the copy of the pickle; restore the earlier files if the body of the ``with`` fails.

    Raises:
        errors.ConfigError: The new config does not load.
        errors.UsageError: Something cannot be written.
    """
    config, copy = plan.config, plan.copy
    try:
        with init.restore_on_error(config.file), init.restore_on_error(copy):
            _write(plan, pickle)
            yield
    except BaseException:
        for folder in (copy.parent, config.file.parent):
            with contextlib.suppress(OSError):  # it is not empty, or does not exist
                folder.rmdir()
        raise


def _write(plan: AdoptPlan, pickle: Path) -> None:
    file, copy = plan.config.file, plan.copy
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not _is_same(pickle, copy):
            _copy(pickle, copy)
        if plan.text is not None:
            paths.write_atomically(file, plan.text.encode())
    except OSError as error:
        raise errors.UsageError(
            f"{escape(error.filename or file)}: cannot be written: {error.strerror or type(error).__name__}; free some "
            "space or fix the permissions"
        ) from error
    if plan.text is not None:
        model.load(file)  # never leave a config that does not load


def _parse_image(request: AdoptRequest) -> model.ImageConfig:
    result = schema.parse(
        model.ImageConfig, {"ref": request.image or init_text.REFERENCE, "stand_in": request.stand_in}
    )
    if isinstance(result, model.ImageConfig):
        return result
    options = {"ref": "--image", "stand_in": "--stand-in"}
    problems = "; ".join(f"{options.get(str(item.path[0]), '--image')}: {item.text}" for item in result)
    raise errors.UsageError(problems)


def _load_existing(file: Path, request: AdoptRequest, image: model.ImageConfig) -> model.Config | None:
    """Return the config that exists for an adopted pickle of this name; None if there is none, or it is replaced.

    Raises:
        errors.RefusedError: It is of something else, or has another image than the requested one.
    """
    if not os.path.lexists(file):
        return None
    if request.force and file.is_file():
        return None
    fix = "pass --force (make: FORCE=1) to replace it, or --name (make: NAME=...) for another name"
    if not file.is_file():
        raise errors.RefusedError(f"{file}: is not a regular file; move it away, or pass another --name")
    try:
        config = model.load(file)
    except errors.ConfigError as error:
        raise errors.RefusedError(f"{file}: already exists and is invalid ({error.problems[0]}); {fix}") from error
    copy = file.parent / _FOLDER / f"{request.name}.pkl"
    if config.pickle is None:
        raise errors.RefusedError(f"{file}: already exists, and is the config of a bundle; {fix}")
    if config.pickle != copy and config.pickle != Path(os.path.realpath(request.pickle)):
        raise errors.RefusedError(f"{file}: already exists, and is the config of {config.pickle}; {fix}")
    wanted, existing = model.normalize_reference(image.ref), model.normalize_reference(config.image.ref)
    if request.image and wanted != existing:
        raise errors.RefusedError(f"{file}: already exists with image.ref: {existing}; change it there, or {fix}")
    if request.stand_in and request.stand_in != config.image.stand_in:
        shown = describe(config.image.stand_in) if config.image.stand_in else "none"
        raise errors.RefusedError(f"{file}: already exists with image.stand_in: {shown}; change it there, or {fix}")
    return config


def _is_same(pickle: Path, copy: Path) -> bool:
    """Return whether a file has the same bytes; one that cannot be read is not the same."""
    try:
        return copy.is_file() and filecmp.cmp(pickle, copy, shallow=False)
    except OSError:
        return False


def _copy(pickle: Path, copy: Path) -> None:
    """Copy a file atomically."""
    partial = copy.with_name(f".{copy.name}.{os.getpid()}")
    try:
        with pickle.open("rb") as source, partial.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())  # reports a full disk now, while the old file is still there
        partial.replace(copy)
    finally:
        partial.unlink(missing_ok=True)
