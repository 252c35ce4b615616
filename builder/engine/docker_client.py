"""The ``docker`` SDK's client, set up for this tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import docker
import docker.auth

from builder import errors
from builder.engine import docker_config

if TYPE_CHECKING:
    from collections.abc import Mapping

MINIMUM_API = (1, 41)  # of Engine 20.10, the oldest engine that this tool was tested with
MINIMUM_API_TEXT = ".".join(map(str, MINIMUM_API))

_ANSWER_TIMEOUT = 120  # seconds without data from the engine
_CPU_PERIOD = 100_000  # microseconds


class _Client(docker.APIClient):
    """The SDK's client without its handling of logins.

    The SDK reads all logins when the client is created, and calls every credential helper before each build: a missing
    or broken helper would prevent a build even from an image that is already on the engine.
    """

    build_cpus: float | None = None

    def __init__(self, settings: Mapping[str, Any], **options: Any) -> None:
        self._settings = settings
        super().__init__(**options)

    def negotiate(self) -> None:
        """Use the engine's newest API version."""
        self._version = self.version(api_version=False)["ApiVersion"]

    def _post(self, url: str, **options: Any) -> Any:
        # The SDK's build has no option for the quota, which the engine's API has:
        # https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/ImageBuild
        if url.endswith("/build") and self.build_cpus:
            options["params"].update(cpuperiod=_CPU_PERIOD, cpuquota=int(self.build_cpus * _CPU_PERIOD))
        base: Any = super()  # the SDK has no type annotations
        return base._post(url, **options)  # noqa: SLF001

    @property
    def _general_configs(self) -> dict[str, Any]:
        # Without the key `auths`, the SDK takes all entries for logins. A first entry that is not an object makes it
        # ignore them.
        return {"": None, **{key: value for key, value in self._settings.items() if value}}

    @_general_configs.setter
    def _general_configs(self, _: object) -> None: ...

    @property
    def _auth_configs(self) -> _NoLogins:
        return _NoLogins({})

    @_auth_configs.setter
    def _auth_configs(self, _: object) -> None: ...


class _NoLogins(docker.auth.AuthConfig):
    is_empty = False  # the SDK would read the file again if it were empty


def create_client(endpoint: docker_config.Endpoint) -> _Client:
    """Return a client; nothing is sent to the engine yet, except for an ``ssh://`` address.

    Raises:
        errors.EngineChoiceError: The address is invalid, or a library that it requires is not installed.
    """
    tls: Any = False
    try:
        if endpoint.tls:
            tls = docker.tls.TLSConfig(
                client_cert=endpoint.tls.pair, ca_cert=endpoint.tls.ca, verify=endpoint.tls.verify
            )
        return _Client(
            endpoint.client, base_url=endpoint.host, tls=tls, version=MINIMUM_API_TEXT, timeout=_ANSWER_TIMEOUT
        )
    except Exception as error:  # ssh:// connects here, with paramiko, which may be missing or raise its own errors
        reason = docker_config.hide_password(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise errors.EngineChoiceError(
            f"{endpoint.source or 'the default engine'}: invalid engine address ({reason}); expected unix:///PATH, "
            "tcp://HOST:PORT or ssh://USER@HOST"
        ) from error
