"""Settings: their sources, invalid values, and that no message contains a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import errors
from builder.tournament import settings

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC, SECRET = "PUBLICIDOFSOMEBODY", "s3cr3tOfSomebodyThatNobodyMayRead"
HALVES = {settings.PUBLIC: PUBLIC, settings.SECRET: SECRET}


def test_defaults_are_the_tournaments_own_servers(tmp_path: Path) -> None:
    defaults = settings.read({}, tmp_path)
    assert (defaults.api_url, defaults.registry, defaults.token) == (
        settings.DEFAULT_API,
        settings.DEFAULT_REGISTRY,
        None,
    )


@pytest.mark.parametrize(
    "environment",
    [
        HALVES,
        {settings.COMBINED: f"Token {PUBLIC}${SECRET}"},
        {settings.COMBINED: f"{PUBLIC}${SECRET}"},
        {settings.COMBINED: f"  token   {PUBLIC}${SECRET}\n"},
    ],
)
def test_each_environment_form_of_a_token_is_read(environment: dict[str, str], tmp_path: Path) -> None:
    token = settings.read(environment, tmp_path).token
    assert token is not None
    assert token.header == f"Token {PUBLIC}${SECRET}"
    assert SECRET not in repr(token)


@pytest.mark.parametrize(
    "text",
    [
        f"NUMERAI_PUBLIC_ID={PUBLIC}\nNUMERAI_SECRET_KEY={SECRET}\n",
        f"# mine\nexport NUMERAI_PUBLIC_ID=\"{PUBLIC}\"\nNUMERAI_SECRET_KEY='{SECRET}'\nOTHER=1\n",
        f"NUMERAI_MCP_AUTH=Token {PUBLIC}${SECRET}\n",
        f'NUMERAI_MCP_AUTH="Token {PUBLIC}${SECRET}"\n',
    ],
)
def test_token_is_read_from_the_env_file(text: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(text)
    token = settings.read({}, tmp_path).token
    assert token is not None
    assert token.header == f"Token {PUBLIC}${SECRET}"
    assert token.source.endswith(str(tmp_path / ".env"))


def test_environment_takes_precedence_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NUMERAI_PUBLIC_ID=OTHERPUBLIC\nNUMERAI_SECRET_KEY=othersecret\n")
    token = settings.read(HALVES, tmp_path).token
    assert token is not None
    assert (token.public_id, token.secret) == (PUBLIC, SECRET)


OTHERS = f"Token OTHERPUBLIC${SECRET[::-1]}"


@pytest.mark.parametrize(
    ("environment", "file"),
    [
        ({settings.COMBINED: f"Token {PUBLIC}${SECRET}"}, HALVES | {settings.PUBLIC: "OTHERPUBLIC"}),
        (HALVES, {settings.COMBINED: OTHERS}),
        ({}, HALVES | {settings.COMBINED: OTHERS}),
        (HALVES, {settings.PUBLIC: "OTHERPUBLIC"}),
    ],
)
def test_both_parts_of_a_token_come_from_one_source(
    environment: dict[str, str], file: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    path.write_text("".join(f"{key}={value}\n" for key, value in file.items()))
    token = settings.read(environment, tmp_path).token
    assert token is not None
    assert (token.public_id, token.secret) == (PUBLIC, SECRET)
    assert token.source.endswith("the environment" if environment else str(path))


@pytest.mark.parametrize("half", HALVES)
def test_half_a_token_is_not_completed_from_another_source(half: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NUMERAI_PUBLIC_ID=OTHERPUBLIC\nNUMERAI_SECRET_KEY=othersecret\n")
    with pytest.raises(
        errors.UsageError, match=f"{half} is set in the environment, but .* is not; set both in the same place"
    ):
        settings.read({half: HALVES[half]}, tmp_path)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({settings.PUBLIC: PUBLIC}, "NUMERAI_SECRET_KEY is not"),
        ({settings.SECRET: SECRET}, "NUMERAI_PUBLIC_ID is not"),
        ({settings.COMBINED: SECRET}, "invalid token; expected Token PUBLIC$SECRET"),
        ({**HALVES, settings.SECRET: f"'{SECRET}'"}, "the secret key is invalid"),
        ({**HALVES, settings.SECRET: f"{SECRET} "}, ""),
        ({settings.API: "http://api.example.org"}, "expected an https address"),
        ({settings.API: f"https://user:{SECRET}@example.org"}, "expected an https address"),
        ({settings.API: "ftp://127.0.0.1"}, "expected an https address"),
        ({settings.API: "https://[::1"}, "expected an https address"),
        ({settings.REGISTRY: "https://ghcr.io/numerai"}, "invalid; expected a registry like ghcr.io/numerai"),
    ],
)
def test_invalid_setting_is_rejected_without_showing_secrets(
    environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    if not message:
        assert settings.read(environment, tmp_path).token is not None  # surrounding spaces are stripped
        return
    with pytest.raises(errors.UsageError) as raised:
        settings.read(environment, tmp_path)
    assert message in str(raised.value)
    assert SECRET not in str(raised.value)


def test_api_may_be_on_this_computer(tmp_path: Path) -> None:
    environment = {settings.API: "http://127.0.0.1:8000", settings.REGISTRY: "127.0.0.1:5000/numerai/"}
    local = settings.read(environment, tmp_path)
    assert (local.api_url, local.registry) == ("http://127.0.0.1:8000", "127.0.0.1:5000/numerai")


def test_secrets_are_hidden_in_messages(tmp_path: Path) -> None:
    settings.read(HALVES, tmp_path)
    assert settings.hide_secrets(f"the server says {SECRET}!") == "the server says ********!"


def get_error_for_other_secret() -> str:
    """Return the message for another invalid secret: text that it contains too was not copied from the input."""
    with pytest.raises(errors.UsageError) as refused:
        settings.parse_typed_token(PUBLIC, "\0")
    return str(refused.value)


@given(st.text(max_size=60))
def test_any_text_is_a_token_or_rejected_without_showing_it(text: str) -> None:
    message = ""
    try:
        token = settings.parse_typed_token(PUBLIC, text)
    except errors.UsageError as error:
        message = str(error)
    else:
        assert token.secret == text.strip()
    assert len(text.strip()) < 6 or text.strip() not in message or text.strip() in get_error_for_other_secret()
