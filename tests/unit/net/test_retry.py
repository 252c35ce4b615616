"""When a request is sent again, and how long is waited before that."""

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
    """Send a request that fails so before it is answered; a failure that is not retried comes out."""

    def sending(*failures: BaseException, policy: retry.RetryPolicy = POLICY) -> str:
        left, announced = list(failures), list[float]()

        def request() -> str:
            if left:
                raise left.pop(0)
            return "answer"

        try:
            return retry.retry(request, policy, on_retry=lambda pause, _: announced.append(pause))
        finally:
            assert announced == waits

    return sending


def unanswered(*, sent: bool = True, after: float = 0.0, unresolved: bool = False) -> errors.UnavailableError:
    return errors.UnavailableError("no answer", sent=sent, after=after, unresolved=unresolved)


def test_each_pause_is_twice_the_one_before_up_to_the_longest(send: Send, waits: list[float]) -> None:
    assert send(*(unanswered() for _ in range(4))) == "answer"
    assert waits == [1.0, 2.0, 4.0, 5.0]


def test_the_server_may_ask_for_a_longer_pause_but_not_beyond_the_longest(send: Send, waits: list[float]) -> None:
    assert send(unanswered(after=3.0), unanswered(after=60.0)) == "answer"
    assert waits == [3.0, 5.0]


def test_the_last_attempts_error_comes_out_with_its_number(send: Send) -> None:
    failures = [unanswered() for _ in range(5)]
    with pytest.raises(errors.UnavailableError) as raised:
        send(*failures)
    assert raised.value is failures[-1]
    assert raised.value.attempt == 5


def test_a_name_that_does_not_resolve_gets_two_attempts(send: Send) -> None:
    with pytest.raises(errors.UnavailableError) as raised:
        send(*(unanswered(sent=False, unresolved=True) for _ in range(5)))
    assert raised.value.attempt == 2


def test_a_policy_may_leave_out_what_was_never_sent(send: Send, waits: list[float]) -> None:
    policy = retry.RetryPolicy(attempts=5, first=1.0, longest=5.0, unsent=False)
    assert send(unanswered(), policy=policy) == "answer"
    assert waits == [1.0]
    waits.clear()
    with pytest.raises(errors.UnavailableError) as raised:
        send(unanswered(sent=False), policy=policy)
    assert raised.value.attempt == 1


@pytest.mark.parametrize("error", [errors.NetworkError("HTTP 404"), KeyboardInterrupt(), SystemExit(1)])
def test_anything_else_comes_out_at_once(send: Send, waits: list[float], error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        send(error)
    assert raised.value is error
    assert waits == []


def test_what_is_raised_before_a_pause_ends_it(waits: list[float]) -> None:
    def request() -> str:
        raise unanswered()

    def renew(_pause: float, _error: object) -> None:
        raise errors.TokenError("no")

    with pytest.raises(errors.TokenError):
        retry.retry(request, POLICY, on_retry=renew)
    assert waits == []


def test_a_retry_is_logged_nowhere(send: Send, caplog: pytest.LogCaptureFixture) -> None:
    """The library's own line has the error, which may hold an address, and goes to standard error."""
    caplog.set_level(logging.DEBUG)
    assert send(unanswered()) == "answer"
    assert caplog.records == []
