"""A real image registry on the loopback, for tests: Debian's ``docker-registry``, with a data folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import docker

from builder import debian, progress, run, stand_in, tar_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder import engine

_LABELS = (stand_in.STAND_IN_LABEL, stand_in.INPUTS_LABEL, stand_in.SPEC_LABEL)
_CONFIG = """\
version: 0.1
log: {{level: info, formatter: text, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_START_SECONDS = 30


def find_program() -> str:
    """Return the registry's program; installed first where this process may and it is missing."""
    program = shutil.which("docker-registry", path=debian.search_path())
    if program is None:
        assert debian.is_root(), "install docker-registry (Debian), or run these tests as root"
        assert debian.read_release().has_apt, "install a registry that is called docker-registry"
        log = Path(tempfile.gettempdir()) / "docker-registry-apt.log"
        debian.install_packages(["docker-registry"], log=log, progress=progress.Silent())
        program = shutil.which("docker-registry", path=debian.search_path())
    assert program is not None
    return program


@contextlib.contextmanager
def start(*, port: int = 0) -> Iterator[str]:
    """Run a registry; yields its address such as ``127.0.0.1:41234``, and is gone afterwards with its data.

    Args:
        port: 0 takes a free one.
    """
    program = find_program()
    with tempfile.TemporaryDirectory(prefix="numerai-builder-registry-") as folder:
        config, log = Path(folder, "config.yml"), Path(folder, "log")
        config.write_text(_CONFIG.format(folder=folder, port=port))
        # Whatever is set for a registry of this machine is not for this one.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, "serve", str(config)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )
        try:
            yield _wait_for_address(process, log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def push(image: str, reference: str) -> str:
    """Give an image of the engine a name in a registry and push it.

    Returns:
        The reference with the digest that the registry gave, ``name@sha256:...``.
    """
    name, _, tag = reference.rpartition(":")
    with contextlib.closing(docker.DockerClient.from_env(version="auto").api) as api:
        api.tag(image, name, tag)
        digests = []
        for event in api.push(name, tag, stream=True, decode=True):
            assert "error" not in event, event["error"]
            digests += [event["aux"]["Digest"]] if "aux" in event else []
    return f"{name}@{digests[-1]}"


def publish(on: engine.Engine, reference: str, *, release: int) -> str:
    """Push the 3.11 look-alike as if it were the runner: its labels emptied. Returns its reference by digest."""
    look_alike = stand_in.make(on, "3.11", progress.Silent())
    text = f"FROM {look_alike.tag}\nLABEL release={release} {' '.join(f'{label}=' for label in _LABELS)}\n"
    context = tar_stream.pack([tar_stream.Entry(name="Dockerfile", content=text.encode())])
    with run.start(on) as identity:
        built = on.build(context, run=identity, arguments={}, tag=None, cache=True, progress=progress.Silent())
        return push(built.image, reference)


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return where it listens, as it says itself once it does: no port is chosen here that somebody else may take."""
    deadline = time.monotonic() + _START_SECONDS
    while not (found := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text(errors="replace"))):
        assert process.poll() is None, f"the registry ended:\n{log.read_text(errors='replace')}"
        assert time.monotonic() < deadline, f"the registry does not come up:\n{log.read_text(errors='replace')}"
        time.sleep(0.05)
    return found[1]
