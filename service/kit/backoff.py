"""Exponential backoff and jitter: waits between tries, in seconds.

`random` is a random number in [0, 1), drawn by the caller: these functions are pure.
"""

from typing import Final

SPREAD: Final = 0.2  # the usual jitter: a wait is moved by up to a fifth of itself either way
MAX_DOUBLINGS: Final = 1000  # 2.0 to the 1024th overflows; any cap is reached long before


def full_jitter(attempt: int, base: float, cap: float, random: float) -> float:
    """Seconds to wait by exponential backoff with full jitter: from 0 to base x 2^attempt, at most
    `cap`. `attempt` counts from 0.

    The whole range is used, so that clients that were refused together do not return together.
    """
    return random * min(cap, base * 2.0 ** min(attempt, MAX_DOUBLINGS))


def jittered(delay: float, spread: float, random: float) -> float:
    """The delay, made longer or shorter by at most `spread` (0 to 1) of itself."""
    return delay * (1 + spread * (2 * random - 1))
