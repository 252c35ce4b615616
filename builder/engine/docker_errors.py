"""Translates the errors of the ``docker`` SDK to :class:`builder.errors.EngineError`.

The SDK, requests and urllib3 raise errors of many classes, so every request is made in one of two context managers:
:func:`translate_errors` around any code, and :func:`translate_answer_errors` around code that only reads an answer,
where a ``KeyError`` also is the engine's fault.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn

import docker.errors
import requests.exceptions
import urllib3.exceptions

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY_ERRORS = (
    docker.errors.DockerException,
    docker.errors.StreamParseError,
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    ConnectionError,
)
# The errors of the HTTP libraries for a read that took too long; a ConnectionError may be caused by one.
TIMEOUTS = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
# Raised while reading an answer that does not have the form of an engine's answer.
MALFORMED = (LookupError, TypeError, AttributeError, ValueError)


@contextlib.contextmanager
def translate_errors(action: str) -> Iterator[None]:
    """Convert the libraries' errors; ``action`` completes the message ``could not ...``."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        _raise_engine_error(action, error)


@contextlib.contextmanager
def translate_answer_errors(action: str) -> Iterator[None]:
    """Translate errors in a block that only reads an answer of the engine: other errors mean a malformed answer."""
    with translate_errors(action):
        try:
            yield
        except MALFORMED as error:
            if isinstance(error, LIBRARY_ERRORS) and not isinstance(error, requests.exceptions.JSONDecodeError):
                raise
            raise errors.EngineError(
                f"could not {action}: invalid answer from the container engine ({type(error).__name__}); check "
                "DOCKER_HOST or the docker context"
            ) from error


def _raise_engine_error(action: str, error: Exception) -> NoReturn:
    """Raise an EngineError, with a message of one line, for an error of the SDK."""
    if isinstance(error, docker.errors.APIError):
        detail = str(error.explanation or error)
        if "no space left" in detail:
            detail += "; the engine's disk is full: `docker system df` shows what fills it"
        raise errors.EngineError(f"could not {action}: the engine says: {detail}") from error
    root = list_causes(error)[-1]
    raise errors.EngineError(
        f"could not {action}: the container engine does not answer ({str(root) or type(root).__name__}); "
        "start it (`make engine` does on Debian and Ubuntu), then run this again"
    ) from error


def list_causes(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, the root cause last.

    The HTTP libraries below the SDK wrap an error in another one, as its cause, its context or an argument.
    """
    causes = [error]
    while True:
        last = causes[-1]
        inner = (
            last.__cause__
            or last.__context__
            or next((item for item in last.args if isinstance(item, Exception)), None)
        )
        if inner is None:
            return causes
        causes.append(inner)
