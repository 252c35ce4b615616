"""``doctor``: what this machine and the account still need; each thing a line, good or with its fix."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

from builder import commands, errors
from builder import doctor as stage
from builder.cli import engine_session, terminal
from builder.cli.parameters import Config, Json
from builder.config import model as config
from builder.config import project
from builder.config import values as config_values
from builder.image import lockfile
from builder.registry import connections
from builder.tournament import client as door
from builder.tournament import images as tournament_images
from builder.tournament import session, settings, slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder import tournament
    from builder.engine import protocol as engine
    from builder.progress import Progress

_MARKS = {True: "ok", False: "FIX", None: "-"}


def run(*, config_name: Config = None, json_wanted: Json = False) -> int:
    """Look at everything and print the verdict first; exit 1 if there is something to fix."""
    path, absent = _choose(config_name)
    with terminal.progress() as progress:
        lines = _look(path, absent, progress)
    good, verdict = all(line.good is not False for line in lines), stage.verdict(lines)
    if json_wanted:
        info = [dataclasses.asdict(line) for line in lines]
        print(json.dumps({"format": 1, "good": good, "verdict": verdict, "lines": info}))
    else:
        print(verdict)
        rows = [(_MARKS[line.good], line.name, " ".join(line.text.split()) + _fix(line)) for line in lines]
        terminal.print_table(rows, indent=0)
    return 0 if good else 1


def _fix(line: stage.DoctorCheck) -> str:
    return f"  -> {line.fix}" if line.fix else ""


def _choose(named: str | None) -> tuple[Path | None, str]:
    """Return the config to look at, or None and why: people ask before they have one, or have several."""
    if named is None and not project.list_configs():
        return None, "there is none below configs/: `python -m builder init --from NAME.bundle.zip` writes one"
    try:
        return Path(project.choose_config(named)), ""
    except errors.UsageError as error:
        return None, str(error)


def _look(path: Path | None, absent: str, progress: Progress) -> list[stage.DoctorCheck]:
    """Return a line for everything, in the order of use; ``absent`` says why there is no ``path``."""
    progress.step("looking for an engine")
    container_engine, info = _find_engine()
    lines = stage.judge_engine(info)
    loaded_config: config.Config | None = None
    if path is None:
        lines.append(stage.DoctorCheck(name=stage.CONFIG, good=None, text=absent))
    else:
        try:
            loaded_config = config.load(path)
            lines.append(stage.DoctorCheck(name=stage.CONFIG, good=True, text=str(path)))
        except (errors.ConfigError, OSError) as error:
            faults = error.problems if isinstance(error, errors.ConfigError) else (str(error),)
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            fix = f"fix it; `{commands.suggest('render', path)}` shows all that is wrong with it"
            fix = (
                fix
                if path.exists()
                else f"`{commands.suggest_plain('init', takes='BUNDLE')}` writes one; or name another"
            )
            lines.append(stage.DoctorCheck(name=stage.CONFIG, good=False, text=faults[0] + more, fix=fix))
    root = loaded_config.root if loaded_config else Path.cwd()
    at_tournament = _Account(root, progress)
    if loaded_config is not None:
        lines += _look_at_image(loaded_config, container_engine, at_tournament, progress)
    return [*lines, *at_tournament.lines, *at_tournament.look_at_slot(loaded_config)]


def _find_engine() -> tuple[engine.Engine | None, stage.EngineFound | errors.EngineError]:
    try:
        container_engine = engine_session.find()
        return container_engine, stage.EngineFound(
            facts=container_engine.get_facts(),
            memory=container_engine.get_memory(),
            free=container_engine.get_free_disk(),
        )
    except errors.EngineError as error:
        return None, error


def _look_at_image(
    loaded_config: config.Config, container_engine: engine.Engine | None, account: _Account, progress: Progress
) -> list[stage.DoctorCheck]:
    from builder.image import pinning  # noqa: PLC0415 - numpy
    from builder.image import resolve as image  # noqa: PLC0415 - numpy

    try:
        lock = lockfile.read(loaded_config.root)
    except (errors.ConfigError, OSError) as error:
        fix = "fix it, or remove it, then make pin"
        return [stage.DoctorCheck(name=stage.PIN, good=False, text=str(error).splitlines()[0], fix=fix)]
    key = config.normalize_reference(loaded_config.image.ref)
    pin, ref = lock.images.get(key), loaded_config.image.ref
    if ref == config_values.DEFAULT_IMAGE:
        ref = (pin.ref if pin else None) or account.default_image() or ""
        if not ref:
            text = "`default` is not pinned, and the API did not answer"
            return [stage.DoctorCheck(name=stage.IMAGE, good=False, text=text, fix="see `api` below, then make pin")]
    source = settings.to_pull_reference(ref, account.registry)
    wanted = image.ImageRequest(ref=ref, source=source, digest=pinning.find_pinned_digest(lock, key))
    here, lines = _look_on_engine(container_engine, wanted.names)
    progress.step(f"asking the registry for {source}")
    digest, pinned_there, silence = _ask_registry(source, pin, progress)
    info = stage.ImageFound(
        ref=ref,
        pin=pin,
        here=here,
        at_registry=digest,
        pinned_there=pinned_there,
        silence=silence,
        stand_in=loaded_config.image.stand_in,
        config=loaded_config.file,
    )
    lines += stage.judge_image(info, account.today)
    if account.images is not None:
        lines.append(stage.judge_offer(ref, account.images, account.registry))
    return lines


def _look_on_engine(
    container_engine: engine.Engine | None, names: Sequence[str]
) -> tuple[bool | None, list[stage.DoctorCheck]]:
    """Tell whether the engine has an image; None, and a line, where it no longer answers."""
    try:
        return None if container_engine is None else any(container_engine.find_image(name) for name in names), []
    except errors.EngineError as error:
        text = f"it answered, and failed when it was asked for the image: {error}"
        return None, [stage.DoctorCheck(name=stage.ENGINE, good=False, text=text, fix="make engine")]


def _ask_registry(ref: str, pin: lockfile.Pin | None, progress: Progress) -> tuple[str | None, bool | None, str]:
    """Return the digest that a reference has at its registry, whether what is pinned is there, or why neither is known.

    What is pinned is asked for only where the reference has changed or is gone.
    """
    digest, pinned_there, silence = None, None, ""
    with connections.connect(progress) as asked:
        try:
            digest = asked.resolve(ref).digest
        except errors.NetworkError as error:
            return None, None, _first_words(error, ref)
        except errors.BuilderError as error:
            silence = _first_words(error, ref)
        try:
            if pin is not None and pin.digest != digest:
                pinned_there = asked.has_digest(ref, pin.digest)
        except errors.BuilderError as error:
            silence = silence or _first_words(error, ref)
    return digest, pinned_there, silence


def _first_words(error: errors.BuilderError, ref: str) -> str:
    return str(error).splitlines()[0].removeprefix(f"{ref}: ").partition(";")[0]


class _Account:
    """What the API says; each question that fails is a line, and no later one is asked."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.lines: list[stage.DoctorCheck] = []
        self.images: tuple[tournament.DockerImage, ...] | None = None
        self.registry = settings.DEFAULT_REGISTRY
        self.today = dt.datetime.now(dt.UTC).date()
        self._account: tournament.Account | None = None
        self._uploaded: tuple[tournament.UploadedPickle, ...] = ()
        self._look(root, progress)

    def default_image(self) -> str | None:
        """Return what ``default`` stands for now, if the tournament says."""
        try:
            return tournament_images.get_default_reference(self.images or ())
        except errors.ApiError:
            return None

    def look_at_slot(self, loaded_config: config.Config | None) -> list[stage.DoctorCheck]:
        """Return a line for the config's slot."""
        model = loaded_config.upload.model if loaded_config and loaded_config.upload else None
        if loaded_config is None:
            return []
        if not model:
            upload = commands.suggest("upload", loaded_config.file, "--model=NAME")
            text = f"the config names none (upload.model); `{upload}` names one"
            return [stage.DoctorCheck(name=stage.SLOT, good=None, text=text)]
        if self._account is None:
            text = f"{model}: not known: the API did not return the account"
            return [stage.DoctorCheck(name=stage.SLOT, good=None, text=text)]
        slot = slots.match_slot(self._account, model)
        if slot is None:
            text = f"{model}: {slots.explain_missing_slot(self._account, model)}"
            fix = f"name another as upload.model, or: python -m builder create-model {model}"
            return [stage.DoctorCheck(name=stage.SLOT, good=False, text=text, fix=fix)]
        return [stage.judge_slot(slot, loaded_config.file, self._uploaded)]

    def _look(self, root: Path, progress: Progress) -> None:
        try:
            self.registry = session.read_registry(root)
            token_settings = session.read_settings(root)
        except errors.UsageError as error:
            self.lines.append(stage.DoctorCheck(name=stage.TOKEN, good=False, text=str(error), fix="fix that setting"))
            return
        policy = door.ApiPolicy(attempts=2)
        with session.connect(progress, root=root, policy=policy) as api:
            try:
                info = api.get_token_info() if token_settings.token else None
                if info is None:
                    api.get_current_round()
                self.images = api.list_images()
                if info:
                    self._uploaded = api.list_uploads()
                    self._account = api.get_account()
            except errors.TokenError as error:
                self._say(stage.API, good=True, text=f"{api.client.display_url} answers")
                self._say(stage.TOKEN, good=False, text=str(error), fix="set another")
            except errors.NetworkError as error:
                fix = "look at the network, any proxy, and NUMERAI_API_URL if it is set"
                self._say(stage.API, good=False, text=str(error), fix=fix)
                if token_settings.token is None:
                    self.lines.append(stage.judge_token(None, ""))
            except errors.UsageError as error:  # certificates or a proxy that nothing can be asked with
                self._say(stage.API, good=False, text=str(error), fix="fix that setting")
            else:
                self._say(stage.API, good=True, text=f"{api.client.display_url} answers")
                self.lines.append(stage.judge_token(info, token_settings.token.source if token_settings.token else ""))
            self.today = api.now().date()
            if api.client.clock_ahead is not None:
                self.lines.append(stage.judge_clock(api.client.clock_ahead))

    def _say(self, name: str, *, good: bool, text: str, fix: str = "") -> None:
        self.lines.append(stage.DoctorCheck(name=name, good=good, text=text, fix=fix))
