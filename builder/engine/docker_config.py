"""Read the configured engine and the stored logins from the docker CLI's variables and ``config.json``.

The docker SDK could read them too, but it uses the default engine if the configured context does not exist, fails with
``base64`` errors on a damaged login, and waits for a credential helper without a time limit.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import errors
from builder.text import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

HELPER_TIMEOUT = 30.0
"""Time limit of a credential helper: it may wait for the user to unlock a keychain."""
_MAX_BYTES = 1 << 20  # of a file, or of the output of a helper
_DOCKER_HUB, _DOCKER_HUB_KEY = "docker.io", "https://index.docker.io/v1/"  # the key of Docker Hub's login
_TOKEN_USER = "<token>"  # noqa: S105 - the user name that a helper returns with an identity token
_TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
_MAX_CONTEXTS_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Certificates for an engine.

    Attributes:
        ca: Path of the certificate authority; None for the system's authorities.
        pair: Paths of the client certificate and its key; None to send none.
        verify: Whether to check the engine's certificate.
    """

    ca: str | None
    pair: tuple[str, str] | None
    verify: bool


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The configured engine.

    Attributes:
        host: Its address; None for the default socket.
        source: The variable or file that configures it, for messages; None if nothing does.
        tls: None for a connection without TLS.
        client: The settings of ``config.json`` for requests and containers: ``HttpHeaders`` and ``proxies``.
    """

    host: str | None = None
    source: str | None = None
    tls: Tls | None = None
    client: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Login:
    """A login for a registry, as stored by ``docker login``; the ``repr`` contains no secret.

    Attributes:
        user: Empty if there is an identity token.
        password: Empty if there is an identity token.
        identity_token: Replaces both; only an engine can use it.
    """

    user: str = ""
    password: str = field(repr=False, default="")
    identity_token: str = field(repr=False, default="")


class _Config:
    """The docker CLI's ``config.json``; empty if the file does not exist."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        configured, home = environment.get("DOCKER_CONFIG"), environment.get("HOME")
        self.folder = Path(configured) if configured else Path(home or Path.home(), ".docker")
        self.file = self.folder / "config.json"
        try:
            self._data = _read_object(self.file)
        except FileNotFoundError:
            self._data = {}

    def read_mapping(self, key: str) -> Mapping[str, Any]:
        """Return an object of the file; empty if the key is missing."""
        value = self._data.get(key) or {}
        if not isinstance(value, dict):
            raise errors.EngineChoiceError(f"{self.file}: {key} is not an object; fix it or remove it")
        return value

    def read_text(self, key: str) -> str:
        """Return a string of the file; empty if the key is missing."""
        value = self._data.get(key) or ""
        if not isinstance(value, str):
            raise errors.EngineChoiceError(f"{self.file}: {key} is not a string; fix it or remove it")
        return value


def find_endpoint(environment: Mapping[str, str]) -> Endpoint:
    """Return the engine that ``DOCKER_HOST``, ``DOCKER_CONTEXT`` or ``currentContext`` selects; the first one set wins.

    Raises:
        errors.EngineChoiceError: The context or a certificate does not exist, or a file is damaged.
    """
    config = _Config(environment)
    client = _read_client_settings(config)
    if host := environment.get("DOCKER_HOST"):
        return Endpoint(
            host=host,
            source=f"DOCKER_HOST={hide_password(host)}",
            tls=_tls_from_environment(environment, host),
            client=client,
        )
    variable = environment.get("DOCKER_CONTEXT", "")
    name = variable or config.read_text("currentContext")
    if name and name != "default":
        return _read_context(
            config, name, by="DOCKER_CONTEXT" if variable else f"currentContext of {config.file}", client=client
        )
    if environment.get("DOCKER_TLS_VERIFY"):
        raise errors.EngineChoiceError(
            "DOCKER_TLS_VERIFY is set without DOCKER_HOST; set DOCKER_HOST=tcp://HOST:2376, or unset DOCKER_TLS_VERIFY"
        )
    return Endpoint(client=client)


def find_login(registry: str, environment: Mapping[str, str]) -> Login | None:
    """Return the stored login for a registry (``docker.io`` for Docker Hub), or None.

    Raises:
        errors.LoginError: The login cannot be read: the credential helper is missing, locked or broken, or the entry or
            the file is damaged.
    """
    try:
        config = _Config(environment)
        key = _DOCKER_HUB_KEY if registry == _DOCKER_HUB else registry
        helper = config.read_mapping("credHelpers").get(key) or config.read_text("credsStore")
        auths = config.read_mapping("auths")
    except errors.EngineChoiceError as error:
        raise errors.LoginError(str(error)) from error
    login = _ask_helper(helper, key, registry, config.file) if helper else None
    if login is not None:
        return login
    names = [name for name in auths if name == key] or [
        name for name in auths if _registry_from_entry(name) == registry
    ]
    return _read_login(auths[names[0]], registry, config.file) if names else None


def hide_password(host: str) -> str:
    """Return an engine's address for a message, without the password in it."""
    return escape(re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:...@", host))[:200]


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty file is an empty object, as for the docker CLI.

    Raises:
        FileNotFoundError: The file does not exist.
        errors.EngineChoiceError: It cannot be read, or does not contain a JSON object.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES:,} bytes")  # noqa: TRY301 - same handling as invalid JSON
        data = json.loads(content) if content.strip() else {}
        if not isinstance(data, dict):
            raise TypeError("not a JSON object")  # noqa: TRY301
    except FileNotFoundError:
        raise
    except OSError as error:
        raise errors.EngineChoiceError(
            f"cannot read {path}: {error.strerror}; fix its permissions, or set DOCKER_CONFIG to another folder"
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise errors.EngineChoiceError(
            f"{path}: invalid JSON ({str(error)[:150]}); fix the file, or move it away"
        ) from error
    return data


def _read_client_settings(config: _Config) -> dict[str, Any]:
    """Return the settings other than logins that the SDK uses, checked, because the SDK itself does not check them."""
    headers, proxies = config.read_mapping("HttpHeaders"), config.read_mapping("proxies")
    if not all(isinstance(value, str) for value in headers.values()):
        raise errors.EngineChoiceError(f"{config.file}: HttpHeaders has a value that is not a string; fix it")
    for name, proxy in proxies.items():
        if not isinstance(proxy, dict) or not all(isinstance(value, str) for value in proxy.values()):
            raise errors.EngineChoiceError(
                f"{config.file}: proxies.{escape(name)} is not an object of strings; fix it or remove it"
            )
    return {"HttpHeaders": headers, "proxies": proxies}


def _tls_from_environment(environment: Mapping[str, str], host: str) -> Tls | None:
    """Return the certificates of ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH``; None for an address without TLS."""
    verify, cert_path = bool(environment.get("DOCKER_TLS_VERIFY")), environment.get("DOCKER_CERT_PATH")
    if not (verify or cert_path) or host.startswith(("unix:", "ssh:", "npipe:")):
        return None
    folder = Path(cert_path) if cert_path else Path(environment.get("HOME") or Path.home(), ".docker")
    source = f"DOCKER_CERT_PATH={escape(str(folder))}" if cert_path else f"DOCKER_TLS_VERIFY is set and {folder}"
    _check_readable(
        folder, _TLS_FILES, source, "set DOCKER_CERT_PATH to a folder with all three, or unset both variables"
    )
    ca, cert, key = (str(folder / name) for name in _TLS_FILES)
    return Tls(ca=ca, pair=(cert, key), verify=verify)


def _check_readable(folder: Path, names: tuple[str, ...], source: str, fix: str) -> None:
    for name in names:
        try:
            (folder / name).open("rb").close()
        except OSError as error:
            raise errors.EngineChoiceError(
                f"{source}: cannot read {name} ({error.strerror}); expected {', '.join(names)}; {fix}"
            ) from error


def _read_context(config: _Config, name: str, *, by: str, client: Mapping[str, Any]) -> Endpoint:
    """Return the engine of a docker context.

    Raises:
        errors.EngineChoiceError: The context does not exist or is damaged; the message lists the existing ones.
    """
    label = escape(name)[:100]
    # The docker CLI names a context's folder after the hash of the context's name.
    identity = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    file = config.folder / "contexts" / "meta" / identity / "meta.json"
    others = f"choose another context (existing contexts: {', '.join(_context_names(config.folder))})"
    try:
        data = _read_object(file)
    except FileNotFoundError:
        raise errors.EngineChoiceError(
            f"{by}: the docker context {label} does not exist; {others}: set DOCKER_CONTEXT, or run "
            "`docker context use NAME`"
        ) from None
    except errors.EngineChoiceError as error:
        raise errors.EngineChoiceError(
            f"{by}: the docker context {label} cannot be used: {str(error).rpartition('; ')[0]}; {others}, "
            "or create it again (`docker context create`)"
        ) from error
    endpoints = data.get("Endpoints")
    endpoint = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = endpoint.get("Host") if isinstance(endpoint, dict) else None
    if not isinstance(host, str) or not host or not isinstance(endpoint, dict):
        raise errors.EngineChoiceError(
            f"{by}: the docker context {label} is damaged: {file} has no Endpoints.docker.Host; {others}, or create it "
            "again (`docker context create`)"
        )
    tls = config.folder / "contexts" / "tls" / identity / "docker"
    present = tuple(file_name for file_name in _TLS_FILES if (tls / file_name).exists())
    skip = bool(endpoint.get("SkipTLSVerify"))
    source = f"the docker context {label} ({by})"
    if not present and not (skip and host.startswith("tcp:")):
        return Endpoint(host=host, source=source, client=client)
    # A client certificate is useless without its key, and the reverse: require both if there is one of them.
    pair = ("cert.pem", "key.pem") if {"cert.pem", "key.pem"} & set(present) else ()
    _check_readable(tls, tuple(dict.fromkeys((*present, *pair))), f"{source}: {tls}", others)
    tls_config = Tls(
        ca=str(tls / "ca.pem") if "ca.pem" in present else None,
        pair=(str(tls / "cert.pem"), str(tls / "key.pem")) if pair else None,
        verify=not skip,
    )
    return Endpoint(host=host, source=source, tls=tls_config, client=client)


def _context_names(folder: Path) -> list[str]:
    """Return the names of the existing contexts, without damaged ones."""
    names = []
    for path in sorted((folder / "contexts" / "meta").glob("*/meta.json")):
        with contextlib.suppress(FileNotFoundError, errors.EngineChoiceError):
            name = _read_object(path).get("Name")
            names += [escape(name)[:100]] if isinstance(name, str) else []
    more = [f"and {len(names) - _MAX_CONTEXTS_LISTED} more"] if len(names) > _MAX_CONTEXTS_LISTED else []
    return ["default", *sorted(names)[:_MAX_CONTEXTS_LISTED], *more]


def _registry_from_entry(name: str) -> str:
    """Return the registry of an entry in ``auths``; old versions of docker used URLs as keys."""
    host = re.sub(r"^https?://", "", name).partition("/")[0]
    return _DOCKER_HUB if host == f"index.{_DOCKER_HUB}" else host


def _read_login(entry: object, registry: str, file: Path) -> Login | None:
    damaged = f"{file}: the login for {registry} is damaged; run `docker login {registry}` again"
    if not isinstance(entry, dict):
        raise errors.LoginError(damaged)
    token, auth = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return Login(identity_token=token)
    if not auth:
        return None
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (ValueError, TypeError) as error:
        raise errors.LoginError(damaged) from error
    if not user or not colon:
        raise errors.LoginError(damaged)
    return Login(user=user, password=password.strip("\0"))


def _ask_helper(name: object, key: str, registry: str, file: Path) -> Login | None:
    """Return the login that a credential helper stores for the registry, or None.

    The helper reads the key from standard input and prints JSON, or a message with exit code 1; see
    https://github.com/docker/docker-credential-helpers.
    """
    program = f"docker-credential-{name}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise errors.LoginError(f"{file}: invalid name of a credential helper; fix credHelpers or credsStore")
    fix = f"try it with `echo {key} | {program} get`, or remove it from {file} and run `docker login {registry}`"
    path = shutil.which(program)
    if path is None:
        raise errors.LoginError(
            f"the credential helper {program} for {registry} is not in PATH; install it, or remove it from {file} and "
            f"run `docker login {registry}`"
        )
    try:
        code, output = _run_helper(path, key, HELPER_TIMEOUT)
    except TimeoutError as error:
        raise errors.LoginError(
            f"the credential helper {program} for {registry} did not answer within {HELPER_TIMEOUT:g} s; unlock it, "
            f"{fix}"
        ) from error
    except OSError as error:
        raise errors.LoginError(
            f"the credential helper {program} for {registry} cannot be run ({error.strerror}); {fix}"
        ) from error
    if code != 0:
        if "credentials not found in native keychain" in output:
            return None
        message = " ".join(output.split())[:150]
        raise errors.LoginError(
            f"the credential helper {program} for {registry} failed with exit code {code} "
            f"({escape(message) or 'no message'}); unlock or fix it: {fix}"
        )
    try:
        data = json.loads(output)
        user, secret = data["Username"], data["Secret"]
        if not isinstance(user, str) or not isinstance(secret, str):
            raise TypeError  # noqa: TRY301 - same handling as invalid JSON
    except (ValueError, LookupError, TypeError, RecursionError):
        # Not chained: the output may contain a secret.
        raise errors.LoginError(
            f"the credential helper {program} for {registry} printed an invalid login; {fix}"
        ) from None
    if user == _TOKEN_USER:
        return Login(identity_token=secret)
    return Login(user=user, password=secret) if user or secret else None


def _run_helper(path: str, key: str, seconds: float) -> tuple[int, str]:
    """Run a credential helper's ``get``; return its exit code and its output.

    Raises:
        TimeoutError: It did not end in time, or printed too much.
        OSError: It cannot be run.
    """
    deadline = time.monotonic() + seconds
    with subprocess.Popen(
        [path, "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # so that the programs that a helper script started are killed with it
    ) as process:
        try:
            with contextlib.suppress(BrokenPipeError):  # a helper may exit without reading its input
                process.stdin.write(f"{key}\n".encode())  # type: ignore[union-attr]
                process.stdin.close()  # type: ignore[union-attr]
            output = _read_until(process.stdout.fileno(), deadline)  # type: ignore[union-attr]
            return process.wait(max(0.1, deadline - time.monotonic())), output.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)


def _read_until(pipe: int, deadline: float) -> bytes:
    output = b""
    while len(output) <= _MAX_BYTES and select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return output
        output += piece
    raise TimeoutError
