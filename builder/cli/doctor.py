"""``doctor``: check the machine, the config, the image and the account, and print a fix for each problem."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from builder import commands, data_versions, errors
from builder import doctor as stage
from builder.cli import engine_session, terminal
from builder.cli.parameters import Config, Json
from builder.config import model as config_model
from builder.config import project
from builder.config import values as config_values
from builder.image import lockfile
from builder.registry import connections
from builder.tournament import client, session, settings, slots
from builder.tournament import images as tournament_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder import tournament
    from builder.engine import protocol
    from builder.progress import Progress

_MARKS = {True: "ok", False: "FIX", None: "-"}


def run(*, config_name: Config = None, json_wanted: Json = False) -> int:
    """Check everything and print the verdict first; exit 1 if there is something to fix."""
    path, absence = _choose_config(config_name)
    with terminal.progress() as progress:
        lines = _check_all(path, absence, progress)
    good, verdict = all(line.good is not False for line in lines), stage.format_verdict(lines)
    if json_wanted:
        checks = [dataclasses.asdict(line) for line in lines]
        terminal.print_json({"format": 1, "good": good, "verdict": verdict, "lines": checks})
    else:
        terminal.print_lines(verdict)
        rows = [(_MARKS[line.good], line.name, " ".join(line.text.split()) + _format_fix(line)) for line in lines]
        terminal.print_table(rows, indent=0)
    return 0 if good else 1


def _format_fix(line: stage.DoctorCheck) -> str:
    return f"  -> {line.fix}" if line.fix else ""


def _choose_config(config_name: str | None) -> tuple[Path | None, str]:
    """Return the config to check, or None and why there is none.

    This is not an error because people run ``doctor`` before they have a config, and with several.
    """
    if config_name is None and not project.list_configs():
        return None, f"configs/ contains no config; `{commands.suggest_plain('init', '--bundle=BUNDLE')}` writes one"
    try:
        return Path(project.choose_config(config_name)), ""
    except errors.UsageError as error:
        return None, str(error)


def _check_all(path: Path | None, absence: str, progress: Progress) -> list[stage.DoctorCheck]:
    """Return all checks in the order of use; ``absence`` is why there is no ``path``."""
    progress.step("looking for an engine")
    engine, engine_state = _find_engine()
    lines = stage.judge_engine(engine_state)
    config: config_model.Config | None = None
    if path is None:
        lines.append(stage.DoctorCheck(name=stage.CONFIG, good=None, text=absence))
    else:
        try:
            config = config_model.load(path)
            lines.append(stage.DoctorCheck(name=stage.CONFIG, good=True, text=str(path)))
        except (errors.ConfigError, OSError) as error:
            problems = error.problems if isinstance(error, errors.ConfigError) else (str(error),)
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            if path.exists():
                fix = f"fix it; `{commands.suggest('render', path)}` lists all problems"
            else:
                fix = f"`{commands.suggest_plain('init', '--bundle=BUNDLE')}` writes one; or pass another config"
            lines.append(stage.DoctorCheck(name=stage.CONFIG, good=False, text=problems[0] + more, fix=fix))
    root = config.root if config else Path.cwd()
    account = _Account(root, progress)
    if config is not None:
        lines += [*account.check_data_version(config), *_check_image(config, engine, account, progress)]
    return [*lines, *account.lines, *account.check_slot(config)]


def _find_engine() -> tuple[protocol.Engine | None, stage.EngineState | errors.EngineError]:
    try:
        engine = engine_session.find()
        facts = engine.get_facts()
        return engine, stage.EngineState(facts=facts, memory=engine.get_memory(), free=engine.get_free_disk())
    except errors.EngineError as error:
        return None, error


def _check_image(
    config: config_model.Config, engine: protocol.Engine | None, account: _Account, progress: Progress
) -> list[stage.DoctorCheck]:
    from builder.image import pinning  # noqa: PLC0415 - numpy
    from builder.image import resolve as image  # noqa: PLC0415 - numpy

    try:
        lock = lockfile.read(config.root)
    except (errors.ConfigError, OSError) as error:
        fix = "fix or remove the file, then run `make pin`"
        return [stage.DoctorCheck(name=stage.PIN, good=False, text=str(error).splitlines()[0], fix=fix)]
    key = config_model.normalize_reference(config.image.ref)
    pin, ref = lock.images.get(key), config.image.ref
    if ref == config_values.DEFAULT_IMAGE:
        ref = (pin.ref if pin else None) or account.find_default_image() or ""
        if not ref:
            text = "`default` is not pinned, and the API did not answer"
            return [
                stage.DoctorCheck(name=stage.IMAGE, good=False, text=text, fix="fix `api` below, then run `make pin`")
            ]
    source = settings.to_pull_reference(ref, account.registry)
    request = image.ImageRequest(ref=ref, source=source, digest=pinning.find_pinned_digest(lock, key))
    on_engine, lines = _find_on_engine(engine, request.names)
    progress.step(f"asking the registry for {source}")
    registry_digest, has_pinned, registry_error = _ask_registry(source, pin, progress)
    image_state = stage.ImageState(
        ref=ref,
        pin=pin,
        on_engine=on_engine,
        registry_digest=registry_digest,
        has_pinned=has_pinned,
        registry_error=registry_error,
        stand_in=config.image.stand_in,
        config=config.file,
    )
    lines += stage.judge_image(image_state, account.today)
    if account.images is not None:
        lines.append(stage.judge_offer(ref, account.images, account.registry))
    return lines


def _find_on_engine(
    engine: protocol.Engine | None, names: Sequence[str]
) -> tuple[bool | None, list[stage.DoctorCheck]]:
    """Return whether the engine has the image; None and a check that failed if it stopped answering."""
    try:
        return None if engine is None else any(engine.find_image(name) for name in names), []
    except errors.EngineError as error:
        text = f"it answered, but could not look up the image: {error}"
        return None, [stage.DoctorCheck(name=stage.ENGINE, good=False, text=text, fix="make engine")]


def _ask_registry(ref: str, pin: lockfile.Pin | None, progress: Progress) -> tuple[str | None, bool | None, str]:
    """Return the registry's digest of a reference, whether it has the pinned digest, and why either is unknown.

    The pinned digest is only looked up if the reference has another digest now, or is gone.
    """
    digest, has_pinned, problem = None, None, ""
    with connections.connect(progress) as registry:
        try:
            digest = registry.resolve(ref).digest
        except errors.NetworkError as error:
            return None, None, _shorten(error, ref)
        except errors.BuilderError as error:
            problem = _shorten(error, ref)
        try:
            if pin is not None and pin.digest != digest:
                has_pinned = registry.has_digest(ref, pin.digest)
        except errors.BuilderError as error:
            problem = problem or _shorten(error, ref)
    return digest, has_pinned, problem


def _shorten(error: errors.BuilderError, ref: str) -> str:
    return str(error).splitlines()[0].removeprefix(f"{ref}: ").partition(";")[0]


class _Account:
    """The API's answers, and a check of each part; the first query that fails is the last one."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.lines: list[stage.DoctorCheck] = []
        self.images: tuple[tournament.DockerImage, ...] | None = None
        self._data_versions: tuple[tournament.DataVersion, ...] | None = None
        self.registry = settings.DEFAULT_REGISTRY
        self.today = dt.datetime.now(dt.UTC).date()
        self._account: tournament.Account | None = None
        self._uploaded: tuple[tournament.UploadedPickle, ...] = ()
        self._query(root, progress)

    def find_default_image(self) -> str | None:
        """Return the reference of the tournament's default image, or None if it is unknown."""
        try:
            return tournament_images.get_default_reference(self.images or ())
        except errors.ApiError:
            return None

    def check_data_version(self, config: config_model.Config) -> list[stage.DoctorCheck]:
        """Return the check of the config's data version: without the API's list, only a note if it is old."""
        if self._data_versions is not None:
            return [stage.judge_data_version(config.data_version, self._data_versions)]
        note = data_versions.format_age_note(config.data_version)
        return [stage.DoctorCheck(name=stage.DATA, good=None, text=note)] if note else []

    def check_slot(self, config: config_model.Config | None) -> list[stage.DoctorCheck]:
        """Return the check of the config's slot, or none without a config."""
        if config is None:
            return []
        model = config.upload.model if config.upload else None
        if not model:
            upload = commands.suggest("upload", config.file, "--model=NAME")
            text = f"upload.model is not set in the config; `{upload}` selects a slot"
            return [stage.DoctorCheck(name=stage.SLOT, good=None, text=text)]
        if self._account is None:
            text = f"{model}: unknown: the API did not return the account"
            return [stage.DoctorCheck(name=stage.SLOT, good=None, text=text)]
        slot = slots.match_slot(self._account, model)
        if slot is None:
            text = f"{model}: {slots.explain_missing_slot(self._account, model)}"
            fix = f"set upload.model to another slot, or: {commands.suggest_plain('create-model', model)}"
            return [stage.DoctorCheck(name=stage.SLOT, good=False, text=text, fix=fix)]
        return [stage.judge_slot(slot, config.file, self._uploaded)]

    def _query(self, root: Path, progress: Progress) -> None:
        try:
            self.registry = session.read_registry(root)
            api_settings = session.read_settings(root)
        except errors.UsageError as error:
            self.lines.append(stage.DoctorCheck(name=stage.TOKEN, good=False, text=str(error), fix="fix that setting"))
            return
        policy = client.ApiPolicy(attempts=2)  # fewer than usual: a diagnosis should not wait for long
        with session.connect(progress, root=root, policy=policy) as api:
            try:
                info = api.get_token_info() if api_settings.token else None
                if info is None:
                    api.get_round()  # any query that works without a token
                self.images = api.list_images()
                self._data_versions = api.list_data_versions()
                if info:
                    self._uploaded = api.list_uploads()
                    self._account = api.get_account()
            except errors.TokenError as error:
                self._add(stage.API, good=True, text=f"{api.client.display_url} answers")
                self._add(stage.TOKEN, good=False, text=str(error), fix="set another token")
            except errors.NetworkError as error:
                fix = "check the network, the proxy, and NUMERAI_API_URL if it is set"
                self._add(stage.API, good=False, text=str(error), fix=fix)
                if api_settings.token is None:
                    self.lines.append(stage.judge_token(None, ""))
            except errors.UsageError as error:  # an invalid proxy or certificate setting
                self._add(stage.API, good=False, text=str(error), fix="fix that setting")
            else:
                self._add(stage.API, good=True, text=f"{api.client.display_url} answers")
                self.lines.append(stage.judge_token(info, api_settings.token.source if api_settings.token else ""))
            self.today = api.now().date()
            if api.client.clock_ahead is not None:
                self.lines.append(stage.judge_clock(api.client.clock_ahead))

    def _add(self, name: str, *, good: bool, text: str, fix: str = "") -> None:
        self.lines.append(stage.DoctorCheck(name=name, good=good, text=text, fix=fix))
