"""Send a request again when no answer came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from builder import errors

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a request is sent, and how long is waited in between.

    Attributes:
        attempts: Times it is sent at most.
        first: Seconds before the second; each further wait is twice as long.
        longest: No wait is longer, whatever Retry-After asks for.
        unsent: Whether to try again if the other side was not reached at all.
    """

    attempts: int
    first: float
    longest: float
    unsent: bool = True


def retry(
    request: Callable[[], T], policy: RetryPolicy, *, on_retry: Callable[[float, errors.UnavailableError], None]
) -> T:
    """Send a request until it is answered.

    Args:
        request: Sends it once; raises ``errors.UnavailableError`` if it may be sent again.
        policy: How often and how long.
        on_retry: Called before each pause, with its seconds and what it is made for; what it raises ends this.

    Raises:
        errors.UnavailableError: The last attempt's, with its number as ``attempt``.
    """
    import stamina  # noqa: PLC0415 - a tenth of a second, and only where the network is used
    from stamina.instrumentation import set_on_retry_hooks  # noqa: PLC0415

    # The library's own hook prints the error's repr, which may hold an address, to standard error.
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
