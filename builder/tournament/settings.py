"""What is set outside of any config: the API's address, the registry of the runner images, and the token.

| setting | default |
| --- | --- |
| ``NUMERAI_API_URL`` | the tournament's API; another one must speak https, or be this computer itself |
| ``NUMERAI_REGISTRY`` | ``ghcr.io/numerai``: where the tournament's images are pulled from, also those of a config |
| ``NUMERAI_PUBLIC_ID`` and ``NUMERAI_SECRET_KEY`` | the token's two halves, as numerapi calls them |
| ``NUMERAI_MCP_AUTH`` | ``Token PUBLIC$SECRET``, or the same without the first word |

They come from the environment, else from a file ``.env`` in the folder that holds ``configs/``. A token comes whole
from one of the two: half of one and half of another would be nobody's, or another account's.
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
API, REGISTRY = "NUMERAI_API_URL", "NUMERAI_REGISTRY"
PUBLIC, SECRET, COMBINED = "NUMERAI_PUBLIC_ID", "NUMERAI_SECRET_KEY", "NUMERAI_MCP_AUTH"
CREDENTIALS_HINT = (
    'make one at numer.ai/account ("Create MCP Key" selects the scopes), and set NUMERAI_PUBLIC_ID and '
    "NUMERAI_SECRET_KEY in the environment or in .env"
)

_SHORTEST = 6
_HALF = re.compile(rf"[A-Za-z0-9._~+/=-]{{{_SHORTEST},200}}")
_KEYS = (API, REGISTRY, PUBLIC, SECRET, COMBINED)
_known: set[str] = set()  # secrets that this process has read: nothing it prints may hold one


@dataclass(frozen=True, kw_only=True)
class ApiToken:
    """An API token; its secret half is in no ``repr``.

    Attributes:
        public_id: The half that may be shown.
        secret: The other.
        source: Where it was found, for messages.
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
    """All of them, checked.

    Attributes:
        api_url: Where queries are posted to.
        registry: Registry and folder of the runner images, such as ``ghcr.io/numerai``.
        token: None where none is set.
    """

    api_url: str
    registry: str
    token: ApiToken | None


def read(environment: Mapping[str, str], root: Path) -> Settings:
    """Read the settings.

    Args:
        environment: ``os.environ``; wins over the file.
        root: The folder that holds ``configs/`` and may hold ``.env``.

    Raises:
        errors.UsageError: One is set to something that cannot be; a secret is never repeated.
    """
    here, there = _read_sources(environment, root)
    return Settings(
        api_url=_read_api(here.get(API) or there.get(API) or DEFAULT_API),
        registry=read_registry(environment, root),
        token=_read_token(here, "the environment") or _read_token(there, str(root / ".env")),
    )


def read_registry(environment: Mapping[str, str], root: Path) -> str:
    """Read the registry alone: what needs no account is not kept from running by a token that is malformed.

    Raises:
        errors.UsageError: It is set to something that is not a registry.
    """
    here, there = _read_sources(environment, root)
    text = here.get(REGISTRY) or there.get(REGISTRY) or DEFAULT_REGISTRY
    try:
        reference.parse(f"{text.rstrip('/')}/name:tag")
    except ValueError as error:
        raise errors.UsageError(f"{REGISTRY}: invalid; expected a registry like {DEFAULT_REGISTRY}") from error
    return text.rstrip("/")


def to_pull_reference(ref: str, registry: str) -> str:
    """Return where an image is pulled from: one of ``ghcr.io/numerai`` comes from the registry that is set instead."""
    name = ref.removeprefix(f"{DEFAULT_REGISTRY}/")
    return ref if name == ref else f"{registry}/{name}"


def is_tournament_image(ref: str, registry: str) -> bool:
    """Tell whether a reference names an image of the tournament, at its own registry or the one that is set."""
    return ref.startswith((f"{DEFAULT_REGISTRY}/", f"{registry}/"))


def parse_typed_token(public_id: str, secret: str) -> ApiToken:
    """Return the token that a person typed at the prompt.

    Raises:
        errors.UsageError: It cannot be one.
    """
    return _token(public_id.strip(), secret.strip(), "what was typed")


def hide_secrets(text: str) -> str:
    """Return a text without any secret that this process has read."""
    for secret in _known:
        text = text.replace(secret, "********")
    return text


def _read_sources(environment: Mapping[str, str], root: Path) -> tuple[Mapping[str, str], Mapping[str, str]]:
    return {key: environment[key] for key in _KEYS if environment.get(key)}, _read_file(root / ".env")


def _read_file(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        return {}
    import dotenv  # noqa: PLC0415 - only where there is a file

    try:
        # Without interpolation: a token has a dollar sign in it.
        found = dotenv.dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"{path}: cannot be read; make it a readable text file, or remove it") from error
    return {key: value for key, value in found.items() if key in _KEYS and value}


def _read_token(values: Mapping[str, str], where: str) -> ApiToken | None:
    """Return the token that one place holds; None where it holds no part of one."""
    public_id, secret = values.get(PUBLIC, ""), values.get(SECRET, "")
    if public_id and secret:
        return _token(public_id.strip(), secret.strip(), f"{PUBLIC} and {SECRET} of {where}")
    combined = values.get(COMBINED, "")
    if combined:
        public_id, dollar, secret = re.sub(r"(?i)^token\s+", "", combined.strip()).partition("$")
        if not dollar:
            raise errors.UsageError(
                f"{COMBINED} of {where}: is not a token; expected Token PUBLIC$SECRET (in a shell, in single quotes)"
            )
        return _token(public_id, secret, f"{COMBINED} of {where}")
    if public_id or secret:
        present, absent = (PUBLIC, SECRET) if public_id else (SECRET, PUBLIC)
        raise errors.UsageError(
            f"{present} of {where}: is set and {absent} is not; a token has both halves, from one place: set both "
            "there, or neither"
        )
    return None


def _token(public_id: str, secret: str, source: str) -> ApiToken:
    if len(secret) >= _SHORTEST:
        _known.add(secret)
    for name, half in (("public id", public_id), ("secret key", secret)):
        if not _HALF.fullmatch(half):
            raise errors.UsageError(
                f"{source}: the {name} is invalid ({len(half)} characters; expected {_SHORTEST} to 200 letters, "
                "digits and . _ ~ + / = -): copy it again, without quotes"
            )
    return ApiToken(public_id=public_id, secret=secret, source=source)


def _read_api(text: str) -> str:
    if not address.is_safe(text):
        raise errors.UsageError(
            f"{API}: invalid; expected an https address like {DEFAULT_API}, or http to this computer itself, because a "
            "token is sent there"
        )
    return text
