"""The few instructions of a Dockerfile that this project uses, carried out in folders by this machine's own Python."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from builder import errors
from tests.support import fork_server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from builder.progress import Progress


class StepError(Exception):
    """A step failed, as the engine says it."""


@dataclass(kw_only=True)
class Stage:
    """A stage as it is built: its files, and what an image of it would say."""

    root: Path
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)

    def path(self, text: str) -> Path:
        """Return where a path of the image is here; relative ones start at the working directory."""
        return self.root / os.path.normpath(f"{self.workdir}/{text}" if not text.startswith("/") else text).lstrip("/")


def run(
    context: Path,
    arguments: Mapping[str, str],
    *,
    stages: list[Stage],
    start: Callable[[str], Stage],
    log: TextIO,
    progress: Progress,
) -> None:
    """Carry out the context's ``Dockerfile``.

    Args:
        context: The folder with the context in it.
        arguments: The build arguments.
        stages: Gets each stage as it begins.
        start: Returns a stage that begins with an image's files.
        log: Gets what a classic builder prints.
        progress: Told of each step.

    Raises:
        errors.BuildError: a step failed; the message is that of the real engine.
        errors.EngineError: an instruction is none.
    """
    text = (context / "Dockerfile").read_text()
    steps = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    unknown = [step for step in steps if step.split()[0] not in _KNOWN]
    if unknown:
        raise errors.EngineError(f"could not build: the engine says: dockerfile parse error: {unknown[0]}")
    for number, step in enumerate(steps, start=1):
        line = f"Step {number}/{len(steps)} : {step}"
        log.write(f"{line}\n")
        progress.step(line)
        try:
            if step.startswith("FROM "):
                base, _, name = step.removeprefix("FROM ").partition(" AS ")
                stages.append(start(_expanded(base, arguments)))
                stages[-1].name = name
            else:
                apply(stages[-1], step, arguments, context=context, stages=stages, log=log)
        except StepError as error:
            raise errors.BuildError(f"the build failed at {line}: {error}") from error


def apply(
    stage: Stage,
    step: str,
    arguments: Mapping[str, str],
    *,
    context: Path | None = None,
    stages: list[Stage] | None = None,
    log: TextIO | None = None,
) -> None:
    """Carry out one instruction other than FROM."""
    word, _, rest = step.partition(" ")
    known = {**stage.arguments, **stage.environment}
    if word == "ARG":
        name, _, default = rest.partition("=")
        stage.arguments[name] = arguments.get(name, default)
    elif word == "LABEL":
        stage.labels |= dict(part.split("=", 1) for part in shlex.split(_expanded(rest, known)))
    elif word == "ENV":
        stage.environment |= dict(part.split("=", 1) for part in shlex.split(_expanded(rest, known)))
    elif word == "WORKDIR":
        stage.workdir = rest
        stage.path(".").mkdir(parents=True, exist_ok=True)
    elif word == "ENTRYPOINT":
        stage.entrypoint = json.loads(rest)
    elif word == "COPY" and context is not None:
        _copy(stage, rest, context, stages or [])
    elif word == "RUN" and log is not None:
        _execute(stage, rest, log)


_KNOWN = ("FROM", "ARG", "LABEL", "ENV", "WORKDIR", "ENTRYPOINT", "COPY", "RUN")


def _copy(stage: Stage, rest: str, context: Path, stages: list[Stage]) -> None:
    words, folder = rest.split(), context
    if words[0].startswith("--from="):
        name = words.pop(0).removeprefix("--from=")
        folder = next(one.root for one in stages if one.name == name)
    source, target = folder / words[0].lstrip("/"), stage.path(words[1])
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    else:
        raise StepError(f"COPY failed: file not found in build context: {words[0]}")


def _execute(stage: Stage, rest: str, log: TextIO) -> None:
    """Run a command, a list in JSON or a line for the shell: ``python`` is this one, ``cd /x`` goes below the root."""
    command = json.loads(rest) if rest.startswith("[") else ["/bin/sh", "-c", rest]
    here, folder = list(command), stage.path(".")
    if command[0] == "/bin/sh" and (simple := re.fullmatch(r"cd (/\S+) && (python [^&|;<>$`]+)", command[2])):
        here, folder = shlex.split(simple[2]), stage.path(simple[1])
    elif command[0] == "/bin/sh":
        shell = command[2].replace("cd /", f"cd {shlex.quote(str(stage.root))}/")
        here[2] = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}; {shell}'
    if here[0] == "python":
        here[0] = sys.executable
    done = fork_server.run(
        here,
        cwd=folder,
        env={**_kept(), **stage.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    log.write(done.stdout)
    if done.returncode:
        printed = "".join(f"\n    {line}" for line in done.stdout.splitlines()[-20:])
        raise StepError(f"The command '{' '.join(command)}' returned a non-zero code: {done.returncode}{printed}")


def _kept() -> dict[str, str]:
    """Return what is no image's: where programs are, the language, and the switches of this machine's Python."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PATH", "LANG", "LC_", "PYTHON")) and name != "PYTHONPATH"
    }


def _expanded(text: str, known: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: known.get(match[1], ""), text)
