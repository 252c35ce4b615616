"""Test the engine and the logins from variables and ``config.json``, with real files and real credential helpers."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from builder import errors
from builder.engine import docker_config

if TYPE_CHECKING:
    from collections.abc import Callable

FAR = "tcp://10.0.0.1:2376"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "docker").mkdir()
    return {"DOCKER_CONFIG": str(tmp_path / "docker"), "HOME": str(tmp_path / "home")}


def write(environment: dict[str, str], config: object) -> Path:
    path = Path(environment["DOCKER_CONFIG"], "config.json")
    path.write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    return path


def add_context(environment: dict[str, str], name: str, meta: object, **tls: str) -> None:
    number = hashlib.sha256(name.encode()).hexdigest()
    for kind, files in (("meta", {"meta.json": meta}), ("tls", {f"docker/{key}.pem": tls[key] for key in tls})):
        for file, content in files.items():
            path = Path(environment["DOCKER_CONFIG"], "contexts", kind, number, file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def meta(name: str, host: str = FAR, **endpoint: object) -> dict[str, object]:
    return {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, **endpoint}}}


# ---- the engine


@pytest.mark.parametrize(
    ("variables", "config", "host", "source"),
    [
        ({}, None, None, None),
        ({}, {"currentContext": "default"}, None, None),
        ({}, {"currentContext": ""}, None, None),
        ({}, {"auths": {}}, None, None),
        ({}, b"", None, None),
        ({"DOCKER_HOST": "", "DOCKER_CONTEXT": ""}, None, None, None),
        ({}, {"currentContext": "far"}, FAR, "the docker context far (currentContext of "),
        ({"DOCKER_CONTEXT": "default"}, {"currentContext": "far"}, None, None),
        ({"DOCKER_CONTEXT": "far"}, None, FAR, "the docker context far (DOCKER_CONTEXT)"),
        ({"DOCKER_HOST": "unix:///s", "DOCKER_CONTEXT": "lost"}, None, "unix:///s", "DOCKER_HOST=unix:///s"),
        ({"DOCKER_HOST": "ssh://me:secret@h"}, None, "ssh://me:secret@h", "DOCKER_HOST=ssh://me:...@h"),
    ],
)
def test_the_engine_is_found_as_by_the_docker_cli(
    environment: dict[str, str], variables: dict[str, str], config: object, host: str | None, source: str | None
) -> None:
    add_context(environment, "far", meta("far"))
    if config is not None:
        write(environment, config)
    endpoint = docker_config.find_endpoint(environment | variables)
    assert endpoint.host == host
    assert endpoint.source == source or str(endpoint.source).startswith(str(source))
    assert endpoint.tls is None


def test_config_json_is_in_the_home_folder_or_in_docker_config(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    write({"DOCKER_CONFIG": str(tmp_path / ".docker")}, {"currentContext": "far"})
    add_context({"DOCKER_CONFIG": str(tmp_path / ".docker")}, "far", meta("far"))
    assert docker_config.find_endpoint({"HOME": str(tmp_path)}).host == FAR
    assert docker_config.find_endpoint({"HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path)}).host is None


def test_a_context_has_its_own_certificates(environment: dict[str, str]) -> None:
    add_context(environment, "far", meta("far"), ca="x", cert="x", key="x")
    add_context(environment, "skips", meta("skips", SkipTLSVerify=True))
    tls = docker_config.find_endpoint(environment | {"DOCKER_CONTEXT": "far"}).tls
    assert (Path(tls.ca or "").name, [Path(path).name for path in tls.pair or ()]) == (
        "ca.pem",
        ["cert.pem", "key.pem"],
    )
    assert tls.verify
    tls = docker_config.find_endpoint(environment | {"DOCKER_CONTEXT": "skips"}).tls
    assert (tls.ca, tls.pair, tls.verify) == (None, None, False)


def test_certificates_of_the_environment_are_used_for_tls_addresses_only(environment: dict[str, str]) -> None:
    folder = Path(environment["DOCKER_CONFIG"])
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (folder / name).write_text("x")
    variables = {"DOCKER_HOST": FAR, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(folder)}
    assert docker_config.find_endpoint(environment | variables).tls.verify
    assert docker_config.find_endpoint(environment | variables | {"DOCKER_HOST": "unix:///s"}).tls is None
    assert not docker_config.find_endpoint(environment | variables | {"DOCKER_TLS_VERIFY": ""}).tls.verify


UNRESOLVED: dict[str, tuple[dict[str, str], object, str]] = {
    "context of a variable": (
        {"DOCKER_CONTEXT": "far"},
        None,
        r"^DOCKER_CONTEXT: the docker context far does not exist; .*\(existing contexts: default, near\): set",
    ),
    "context of the file": (
        {},
        {"currentContext": "far\x1b[2J"},
        r"^currentContext of .*/config\.json: the docker context far\\x1b\[2J does not exist; choose",
    ),
    "context that is damaged": ({"DOCKER_CONTEXT": "torn"}, None, r"context torn cannot be used: .*invalid JSON"),
    "context without an engine": (
        {"DOCKER_CONTEXT": "bare"},
        None,
        r"context bare is damaged: .* has no Endpoints\.docker",
    ),
    "context without a key": ({"DOCKER_CONTEXT": "half"}, None, r"context half .*: cannot read key\.pem \(No such"),
    "file cut short": ({}, b'{"auths": {', r"config\.json: invalid JSON \(.*\); fix the file, or move it"),
    "file of another kind": ({}, [], r"config\.json: invalid JSON \(not a JSON object\)"),
    "file of nesting": ({}, b"[" * 200_000, r"config\.json: invalid JSON"),
    "file of rubbish": ({}, b"\xff\xfe\x00", r"config\.json: invalid JSON"),
    "file without end": ({}, b" " * (1 << 21), r"config\.json: invalid JSON \(larger than 1,048,576"),
    "context of another type": ({}, {"currentContext": 7}, r"config\.json: currentContext is not a string; fix it"),
    "headers": ({}, {"HttpHeaders": {"X": 1}}, r"config\.json: HttpHeaders has a value that is not a string"),
    "proxies": ({}, {"proxies": {"default": []}}, r"config\.json: proxies\.default is not an object of strings"),
    "certificates": (
        {"DOCKER_HOST": FAR, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"},
        None,
        r"^DOCKER_CERT_PATH=/nowhere: cannot read ca\.pem \(No such file.*\); expected ca\.pem, cert\.pem, key",
    ),
    "certificates of the home folder": (
        {"DOCKER_HOST": FAR, "DOCKER_TLS_VERIFY": "1"},
        None,
        r"^DOCKER_TLS_VERIFY is set and .*/home/\.docker: cannot read ca\.pem",
    ),
    "certificates for no address": ({"DOCKER_TLS_VERIFY": "1"}, None, r"^DOCKER_TLS_VERIFY is set without DOCKER_HOST"),
}


@pytest.mark.parametrize(("variables", "config", "message"), UNRESOLVED.values(), ids=UNRESOLVED)
def test_an_invalid_engine_configuration_is_an_error(
    environment: dict[str, str], variables: dict[str, str], config: object, message: str
) -> None:
    add_context(environment, "near", meta("near"))
    if config is not None:
        write(environment, config)
    if context := variables.get("DOCKER_CONTEXT", "").replace("far", ""):
        contents: dict[str, Any] = {"torn": b"{", "bare": {"Name": "bare", "Endpoints": {}}, "half": meta("half")}
        add_context(environment, context, contents[context], cert="x")
    with pytest.raises(errors.EngineChoiceError, match=message) as raised:
        docker_config.find_endpoint(environment | variables)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("name", ["config.json", "contexts"])
def test_an_unreadable_file_is_an_error(environment: dict[str, str], name: str) -> None:
    folder = Path(environment["DOCKER_CONFIG"])
    if name == "config.json":
        (folder / name).mkdir()  # cannot be read by root either
    else:
        (folder / name).mkdir()
        (folder / name / "meta").mkdir()
        (folder / name / "meta" / hashlib.sha256(b"far").hexdigest()).mkdir()
        (folder / name / "meta" / hashlib.sha256(b"far").hexdigest() / "meta.json").mkdir()
    with pytest.raises(errors.EngineChoiceError, match=r"cannot read .*Is a directory"):
        docker_config.find_endpoint(environment | {"DOCKER_CONTEXT": "far"})


# ---- logins


@pytest.fixture
def helper(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that installs a shell script as the credential helper for ``ghcr.io``."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def put(script: str) -> None:
        path = tmp_path / "bin" / "docker-credential-mine"
        path.write_text(script)
        path.chmod(0o755)
        write(environment, {"credHelpers": {"ghcr.io": "mine"}})

    return put


def test_a_login_in_the_file_is_found(environment: dict[str, str]) -> None:
    entry = {"auth": base64.b64encode(b"somebody:open:sesame").decode()}
    auths = {
        "ghcr.io": entry,
        "https://index.docker.io/v1/": entry,
        "token.example": {"identitytoken": "x"},
        "no.auth": {},
    }
    write(environment, {"auths": {**auths, "http://old.example/v1/": entry, "other": 7}})
    login = docker_config.Login(user="somebody", password="open:sesame")
    for registry in ("ghcr.io", "docker.io", "old.example"):
        assert docker_config.find_login(registry, environment) == login
    assert docker_config.find_login("127.0.0.1:5000", environment) is None
    assert docker_config.find_login("no.auth", environment) is None
    assert docker_config.find_login("token.example", environment) == docker_config.Login(identity_token="x")
    assert "sesame" not in repr(login)


@pytest.mark.parametrize(
    "entry",
    [
        7,
        {"auth": 7},
        {"auth": "%%%"},
        {"auth": "YQ"},
        {"auth": "é"},
        {"auth": base64.b64encode(b"no colon").decode()},
        {"auth": base64.b64encode(b"\xff:\xff").decode()},
        {"auth": base64.b64encode(b":secret").decode()},
    ],
    ids=str,
)
def test_a_damaged_login_is_an_error_for_its_registry_only(environment: dict[str, str], entry: object) -> None:
    file = write(environment, {"auths": {"ghcr.io": entry}})
    with pytest.raises(errors.LoginError) as raised:
        docker_config.find_login("ghcr.io", environment)
    assert str(raised.value) == f"{file}: the login for ghcr.io is damaged; run `docker login ghcr.io` again"
    assert docker_config.find_login("quay.io", environment) is None
    assert docker_config.find_endpoint(environment).host is None


ANSWERS: dict[str, tuple[object, docker_config.Login | None]] = {
    "login": ({"Username": "me", "Secret": "s"}, docker_config.Login(user="me", password="s")),
    "identity token": ({"Username": "<token>", "Secret": "s"}, docker_config.Login(identity_token="s")),
    "empty login": ({"Username": "", "Secret": ""}, None),
}


@pytest.mark.parametrize(("answer", "login"), ANSWERS.values(), ids=ANSWERS)
def test_a_helper_is_called_by_its_protocol(
    environment: dict[str, str], helper: Callable[[str], None], answer: object, login: docker_config.Login | None
) -> None:
    # Fails unless it is called with `get` and the registry on standard input.
    helper(f'#!/bin/sh\n[ "$1" = get ] && [ "$(cat)" = ghcr.io ] && echo {shlex.quote(json.dumps(answer))}\n')
    assert docker_config.find_login("ghcr.io", environment) == login


def test_an_entry_in_the_file_is_used_if_the_helper_has_none(
    environment: dict[str, str], helper: Callable[[str], None]
) -> None:
    helper("#!/bin/sh\necho credentials not found in native keychain\nexit 1\n")
    assert docker_config.find_login("ghcr.io", environment) is None
    entry = {"auth": base64.b64encode(b"me:s").decode()}
    write(environment, {"credsStore": "mine", "auths": {"ghcr.io": entry}})
    assert docker_config.find_login("ghcr.io", environment) == docker_config.Login(user="me", password="s")


BROKEN = {
    "fails": (
        "#!/bin/sh\necho the keychain is locked\nexit 1\n",
        r"failed with exit code 1 \(the keychain is locked\)",
    ),
    "fails without a message": ("#!/bin/sh\nexit 3\n", r"failed with exit code 3 \(no message\)"),
    "prints escapes": ("#!/bin/sh\nprintf '\\033[2J'\nexit 1\n", r"\(\\x1b\[2J\)"),
    "dies": ("#!/bin/sh\nkill -9 $$\n", r"failed with exit code -9"),
    "prints rubbish": ("#!/bin/sh\necho rubbish s3cret\n", r"printed an invalid login"),
    "prints nothing": ("#!/bin/sh\n", r"printed an invalid login"),
    "prints a list": ("#!/bin/sh\necho '[]'\n", r"printed an invalid login"),
    "prints half": ('#!/bin/sh\necho \'{"Username": "me"}\'\n', r"printed an invalid login"),
    "prints a number": ('#!/bin/sh\necho \'{"Username": "me", "Secret": 7}\'\n', r"printed an invalid login"),
    "prints brackets": ("#!/bin/sh\nhead -c 200000 /dev/zero | tr '\\0' '['\n", r"printed an invalid login"),
    "not a program": ("\x00\x01", r"cannot be run \(Exec format error\)"),
    "has no interpreter": ("#!/nowhere/sh\n", r"cannot be run \(No such file or directory\)"),
}


@pytest.mark.parametrize(("script", "message"), BROKEN.values(), ids=BROKEN)
def test_an_error_of_a_helper_contains_its_name_and_registry(
    environment: dict[str, str], helper: Callable[[str], None], script: str, message: str
) -> None:
    helper(script)
    with pytest.raises(errors.LoginError, match=message) as raised:
        docker_config.find_login("ghcr.io", environment)
    text = str(raised.value)
    assert text.startswith("the credential helper docker-credential-mine for ghcr.io ")
    assert "docker login ghcr.io" in text
    assert text.isprintable()
    assert "s3cret" not in text


@pytest.mark.parametrize(
    "script", ["sleep 1000", "sleep 1000 & exec sleep 1001", "exec >&-; sleep 1000", "yes", "read x; cat /dev/zero"]
)
def test_a_helper_that_hangs_is_killed_with_its_child_processes(
    environment: dict[str, str], helper: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(docker_config, "HELPER_TIMEOUT", 1.0)
    mark = f"NUMERAI_TEST_{os.getpid()}_{time.monotonic_ns()}"
    helper(f"#!/bin/sh\nexport {mark}=1\n{script}\n")
    with pytest.raises(errors.LoginError, match=r"did not answer within 1 s; unlock it"):
        docker_config.find_login("ghcr.io", environment)
    for _ in range(600):  # they are killed, but may still be ending
        if not any(mark in read_environment(path) for path in Path("/proc").glob("[0-9]*/environ")):
            return
        time.sleep(0.1)
    pytest.fail("a child process of the helper is still running")


def read_environment(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_a_missing_helper_is_an_error_with_its_name(environment: dict[str, str]) -> None:
    file = write(environment, {"credsStore": "that-is-missing"})
    with pytest.raises(errors.LoginError) as raised:
        docker_config.find_login("ghcr.io", environment)
    assert str(raised.value) == (
        "the credential helper docker-credential-that-is-missing for ghcr.io is not in PATH; install it, or remove it "
        f"from {file} and run `docker login ghcr.io`"
    )


@pytest.mark.parametrize("config", [b"{", {"credsStore": 7}, {"credHelpers": []}, {"auths": 7}, {"credsStore": "../x"}])
def test_a_damaged_file_is_a_login_error(environment: dict[str, str], config: object) -> None:
    file = write(environment, config if config != {"credHelpers": []} else {"credHelpers": [1]})
    with pytest.raises(errors.LoginError) as raised:
        docker_config.find_login("ghcr.io", environment)
    assert str(raised.value).startswith(f"{file}: ")


def test_the_docker_sdk_is_not_imported() -> None:
    program = "import sys; from builder.engine import docker_config, install; sys.exit('docker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
