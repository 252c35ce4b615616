"""Which engine and which logins a person has chosen, read as the docker CLI reads its variables and ``config.json``.

The SDK's own reading takes a context that does not exist for the default engine, raises errors of ``base64`` for a
damaged login, and waits for a credential helper without any limit.
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

HELPER_SECONDS = 30.0
"""How long a credential helper may take: it may wait for a person who unlocks a keychain."""
_MOST_BYTES = 1 << 20  # of a file, or of what a helper prints
_HUB, _HUB_KEY = "docker.io", "https://index.docker.io/v1/"  # how logins of Docker Hub are filed
_TOKEN_USER = "<token>"  # noqa: S105 - what a helper calls the user of an identity token
_TLS_FILES = ("ca.pem", "cert.pem", "key.pem")
_MOST_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Certificates for an engine; without ``ca`` the system's authorities count, without ``pair`` none is sent."""

    ca: str | None
    pair: tuple[str, str] | None
    verify: bool


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the engine is.

    Attributes:
        host: Its address; None for the default socket.
        source: What names it, for messages; None where nobody has chosen.
        tls: None where none is wanted.
        client: What ``config.json`` sets for requests and containers: ``HttpHeaders`` and ``proxies``.
    """

    host: str | None = None
    source: str | None = None
    tls: Tls | None = None
    client: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Login:
    """What ``docker login`` keeps for a registry; no secret is in its ``repr``.

    Attributes:
        user: Empty where there is an identity token.
        password: As above.
        identity_token: Takes the place of both; only an engine can use it.
    """

    user: str = ""
    password: str = field(repr=False, default="")
    identity_token: str = field(repr=False, default="")


class _Config:
    """One ``config.json``; empty where there is none."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        chosen, home = environment.get("DOCKER_CONFIG"), environment.get("HOME")
        self.folder = Path(chosen) if chosen else Path(home or Path.home(), ".docker")
        self.file = self.folder / "config.json"
        try:
            self._data = _read_object(self.file)
        except FileNotFoundError:
            self._data = {}

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return an object of the file; empty where it is absent."""
        value = self._data.get(key) or {}
        if not isinstance(value, dict):
            raise errors.EngineChoiceError(f"{self.file}: {key} is not an object; fix it or remove it")
        return value

    def text(self, key: str) -> str:
        """Return a text of the file; empty where it is absent."""
        value = self._data.get(key) or ""
        if not isinstance(value, str):
            raise errors.EngineChoiceError(f"{self.file}: {key} is not a text; fix it or remove it")
        return value


def find_endpoint(environment: Mapping[str, str]) -> Endpoint:
    """Return the engine that ``DOCKER_HOST``, ``DOCKER_CONTEXT`` or ``currentContext`` names, in this order.

    Raises:
        errors.EngineChoiceError: The choice cannot be resolved: no such context, no certificates, a damaged file.
    """
    config = _Config(environment)
    client = _client_settings(config)
    if host := environment.get("DOCKER_HOST"):
        return Endpoint(
            host=host, source=f"DOCKER_HOST={shown(host)}", tls=_environment_tls(environment, host), client=client
        )
    variable = environment.get("DOCKER_CONTEXT", "")
    name = variable or config.text("currentContext")
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
    """Return what ``docker login`` keeps for a registry (``docker.io`` for Docker Hub), or None.

    Raises:
        errors.LoginError: There may be a login, and it cannot be read: a credential helper that is missing, locked or
            broken, a damaged entry or file.
    """
    try:
        config = _Config(environment)
        key = _HUB_KEY if registry == _HUB else registry
        helper = config.mapping("credHelpers").get(key) or config.text("credsStore")
        auths = config.mapping("auths")
    except errors.EngineChoiceError as error:
        raise errors.LoginError(str(error)) from error
    login = _ask_helper(helper, key, registry, config.file) if helper else None
    if login is not None:
        return login
    names = [name for name in auths if name == key] or [name for name in auths if _host(name) == registry]
    return _read_login(auths[names[0]], registry, config.file) if names else None


def shown(host: str) -> str:
    """Return an engine's address as a message may show it: without a password."""
    return escape(re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:...@", host))[:200]


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty file is an empty one, as for the docker CLI.

    Raises:
        FileNotFoundError: There is no such file.
        errors.EngineChoiceError: It cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES:,} bytes")  # noqa: TRY301 - as any other fault of it
        data = json.loads(content) if content.strip() else {}
        if not isinstance(data, dict):
            raise TypeError("not a JSON object")  # noqa: TRY301
    except FileNotFoundError:
        raise
    except OSError as error:
        raise errors.EngineChoiceError(
            f"{path}: cannot be read ({error.strerror}); fix its permissions, or name another folder in DOCKER_CONFIG"
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise errors.EngineChoiceError(
            f"{path}: not valid JSON for docker ({str(error)[:150]}); fix the file, or move it away"
        ) from error
    return data


def _client_settings(config: _Config) -> dict[str, Any]:
    """Return what the SDK reads of the file beside logins, checked: it uses it as it is."""
    headers, proxies = config.mapping("HttpHeaders"), config.mapping("proxies")
    if not all(isinstance(value, str) for value in headers.values()):
        raise errors.EngineChoiceError(f"{config.file}: HttpHeaders holds something that is not a text; fix it")
    for name, proxy in proxies.items():
        if not isinstance(proxy, dict) or not all(isinstance(value, str) for value in proxy.values()):
            raise errors.EngineChoiceError(
                f"{config.file}: proxies.{escape(name)} is not an object of texts; fix it or remove it"
            )
    return {"HttpHeaders": headers, "proxies": proxies}


def _environment_tls(environment: Mapping[str, str], host: str) -> Tls | None:
    """Return the certificates that ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH`` name, if the address uses TLS."""
    verify, named = bool(environment.get("DOCKER_TLS_VERIFY")), environment.get("DOCKER_CERT_PATH")
    if not (verify or named) or host.startswith(("unix:", "ssh:", "npipe:")):
        return None
    folder = Path(named) if named else Path(environment.get("HOME") or Path.home(), ".docker")
    where = f"DOCKER_CERT_PATH={escape(str(folder))}" if named else f"DOCKER_TLS_VERIFY is set and {folder}"
    _check_readable(folder, _TLS_FILES, where, "name a folder with all three in DOCKER_CERT_PATH, or unset both")
    ca, cert, key = (str(folder / name) for name in _TLS_FILES)
    return Tls(ca=ca, pair=(cert, key), verify=verify)


def _check_readable(folder: Path, names: tuple[str, ...], where: str, fix: str) -> None:
    for name in names:
        try:
            (folder / name).open("rb").close()
        except OSError as error:
            raise errors.EngineChoiceError(
                f"{where}: {name} cannot be read ({error.strerror}); expected {', '.join(names)}; {fix}"
            ) from error


def _read_context(config: _Config, name: str, *, by: str, client: Mapping[str, Any]) -> Endpoint:
    """Return the engine of a docker context.

    Raises:
        errors.EngineChoiceError: There is no such context, or it is damaged; the message names those that are there.
    """
    said = escape(name)[:100]
    number = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    file = config.folder / "contexts" / "meta" / number / "meta.json"
    others = f"choose another context (there are {', '.join(_context_names(config.folder))})"
    try:
        data = _read_object(file)
    except FileNotFoundError:
        raise errors.EngineChoiceError(
            f"{by} names the docker context {said}, which does not exist; {others}: set DOCKER_CONTEXT, or run "
            "`docker context use NAME`"
        ) from None
    except errors.EngineChoiceError as error:
        raise errors.EngineChoiceError(
            f"{by} names the docker context {said}, which cannot be read: {str(error).rpartition('; ')[0]}; {others}, "
            "or create it again (`docker context create`)"
        ) from error
    endpoints = data.get("Endpoints")
    endpoint = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = endpoint.get("Host") if isinstance(endpoint, dict) else None
    if not isinstance(host, str) or not host or not isinstance(endpoint, dict):
        raise errors.EngineChoiceError(
            f"{by} names the docker context {said}, whose {file} has no Endpoints.docker.Host; {others}, or create it "
            "again (`docker context create`)"
        )
    tls = config.folder / "contexts" / "tls" / number / "docker"
    present = tuple(one for one in _TLS_FILES if (tls / one).exists())
    skip = bool(endpoint.get("SkipTLSVerify"))
    source = f"the docker context {said} ({by})"
    if not present and not (skip and host.startswith("tcp:")):
        return Endpoint(host=host, source=source, client=client)
    # A certificate and its key come together.
    pair = ("cert.pem", "key.pem") if {"cert.pem", "key.pem"} & set(present) else ()
    _check_readable(tls, tuple(dict.fromkeys((*present, *pair))), f"{source}: {tls}", others)
    found = Tls(
        ca=str(tls / "ca.pem") if "ca.pem" in present else None,
        pair=(str(tls / "cert.pem"), str(tls / "key.pem")) if pair else None,
        verify=not skip,
    )
    return Endpoint(host=host, source=source, tls=found, client=client)


def _context_names(folder: Path) -> list[str]:
    """Return the contexts that there are; a damaged one is left out."""
    names = []
    for path in sorted((folder / "contexts" / "meta").glob("*/meta.json")):
        with contextlib.suppress(FileNotFoundError, errors.EngineChoiceError):
            name = _read_object(path).get("Name")
            names += [escape(name)[:100]] if isinstance(name, str) else []
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ["default", *sorted(names)[:_MOST_NAMED], *more]


def _host(name: str) -> str:
    """Return the registry of an entry, which old versions of docker filed by an address."""
    host = re.sub(r"^https?://", "", name).partition("/")[0]
    return _HUB if host == f"index.{_HUB}" else host


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
    """Return what a credential helper keeps; None where it keeps nothing for the registry.

    Its protocol: the key on standard input; JSON, or a message and exit code 1, on standard output.
    """
    program = f"docker-credential-{name}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise errors.LoginError(f"{file}: a credential helper has an invalid name; fix credHelpers or credsStore")
    fix = f"try it with `echo {key} | {program} get`, or remove it from {file} and run `docker login {registry}`"
    path = shutil.which(program)
    if path is None:
        raise errors.LoginError(
            f"the credential helper {program} for {registry} is not on PATH; install it, or remove it from {file} and "
            f"run `docker login {registry}`"
        )
    try:
        code, output = _run(path, key, HELPER_SECONDS)
    except TimeoutError as error:
        raise errors.LoginError(
            f"the credential helper {program} for {registry} did not answer within {HELPER_SECONDS:g} s; unlock it, "
            f"{fix}"
        ) from error
    except OSError as error:
        raise errors.LoginError(
            f"the credential helper {program} for {registry} cannot be run ({error.strerror}); {fix}"
        ) from error
    if code != 0:
        if "credentials not found in native keychain" in output:
            return None
        said = " ".join(output.split())[:150]
        raise errors.LoginError(
            f"the credential helper {program} for {registry} failed with exit code {code} "
            f"({escape(said) or 'no message'}); unlock or repair it: {fix}"
        )
    try:
        answer = json.loads(output)
        user, secret = answer["Username"], answer["Secret"]
        if not isinstance(user, str) or not isinstance(secret, str):
            raise TypeError  # noqa: TRY301 - as any other answer that is none
    except (ValueError, LookupError, TypeError, RecursionError):
        # Not chained: the answer may hold a secret.
        raise errors.LoginError(
            f"the credential helper {program} for {registry} printed something that is not a login; {fix}"
        ) from None
    if user == _TOKEN_USER:
        return Login(identity_token=secret)
    return Login(user=user, password=secret) if user or secret else None


def _run(path: str, key: str, seconds: float) -> tuple[int, str]:
    """Run a credential helper's ``get``; return its exit code and what it printed.

    Raises:
        TimeoutError: It has not ended in time, or prints without end.
        OSError: It cannot be run.
    """
    ends = time.monotonic() + seconds
    with subprocess.Popen(
        [path, "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # killed whole: a helper that is a script leaves the program that it waits for
    ) as process:
        try:
            with contextlib.suppress(BrokenPipeError):  # it need not read
                process.stdin.write(f"{key}\n".encode())  # type: ignore[union-attr]
                process.stdin.close()  # type: ignore[union-attr]
            output = _read_until(process.stdout.fileno(), ends)  # type: ignore[union-attr]
            return process.wait(max(0.1, ends - time.monotonic())), output.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)


def _read_until(pipe: int, ends: float) -> bytes:
    output = b""
    while len(output) <= _MOST_BYTES and select.select([pipe], [], [], max(0.0, ends - time.monotonic()))[0]:
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return output
        output += piece
    raise TimeoutError
