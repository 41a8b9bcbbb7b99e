"""Waits between tries: in seconds, with chance (`dice`, in [0, 1)) as an argument."""

from typing import Final

SPREAD: Final = 0.2  # by which a wait is moved either way, so that not all come back at once
MAX_DOUBLINGS: Final = 1000  # 2.0 to the 1024th overflows; any cap is reached long before


def full_jitter(attempt: int, base: float, cap: float, dice: float) -> float:
    """Exponential back-off with full jitter: anywhere up to base x 2^attempt, at most cap.

    `attempt` counts from 0. The whole range is used so that those refused together do not come
    back together.
    """
    return dice * min(cap, base * 2.0 ** min(attempt, MAX_DOUBLINGS))


def jittered(delay: float, spread: float, dice: float) -> float:
    """The delay, moved by at most `spread` (0 to 1) of itself either way."""
    return delay * (1 + spread * (2 * dice - 1))
