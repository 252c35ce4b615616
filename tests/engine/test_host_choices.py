"""Test docker settings through the commands: an engine that does not exist, and a login that cannot be read."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from builder.engine import docker_config
from tests.support import command, registry_images, stand_ins, token_registry
from tests.support import registry as registry_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.engine import docker_engine

SOCKET = "unix:///var/run/docker.sock"
NAMES = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


@pytest.fixture(scope="module")
def proxy() -> Iterator[token_registry.TokenProxy]:
    """A registry that requires a login, with an image that no engine has."""
    with registry_server.start() as address, token_registry.start(address) as proxy:
        proxy.login = "somebody:opensesame"
        registry_images.push_image(address, "numerai/x", "1")
        yield proxy


@pytest.fixture
def project(engine: docker_engine.DockerEngine, tmp_path: Path) -> Path:
    """A project whose image is on the engine."""
    folder = command.write_project(tmp_path / "project")
    use_image(folder, stand_ins.get_default().tag)
    (tmp_path / "docker").mkdir()
    (tmp_path / "bin").mkdir()
    return folder


def use_image(project: Path, reference: str) -> None:
    (project / "configs" / "small.yaml").write_text(command.CONFIG.replace("runner:1", reference))


def settings(project: Path, config: object = None, **variables: str) -> dict[str, str]:
    """Write ``config.json``; return the environment for the command."""
    folder = project.parent / "docker"
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    path = f"{project.parent / 'bin'}:{os.environ['PATH']}"
    return {**dict.fromkeys(NAMES, ""), "DOCKER_CONFIG": str(folder), "PATH": path, **variables}


def add_context(project: Path, name: str, host: str) -> None:
    folder = project.parent / "docker" / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    data = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (folder / "meta.json").write_text(json.dumps(data))


def add_helper(project: Path, script: str) -> dict[str, str]:
    """Install a credential helper; return a ``config.json`` that uses it for every registry."""
    path = project.parent / "bin" / "docker-credential-mine"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"credsStore": "mine"}


CHOICES: dict[str, tuple[object, dict[str, str], str]] = {
    "a context of a variable": (
        None,
        {"DOCKER_CONTEXT": "lost"},
        ": the docker context lost does not exist; choose another context (existing contexts: default, here): set",
    ),
    "a context of the file": ({"currentContext": "lost"}, {}, "config.json: the docker context lost does not exist"),
    "a damaged file": ('{"auths": ', {}, "config.json: invalid JSON ("),
    "an address": (
        None,
        {"DOCKER_HOST": "tcp://localhost:x"},
        "DOCKER_HOST=tcp://localhost:x: invalid engine address (Port ",
    ),
    "certificates": (
        None,
        {"DOCKER_HOST": "tcp://localhost:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"},
        "DOCKER_CERT_PATH=/nowhere: cannot read ca.pem (No such file or directory); expected",
    ),
}


@pytest.mark.parametrize(("config", "variables", "message"), CHOICES.values(), ids=CHOICES)
def test_an_invalid_engine_setting_is_an_error_of_every_command(
    project: Path, config: object, variables: dict[str, str], message: str
) -> None:
    add_context(project, "here", SOCKET)
    environment = settings(project, config, **variables)
    for arguments in (["engine"], ["stand-in", "--python", "3.11"], ["pickle", "configs/small.yaml"]):
        code, out, err = command.run(*arguments, cwd=project, **environment)
        assert (code, out) == (3, "")
        assert err.startswith("error: ")
        assert message in err
        assert len(err.splitlines()) == 1
    code, out, _ = command.run("doctor", "configs/small.yaml", "--json", cwd=project, **environment)
    line = next(line for line in json.loads(out)["lines"] if line["name"] == "engine")
    assert (code, line["good"]) == (1, False)
    assert f"{line['text']}; {line['fix']}".find(message) >= 0


def test_an_existing_context_is_used(project: Path) -> None:
    add_context(project, "here", SOCKET)
    add_context(project, "gone", f"unix://{project}/no.sock")
    assert command.run("engine", cwd=project, **settings(project, DOCKER_CONTEXT="here"))[0] == 0
    assert command.run("engine", cwd=project, **settings(project, {"currentContext": "here"}))[0] == 0
    code, _, err = command.run("engine", cwd=project, **settings(project, {"currentContext": "gone"}))
    assert code == 3
    assert "config.json) does not answer: [Errno 2] No such file or directory; start it, or set another one" in err


LOGINS: dict[str, Any] = {
    "missing": None,
    "hanging": "sleep 1000",
    "damaged": {"auths": {"ghcr.io": {"auth": "%%%"}, "https://index.docker.io/v1/": {"auth": "YQ=="}, "x": 7}},
    "damaged proxy": {"auths": {"ghcr.io": {}}, "HttpHeaders": {}, "credHelpers": {"ghcr.io": 7}},
}


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_an_image_on_the_engine_requires_no_login(project: Path, login: object) -> None:
    config = login if isinstance(login, dict) else {"credsStore": "that-is-missing"}
    if isinstance(login, str):
        config = add_helper(project, f"echo asked >> {project}/asked\n{login}")
    environment = settings(project, config)
    for arguments in (["engine"], ["pickle", "configs/small.yaml"]):
        code, _, err = command.run(*arguments, cwd=project, **environment)
        assert code == 0, err
        assert "login" not in err
    assert not (project / "asked").exists()


BROKEN = {
    "missing": (None, "the credential helper docker-credential-that-is-missing for {} is not in PATH; install it"),
    "locked": (
        "echo the keychain is locked; exit 1",
        "helper docker-credential-mine for {} failed with exit code 1 (the",
    ),
    "rubbish": ("echo rubbish", "helper docker-credential-mine for {} printed an invalid login"),
    "damaged": ({"auth": "%%%"}, "the login for {} is damaged; run `docker login {}` again"),
}


@pytest.mark.parametrize(("login", "message"), BROKEN.values(), ids=BROKEN)
def test_a_missing_login_is_explained(
    project: Path, proxy: token_registry.TokenProxy, login: object, message: str
) -> None:
    config: object = {"credsStore": "that-is-missing"}
    if isinstance(login, str):
        config = add_helper(project, login)
    elif isinstance(login, dict):
        config = {"auths": {proxy.address: login}}
    reference = f"{proxy.address}/numerai/x:1"
    use_image(project, reference)
    environment = settings(project, config, NUMERAI_API_URL="http://127.0.0.1:1")
    expected = message.format(proxy.address, proxy.address)

    code, _, err = command.run_without_waits("pickle", "configs/small.yaml", cwd=project, **environment)
    assert code == 3
    assert f"could not pull {reference}: " in err
    assert "no login was sent: " in err
    assert expected in err

    code, out, _ = command.run_without_waits("pin", cwd=project, **environment)
    assert code == 4
    assert f"{reference}  UNKNOWN" in out
    assert expected in out

    code, out, _ = command.run_without_waits("doctor", "configs/small.yaml", "--json", cwd=project, **environment)
    line = next(line for line in json.loads(out)["lines"] if line["name"] == "image")
    assert (code, line["good"]) == (1, False)
    assert "requires a login" in line["text"]


def test_a_readable_login_is_used(project: Path, proxy: token_registry.TokenProxy) -> None:
    use_image(project, f"{proxy.address}/numerai/x:1")
    answer = {"Username": "somebody", "Secret": "opensesame"}
    stored = {"auths": {proxy.address: {"auth": base64.b64encode(proxy.login.encode()).decode()}}}
    for config in (add_helper(project, f"cat > {project}/asked\necho '{json.dumps(answer)}'"), stored):
        environment = settings(project, config, NUMERAI_API_URL="http://127.0.0.1:1")
        code, out, err = command.run_without_waits("pin", "--check", cwd=project, **environment)
        assert (code, err) == (1, "")
        assert "NOT PINNED" in out
        _, _, err = command.run_without_waits("pickle", "configs/small.yaml", cwd=project, **environment)
        assert "login" not in err  # it is pulled, but it is not a runner image
        assert "opensesame" not in err + out
    assert (project / "asked").read_text() == f"{proxy.address}\n"


@pytest.mark.usefixtures("waits")
def test_a_helper_that_hangs_is_killed(
    project: Path, proxy: token_registry.TokenProxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_image(project, f"{proxy.address}/numerai/x:1")
    environment = settings(project, add_helper(project, "sleep 1000"), NUMERAI_API_URL="http://127.0.0.1:1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project)
    monkeypatch.setattr(docker_config, "HELPER_TIMEOUT", 1.0)
    assert command.call("pin") == 4
    out, err = command.read_output(capsys)
    text = f"the credential helper docker-credential-mine for {proxy.address} did not answer within 1 s; unlock it"
    assert text in out
    assert text in err
    assert command.call("pickle", "configs/small.yaml") == 3
    assert text in command.read_output(capsys)[1]
