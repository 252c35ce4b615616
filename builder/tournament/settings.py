"""Read the settings that are in no config: the API's address, the registry of the runner images, and the token.

| setting | meaning and default |
| --- | --- |
| ``NUMERAI_API_URL`` | address of the API, https or on this computer; default: the tournament's |
| ``NUMERAI_REGISTRY`` | registry of the tournament's images, also for those of a config; default: ``ghcr.io/numerai`` |
| ``NUMERAI_LOCK_FILE`` | path of the lock file; default: ``builder.lock.yaml`` beside ``configs/`` |
| ``NUMERAI_PUBLIC_ID`` and ``NUMERAI_SECRET_KEY`` | the token's two parts, under the names that numerapi uses |
| ``NUMERAI_MCP_AUTH`` | the token as ``Token PUBLIC$SECRET`` or ``PUBLIC$SECRET`` |

The environment takes precedence over a file ``.env`` in the folder that contains ``configs/``. Both parts of a token
come from the same source, because parts from two sources could belong to two accounts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder import errors
from builder.net import address
from builder.registry import reference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_API = "https://api-tournament.numer.ai"
DEFAULT_REGISTRY = "ghcr.io/numerai"
API, REGISTRY, LOCK_FILE = "NUMERAI_API_URL", "NUMERAI_REGISTRY", "NUMERAI_LOCK_FILE"
PUBLIC, SECRET, COMBINED = "NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY", "NUMERAI_MCP_AUTH"
CREDENTIALS_HINT = (
    'create one at numer.ai/account ("Create MCP Key" selects the scopes), and set NUMERAI_PUBLIC_ID and '
    "NUMERAI_SECRET_KEY in the environment or in .env"
)

# Looser than the keys that the tournament issues today, so that a new format still works.
_MIN_LENGTH = 6
_PART = re.compile(rf"[A-Za-z0-9._~+/=-]{{{_MIN_LENGTH},200}}")
_KEYS = (API, REGISTRY, LOCK_FILE, PUBLIC, SECRET, COMBINED)
_secrets: set[str] = set()
"""Secrets that this process has read, for :func:`hide_secrets`."""


@dataclass(frozen=True, kw_only=True)
class ApiToken:
    """An API token; its ``repr`` does not contain the secret.

    Attributes:
        public_id: The part that may be shown.
        secret: The secret key.
        source: The setting it comes from, for messages.
    """

    public_id: str
    secret: str = field(repr=False)
    source: str

    @property
    def header(self) -> str:
        """The value of the Authorization header."""
        return f"Token {self.public_id}${self.secret}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The validated settings.

    Attributes:
        api_url: The GraphQL endpoint.
        registry: Registry and folder of the runner images, such as ``ghcr.io/numerai``.
        token: None if no token is set.
    """

    api_url: str
    registry: str
    token: ApiToken | None


def read(environment: Mapping[str, str], root: Path) -> Settings:
    """Read the settings.

    Args:
        environment: ``os.environ``; takes precedence over the file.
        root: The folder that contains ``configs/`` and may contain ``.env``.

    Raises:
        errors.UsageError: A setting is invalid; the message never contains a secret.
    """
    from_environment, from_file = _read_sources(environment, root)
    return Settings(
        api_url=read_api_url(environment, root),
        registry=read_registry(environment, root),
        token=_read_token(from_environment, "the environment") or _read_token(from_file, str(root / ".env")),
    )


def read_api_url(environment: Mapping[str, str], root: Path) -> str:
    """Read only the API's address, which needs no valid token.

    Raises:
        errors.UsageError: The setting is not a safe address.
    """
    from_environment, from_file = _read_sources(environment, root)
    return _check_api_url(from_environment.get(API) or from_file.get(API) or DEFAULT_API)


def read_registry(environment: Mapping[str, str], root: Path) -> str:
    """Read only the registry, so that commands without an account still work if the token is malformed.

    Raises:
        errors.UsageError: The setting is not a registry.
    """
    from_environment, from_file = _read_sources(environment, root)
    text = from_environment.get(REGISTRY) or from_file.get(REGISTRY) or DEFAULT_REGISTRY
    try:
        reference.parse(f"{text.rstrip('/')}/name:tag")
    except ValueError as error:
        raise errors.UsageError(f"{REGISTRY}: invalid; expected a registry like {DEFAULT_REGISTRY}") from error
    return text.rstrip("/")


def read_lock_file(environment: Mapping[str, str], root: Path) -> Path | None:
    """Read only the path of the lock file, relative to ``root``; None if it is not set."""
    from_environment, from_file = _read_sources(environment, root)
    text = from_environment.get(LOCK_FILE) or from_file.get(LOCK_FILE)
    return root / text if text else None


def to_pull_reference(ref: str, registry: str) -> str:
    """Replace the tournament's own registry, ``ghcr.io/numerai``, in a reference with the configured one."""
    name = ref.removeprefix(f"{DEFAULT_REGISTRY}/")
    return ref if name == ref else f"{registry}/{name}"


def is_tournament_image(ref: str, registry: str) -> bool:
    """Return whether a reference is in the tournament's own registry or in the configured one."""
    return ref.startswith((f"{DEFAULT_REGISTRY}/", f"{registry}/"))


def parse_typed_token(public_id: str, secret: str) -> ApiToken:
    """Create a token from what a person typed at the prompt.

    Raises:
        errors.UsageError: A part is invalid; the message does not contain it.
    """
    return _create_token(public_id.strip(), secret.strip(), "the typed token")


def hide_secrets(text: str) -> str:
    """Mask every secret that this process has read in a text."""
    for secret in _secrets:
        text = text.replace(secret, "********")
    return text


def _read_sources(environment: Mapping[str, str], root: Path) -> tuple[Mapping[str, str], Mapping[str, str]]:
    return {key: environment[key] for key in _KEYS if environment.get(key)}, _read_file(root / ".env")


def _read_file(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    import dotenv  # noqa: PLC0415 - only where there is a file

    try:
        # Without interpolation, because NUMERAI_MCP_AUTH contains a dollar sign.
        values = dotenv.dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"cannot read {path}; make it a readable text file, or remove it") from error
    return {key: value for key, value in values.items() if key in _KEYS and value}


def _read_token(values: Mapping[str, str], source: str) -> ApiToken | None:
    """Return the token of one source, or None if no part of a token is set there."""
    public_id, secret = values.get(PUBLIC, ""), values.get(SECRET, "")
    if public_id and secret:
        return _create_token(public_id.strip(), secret.strip(), f"{PUBLIC} and {SECRET} in {source}")
    combined = values.get(COMBINED, "")
    if combined:
        public_id, dollar, secret = re.sub(r"(?i)^token\s+", "", combined.strip()).partition("$")
        if not dollar:
            raise errors.UsageError(
                f"{COMBINED} in {source}: invalid token; expected Token PUBLIC$SECRET (in a shell, in single quotes)"
            )
        return _create_token(public_id, secret, f"{COMBINED} in {source}")
    if public_id or secret:
        present, absent = (PUBLIC, SECRET) if public_id else (SECRET, PUBLIC)
        raise errors.UsageError(
            f"{present} is set in {source}, but {absent} is not; set both in the same place, or neither"
        )
    return None


def _create_token(public_id: str, secret: str, source: str) -> ApiToken:
    # Before it is checked: other messages may quote a secret that is invalid. Very short ones occur in any text.
    if len(secret) >= _MIN_LENGTH:
        _secrets.add(secret)
    for name, part in (("public id", public_id), ("secret key", secret)):
        if not _PART.fullmatch(part):
            raise errors.UsageError(
                f"{source}: the {name} is invalid (length {len(part)}; expected {_MIN_LENGTH} to 200 letters, "
                "digits and . _ ~ + / = -): copy it again, without quotes"
            )
    return ApiToken(public_id=public_id, secret=secret, source=source)


def _check_api_url(text: str) -> str:
    if not address.is_safe(text):
        raise errors.UsageError(
            f"{API}: invalid; expected an https address like {DEFAULT_API}, or http on this computer, because the "
            "token is sent there"
        )
    return text
