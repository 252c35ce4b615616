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
    request: Callable[[], T], policy: RetryPolicy, *, before: Callable[[float], None], sleep: Callable[[float], None]
) -> T:
    """Send a request until it is answered.

    Args:
        request: Sends it once; raises ``errors.UnansweredError`` if it may be sent again.
        policy: How often and how long.
        before: Called with the seconds of each pause.
        sleep: Waits.

    Raises:
        errors.UnansweredError: The last attempt's, with its number as ``attempt``.
    """
    attempt, wait = 1, policy.first
    while True:
        try:
            return request()
        except errors.UnansweredError as error:
            error.attempt = attempt
            if error.is_last(attempt, policy.attempts) or not (error.sent or policy.unsent):
                raise
            pause = min(max(wait, error.after), policy.longest)
        before(pause)
        sleep(pause)
        attempt, wait = attempt + 1, 2 * wait
