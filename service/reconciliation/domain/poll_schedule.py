"""The poll schedule: when the provider is asked about a task that it has not called back about.

`random` is a random number in [0, 1), drawn by the caller: these functions are pure.
"""

from collections.abc import Sequence
from typing import Final

from service.kit.backoff import MAX_DOUBLINGS, SPREAD, jittered

MIN_SAMPLES: Final = 20  # durations before anything is learnt from them
MIN_DURATION, MAX_DURATION = 1.0, 3600.0  # seconds; bounds of what is learnt
POLL_BACKOFF: Final = 1.6  # each delay is so much longer than the one before
MIN_POLL_DELAY: Final = 0.1  # seconds; of the first poll, however fast tasks are
MAX_POLL_DELAY: Final = 300.0  # seconds; of later polls


def typical_duration(durations: Sequence[float]) -> float | None:
    """Seconds after which to poll for a task first, from the durations of others, in seconds; None
    if they are too few.

    Nine in ten ended within this, even if jitter makes the poll as early as it can: polling at the
    median would be in vain for every other task.
    """
    if len(durations) < MIN_SAMPLES:
        return None
    ninth_decile = sorted(durations)[(9 * len(durations) - 1) // 10]
    return round(min(max(ninth_decile / (1 - SPREAD), MIN_DURATION), MAX_DURATION), 1)


def poll_delay(poll_count: int, typical: float, random: float) -> float:
    """Seconds from the last poll, or from the submission if `poll_count` is 0, to the next poll.

    The first comes near `typical`, the typical duration in seconds, however long that is; the next
    ones back off exponentially, to a cap. All have jitter.
    """
    first = max(typical, MIN_POLL_DELAY)
    if poll_count == 0:
        return jittered(first, SPREAD, random)
    delay = first * POLL_BACKOFF ** min(poll_count, MAX_DOUBLINGS)
    return jittered(min(delay, MAX_POLL_DELAY / (1 + SPREAD)), SPREAD, random)
