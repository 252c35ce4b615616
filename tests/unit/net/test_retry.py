"""Test which requests are retried, and the pauses between attempts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from builder import errors
from builder.net import retry

if TYPE_CHECKING:
    from collections.abc import Callable

    Send = Callable[..., str]

POLICY = retry.RetryPolicy(attempts=5, first=1.0, longest=5.0)


@pytest.fixture
def send(waits: list[float]) -> Send:
    """A function that sends a request which fails with the given errors before it succeeds."""

    def send_request(*failures: BaseException, policy: retry.RetryPolicy = POLICY) -> str:
        remaining, announced = list(failures), list[float]()

        def request() -> str:
            if remaining:
                raise remaining.pop(0)
            return "answer"

        try:
            return retry.retry(request, policy, on_retry=lambda pause, _: announced.append(pause))
        finally:
            assert announced == waits

    return send_request


def create_error(*, sent: bool = True, after: float = 0.0, unresolved: bool = False) -> errors.UnavailableError:
    return errors.UnavailableError("no answer", sent=sent, after=after, unresolved=unresolved)


def test_pauses_double_up_to_the_longest(send: Send, waits: list[float]) -> None:
    assert send(*(create_error() for _ in range(4))) == "answer"
    assert waits == [1.0, 2.0, 4.0, 5.0]


def test_retry_after_makes_a_pause_longer_up_to_the_longest(send: Send, waits: list[float]) -> None:
    assert send(create_error(after=3.0), create_error(after=60.0)) == "answer"
    assert waits == [3.0, 5.0]


def test_the_error_of_the_last_attempt_is_raised_with_its_number(send: Send) -> None:
    failures = [create_error() for _ in range(5)]
    with pytest.raises(errors.UnavailableError) as raised:
        send(*failures)
    assert raised.value is failures[-1]
    assert raised.value.attempt == 5


def test_a_name_that_does_not_resolve_gets_two_attempts(send: Send) -> None:
    with pytest.raises(errors.UnavailableError) as raised:
        send(*(create_error(sent=False, unresolved=True) for _ in range(5)))
    assert raised.value.attempt == 2


def test_a_policy_may_exclude_requests_that_were_not_sent(send: Send, waits: list[float]) -> None:
    policy = retry.RetryPolicy(attempts=5, first=1.0, longest=5.0, unsent=False)
    assert send(create_error(), policy=policy) == "answer"
    assert waits == [1.0]
    waits.clear()
    with pytest.raises(errors.UnavailableError) as raised:
        send(create_error(sent=False), policy=policy)
    assert raised.value.attempt == 1


@pytest.mark.parametrize("error", [errors.NetworkError("HTTP 404"), KeyboardInterrupt(), SystemExit(1)])
def test_other_errors_are_not_retried(send: Send, waits: list[float], error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        send(error)
    assert raised.value is error
    assert waits == []


def test_an_error_of_on_retry_ends_the_retries(waits: list[float]) -> None:
    def request() -> str:
        raise create_error()

    def renew(_pause: float, _error: object) -> None:
        raise errors.TokenError("no")

    with pytest.raises(errors.TokenError):
        retry.retry(request, POLICY, on_retry=renew)
    assert waits == []


def test_retries_are_not_logged(send: Send, caplog: pytest.LogCaptureFixture) -> None:
    """stamina's own log message contains the error, which may contain a URL with a secret."""
    caplog.set_level(logging.DEBUG)
    assert send(create_error()) == "answer"
    assert caplog.records == []
