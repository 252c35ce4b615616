"""Execute the Dockerfile instructions that this project uses, in folders and with this machine's Python."""

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
    """A step failed; the message is that of a real engine."""


@dataclass(kw_only=True)
class Stage:
    """A build stage: its files, and the configuration of its image."""

    root: Path
    name: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)

    def path(self, text: str) -> Path:
        """Return the path on this machine for a path of the image; relative ones start at the working directory."""
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
    """Execute the context's ``Dockerfile``.

    Args:
        context: The folder of the context.
        arguments: The build arguments.
        stages: Each stage is appended when it begins.
        start: Returns a stage that starts from an image.
        log: Receives the output of a classic builder.
        progress: Shows each step.

    Raises:
        errors.BuildError: A step failed; the message is that of a real engine.
        errors.EngineError: An instruction is unknown.
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
                base, _, name = step.removeprefix("FROM ").removeprefix("--platform=linux/amd64 ").partition(" AS ")
                stages.append(start(_expand(base, arguments)))
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
    """Execute one instruction other than FROM."""
    word, _, rest = step.partition(" ")
    variables = {**stage.arguments, **stage.environment}
    if word == "ARG":
        name, _, default = rest.partition("=")
        stage.arguments[name] = arguments.get(name, default)
    elif word == "LABEL":
        stage.labels |= dict(part.split("=", 1) for part in shlex.split(_expand(rest, variables)))
    elif word == "ENV":
        stage.environment |= dict(part.split("=", 1) for part in shlex.split(_expand(rest, variables)))
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
        folder = next(other.root for other in stages if other.name == name)
    source, target = folder / words[0].lstrip("/"), stage.path(words[1])
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    else:
        raise StepError(f"COPY failed: file not found in build context: {words[0]}")


def _execute(stage: Stage, rest: str, log: TextIO) -> None:
    """Run a command, a JSON list or a shell command; ``python`` is this Python, ``cd /x`` is relative to the stage."""
    command = json.loads(rest) if rest.startswith("[") else ["/bin/sh", "-c", rest]
    local_command, folder = list(command), stage.path(".")
    if command[0] == "/bin/sh" and (match := re.fullmatch(r"cd (/\S+) && (python [^&|;<>$`]+)", command[2])):
        local_command, folder = shlex.split(match[2]), stage.path(match[1])
    elif command[0] == "/bin/sh":
        shell = command[2].replace("cd /", f"cd {shlex.quote(str(stage.root))}/")
        local_command[2] = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}; {shell}'
    if local_command[0] == "python":
        local_command[0] = sys.executable
    result = fork_server.run(
        local_command,
        cwd=folder,
        env={**_read_host_variables(), **stage.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    log.write(result.stdout)
    if result.returncode:
        printed = "".join(f"\n    {line}" for line in result.stdout.splitlines()[-20:])
        raise StepError(f"The command '{' '.join(command)}' returned a non-zero code: {result.returncode}{printed}")


def _read_host_variables() -> dict[str, str]:
    """Return the variables that an image does not set: PATH, the locale, and the settings of this machine's Python."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PATH", "LANG", "LC_", "PYTHON")) and name != "PYTHONPATH"
    }


def _expand(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables.get(match[1], ""), text)
