"""Retry requests that got no response, with growing pauses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often to retry a request, and how long to wait before each attempt.

    Attributes:
        attempts: Maximum number of attempts.
        first: Seconds before the second attempt; each further pause is twice as long.
        longest: Maximum pause in seconds, also if Retry-After is longer.
        unsent: Whether to retry if the server could not be reached.
    """

    attempts: int
    first: float
    longest: float
    unsent: bool = True


def retry(
    request: Callable[[], T], policy: RetryPolicy, *, on_retry: Callable[[float, errors.UnavailableError], None]
) -> T:
    """Send a request until it succeeds or the policy ends; return its result.

    Args:
        request: Sends the request once; raises ``errors.UnavailableError`` if it may be sent again.
        policy: The number of attempts and the pauses.
        on_retry: Called before each pause, with its seconds and the error; may raise to end the retries.

    Raises:
        errors.UnavailableError: The error of the last attempt, with ``attempt`` set to its number.
    """
    import stamina  # noqa: PLC0415 - takes a tenth of a second, and most commands do not use the network
    from stamina.instrumentation import set_on_retry_hooks  # noqa: PLC0415

    # stamina's default hooks log the error's repr, which may contain a URL with a secret.
    set_on_retry_hooks([])

    def pause(error: Exception) -> bool | float:
        if not isinstance(error, errors.UnavailableError):
            return False
        error.attempt = attempt.num
        if error.is_last(attempt.num, policy.attempts) or not (error.sent or policy.unsent):
            return False
        seconds = min(max(attempt.next_wait, error.after), policy.longest)
        on_retry(seconds, error)
        return seconds

    for attempt in stamina.retry_context(
        on=pause,
        attempts=policy.attempts,
        timeout=None,
        wait_initial=policy.first,
        wait_max=policy.longest,
        wait_jitter=0,
    ):
        with attempt:
            return request()
    raise AssertionError  # the loop returns or raises
