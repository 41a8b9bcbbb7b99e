"""When the provider is polled for a task that it has not called back about.

Waits are in seconds; `random` is a random number in [0, 1).
"""

from collections.abc import Sequence
from typing import Final

from service.kit.backoff import MAX_DOUBLINGS, SPREAD, jittered

MIN_SAMPLES: Final = 20  # durations before anything is learnt from them
MIN_DURATION, MAX_DURATION = 1.0, 3600.0  # seconds; of what is learnt
POLL_BACKOFF: Final = 1.6
MIN_POLL_DELAY: Final = 0.1  # a task that usually takes no time is still not asked for in a loop
MAX_POLL_DELAY: Final = 300.0


def typical_duration(durations: Sequence[float]) -> float | None:
    """Seconds after which to ask for a task, learnt from how long others took; None if too few.

    Nine in ten ended within this, even where jitter has a look-up come as early as it may: asking
    at the median would ask for every other task in vain.
    """
    if len(durations) < MIN_SAMPLES:
        return None
    nine_in_ten = sorted(durations)[(9 * len(durations) - 1) // 10]
    return round(min(max(nine_in_ten / (1 - SPREAD), MIN_DURATION), MAX_DURATION), 1)


def poll_delay(polls_made: int, usual: float, random: float) -> float:
    """Seconds from the last look-up (or the submission) to the next one.

    The first comes near the usual duration, however long that is; then the gaps widen to a cap.
    """
    first = max(usual, MIN_POLL_DELAY)
    if polls_made == 0:
        return jittered(first, SPREAD, random)
    widened = first * POLL_BACKOFF ** min(polls_made, MAX_DOUBLINGS)
    return jittered(min(widened, MAX_POLL_DELAY / (1 + SPREAD)), SPREAD, random)
