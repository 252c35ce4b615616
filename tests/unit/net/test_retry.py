"""When a request is sent again, and how long is waited before that."""

from __future__ import annotations

import pytest

from builder import errors
from builder.net import retry

POLICY = retry.RetryPolicy(attempts=5, first=1.0, longest=5.0)


def send(policy: retry.RetryPolicy, *failures: errors.NetworkError) -> tuple[str, list[float]]:
    """Return the answer that comes after the failures, and the pauses; a failure that is not retried comes out."""
    left, pauses, announced = list(failures), list[float](), list[float]()

    def request() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    answer = retry.retry(request, policy, before=announced.append, sleep=pauses.append)
    assert announced == pauses
    return answer, pauses


def unanswered(*, sent: bool = True, after: float = 0.0, unresolved: bool = False) -> errors.UnansweredError:
    return errors.UnansweredError("no answer", sent=sent, after=after, unresolved=unresolved)


def test_each_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    assert send(POLICY, *(unanswered() for _ in range(4))) == ("answer", [1.0, 2.0, 4.0, 5.0])


def test_the_server_may_ask_for_a_longer_pause_but_not_beyond_the_longest() -> None:
    assert send(POLICY, unanswered(after=3.0), unanswered(after=60.0)) == ("answer", [3.0, 5.0])


def test_the_last_attempts_error_comes_out_with_its_number() -> None:
    failures = [unanswered() for _ in range(5)]
    with pytest.raises(errors.UnansweredError) as raised:
        send(POLICY, *failures)
    assert raised.value is failures[-1]
    assert raised.value.attempt == 5


def test_a_name_that_does_not_resolve_gets_two_attempts() -> None:
    with pytest.raises(errors.UnansweredError) as raised:
        send(POLICY, *(unanswered(sent=False, unresolved=True) for _ in range(5)))
    assert raised.value.attempt == 2


def test_a_policy_may_leave_out_what_was_never_sent() -> None:
    policy = retry.RetryPolicy(attempts=5, first=1.0, longest=5.0, unsent=False)
    assert send(policy, unanswered()) == ("answer", [1.0])
    with pytest.raises(errors.UnansweredError) as raised:
        send(policy, unanswered(sent=False))
    assert raised.value.attempt == 1


def test_another_error_is_not_retried() -> None:
    with pytest.raises(errors.NetworkError, match="HTTP 404"):
        send(POLICY, errors.NetworkError("HTTP 404"))
